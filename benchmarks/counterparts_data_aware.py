"""Row of counterparts.py: is it worth deciding the input with the network, at equal latency?

CIFAR-10 (`sensor32`) and the Arabic letters, which are grey (`sensor32-grey`); 3,000 training pictures, 3 seeds. Latency by a table of this machine
(`lut build`); the budget is twice that of the fastest network on the full input. Three ways: the input is free; it is the full one; of CIFAR-10 also the
full one in grey. Each way's search is alike: 6 random networks that use four fifths of the budget, of as many inputs as possible, are trained for 2 epochs;
the one with the least loss on search-val is then trained anew for 10 epochs. Figure: test accuracy with the input free − with the full one, in points, mean over seeds with Student's 95% interval.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counterparts_pictures import SETS, SHARED, SIZES, pictures
from t_interval import t_interval

from supernet.choices import draw
from supernet.commands.main import main as supernet
from supernet.config import TrainConfig
from supernet.costs.analytic import input_table, macs_table
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.data import Batches, GroupedData, Split
from supernet.engine.evaluate import predict
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.network import build_path
from supernet.spaces import SearchSpace, get_space

SEEDS, CANDIDATES, EPOCHS, FINAL_EPOCHS = 3, 6, 2, 10
ROOM = 2.0  # times the fastest full network's latency: the budget
FLOOR, DRAWS = 0.8, 50_000  # the least share of the budget that a candidate takes
SPACE = {"cifar10": "sensor32", "arabic_letters": "sensor32-grey"}
WAYS = {
    "cifar10": {"free": None, "full": "rgb32", "grey": "grey32"},
    "arabic_letters": {"free": None, "full": "grey32"},
}
Run = dict[str, Any]


def allowed(space: SearchSpace, view: str | None) -> np.ndarray:
    """(L, K) bool: the space's options, of the inputs this one alone."""
    valid_LK = space.valid_LK.copy()
    if view is not None:
        valid_LK[0] = [option == view for option in space.ops]
    return valid_LK


def candidates(latency: Cost, valid_LK: np.ndarray, budget_ms: float, number: int, seed: int) -> np.ndarray:
    """(number, L) different random networks that use most of the budget, of as many inputs as possible."""
    drawn_NL = np.unique(draw(valid_LK, DRAWS, np.random.default_rng(seed)), axis=0)
    inside_NL = drawn_NL[latency.totals(drawn_NL) <= budget_ms]
    near_NL = inside_NL[latency.totals(inside_NL) >= FLOOR * budget_ms]
    near_NL = np.random.default_rng(seed).permutation(near_NL)
    rank_N = [int((near_NL[:row, 0] == view).sum()) for row, view in enumerate(near_NL[: 50 * number, 0])]
    return near_NL[np.argsort(rank_N, kind="stable")[:number]]


def trained(
    data: GroupedData, space: SearchSpace, ops: tuple[str, ...], epochs: int, seed: int, folder: Path
) -> torch.nn.Module:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    network = build_path(space, ops, len(data.classes), data.channels)
    config = TrainConfig(epochs=epochs, seed=seed, fairness_weight=0.0, threads=1)
    found = train_network(config, data, network, RunFolder(folder), torch.device("cpu"))
    shutil.rmtree(folder)
    return found


def predicted(network: torch.nn.Module, data: GroupedData, part: Split) -> np.ndarray:
    """(N, C) probabilities."""
    return predict(network, Batches(part, 256, shuffle=False, mean=data.mean, std=data.std).epoch())


def val_loss(network: torch.nn.Module, data: GroupedData) -> float:
    """Cross-entropy on search-val, nats."""
    prob_NC, label_N = predicted(network, data, data.val), data.val.label_N
    return float(-np.log(prob_NC[np.arange(len(label_N)), label_N].clip(1e-12)).mean())


def latency_of(name: str, folder: Path, quick: bool) -> Cost:
    """This machine's latency of the set's space; the table is built once."""
    table = folder / f"{SPACE[name]}.json"
    if not table.exists():
        channels = "1" if SPACE[name].endswith("grey") else "3"
        supernet(["lut", "build", "--device", "this-machine", "--space", SPACE[name], "--channels", channels, "--out", str(table), *(["--quick"] if quick else [])])  # fmt: skip
    return load_table(str(table)).cost(get_space(SPACE[name]))


def one(name: str, way: str, seed: int, folder: Path, quick: bool) -> Run:
    """One search and its training; goes on from `folder`."""
    own = folder / f"{name}-{way}-{seed}.json"
    if own.exists():
        return json.loads(own.read_text())
    space, latency = get_space(SPACE[name]), latency_of(name, folder, quick)
    data = pictures(name, folder, seed, (128, 64, 200) if quick else SIZES)
    budget_ms = ROOM * latency.bounds(allowed(space, WAYS[name]["full"]))[0]
    found_NL = candidates(latency, allowed(space, WAYS[name][way]), budget_ms, 2 if quick else CANDIDATES, seed)
    tried = []
    for index_L in found_NL:
        ops = space.names(index_L)
        network = trained(data, space, ops, 1 if quick else EPOCHS, seed, folder / "run")
        tried.append({"ops": ops, "ms": latency.total(index_L), "val_loss": val_loss(network, data)})
    best = min(tried, key=lambda row: row["val_loss"])
    network = trained(data, space, best["ops"], 1 if quick else FINAL_EPOCHS, seed, folder / "run")
    right_N = predicted(network, data, data.test).argmax(1) == data.test.label_N
    by_group = [float(right_N[data.test.group_NA[:, 0] == group].mean()) for group in range(2)]
    index_L = space.index_L(best["ops"])
    row = {
        "set": name, "way": way, "seed": seed, "budget_ms": budget_ms, **best, "accuracy": float(right_N.mean()),
        "gap": abs(by_group[0] - by_group[1]), "kib": input_table(space, data.channels).total(index_L),
        "macs": macs_table(space, data.channels, len(data.classes)).total(index_L), "tried": tried,
    }  # fmt: skip
    own.write_text(json.dumps(row))
    return row


def data_aware(folder: Path, quick: bool) -> tuple[dict[str, Any], list[Run]]:
    """The row; nothing where the pictures are not here."""
    if not all((SHARED / name).is_dir() for name in SETS):
        return {}, []
    torch.set_num_threads(1)
    rows = [
        one(name, way, seed, folder, quick)
        for seed in range(1 if quick else SEEDS)
        for name in SPACE
        for way in WAYS[name]
    ]
    figures: dict[str, Any] = {}
    for name in SPACE:
        of = {way: [row for row in rows if (row["set"], row["way"]) == (name, way)] for way in WAYS[name]}
        for way in list(WAYS[name])[1:]:
            for key in ("accuracy", "gap"):
                change = [100 * (free[key] - fixed[key]) for free, fixed in zip(of["free"], of[way], strict=True)]
                for part, value in zip(("", "_low", "_high"), t_interval(change), strict=True):
                    figures[f"data_aware_{key}_gain_{name}_to_{way}{part}"] = None if value is None else round(value, 2)
            figures[f"data_aware_accuracy_{name}_{way}"] = float(np.mean([row["accuracy"] for row in of[way]]))
        figures[f"data_aware_kib_{name}"] = float(np.mean([row["kib"] for row in of["free"]]))
        figures[f"data_aware_inputs_{name}"] = ", ".join(f"{view} {n}" for view, n in Counter(row["ops"][0] for row in of["free"]).items())  # fmt: skip
    return {key.replace("gap_gain", "gap_change"): value for key, value in figures.items()}, rows


ROWS = {"data_aware": data_aware}
