"""The searches that one_search.py compares on `micro32`'s truth: one for 48 regions, a generator for them, and separate ones.

Each returns what it answers as rows of the truth, with its CPU seconds, and is a JSON file in FOLDER, so that nothing is run twice.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from build_truth import data_of_truth
from generator import GeneratorSearch
from micro_search import RECIPE, problem_of
from truth_table import Truth

from supernet.answers import answers
from supernet.config import SearchConfig
from supernet.costs.latency import load_table
from supernet.engine.loop import train
from supernet.problem import Problem, Region
from supernet.quality import Quality
from supernet.quality_fit import fit_quality
from supernet.strategies import differentiable
from supernet.strategies.evaluators import all_epochs
from supernet.strategies.one_shot import RegionTrainer
from supernet.wish import Wish

Row = dict[str, Any]
Answered = list[tuple[str, float, float, int]]  # device, budget, weight, row of the truth
SEPARATE = ("rpi4", "fpga")  # devices whose every budget is searched separately, too


def kept(file: Path, run: Callable[..., Row], *asked: Any) -> Row:
    """What `run` gives, or what it gave earlier."""
    if not file.exists():
        file.write_text(json.dumps(run(*asked)))
    found: Row = json.loads(file.read_text())
    return found


def regional(truth: Truth, budgets: Mapping[str, Sequence[float]], folder: Path) -> Problem:
    """The problem of all devices and budgets at once."""
    regions = []
    for device, own in budgets.items():
        table = load_table(device)
        regions += [Region(device, table, table.cost(truth.space), ms, ms) for ms in own]
    problem = problem_of(truth, data_of_truth(), regions[0].device, regions[0].limit_ms, folder)
    return replace(problem, regions=tuple(regions))


def one_shot(truth: Truth, budgets: Mapping[str, Sequence[float]], seed: int, effort: Row, keep: Path) -> Row:  # fmt: skip
    """One supernet for all regions; its table of losses is left at `keep`."""
    config = SearchConfig(strategy="one-shot", seed=seed, **{**RECIPE, **effort})
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        problem = regional(truth, budgets, Path(scratch))
        running = RegionTrainer(replace(config, warmup_epochs=all_epochs(config), epochs=0), problem)
        train(running, problem.folder)
        running.supernet.train()
        quality = fit_quality(config, problem, running.logits)
    quality.save(keep)
    return {"seconds": time.process_time() - started}


def answered(
    truth: Truth, quality: Quality, budgets: Mapping[str, Sequence[float]], weights: Sequence[float]
) -> Answered:
    """What the product answers from the table."""
    found = []
    for device, own in budgets.items():
        latency = load_table(device).cost(truth.space)
        for ms, weight in product(own, weights):
            best = answers(quality, [latency], {"latency": ms}, Wish(weight))[0]
            found.append((device, ms, weight, int(truth.row(best.index_L))))
    return found


def generator(truth: Truth, budgets: Mapping[str, Sequence[float]], weights: Sequence[float], seed: int, effort: Row, relaxation: str) -> Row:  # fmt: skip
    """One bilevel loop over all conditions; half of its steps move the generator."""
    config = SearchConfig(seed=seed, relaxation=relaxation, **{**RECIPE, "warmup_epochs": 4, "epochs": 4, **effort})
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        problem = regional(truth, budgets, Path(scratch))
        running = GeneratorSearch(config, problem, weights)
        train(running, problem.folder)
        rows = [int(truth.row(running.answer(condition))) for condition in running.conditions]
    regions = [problem.regions[condition.region] for condition in running.conditions]
    found = [
        (r.device, r.budget_ms, c.weight, row) for r, c, row in zip(regions, running.conditions, rows, strict=True)
    ]
    return {"answers": found, "seconds": time.process_time() - started}


def separate(truth: Truth, device: str, budget_ms: float, weight: float, seed: int, effort: Row) -> Row:
    """An ordinary differentiable search."""
    config = SearchConfig(device=device, budget_ms=budget_ms, fairness_weight=weight, seed=seed, **{**RECIPE, **effort})
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        problem = problem_of(truth, data_of_truth(), device, budget_ms, Path(scratch))
        running = differentiable.DifferentiableSearch(config, problem)
        train(running, problem.folder)
        best = differentiable.ranked_candidates(config, problem, running)[0]
    row = int(truth.row(truth.space.index_L(best.ops)))
    return {"answers": [(device, budget_ms, weight, row)], "seconds": time.process_time() - started}


def every_run(truth: Truth, budgets: Mapping[str, Sequence[float]], weights: Sequence[float], seeds: int, folder: Path, effort: Row) -> dict[str, list[Row]]:  # fmt: skip
    """All runs by chooser; the separate ones of the first seed alone, for the least and the greatest weight (with `effort`: two)."""
    found: dict[str, list[Row]] = {"one_shot": [], "one_shot_full_gap": [], "generator": [], "separate": []}
    for seed in range(seeds):
        asked, keep = (truth, budgets, weights, seed, effort), folder / f"one-shot-quality-{seed}.json"
        spent = kept(folder / f"one-shot-{seed}.json", one_shot, truth, budgets, seed, effort, keep)
        quality = Quality.load(keep)
        found["one_shot"].append({**spent, "answers": answered(truth, quality, budgets, weights)})
        believed = replace(quality, fit={})  # as if its gaps were of trained networks: they count fully
        found["one_shot_full_gap"].append({**spent, "answers": answered(truth, believed, budgets, weights)})
        found["generator"].append(kept(folder / f"generator-{seed}.json", generator, *asked, "gumbel-top2"))
        print(f"seed {seed}: one-shot, generator", flush=True)
    for device, number in product(SEPARATE, range(len(budgets[SEPARATE[0]]))[:: 6 if effort else 1]):
        for weight in (min(weights), max(weights))[: 1 if effort else 2]:
            ms, file = budgets[device][number], folder / f"separate-{device}-{number}-{weight:g}.json"
            found["separate"].append(kept(file, separate, truth, device, ms, weight, 0, effort))
            print(f"separate: {device}, {ms:.3g} ms, weight {weight:g}", flush=True)
    return found
