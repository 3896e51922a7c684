"""Row of counterparts.py: how training-free scores rank networks whose accuracy is known, with parameters and multiply-adds as the bar.

*micro32*: 120 random architectures of the truth, scored at 2 initialisations on 32 images of search-train; Kendall's τ with test accuracy (mean over
groups) and with the worst group's. *NAS-Bench-201*: 120 random cells, one cell a stage instead of five, one initialisation, noise images; τ with
CIFAR-10 accuracy after 200 epochs. `_s`: CPU seconds a network on micro32. A score is below the bar where its τ is not above that of both counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_transfer import DATA, Network
from build_truth import data_of_truth
from scipy.stats import kendalltau
from torch import Tensor, nn
from truth_table import Truth

from supernet.data import Batches
from supernet.network import build_path
from supernet.transfer import proxies
from supernet.transfer.further_proxies import AZ_NAS, joint_ranks
from supernet.transfer.score_table import SCORES

NETWORKS, INITIALISATIONS, IMAGES = 120, 2, 32
BAR = {"params": proxies.params, "macs": proxies.flops}
AZ_PARTS = {one.__name__: one for one in AZ_NAS if one is not proxies.flops}
MEASURED = {**BAR, **SCORES, "naswot": proxies.naswot, "zen": proxies.zen, **AZ_PARTS}
Run = dict[str, Any]


def scored(build: Callable[[np.ndarray], nn.Module], index_L: np.ndarray, x: Tensor, y: Tensor, seed: int) -> Run:
    """Every score of one network at one initialisation, and the CPU seconds of each."""
    torch.manual_seed(seed)
    model, found, seconds = build(index_L), {}, {}
    for name, proxy in MEASURED.items():
        started = time.process_time()
        found[name] = proxy(model, x, y)
        seconds[name] = time.process_time() - started
    return {"scores": found, "seconds": seconds}


def tau(runs: list[Run], truth_N: np.ndarray) -> dict[str, float]:
    """Kendall's τ of each score over the networks of one initialisation; a constant score has none."""
    table = {name: np.array([run["scores"][name] for run in runs]) for name in MEASURED}
    table["az-nas"] = joint_ranks(np.stack([table[name] for name in (*AZ_PARTS, "macs")], axis=1))
    return {name: float(kendalltau(score_N, truth_N).statistic) for name, score_N in table.items()}


def row(folder: Path, quick: bool) -> tuple[dict[str, Any], list[Run]]:
    """Goes on from runs.jsonl; NAS-Bench-201 is left out where its file is not here."""
    path = folder / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    number, done = 4 if quick else NETWORKS, {(run["space"], run["architecture"], run["init"]) for run in runs}
    truth, data = Truth.load(), data_of_truth()
    batch = Batches(data.train, IMAGES, seed=0, stratify=True, mean=data.mean, std=data.std).at(0)
    generator = torch.Generator().manual_seed(0)
    noise, label = torch.randn(IMAGES, 3, 32, 32, generator=generator), torch.arange(IMAGES) % 10
    rows = np.random.default_rng(0).choice(len(truth.index_NL), number, replace=False)

    def path_of(index_L: np.ndarray) -> nn.Module:
        return build_path(truth.space, truth.space.names(index_L), 10, data.channels)

    def cell(index_L: np.ndarray) -> nn.Module:
        network = Network(index_L)
        return nn.Sequential(*network.body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.head)

    tasks = [("micro32", path_of, truth.index_NL, rows, batch.image, batch.label, 1 if quick else INITIALISATIONS)]
    if DATA.exists():
        with np.load(DATA) as file:
            cells_NE, cell_accuracy = file["ops"].astype(int), file["acc200_test"][:, 0].astype(float)
        drawn = np.random.default_rng(0).choice(len(cells_NE), number, replace=False)
        tasks.append(("nb201", cell, cells_NE, drawn, noise, label, 1))
    for space, build, index_NL, chosen, x, y, inits in tasks:
        for init in range(inits):
            for one in map(int, chosen):
                if (space, one, init) not in done:
                    run = {
                        "space": space,
                        "architecture": one,
                        "init": init,
                        **scored(build, index_NL[one], x, y, init),
                    }
                    runs.append(run)
                    with path.open("a") as stream:
                        stream.write(json.dumps(run) + "\n")
    accuracy_N = 1 - truth.error_N
    worst_N = truth.group_accuracy_NSG("test").mean(1).min(-1)
    found: dict[str, dict[str, Any]] = {}
    for tag, space, true_N in (("", "micro32", accuracy_N), ("worst_", "micro32", worst_N), ("nb201_", "nb201", None)):
        own = [run for run in runs if run["space"] == space]
        if own:
            values = cell_accuracy if true_N is None else true_N
            by_init = [[run for run in own if run["init"] == init] for init in sorted({run["init"] for run in own})]
            each = [tau(part, values[[run["architecture"] for run in part]]) for part in by_init]
            found[tag] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    figures: dict[str, Any] = {f"{tag}kendall_{n}": value if np.isfinite(value) else None for tag, of in found.items() for n, value in of.items()}  # fmt: skip
    timed = [run["seconds"] for run in runs if run["space"] == "micro32"]
    figures |= {f"{name}_s": float(np.mean([one[name] for one in timed])) for name in MEASURED}
    figures["az-nas_s"] = sum(figures[f"{name}_s"] for name in (*AZ_PARTS, "macs"))
    best = max(set(found[""]) - set(BAR), key=lambda name: found[""][name])
    bar = max(found[""][name] for name in BAR)
    figures |= {"proxy_best": best, "proxy_best_kendall": found[""][best], "params_kendall": found[""]["params"], "macs_kendall": found[""]["macs"]}  # fmt: skip
    figures["below_bar"] = ", ".join(sorted(name for name, value in found[""].items() if name not in BAR and not value > bar))  # fmt: skip
    return figures, runs


ROWS = {"scores": row}
