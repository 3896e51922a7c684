"""Is it the architecture? What a fair search changes on `micro32`, where every architecture's true gap is known.

    python benchmarks/fairness_truth.py [--seeds 5] [--processes 2] [--folder runs/fairness_truth] [--quick]

The same search with the soft gap's weight at 0 and at 5, rpi4, three budgets. No network is trained for it: true gap and accuracy of
what was derived are looked up in the ground truth, where all were trained alike, twice, by plain cross-entropy. Intervals: bootstrap over
the pairs of searches. Beside it, from the table alone, how much there is to gain: at each search's accuracy and budget, the architecture with the
smallest gap in one training, scored on the other. Resumable: a finished search is a line in `FOLDER/searches.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from micro_search import Row, search_job
from results_io import write_results
from truth_table import Truth

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = (0.0, 5.0)
DEVICE = "rpi4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "fairness_truth")
    parser.add_argument("--quick", action="store_true", help="two budgets, one seed, one epoch; nothing is written")
    options = parser.parse_args()
    options.folder /= "quick" if options.quick else ""
    options.folder.mkdir(parents=True, exist_ok=True)
    effort = {"warmup_epochs": 1, "epochs": 1, "candidates": 2} if options.quick else {}
    file, truth = options.folder / "searches.jsonl", Truth.load()
    rows: list[Row] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["weight"], row["budget_ms"], row["seed"]) for row in rows}
    asked = [
        (weight, budget_ms, seed)
        for seed in range(1 if options.quick else options.seeds)
        for budget_ms in truth.budgets_ms(DEVICE)[: 2 if options.quick else None]
        for weight in WEIGHTS
        if (weight, budget_ms, seed) not in done
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [(DEVICE, budget_ms, seed, 0, {"fairness_weight": weight} | effort) for weight, budget_ms, seed in asked]
        for (weight, *_), found in zip(asked, pool.map(search_job, jobs), strict=True):
            rows.append({"weight": weight, **found})
            with file.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            if not options.quick:
                write_results("fairness_truth", summarise(truth, rows), rows, "python benchmarks/fairness_truth.py")
    print(json.dumps(summarise(truth, rows), indent=1))


def summarise(truth: Truth, rows: list[Row]) -> Row:
    """Mean true gap and accuracy under both weights, and the paired differences with their 95% intervals."""
    by_weight = {
        weight: {(r["budget_ms"], r["seed"]): truth.row(np.array(r["derived"])) for r in rows if r["weight"] == weight}
        for weight in WEIGHTS
    }
    pairs = sorted(set.intersection(*(set(found) for found in by_weight.values())))
    if len(pairs) < 2:
        return {"pairs": len(pairs)}
    plain_P, fair_P = (np.array([by_weight[weight][pair] for pair in pairs]) for weight in WEIGHTS)
    gap_N, accuracy_N = 100 * truth.gap_N, 100 * (1 - truth.error_N)
    drawn_RP = np.random.default_rng(0).integers(len(pairs), size=(1000, len(pairs)))
    reduction_R = 1 - gap_N[fair_P][drawn_RP].mean(1) / gap_N[plain_P][drawn_RP].mean(1)
    cost_R = (accuracy_N[plain_P] - accuracy_N[fair_P])[drawn_RP].mean(1)
    return {
        "pairs": len(pairs),
        "seeds": len({seed for _, seed in pairs}),
        "same_architecture": float((plain_P == fair_P).mean()),
        "gap_plain": float(gap_N[plain_P].mean()),
        "gap_fair": float(gap_N[fair_P].mean()),
        "mean_group_accuracy_plain": float(accuracy_N[plain_P].mean()),
        "mean_group_accuracy_fair": float(accuracy_N[fair_P].mean()),
        **_interval("architecture_gap_reduction", 1 - gap_N[fair_P].mean() / gap_N[plain_P].mean(), reduction_R),
        **_interval("accuracy_cost", float((accuracy_N[plain_P] - accuracy_N[fair_P]).mean()), cost_R),
        **to_gain(truth, pairs, plain_P),
    }


def to_gain(truth: Truth, pairs: list[tuple[float, int]], plain_P: np.ndarray) -> Row:
    """What the fairest architecture brings that is inside the budget and as accurate (half a point less at most)."""
    gains = []
    for chosen in range(truth.seeds):
        error_N, gap_N = truth.of_seeds([chosen])
        scored_error_N, scored_gap_N = truth.of_seeds([seed for seed in range(truth.seeds) if seed != chosen])
        for (budget_ms, _), plain in zip(pairs, plain_P, strict=True):
            near = np.flatnonzero((truth.latency_N(DEVICE) <= budget_ms) & (error_N <= error_N[plain] + 0.005))
            best = near[np.argmin(gap_N[near])]
            gains.append((scored_gap_N[plain], scored_gap_N[best], scored_error_N[best] - scored_error_N[plain]))
    plain, best, cost = np.mean(gains, axis=0)
    return {"oracle_gap_reduction": float(1 - best / plain), "oracle_accuracy_cost": float(100 * cost)}


def _interval(name: str, value: float, draws_R: np.ndarray) -> Row:
    low, high = np.quantile(draws_R, [0.025, 0.975])
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}


if __name__ == "__main__":
    main()
