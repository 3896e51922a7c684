"""How often do the reported 95% intervals hold the truth? Simulated classifiers whose accuracy and gaps are known.

Each cell is one situation: images a group (5 to 500), groups (2, 3, 5), accuracy of the best group (.5 to 1), true gap (0 to 10 points),
classes, independent images or clusters of writers: of one group each, or with images of all of them. Every repetition draws predictions and asks the functions that the report
asks (supernet.intervals and its sisters) for the interval of a group's accuracy, of the mean over groups, of accuracy parity, of equal opportunity and of
equalized odds, and for the paired differences of two networks in accuracy, in the gap and in the mean over groups. `summary`: the lowest coverage over all cells, by figure, and mean widths.

    python benchmarks/interval_coverage.py           # 7 minutes of one core; writes results/interval_coverage.json
    python benchmarks/interval_coverage.py --quick   # few cells, nothing written
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import numpy as np
import torch
from results_io import write_results

from supernet.fairness import get_notion
from supernet.gap_intervals import gap_interval
from supernet.intervals import cells, mean_interval, rate_interval
from supernet.paired import Pair, gap_difference, mean_difference
from supernet.paired_intervals import paired_rate_interval

NOTIONS = ("accuracy_parity", "equal_opportunity", "equalized_odds", "unfairness", "accuracy_ratio")
CLUSTERS = 25  # images of one writer; their accuracies have a standard deviation of SPREAD logits
SPREAD = 0.8
OWN, SPANNING = "own", "spanning"  # clusters of one group each, and of all groups
PAIRED_SIZES, ALIKE = (
    (20, 150),
    0.8,
)  # of the differences of gaps: images a group; how often both networks meet the same chance
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)


def marginal(logit: np.ndarray) -> np.ndarray:
    """E[sigmoid(logit + SPREAD · normal)]: the accuracy over all writers, by Gauss–Hermite quadrature."""
    return (1 / (1 + np.exp(-(logit[..., None] + SPREAD * POINTS)))) @ WEIGHTS / WEIGHTS.sum()


def logit_of(accuracy: float) -> float:
    """The logit whose marginal accuracy this is."""
    grid = np.linspace(-12, 20, 4001)
    return float(np.interp(accuracy, marginal(grid), grid))


def draw(
    rng: np.random.Generator, size: int, accuracy_G: np.ndarray, classes: int, clustered: str
) -> tuple[np.ndarray, ...]:
    """label_N, predicted_N, group_N, unit_N; wrong predictions are spread evenly over the other classes.

    clustered: "" (each image by itself), OWN (a writer has images of one group), or SPANNING (of every group, as many of each).
    """
    group_N = np.repeat(np.arange(len(accuracy_G)), size)
    label_N = rng.integers(classes, size=len(group_N))
    unit_N, p_N = np.arange(len(group_N)), accuracy_G[group_N]
    if clustered:
        unit_N = np.tile(np.arange(size) // CLUSTERS, len(accuracy_G)) + (group_N * 10_000 if clustered == OWN else 0)
        ids, place_N = np.unique(unit_N, return_inverse=True)
        logit_G = np.array([logit_of(p) for p in accuracy_G])
        p_N = 1 / (1 + np.exp(-(logit_G[group_N] + SPREAD * rng.normal(size=len(ids))[place_N])))
        p_N = np.where(accuracy_G[group_N] == 1, 1.0, p_N)
    wrong_N = rng.random(len(group_N)) >= p_N
    predicted_N = np.where(wrong_N, (label_N + rng.integers(1, classes, size=len(group_N))) % classes, label_N)
    return label_N, predicted_N, group_N, unit_N


def gap_pair(rng: np.random.Generator, a_G: np.ndarray, b_G: np.ndarray, group_N: np.ndarray) -> Pair:
    """Right or wrong of two networks with these accuracies."""
    chance_N, own_N = rng.random((2, len(group_N)))
    other_N = np.where(rng.random(len(group_N)) < ALIKE, chance_N, own_N)
    a_N1, b_N1 = ((c < p[group_N]).astype(float)[:, None] for c, p in ((chance_N, a_G), (other_N, b_G)))
    return Pair(a_N1, b_N1, np.ones_like(a_N1, dtype=bool), group_N, len(a_G), np.arange(len(group_N)))


def truth(name: str, accuracy_G: np.ndarray, classes: int) -> float:
    """The notion's gap of the distribution that `draw` draws from: groups are equally large, classes equally frequent."""
    if name == "accuracy_ratio":
        return float(1 - accuracy_G.min() / accuracy_G.max())
    if name == "unfairness":
        return float(np.abs(accuracy_G - accuracy_G.mean()).sum())
    return float(np.ptp(accuracy_G))  # the recall's gap; the rest's false-positive rates differ by less


