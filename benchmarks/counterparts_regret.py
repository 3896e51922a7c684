"""Rows of counterparts.py: regret of ask/tell strategies after 25 and 100 queries, on `micro32`'s truth and on NAS-Bench-201.

*micro32*: rpi4 and gold_6226 × three budgets, as search_quality.py; queries see one training's error and gap on search-val, the regret is in points
of true error + gap, without the oracle's luck. *NAS-Bench-201*: CIFAR-100, a middle constraint of each of HELP's devices; queries see the accuracy
after 12 epochs, the regret is in points of accuracy after 200. A strategy that has nothing left to ask keeps what it has. Mean over cells, then over
seeds (5, of `gp` 2); `_sd` is over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from micro_search import regret_without_luck
from truth_table import Truth

from supernet.strategies import ASK_TELL
from supernet.strategies.driver import Run, Setting, drive
from supernet.strategies.evaluators import table
from supernet.strategies.region import ListedRegion

SEEDS, QUERIES, DEVICES = 5, (25, 100), ("rpi4", "gold_6226")
FEWER = {"gp": 2}  # seeds of a strategy whose search takes minutes where the others' takes seconds
NB201 = Path(__file__).resolve().parents[2] / "shared" / "data" / "latency"
ASKED_IN_VAIN = 400  # asks in all: some samplers ask for what they know, hundreds of times for each new one


def micro(truth: Truth, strategy: str, cell: tuple[str, float], seed: int, most: int) -> dict[str, float]:
    """Regret after each number of queries on one device and budget."""
    device, budget_ms = cell
    region, column = truth.region(device, budget_ms), seed % truth.seeds
    said = {"error": truth.error_NS("val")[:, column], "gap": truth.gap_NS("val")[:, column]}
    run = driven(strategy, Setting(region, ("error", "gap"), seed), table(truth.index_NL, said), most)
    found = {}
    for n in (n for n in QUERIES if n <= most):
        best = min(run.records[:n], key=lambda one: one.objectives["error"] + one.objectives["gap"])
        found[str(n)] = regret_without_luck(truth, device, budget_ms, best.index_L, column).total
    return found


def driven(strategy: str, setting: Setting, evaluate: Callable[[np.ndarray], dict[str, float]], most: int) -> Run:
    """The strategy until it has its evaluations, or only asks for what it knows."""
    chosen, asks = ASK_TELL[strategy](setting), 0

    class Bounded:
        def ask(self) -> np.ndarray | None:
            nonlocal asks
            asks += 1
            return chosen.ask() if asks <= ASKED_IN_VAIN else None

        def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
            chosen.tell(index_L, objectives)

    return drive(Bounded(), evaluate, setting.region, max_evaluations=most)


def nb201(
    file: dict[str, np.ndarray], strategy: str, cell: tuple[str, float], seed: int, most: int
) -> dict[str, float]:
    """Regret after each number of queries under one device's constraint."""
    device, limit = cell
    asked_N, true_N = file["acc12_val"][:, 1].astype(float), file["acc200_test"][:, 1].astype(float)
    index_NL = file["ops"].astype(np.int64)
    inside = np.flatnonzero(file["help_latency_ms"][:, list(file["help_devices"]).index(device)] <= limit)
    row_of = {row.tobytes(): number for number, row in enumerate(index_NL)}
    evaluate = table(index_NL, {"error": 1 - asked_N / 100})
    run = driven(strategy, Setting(ListedRegion(index_NL[inside]), ("error",), seed), evaluate, most)
    rows = [row_of[np.array(one.index_L).tobytes()] for one in run.records]
    best = true_N[inside].max()
    return {str(n): float(best - true_N[max(rows[:n], key=lambda row: asked_N[row])]) for n in QUERIES if n <= most}


def constraints() -> list[tuple[str, float]]:
    """The middle one of each device of HELP's table 4."""
    published = json.loads((NB201 / "published_results.json").read_text())
    return [(device, rows[len(rows) // 2][0]) for device, rows in published["HELP_table4_nb201_cifar100_constrained_nas"].items() if isinstance(rows, list)]  # fmt: skip


def regret_row(strategy: str, folder: Path, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Every cell and seed of a strategy. NAS-Bench-201 is left out where its file is not here."""
    path = folder / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(run["space"], run["device"], run["limit_ms"], run["seed"]) for run in runs}
    truth, most = Truth.load(), min(QUERIES) if quick else max(QUERIES)
    tasks: list[tuple[str, Callable[..., dict[str, float]], list[tuple[str, float]]]] = [
        ("micro32", partial(micro, truth), [(device, ms) for device in DEVICES for ms in truth.budgets_ms(device)])
    ]
    if (NB201 / "bench" / "nb201.npz").exists():
        with np.load(NB201 / "bench" / "nb201.npz") as packed:
            file = {name: packed[name] for name in ("ops", "acc12_val", "acc200_test", "help_latency_ms", "help_devices")}  # fmt: skip
        cells = [cell for cell in constraints() if cell[0] in list(file["help_devices"])]
        tasks.append(("nb201", partial(nb201, file), cells))
    for seed in range(1 if quick else FEWER.get(strategy, SEEDS)):
        for space, measure, cells in tasks:
            for cell in cells[:1] if quick else cells:
                if (space, *cell, seed) in done:
                    continue
                run = {"space": space, "device": cell[0], "limit_ms": cell[1], "seed": seed, "regret": measure(strategy, cell, seed, most)}  # fmt: skip
                runs.append(run)
                with path.open("a") as stream:
                    stream.write(json.dumps(run) + "\n")
    figures: dict[str, Any] = {}
    for space, tag in (("micro32", ""), ("nb201", "nb201_")):
        for n in (str(n) for n in QUERIES if n <= most):
            own = [run for run in runs if run["space"] == space]
            means = [np.mean([run["regret"][n] for run in own if run["seed"] == seed]) for seed in {run["seed"] for run in own}]  # fmt: skip
            if means:
                figures[f"{strategy}_{tag}regret_{n}"] = float(np.mean(means))
                figures[f"{strategy}_{tag}regret_{n}_sd"] = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return figures, runs


ROWS = {
    f"{strategy}_regret": partial(regret_row, strategy)
    for strategy in ("random", "evolution", "motpe", "gp", "diffusion")
}
