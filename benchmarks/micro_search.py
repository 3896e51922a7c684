"""One differentiable search on `micro32` with its regret and its supernet's ranking (for search_quality.py and search_settings.py)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from build_truth import data_of_truth
from scipy.stats import kendalltau
from truth_table import Truth

from supernet.config import SearchConfig
from supernet.costs.latency import load_table
from supernet.data import Batches, GroupedData
from supernet.derive import most_probable
from supernet.engine.evaluate import brief_scores, predict, subnet
from supernet.engine.loop import train
from supernet.engine.runs import RunFolder
from supernet.kernels import keep_freed_memory
from supernet.network import Supernet
from supernet.problem import Problem
from supernet.strategies import differentiable

RECIPE: dict[str, Any] = {"space": "micro32", "lr": 5e-3, "anchor": 0.0, "warmup_epochs": 6, "epochs": 2}
EVERY = (
    5  # architectures that a supernet ranks, beside the best tenth: all 432 would take ten times as long as a search
)
Row = dict[str, Any]


def problem_of(truth: Truth, data: GroupedData, device: str, budget_ms: float, folder: Path) -> Problem:
    """The problem as `search` sets it up, on the data draw of the truth."""
    region = truth.region(device, budget_ms)
    return Problem(
        RunFolder(folder), truth.space, data, load_table(device), region.costs, region.budgets, budget_ms,
        torch.device("cpu"), (),
    )  # fmt: skip


def run_search(
    truth: Truth, device: str, budget_ms: float, seed: int, ranked: Sequence[int], changed: dict[str, Any] | None = None
) -> Row:
    """One differentiable search: what it derived, its CPU seconds, and how its supernet ranks those rows of the truth."""
    config = SearchConfig(device=device, budget_ms=budget_ms, seed=seed, **{**RECIPE, **(changed or {})})
    data = data_of_truth()
    with tempfile.TemporaryDirectory() as folder:
        problem = problem_of(truth, data, device, budget_ms, Path(folder))
        started = time.process_time()
        running = differentiable.DifferentiableSearch(config, problem)
        train(running, problem.folder)
        trained = time.process_time() - started
        found = differentiable.ranked_candidates(config, problem, running)
        seconds = time.process_time() - started
    alpha_LK = running.alpha().detach().double().numpy()
    probable = next(most_probable(alpha_LK, truth.space.valid_LK, list(problem.costs.values()), problem.budgets))
    row = {
        "seconds": seconds, "search_seconds": trained, "derived": [int(k) for k in truth.space.index_L(found[0].ops)],
        "most_probable": [int(k) for k in probable], "steps": running.total_steps,
        "candidates": [
            {"index_L": [int(k) for k in truth.space.index_L(one.ops)], "log_probability": one.log_probability,
             "cross_entropy": one.cross_entropy, "error": 1 - one.mean_group_accuracy, "gap": one.gap}
            for one in found
        ],
    }  # fmt: skip
    return {**row, **(supernet_quality(truth, running.supernet, data, np.array(ranked)) if len(ranked) else {})}


def rows_to_rank(truth: Truth, every: int) -> list[int]:
    """Every so many architectures (a number without a common factor with the layers' choices), and the truly best tenth."""
    best = np.argsort(truth.error_N)[: len(truth.error_N) // 10]
    return sorted({*range(0, len(truth.error_N), every), *best.tolist()})


def supernet_quality(truth: Truth, supernet: Supernet, data: GroupedData, rows: np.ndarray) -> Row:
    """Kendall τ over these architectures, the truly best tenth of all among them, and of the gap; by error and by loss on search-val."""
    shared: Row = {"mean": data.mean, "std": data.std, "stratify": True}
    train = Batches(data.train, 64, seed=0, **shared)
    calibration = [train.at(step) for step in range(6)]
    val = Batches(data.val, 256, seed=0, floor=0.0, **shared)
    batches = [val.at(step) for step in range(4)]
    label_N = torch.cat([batch.label for batch in batches]).numpy()
    group_NA = torch.cat([batch.group for batch in batches]).numpy()
    error, gap, loss = [], [], []
    for index_L in truth.index_NL[rows]:
        prob_NC = predict(subnet(supernet, truth.space.names(index_L), calibration), batches)
        scores = brief_scores(prob_NC, label_N, group_NA, data, "accuracy_parity")
        error.append(1 - scores["mean_group_accuracy"])
        gap.append(scores["gap"])
        loss.append(scores["cross_entropy"])
    best = np.isin(rows, np.argsort(truth.error_N)[: len(truth.error_N) // 10])

    def tau(said: list[float], true_N: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> float:
        return float(kendalltau(np.array(said)[chosen], true_N[rows][chosen]).statistic)

    return {
        "kendall_all": tau(error, truth.error_N),
        "kendall_top10": tau(error, truth.error_N, best),
        "kendall_gap": tau(gap, truth.gap_N),
        "kendall_loss_all": tau(loss, truth.error_N),
        "kendall_loss_top10": tau(loss, truth.error_N, best),
        "kendall_loss_gap": tau(loss, truth.gap_N),
        "mean_supernet_error": float(np.mean(error)),
    }


class Regret(NamedTuple):
    """How much worse than the oracle: points of mean group accuracy, fraction of its gap, points of error + gap."""

    accuracy: float
    gap: float
    total: float


def regret(truth: Truth, device: str, budget_ms: float, index_L: Iterable[int]) -> Regret:
    """Against the smallest true error + gap (mean over seeds) inside the budget: that oracle is partly luck."""
    return _regret(truth, device, budget_ms, index_L, list(range(truth.seeds)), list(range(truth.seeds)))


def regret_without_luck(
    truth: Truth, device: str, budget_ms: float, index_L: Iterable[int], queried: int | None = None
) -> Regret:
    """The oracle is chosen by the other seeds' trainings than those that both are scored on; mean over such splits.

    Of a rival that has seen the trainings of seed `queried`, only those of the other seeds count.
    """
    columns = [column for column in range(truth.seeds) if column != queried]
    splits = [
        _regret(truth, device, budget_ms, index_L, [s for s in range(truth.seeds) if s != column], [column])
        for column in columns
    ]
    return Regret(*np.mean(splits, axis=0).tolist())


def _regret(
    truth: Truth, device: str, budget_ms: float, index_L: Iterable[int], chosen_by: list[int], scored_on: list[int]
) -> Regret:
    inside = np.flatnonzero(truth.latency_N(device) <= budget_ms)
    error_N, gap_N = truth.of_seeds(chosen_by)
    oracle = inside[np.argmin((error_N + gap_N)[inside])]
    row = truth.row(np.array(list(index_L)))
    assert truth.latency_N(device)[row] <= budget_ms, "the budget is always kept"
    error_N, gap_N = truth.of_seeds(scored_on)
    points, gap_points = (100 * float(value_N[row] - value_N[oracle]) for value_N in (error_N, gap_N))
    return Regret(points, float(gap_N[row] / gap_N[oracle] - 1), points + gap_points)


def search_job(job: tuple[str, float, int, int, dict[str, Any]]) -> Row:
    """One search in a process of one thread; its supernet ranks every so many architectures (0: none)."""
    torch.set_num_threads(1)
    keep_freed_memory()
    device, budget_ms, seed, every, changed = job
    truth = Truth.load()
    row = run_search(truth, device, budget_ms, seed, rows_to_rank(truth, every) if every else [], changed)
    return {"device": device, "budget_ms": budget_ms, "seed": seed, **row}