def measure(size: int, groups: int, best: float, gap: float, classes: int, clustered: str, runs: int) -> dict[str, Any]:
    """Coverage and mean width of each figure in one situation."""
    accuracy_G = np.linspace(best, best - gap, groups)
    rng = np.random.default_rng([size, groups, int(1000 * best), int(1000 * gap), classes, len(clustered)])
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}

    def note(name: str, low: float, high: float, true: float) -> None:
        if np.isfinite(low):
            hits.setdefault(name, []).append(bool(low - 1e-9 <= true <= high + 1e-9))
            widths.setdefault(name, []).append(high - low)

    for _ in range(runs):
        label_N, predicted_N, group_N, unit_N = draw(rng, size, accuracy_G, classes, clustered)
        one_hot_NC = torch.from_numpy(np.eye(classes)[predicted_N])
        rates = {}  # several notions aggregate the same ones
        for name in NOTIONS:
            scores = get_notion(name).scores
            if scores not in rates:
                score_NE, mask_NE = (x.numpy() for x in scores(one_hot_NC, torch.from_numpy(label_N)))
                rates[scores] = cells(score_NE, mask_NE, group_N, groups, unit_N, is_rate=True)
            found = rates[scores]
            note(name, *gap_interval(found, get_notion(name)), truth(name, accuracy_G, classes))
            if name == "accuracy_parity":
                ends = rate_interval(found)
                note("accuracy_best", ends.low[0, 0], ends.high[0, 0], accuracy_G[0])
                note("accuracy_worst", ends.low[-1, 0], ends.high[-1, 0], accuracy_G[-1])
                mean = mean_interval(found)
                note("mean_over_groups", mean.low[0], mean.high[0], accuracy_G.mean())
        if clustered:  # another network, as good, for which other writers are hard
            again_N, right_N = draw(rng, size, accuracy_G, classes, clustered), predicted_N == label_N
            a_N1, b_N1 = (own_N.astype(float)[:, None] for own_N in (right_N, again_N[0] == again_N[1]))
            pair = Pair(a_N1, b_N1, np.ones_like(a_N1, dtype=bool), group_N, groups, unit_N)
            note("paired_mean", *mean_difference(pair), 0.0)
        if not clustered:
            first = group_N == 0  # two networks on one group's images: independent errors, the second `gap` worse
            other_N = (rng.random(size) < accuracy_G[-1]).astype(float)
            right_N = (predicted_N == label_N)[first].astype(float)
            note("paired", *paired_rate_interval(right_N, other_N, unit_N[first]), accuracy_G[0] - accuracy_G[-1])
            if size in PAIRED_SIZES and classes == 2:
                pair = gap_pair(rng, accuracy_G, np.full(groups, best), group_N)
                note("paired_gap", *gap_difference(pair, get_notion("accuracy_parity")), gap)
    return {
        "size": size, "groups": groups, "best": best, "gap": gap, "classes": classes, "clustered": clustered or "no", "runs": runs,
        "coverage": {name: round(float(np.mean(own)), 4) for name, own in hits.items()},
        "width": {name: round(float(np.mean(own)), 4) for name, own in widths.items()},
    }  # fmt: skip


def situations(quick: bool) -> list[tuple[int, int, float, float, int, str]]:
    """All cells: the small grid in full, and its corners with more groups, more classes, and clusters."""
    sizes, bests, gaps = (5, 10, 20, 50, 150, 500), (0.5, 0.8, 0.95, 0.99, 1.0), (0.0, 0.01, 0.02, 0.05, 0.1)
    if quick:
        return [(n, 2, p, d, 2, c) for n, p, d, c in product((20, 150), (0.9, 1.0), (0.0, 0.05), ("", OWN, SPANNING))]
    plain = [(n, 2, p, d, 2, "") for n, p, d in product(sizes, bests, gaps)]
    wider = [
        (n, g, p, d, c, "") for n, g, p, d, c in product((10, 50, 500), (3, 5), (0.6, 0.95), (0.0, 0.03, 0.1), (2, 5))
    ]
    clustered = [
        (n, g, p, d, 2, how)
        for how, n, g, p, d in product((OWN, SPANNING), (100, 250, 500), (2, 3), (0.6, 0.97), (0.0, 0.03, 0.1))
    ]
    return plain + wider + clustered


def packed(record: dict[str, Any]) -> dict[str, str]:
    """A situation in two lines: the file stays small."""
    where = {name: value for name, value in record.items() if name not in ("coverage", "width")}
    return {
        "situation": ", ".join(f"{name} {value}" for name, value in where.items()),
        "coverage": ", ".join(f"{name} {value:.3f}" for name, value in record["coverage"].items()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells, nothing is written")
    parser.add_argument("--runs", type=int, default=300, help="repetitions a cell")
    options = parser.parse_args()
    records = [measure(*cell, runs=100 if options.quick else options.runs) for cell in situations(options.quick)]
    names = sorted({name for record in records for name in record["coverage"]})
    lowest = {name: min(r["coverage"][name] for r in records if name in r["coverage"]) for name in names}
    summary: dict[str, Any] = {
        "coverage_min": min(lowest.values()),
        "cells": len(records),
        "repetitions": records[0]["runs"],
    }
    summary |= {f"coverage_min_{name}": value for name, value in lowest.items()}
    for size in (50, 500):
        own = [
            r["width"]["accuracy_parity"]
            for r in records
            if r["size"] == size and r["groups"] == 2 and not r["clustered"]
        ]
        summary[f"width_accuracy_parity_{size}"] = round(float(np.mean(own)), 4) if own else None
    for name, value in summary.items():
        print(f"{name}: {value}")
    for record in sorted(records, key=lambda r: min(r["coverage"].values()))[:8]:
        print(record)
    if not options.quick:
        write_results("interval_coverage", summary, [packed(record) for record in records])


if __name__ == "__main__":
    main()
