"""Does the search find the best? Regret against the ground truth of `micro32`, beside rivals, and on NAS-Bench-201.

    python benchmarks/search_quality.py [--seeds 5] [--folder runs/search_quality] [--nb201 FILE.npz]

*micro32*: two devices × three budgets (the latencies that ¼, ½ and ¾ of the architectures keep). The differentiable search is
really run, its CPU seconds counted, and its derived architecture's true accuracy and gap looked up
(`benchmarks/truth/writers_micro.npz`). A rival queries the table's validation results, each charged with the CPU seconds of
its training: 25, 50, 100 queries, or as many as the differentiable search's seconds pay for. All are asked for the
smallest error + gap; the oracle is the architecture with the smallest *true* error + gap (test images, mean over the
table's seeds) inside the budget. *Supernet*: Kendall τ between what a trained supernet says and the truth.
*NAS-Bench-201*: the constraints of HELP's table 4, CIFAR-100; queries see the 12-epoch validation accuracy, regret is in
200-epoch test accuracy. Resumable: every run is a line in `FOLDER/*.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from build_truth import data_of_truth
from nb201_regret import QUERIES, RIVALS, nb201_rows
from results_io import write_results
from scipy.stats import kendalltau
from truth_table import Truth

from supernet.config import SearchConfig
from supernet.costs.latency import load_table
from supernet.data import Batches, GroupedData
from supernet.derive import most_probable
from supernet.evaluate import brief_scores, predict, subnet
from supernet.kernels import keep_freed_memory
from supernet.network import Supernet
from supernet.runs import RunFolder
from supernet.strategies import ASK_TELL, differentiable
from supernet.strategies.driver import Run, Setting, drive
from supernet.strategies.evaluators import table
from supernet.strategies.problem import Problem

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("rpi4", "gold_6226")
NB201 = ROOT.parent / "shared" / "data" / "latency"
RECIPE: dict[str, Any] = {"space": "micro32", "lr": 1e-2, "anchor": 0.0, "warmup_epochs": 6, "epochs": 2}
Row = dict[str, Any]


# --- micro32: the differentiable search -----------------------------------------------------------------------------


def problem_of(truth: Truth, data: GroupedData, device: str, budget_ms: float, folder: Path) -> Problem:
    """The problem as `search` sets it up, on the data draw of the truth."""
    region = truth.region(device, budget_ms)
    return Problem(
        RunFolder(folder), truth.space, data, load_table(device), region.costs, region.budgets, budget_ms,
        torch.device("cpu"), (),
    )  # fmt: skip


def run_search(truth: Truth, device: str, budget_ms: float, seed: int, kendall: bool) -> Row:
    """One differentiable search: what it derived, its CPU seconds, and (if asked) how its supernet ranks."""
    config = SearchConfig(device=device, budget_ms=budget_ms, seed=seed, **RECIPE)
    data = data_of_truth()
    with tempfile.TemporaryDirectory() as folder:
        problem = problem_of(truth, data, device, budget_ms, Path(folder))
        started = time.process_time()
        running = differentiable.DifferentiableSearch(config, problem)
        running.run(problem.folder)
        trained = time.process_time() - started
        found = differentiable.ranked_candidates(config, problem, running)
        seconds = time.process_time() - started
    alpha_LK = running.parameters().detach().double().numpy()
    probable = next(most_probable(alpha_LK, truth.space.valid_LK, list(problem.costs.values()), problem.budgets))
    row = {
        "seconds": seconds, "search_seconds": trained, "derived": [int(k) for k in truth.space.index_L(found[0].ops)],
        "most_probable": [int(k) for k in probable], "steps": running.total_steps,
        "candidates": [
            {"index_L": [int(k) for k in truth.space.index_L(one.ops)], "log_probability": one.log_probability,
             "cross_entropy": one.cross_entropy, "error": 1 - one.balanced_accuracy, "gap": one.gap}
            for one in found
        ],
    }  # fmt: skip
    return {**row, **(supernet_quality(truth, running.supernet, data) if kendall else {})}


def supernet_quality(truth: Truth, supernet: Supernet, data: GroupedData) -> Row:
    """Kendall τ over all architectures, the 10% that are truly best, and of the gap; by error and by loss on search-val."""
    shared: Row = {"mean": data.mean, "std": data.std, "stratify": True}
    train = Batches(data.train, 64, seed=0, **shared)
    calibration = [train.at(step) for step in range(6)]
    val = Batches(data.val, 256, seed=0, floor=0.0, **shared)
    batches = [val.at(step) for step in range(4)]
    label_N = torch.cat([batch.label for batch in batches]).numpy()
    group_NA = torch.cat([batch.group for batch in batches]).numpy()
    error, gap, loss = [], [], []
    for index_L in truth.index_NL:
        prob_NC = predict(subnet(supernet, truth.space.names(index_L), calibration), batches)
        scores = brief_scores(prob_NC, label_N, group_NA, data, "accuracy_parity")
        error.append(1 - scores["balanced_accuracy"])
        gap.append(scores["gap"])
        loss.append(float(-np.log(prob_NC[np.arange(len(label_N)), label_N].clip(1e-12)).mean()))
    best = np.argsort(truth.error_N)[: len(truth.error_N) // 10]

    def tau(said: list[float], true_N: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        return float(kendalltau(np.array(said)[rows], true_N[rows]).statistic)

    return {
        "kendall_all": tau(error, truth.error_N),
        "kendall_top10": tau(error, truth.error_N, best),
        "kendall_gap": tau(gap, truth.gap_N),
        "kendall_loss_all": tau(loss, truth.error_N),
        "kendall_loss_top10": tau(loss, truth.error_N, best),
        "kendall_loss_gap": tau(loss, truth.gap_N),
        "mean_supernet_error": float(np.mean(error)),
    }


# --- micro32: the rivals --------------------------------------------------------------------------------------------


def run_rival(truth: Truth, strategy: str, device: str, budget_ms: float, seed: int, seconds: float) -> Row:
    """One strategy on the table: what it would choose after so many queries, and after `seconds` of training."""
    region = truth.region(device, budget_ms)
    column = seed % truth.arrays["seconds"].shape[1]
    evaluate = table(
        truth.index_NL,
        {
            "error": truth.error_NS("val")[:, column],
            "gap": truth.gap_NS("val")[:, column],
            "seconds": truth.arrays["seconds"][:, column].astype(float),
        },
    )
    run = drive(
        ASK_TELL[strategy](Setting(region, ("error", "gap"), seed)), evaluate, region, max_evaluations=max(QUERIES)
    )
    spent = np.cumsum([record.seconds for record in run.records])
    paid = int((spent <= seconds).sum())
    return {
        "picks": {str(n): picked(run, n) for n in (*range(1, 10), *QUERIES)},
        "same_seconds": picked(run, max(1, paid)),
        "same_seconds_queries": paid,
        "seconds_per_query": float(spent[-1] / len(spent)),
    }


def picked(run: Run, queries: int) -> list[int]:
    """The best of the first queries by what the queries said."""
    best = min(run.records[:queries], key=lambda record: record.objectives["error"] + record.objectives["gap"])
    return list(best.index_L)


def regret(truth: Truth, device: str, budget_ms: float, index_L: Iterable[int]) -> tuple[float, float]:
    """(points of balanced accuracy, fraction of the oracle's gap) that the architecture is worse than the oracle."""
    inside = np.flatnonzero(truth.latency_N(device) <= budget_ms)
    oracle = inside[np.argmin((truth.error_N + truth.gap_N)[inside])]
    row = truth.row(np.array(list(index_L)))
    assert truth.latency_N(device)[row] <= budget_ms, "the budget is always kept"
    points = 100 * (truth.error_N[row] - truth.error_N[oracle])
    return float(points), float(truth.gap_N[row] / truth.gap_N[oracle] - 1)


# --- the whole ------------------------------------------------------------------------------------------------------


def search_job(job: tuple[str, float, int, bool]) -> Row:
    """One search in a process of one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()
    device, budget_ms, seed, kendall = job
    row = run_search(Truth.load(), device, budget_ms, seed, kendall)
    return {"device": device, "budget_ms": budget_ms, "seed": seed, **row}


def read(path: Path) -> list[Row]:
    """The rows of a file of finished runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "search_quality")
    parser.add_argument("--nb201", type=Path, default=NB201, help="folder of the NAS-Bench-201 data (see docs/data.md)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    truth = Truth.load()

    searches = options.folder / "searches.jsonl"
    done = {(row["device"], row["budget_ms"], row["seed"]) for row in read(searches)}
    # the supernet's ranking: at the middle budget of the first device, where it costs no search of its own
    jobs = [
        (device, budget_ms, seed, device == DEVICES[0] and position == 1)
        for seed in range(options.seeds)
        for device in DEVICES
        for position, budget_ms in enumerate(truth.budgets_ms(device))
        if (device, budget_ms, seed) not in done
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        for row in pool.map(search_job, jobs):
            append(searches, row)
            print(row["device"], row["budget_ms"], row["seed"], f"{row['seconds']:.0f} s", regret(truth, row["device"], row["budget_ms"], row["derived"]), flush=True)  # fmt: skip
    ours = read(searches)

    rivals = options.folder / "rivals.jsonl"
    done = {(row["strategy"], row["device"], row["budget_ms"], row["seed"]) for row in read(rivals)}
    seconds = float(np.mean([row["seconds"] for row in ours]))
    for device in DEVICES:
        for budget_ms in truth.budgets_ms(device):
            for strategy in RIVALS:
                for seed in range(2 * options.seeds):
                    if (strategy, device, budget_ms, seed) not in done:
                        row = run_rival(truth, strategy, device, budget_ms, seed, seconds)
                        append(
                            rivals,
                            {"strategy": strategy, "device": device, "budget_ms": budget_ms, "seed": seed, **row},
                        )

    cells = options.folder / "nb201.jsonl"
    if (options.nb201 / "bench" / "nb201.npz").exists():
        known = {row["key"] for row in read(cells)}
        nb201_rows(options.nb201, options.seeds, known, lambda row: append(cells, row))
    summary, records = summarise(truth, ours, read(rivals), read(cells))
    write_results("search_quality", summary, records, "python benchmarks/search_quality.py")
    print(json.dumps(summary, indent=1))


def summarise(truth: Truth, ours: list[Row], rivals: list[Row], cells: list[Row]) -> tuple[Row, list[Row]]:
    """The issue's figures, and every single run with its regret."""
    records: list[Row] = []
    for row in ours:
        points, gap = regret(truth, row["device"], row["budget_ms"], row["derived"])
        plain = regret(truth, row["device"], row["budget_ms"], row["most_probable"])
        records.append(
            {"strategy": "differentiable", **row, "regret_accuracy": points, "regret_gap": gap,
             "regret_most_probable": list(plain), "skips": skips(truth, row["derived"])}
        )  # fmt: skip
    for row in rivals:
        after = {n: regret(truth, row["device"], row["budget_ms"], pick) for n, pick in row["picks"].items()}
        same = regret(truth, row["device"], row["budget_ms"], row["same_seconds"])
        records.append({**row, "regret": after, "regret_same_seconds": list(same)})
    mine = [record for record in records if record["strategy"] == "differentiable"]
    theirs = [record for record in records if record["strategy"] != "differentiable"]
    accuracy, gap = (np.array([record[name] for record in mine]) for name in ("regret_accuracy", "regret_gap"))
    # a rival "gets as close" with n queries where its mean regret of error + gap is no larger
    cost = []
    for strategy in RIVALS:
        rows = [record for record in theirs if record["strategy"] == strategy]
        per_query = float(np.mean([row["seconds_per_query"] for row in rows]))
        for n in sorted(map(int, rows[0]["picks"])):
            if np.mean([record["regret"][str(n)][0] for record in rows]) <= accuracy.mean():
                cost.append((n * per_query, strategy, n))
                break
    cheapest = min(cost, default=(None, None, None))
    seconds = float(np.mean([record["seconds"] for record in mine]))
    ranked = [record for record in mine if "kendall_all" in record]
    summary: Row = {
        "regret_accuracy": float(accuracy.mean()),
        "regret_accuracy_sd": float(accuracy.std(ddof=1)),
        "regret_accuracy_worst": float(accuracy.max()),
        "regret_gap": float(gap.mean()),
        "regret_gap_sd": float(gap.std(ddof=1)),
        "regret_accuracy_most_probable": float(np.mean([record["regret_most_probable"][0] for record in mine])),
        "regret_gap_most_probable": float(np.mean([record["regret_most_probable"][1] for record in mine])),
        "search_cpu_seconds": seconds,
        "cost_over_cheapest_rival": None if cheapest[0] is None else seconds / cheapest[0],
        "cheapest_rival": cheapest[1],
        "cheapest_rival_queries": cheapest[2],
        **{
            name: float(np.mean([record[name] for record in ranked]))
            for name in ("kendall_all", "kendall_top10", "kendall_gap", "kendall_loss_all", "kendall_loss_top10", "kendall_loss_gap")
        },
        "skip_collapse_rate": float(np.mean([record["skips"] == len(record["derived"]) for record in mine])),
        "skip_share": float(np.mean([record["skips"] / len(record["derived"]) for record in mine])),
        "seeds": len({record["seed"] for record in mine}),
        "truth_architectures": len(truth.index_NL),
        "truth_seeds": int(truth.arrays["seconds"].shape[1]),
    }  # fmt: skip
    for strategy in RIVALS:
        rows = [record for record in theirs if record["strategy"] == strategy]
        summary[f"{strategy}_regret_accuracy_same_seconds"] = float(
            np.mean([r["regret_same_seconds"][0] for r in rows])
        )
        for n in QUERIES:
            summary[f"{strategy}_regret_accuracy_at_{n}"] = float(np.mean([r["regret"][str(n)][0] for r in rows]))
            summary[f"{strategy}_regret_gap_at_{n}"] = float(np.mean([r["regret"][str(n)][1] for r in rows]))
        nb201 = [row["regret"] for row in cells if row["strategy"] == strategy]
        for n in QUERIES if nb201 else ():
            summary[f"nb201_regret_at_{n}_{strategy}"] = float(np.mean([row[str(n)] for row in nb201]))
    return summary, [*records, *({"space": "nb201", **row} for row in cells)]


def skips(truth: Truth, index_L: list[int]) -> int:
    """How many layers of the architecture are skip."""
    return sum(truth.space.ops[k] == "skip" for k in index_L)


if __name__ == "__main__":
    main()
