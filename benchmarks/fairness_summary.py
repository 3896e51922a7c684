"""The figures of benchmarks/fairness.py: gaps of hard predictions, and their bootstrap over seeds and test images.

A resample draws seeds, and test images for all of them; every method has the same draw, so differences are paired. Accuracies
and gaps are means over the seeds. Differences of gaps have the basic interval, as in `supernet.metrics`, the others the percentile
one; a share of the gap that goes away is then drawn towards 0 by noise, which both gaps have. Shapes: R resamples, S seeds, N test images, G groups, C classes.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from supernet.data import load_data
from supernet.fairness import GroupSums, gap_of_sums, get_notion
from supernet.metrics import interval

RESAMPLES = 1000
PLAIN_RUNS = ("ce", "ce+fair", "ce+rare", "ce+pooled", "fixed", "fixed+fair", "random")
NOTION_RUNS = ("fair", "fair+fair", "ce+balance", "ce+balance+fair")
REDUCTIONS = {  # name → (of whom, against whom)
    "gap_reduction": ("fair+fair", "ce"),
    "architecture_gap_reduction": ("fair", "ce"),
    "architecture_gap_reduction_fair_training": ("fair+fair", "ce+fair"),
    "training_gap_reduction": ("ce+fair", "ce"),
    "training_gap_reduction_fixed": ("fixed+fair", "fixed"),
    "rare_gap_reduction": ("ce+rare", "ce"),
    "balance_gap_reduction": ("ce+balance", "ce"),
    "balance_fair_gap_reduction": ("ce+balance+fair", "ce"),
    "pooled_gap_reduction": ("ce+pooled", "ce"),
}
Row = dict[str, Any]


@cache
def test_split() -> tuple[np.ndarray, np.ndarray, int, int]:
    """label_N, group_N, number of classes and of groups: the test images do not depend on the seed."""
    data = load_data(max_train=64, progress=False)
    return data.test.label_N, data.test.group_NA[:, 0], len(data.classes), len(data.attributes["writer"])


def summarise(records: Sequence[Row], parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The named figures; those of part "main" have no prefix, those of "wide" are named wide_NOTION_…."""
    found: dict[str, Any] = {"seeds": 0}
    for part, setting in parts.items():
        rows = [row for row in records if row["part"] == part and "predicted" in row]
        for notion in setting["notions"]:
            prefix = "" if part == "main" else f"{part}_{notion}_"
            names = {name: name for name in PLAIN_RUNS} | {name: f"{name}/{notion}" for name in NOTION_RUNS}
            found |= {f"{prefix}{key}": value for key, value in _one(rows, names, notion).items()}
        own = [row for row in records if row["part"] == part]
        seeds = {row["seed"] for row in own}
        if seeds:
            found[f"{part}_cpu_seconds_per_seed"] = sum(row["seconds"] for row in own) / len(seeds)
    return found


def _one(rows: Sequence[Row], names: dict[str, str], notion: str) -> dict[str, Any]:
    """The figures of one notion; seeds in which a method is still missing are left out for all."""
    by_method = {short: {r["seed"]: r for r in rows if r["run"] == name} for short, name in names.items()}
    present = {short: runs for short, runs in by_method.items() if runs}
    if not present:
        return {}
    seeds = sorted(set.intersection(*(set(runs) for runs in present.values())))
    if not seeds:
        return {}
    draws = {short: _draws([runs[seed] for seed in seeds], notion) for short, runs in present.items()}
    found: dict[str, Any] = {"seeds": len(seeds)}
    for short, (point, _) in draws.items():
        found |= {f"{short}_{name}": value for name, value in point.items()}
        if short != "ce" and "ce" in draws:
            for name in point:
                basic = not name.endswith("accuracy")
                found |= _interval(f"{short}_minus_ce_{name}", *_difference(draws[short], draws["ce"], name), basic)
    for name, (method, other) in REDUCTIONS.items():
        if {method, other} <= set(draws):
            found |= _interval(name, *_reduction(draws[method], draws[other]))
    if {"ce", "fair+fair"} <= set(draws):
        found["accuracy_cost"] = 100 * (found["ce_accuracy"] - found["fair+fair_accuracy"])
    for a, b in (("ce", "fixed"), ("fair", "fixed"), ("fair", "ce")):
        if {a, b} <= set(present):
            same = [present[a][seed]["ops"] == present[b][seed]["ops"] for seed in seeds]
            found[f"{a}_is_{b}"] = sum(same) / len(seeds)
    return found


