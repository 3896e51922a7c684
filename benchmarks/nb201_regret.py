"""The ask/tell strategies on NAS-Bench-201 under a device's latency: regret by number of queries (for search_quality.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from supernet.strategies import ASK_TELL
from supernet.strategies.driver import Setting, drive
from supernet.strategies.evaluators import table
from supernet.strategies.region import ListedRegion

QUERIES = (10, 25, 50, 100)
RIVALS = ("random", "evolution", "nsga2", "motpe", "reinforce", "progressive")


def nb201_rows(path: Path, seeds: int, done: set[str], write: Callable[[dict[str, Any]], None]) -> None:
    """Every strategy on every constraint of HELP's table 4: regret after each number of queries."""
    published = json.loads((path / "published_results.json").read_text())
    constraints = published["HELP_table4_nb201_cifar100_constrained_nas"]
    with np.load(path / "bench" / "nb201.npz") as file:
        index_NL = file["ops"].astype(np.int64)
        asked_N, true_N = file["acc12_val"][:, 1].astype(float), file["acc200_test"][:, 1].astype(float)
        latency_NT, devices = file["help_latency_ms"], list(file["help_devices"])
    evaluate = table(index_NL, {"error": 1 - asked_N / 100, "seconds": np.ones(len(index_NL))})
    row_of = {row.tobytes(): number for number, row in enumerate(index_NL)}
    for device in (name for name in constraints if name in devices):
        latency_N = latency_NT[:, devices.index(device)]
        for limit in (row[0] for row in constraints[device]):
            inside = np.flatnonzero(latency_N <= limit)
            region = ListedRegion(index_NL[inside])
            for strategy in RIVALS:
                for seed in range(seeds):
                    key = f"{strategy} {device} {limit} {seed}"
                    if key in done:
                        continue
                    setting = Setting(region, ("error",), seed)
                    run = drive(ASK_TELL[strategy](setting), evaluate, region, max_evaluations=max(QUERIES))
                    rows = [row_of[np.array(record.index_L).tobytes()] for record in run.records]
                    assert (latency_N[rows] <= limit).all(), "every budget is really kept"
                    oracle = true_N[inside].max()
                    after = {str(n): oracle - true_N[max(rows[:n], key=lambda r: asked_N[r])] for n in QUERIES}
                    write(
                        {
                            "key": key,
                            "strategy": strategy,
                            "device": device,
                            "limit_ms": limit,
                            "seed": seed,
                            "regret": after,
                        }
                    )
