"""What a supernet learns in the same steps when the operations of a layer share their weights, and when each has its own.

    python benchmarks/shared_weights.py [--seeds 3] [--processes 2] [--folder runs/shared_weights] [--quick]

Own weights: `share_weights` switched off, with the learning rate that was their default (1e-3 for `fbnet32`, 1e-2 for
`micro32`) and with today's. `fbnet32`, rpi4, 10 ms, 2,000 training images of which 5% are by students, 6 epochs of warm-up
and 3 of search: mean group accuracy and cross-entropy on search-val, with the supernet's weights, of 16 random architectures
inside the budget (the same for all), of the hand-made one and of the one derived. `micro32`, rpi4, the middle budget: Kendall τ with
the ground truth and the regret of the derived architecture. CPU seconds are the search's. Resumable: a finished run is a line in
`FOLDER/runs.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from micro_search import EVERY, Row, regret_without_luck, search_job
from results_io import write_results
from torch import nn
from truth_table import Truth

import supernet.network
from supernet.blocks.sharing import share_weights
from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.engine.loop import train
from supernet.kernels import keep_freed_memory
from supernet.scoring import supernet_scores
from supernet.strategies.differentiable import DifferentiableSearch, ranked_candidates
from supernet.strategies.region import Region

ROOT = Path(__file__).resolve().parent.parent
RANDOM = 16
VARIANTS: dict[str, tuple[str, bool, float]] = {  # space, shared?, learning rate
    "fbnet32 shared": ("fbnet32", True, 5e-3),
    "fbnet32 own": ("fbnet32", False, 5e-3),
    "fbnet32 own, lr 1e-3": ("fbnet32", False, 1e-3),
    "micro32 shared": ("micro32", True, 5e-3),
    "micro32 own": ("micro32", False, 5e-3),
    "micro32 own, lr 1e-2": ("micro32", False, 1e-2),
}


def one_run(variant: str, seed: int, quick: bool) -> Row:
    space, shared, lr = VARIANTS[variant]
    supernet.network.share_weights = share_weights if shared else lambda ops: nn.ModuleList()
    found = _micro(seed, lr, quick) if space == "micro32" else _deep(seed, lr)
    return {"variant": variant, "seed": seed, **found}


def _micro(seed: int, lr: float, quick: bool) -> Row:
    truth = Truth.load()
    budget_ms = truth.budgets_ms("rpi4")[1]
    every, effort = (100, {"warmup_epochs": 1, "epochs": 1}) if quick else (EVERY, {})
    found = search_job(("rpi4", budget_ms, seed, every, {"lr": lr, **effort}))
    own = regret_without_luck(truth, "rpi4", budget_ms, found["derived"])
    names = (
        "kendall_all",
        "kendall_loss_all",
        "kendall_loss_top10",
        "kendall_loss_gap",
        "mean_supernet_error",
        "search_seconds",
    )
    return {name: found[name] for name in names} | {"regret_total": own.total}


def _deep(seed: int, lr: float) -> Row:
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        config = SearchConfig(
            space="fbnet32", budget_ms=10.0, max_train=2000, group_mix="student=0.05", warmup_epochs=6, epochs=3, lr=lr, seed=seed,
            threads=1, fairness_weight=0.0, out=f"{folder}/run",
        )  # fmt: skip
        problem = prepare(config)
        running = DifferentiableSearch(config, problem)
        started = time.process_time()
        train(running, problem.folder)
        seconds = time.process_time() - started
        derived = ranked_candidates(config, problem, running)[0]
        scores = supernet_scores(config, problem, running.supernet)
    region, rng = Region(problem.space.valid_LK, problem.costs, problem.budgets), np.random.default_rng(0)
    random_N = [scores(region.random(rng)) for _ in range(RANDOM)]
    by_hand = scores(running.hand_made_L)
    row: dict[str, Any] = {"search_seconds": seconds, "derived": list(derived.ops)}
    for name in ("mean_group_accuracy", "cross_entropy"):
        row |= {f"random_{name}": float(np.mean([one[name] for one in random_N])), f"hand_made_{name}": by_hand[name]}
        row |= {f"derived_{name}": getattr(derived, name)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "shared_weights")
    parser.add_argument(
        "--quick", action="store_true", help="micro32 with shared weights, one epoch; nothing is written"
    )
    options = parser.parse_args()
    options.folder /= "quick" if options.quick else ""
    seeds, variants = (1, ["micro32 shared"]) if options.quick else (options.seeds, list(VARIANTS))
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / "runs.jsonl"
    rows: list[Row] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["variant"], row["seed"]) for row in rows}
    asked = [(name, seed) for seed in range(seeds) for name in variants if (name, seed) not in done]
    with ProcessPoolExecutor(options.processes) as pool:
        for found in pool.map(one_run, *zip(*asked, strict=True), [options.quick] * len(asked)) if asked else ():
            rows.append(found)
            with file.open("a") as stream:
                stream.write(json.dumps(found) + "\n")
            print(found, flush=True)
            if not options.quick:
                write_results("shared_weights", summarise(rows), rows, "python benchmarks/shared_weights.py")
    print(json.dumps(summarise(rows), indent=1))


def summarise(rows: list[Row]) -> Row:
    """Mean and standard deviation over the seeds of each variant."""
    summary: Row = {}
    for variant in VARIANTS:
        own = [row for row in rows if row["variant"] == variant]
        summary[f"{variant}: seeds"] = len(own)
        for name in (name for name, value in (own or [{}])[0].items() if isinstance(value, float)):
            values = [row[name] for row in own]
            summary |= {f"{variant}: {name}": float(np.mean(values)), f"{variant}: {name}_sd": float(np.std(values))}
    return summary


if __name__ == "__main__":
    main()