Drawn = tuple[dict[str, float], dict[str, np.ndarray]]


def _draws(runs: Sequence[Row], notion: str) -> Drawn:
    """Means over the seeds of accuracy, mean group accuracy, worst group, gap of the notion and U: value, and (R,) resamples."""
    label_N, group_N, num_classes, num_groups = test_split()
    rng = np.random.default_rng(0)
    drawn_RN = rng.integers(len(label_N), size=(RESAMPLES, len(label_N)))
    seed_RS = rng.integers(len(runs), size=(RESAMPLES, len(runs)))
    each_RS: dict[str, list[np.ndarray]] = {}
    for run in runs:
        error_N = np.frombuffer(zlib.decompress(base64.b64decode(run["predicted"])), np.uint8)
        predicted_N = (label_N + error_N) % num_classes
        cell_N = (group_N * num_classes + label_N) * num_classes + predicted_N
        size = num_groups * num_classes**2
        table_RP = np.stack(
            [np.bincount(cell_N, minlength=size), *(np.bincount(cell_N[d], minlength=size) for d in drawn_RN)]
        )
        for name, value_R in _figures(table_RP.reshape(-1, num_groups, num_classes**2), num_classes, notion).items():
            each_RS.setdefault(name, []).append(value_R)
    point, draws = {}, {}
    for name, columns in each_RS.items():
        value_RS = np.stack(columns, 1)
        point[name] = float(value_RS[0].mean())
        draws[name] = np.take_along_axis(value_RS[1:], seed_RS, 1).mean(1)
    return point, draws


def _figures(table_RGP: np.ndarray, num_classes: int, notion: str) -> dict[str, np.ndarray]:
    """From tables of counts (true × predicted class by group), (R,) each."""
    label_P, predicted_P = np.divmod(np.arange(num_classes**2), num_classes)
    count_RG = table_RGP.sum(2)
    accuracy_RG = table_RGP[..., label_P == predicted_P].sum(2) / count_RG
    table = torch.from_numpy(table_RGP).double()
    one_hot_PC, label = torch.from_numpy(np.eye(num_classes)[predicted_P]), torch.from_numpy(label_P)

    def gap(name: str) -> np.ndarray:
        score_PE, mask_PE = (x.double() for x in get_notion(name).scores(one_hot_PC, label))
        return gap_of_sums(GroupSums(table @ (score_PE * mask_PE), table @ mask_PE), name).value.numpy()

    return {
        "accuracy": (accuracy_RG * count_RG).sum(1) / count_RG.sum(1),
        "mean_group_accuracy": accuracy_RG.mean(1),
        "worst_group": accuracy_RG.min(1),
        "gap": gap(notion),
        "unfairness": gap("unfairness"),
    }


def _difference(a: Drawn, b: Drawn, name: str) -> tuple[float, np.ndarray]:
    return a[0][name] - b[0][name], a[1][name] - b[1][name]


def _reduction(a: Drawn, b: Drawn) -> tuple[float, np.ndarray]:
    """1 − gap of a / gap of b."""
    return 1 - a[0]["gap"] / max(b[0]["gap"], 1e-9), 1 - a[1]["gap"] / np.maximum(b[1]["gap"], 1e-9)


def _interval(name: str, value: float, draws_R: np.ndarray, basic: bool = False) -> dict[str, float]:
    low, high = interval(value, draws_R, basic)
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
