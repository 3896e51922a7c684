"""Which settings make the supernet rank well: one change at a time, on `micro32` against the ground truth.

    python benchmarks/search_settings.py [--seeds 2] [--folder runs/search_settings] [--only NAME …] [--quick]

Each variant changes one thing of the benchmark's recipe (`micro_search.RECIPE`); rpi4, the middle budget. Shown: Kendall τ of the
supernet's cross-entropy on search-val with the true error (all; the truly best tenth) and with the true gap, and the
regret of the derived architecture. Resumable: a finished run is a line in `FOLDER/runs.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from micro_search import EVERY, RECIPE, Row, regret_without_luck, search_job
from results_io import write_results
from truth_table import Truth

ROOT = Path(__file__).resolve().parent.parent
VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "lr 1e-3": {"lr": 1e-3},
    "lr 1e-2": {"lr": 1e-2},
    "lr 2e-2": {"lr": 2e-2},
    "anchor 1.8, as on fbnet32": {"anchor": 1.8},
    "half warm-up": {"warmup_epochs": 4, "epochs": 4},
    "seven eighths warm-up": {"warmup_epochs": 7, "epochs": 1},
    "half the epochs": {"warmup_epochs": 3, "epochs": 1},
    "twice the epochs": {"warmup_epochs": 12, "epochs": 4},
    "32 candidates": {"candidates": 32},
    "batch 64": {"batch_size": 64},
    "no fairness term": {"fairness_weight": 0.0},
    "fairness weight 5": {"fairness_weight": 5.0},
    "alpha_lr 0.03": {"alpha_lr": 0.03},
    "alpha_lr 0.3": {"alpha_lr": 0.3},
    "score, 4 paths": {"relaxation": "score", "paths": 4},
    "score (two paths)": {"relaxation": "score"},
    "gumbel (all operations)": {"relaxation": "gumbel"},
    "softmax (all operations)": {"relaxation": "softmax"},
}
FIGURES = ("kendall_loss_all", "kendall_loss_top10", "kendall_loss_gap", "kendall_all", "kendall_gap", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "search_settings")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="names of variants")
    parser.add_argument("--record", default="search_settings", help="name of the result, where --only leaves some out")
    parser.add_argument(
        "--quick", action="store_true", help="one variant, one epoch, few architectures ranked; nothing is written"
    )
    options = parser.parse_args()
    options.folder /= "quick" if options.quick else ""
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.quick:
        options.only, options.seeds = options.only[:1], 1
    effort, every = ({"warmup_epochs": 1, "epochs": 1}, 100) if options.quick else ({}, EVERY)
    file, truth = options.folder / "runs.jsonl", Truth.load()
    budget_ms = truth.budgets_ms("rpi4")[1]
    rows: list[Row] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["variant"], row["seed"]) for row in rows}
    asked = [(name, seed) for seed in range(options.seeds) for name in options.only if (name, seed) not in done]
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [("rpi4", budget_ms, seed, every, VARIANTS[name] | effort) for name, seed in asked]
        for (name, _), found in zip(asked, pool.map(search_job, jobs), strict=True):
            own = regret_without_luck(truth, "rpi4", budget_ms, found["derived"])
            rows.append({"variant": name, **found, **{f"regret_{key}": value for key, value in own._asdict().items()}})
            with file.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            print(
                f"{name:42s}",
                found["seed"],
                *(f"{found[figure]:8.3f}" for figure in FIGURES),
                *(f"{value:6.2f}" for value in own),
                flush=True,
            )
            if not options.quick:
                write_results(options.record, summarise(rows), rows, "python benchmarks/search_settings.py")


def summarise(rows: list[Row]) -> Row:
    """Means over seeds of each variant's τ and regret."""
    summary: Row = {"recipe": json.dumps(RECIPE)}
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == name]
        for figure in (
            "kendall_loss_all",
            "kendall_loss_top10",
            "kendall_loss_gap",
            "regret_accuracy",
            "regret_gap",
            "regret_total",
            "seconds",
        ):
            summary[f"{name}: {figure}"] = float(np.mean([row[figure] for row in own]))
        summary[f"{name}: seeds"] = len(own)
    return summary


if __name__ == "__main__":
    main()
