"""Row of counterparts.py: is it worth to choose training options together with the architecture, at equal evaluations?

`micro32`, rpi4 at the middle budget, 512 images (5% students), four epochs: so little that many trainings can be made. `motpe` chooses the
architecture alone, or with learning rate, weight decay and augmentation; what it derives is trained three times anew and tested on all test images.
Gain: points of error + gap that joint tuning has less, paired by seed; its 95% interval is Student's t.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from build_truth import RECIPE
from t_interval import t_interval
from truth_table import Truth

from supernet.config import SearchConfig, TrainConfig
from supernet.costs.latency import load_table
from supernet.data import Batches, GroupedData, load_data
from supernet.engine.evaluate import brief_scores, predict
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.kernels import keep_freed_memory
from supernet.network import build_path
from supernet.problem import Candidate, Problem
from supernet.strategies import STRATEGIES

SEEDS, EVALUATIONS, ANEW, IMAGES = 5, 20, 3, 512
TUNE = "lr,weight_decay,augment"
ARMS: dict[str, str | None] = {"fixed": None, "tuned": TUNE}


def search(truth: Truth, data: GroupedData, folder: Path, tune: str | None, seed: int, quick: bool) -> Candidate:
    """What one search derives; it goes on from its own journal."""
    budget_ms = truth.budgets_ms("rpi4")[1]
    region, epochs = truth.region("rpi4", budget_ms), 1 if quick else 2
    config = SearchConfig(
        space="micro32", budget_ms=budget_ms, strategy="motpe", evaluator="scratch", tune=tune, seed=seed,
        evaluations=2 if quick else EVALUATIONS, epochs=epochs, warmup_epochs=epochs, eval_images=256 if quick else 2048,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    problem = Problem(
        RunFolder(folder), truth.space, data, load_table("rpi4"), region.costs, region.budgets, budget_ms, torch.device("cpu"), ()
    )  # fmt: skip
    return STRATEGIES["motpe"](config, problem).candidates[0]


def tested(truth: Truth, data: GroupedData, folder: Path, found: Candidate, seed: int, quick: bool) -> dict[str, float]:
    """Error and gap on test of one training of a derived network, with its options."""
    torch.manual_seed(seed)
    network = build_path(truth.space, found.ops, len(data.classes), data.channels)
    options: dict[str, Any] = found.options
    config = replace(TrainConfig(space="micro32", epochs=1 if quick else 4, seed=seed), **options)
    folder.mkdir(parents=True, exist_ok=True)
    trained = train_network(config, data, network, RunFolder(folder), torch.device("cpu"))
    shown = Batches(data.test, 256, shuffle=False, mean=data.mean, std=data.std)
    scores = brief_scores(
        predict(trained, shown.epoch()), data.test.label_N, data.test.group_NA, data, "accuracy_parity"
    )
    return {"error": 1 - scores["mean_group_accuracy"], "gap": scores["gap"]}


def tune_row(folder: Path, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Every seed and arm; a finished one is a line in the folder."""
    keep_freed_memory()
    path, truth = folder / "runs.jsonl", Truth.load()
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(run["seed"], run["arm"]) for run in runs}
    data = load_data(group_mix=str(RECIPE["group_mix"]), max_train=64 if quick else IMAGES, seed=0, progress=False)
    for seed in range(1 if quick else SEEDS):
        for arm, tune in ARMS.items():
            if (seed, arm) in done:
                continue
            own = folder / f"{arm}-{seed}"
            found = search(truth, data, own, tune, seed, quick)
            anew = [
                tested(truth, data, own / f"anew-{n}", found, 1000 + ANEW * seed + n, quick)
                for n in range(1 if quick else ANEW)
            ]
            mean = {name: float(np.mean([one[name] for one in anew])) for name in ("error", "gap")}
            runs.append(
                {"seed": seed, "arm": arm, "ops": list(found.ops), "options": found.options, **mean, "anew": anew}
            )
            with path.open("a") as stream:
                stream.write(json.dumps(runs[-1]) + "\n")
    points = {arm: np.array([100 * (run["error"] + run["gap"]) for run in sorted(runs, key=lambda run: run["seed"]) if run["arm"] == arm]) for arm in ARMS}  # fmt: skip
    names = ("tune_regret_gain", "tune_regret_gain_low", "tune_regret_gain_high")
    figures = {
        **dict(zip(names, t_interval(points["fixed"] - points["tuned"]), strict=True)),
        "tune_error_and_gap_fixed": float(points["fixed"].mean()), "tune_error_and_gap_tuned": float(points["tuned"].mean()),
    }  # fmt: skip
    return figures, runs


ROWS = {"tune": tune_row}
