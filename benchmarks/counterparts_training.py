"""Rows of counterparts.py: what ways to train are worth on CIFAR-10 (JPEG pictures; groups: animals and vehicles), at equal CPU time, 5 seeds.

One network of `micro32` by the product's own trainer. *sam*: 2,500 images, 4 epochs of sharpness-aware steps (ρ .05) against 8 plain
ones; 15 corruptions × 5 severities of 500 test images; `sam_gap_change` is the change of the gap in accuracy, a mean over the corruptions, in points.
*long_tail*: CIFAR-10-LT's profile with factor 100 (3,900 images), 6 epochs; gain of logit adjustment over plain training in
balanced accuracy on 2,000 test images, in points. *ssl*: 1,000 images, 6 epochs of rotations, then 12 of classes, against 18 of classes. Intervals are
95% of paired differences over seeds (Student). Seeds change the first weights, the order and, of the long tail, the images.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from public_sets import SHARED, cifar10, write_table
from t_interval import t_interval

from supernet import corrupted as under
from supernet.config import TrainConfig
from supernet.data import Batches, GroupedData, Split, load_data
from supernet.engine.evaluate import predict
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.fairness import NOTIONS
from supernet.network import build_path
from supernet.spaces import get_space

SEEDS, NOTION = 5, "accuracy_parity"
SPLITS = (("train", 40_000), ("val", 500), ("test", 2000))
Run = dict[str, Any]


def pictures(folder: Path, **options: Any) -> GroupedData:
    """CIFAR-10 as a user's folder, made once beside the rows."""
    place = folder.parent / "cifar10"
    if not (place / "metadata.csv").exists():
        place.mkdir(parents=True, exist_ok=True)
        write_table(place, cifar10(place, SPLITS))
    return load_data(str(place), label_col="label", group_cols=["group"], channels=3, progress=False, **options)


def trained(data: GroupedData, folder: Path, epochs: int, seed: int, **options: Any) -> tuple[torch.nn.Module, float]:
    """(network, CPU seconds) of one training; an unfinished one begins again, so that its seconds are whole."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    space = get_space("micro32")
    network = build_path(space, ["k3_e3" if "k3_e3" in layer.ops else "k3_e1" for layer in space.layers], 10, 3)
    config = TrainConfig(epochs=epochs, seed=seed, batch_size=64, fairness_weight=0.0, threads=1, **options)
    started = time.process_time()
    found = train_network(config, data, network, RunFolder(folder), torch.device("cpu"))
    seconds = time.process_time() - started
    shutil.rmtree(folder)
    return found, seconds


def predicted(network: torch.nn.Module, data: GroupedData, part: Split) -> np.ndarray:
    return predict(network, Batches(part, 256, shuffle=False, mean=data.mean, std=data.std).epoch())


def balanced(network: torch.nn.Module, data: GroupedData) -> dict[str, float]:
    """Mean recall of the classes on test, and that of the last three."""
    right_N, label_N = predicted(network, data, data.test).argmax(1) == data.test.label_N, data.test.label_N
    recall_C = np.array([right_N[label_N == k].mean() for k in range(10)])
    return {"balanced_accuracy": float(recall_C.mean()), "last_three": float(recall_C[-3:].mean())}


def under_corruptions(network: torch.nn.Module, data: GroupedData, images: int) -> dict[str, float]:
    """Clean and mean corrupted accuracy and gap, of the first test images of each class."""
    chosen = np.concatenate([np.flatnonzero(data.test.label_N == k)[: images // 10] for k in range(10)])
    own = Split(data.test.images_NCHW[chosen], data.test.label_N[chosen], data.test.group_NA[chosen])
    found = under.measure(
        own.images_NCHW, own.label_N, own.group_NA, (data.classes, data.attributes), (NOTION, NOTIONS[NOTION]),
        lambda shown: predicted(network, data, replace(own, images_NCHW=shown)),
    )  # fmt: skip
    gaps = [one["gaps"]["group"] for row in found["rows"] for one in row["severities"]]
    return {"clean_accuracy": found["clean"]["accuracy"], "clean_gap": found["clean"]["gaps"]["group"],
            "error": found["mean_corruption_error"], "gap": float(np.mean(gaps))}  # fmt: skip


def cached(corrupt: Callable[[np.ndarray, str, int, int], np.ndarray]) -> Callable[..., np.ndarray]:
    """Of the same images each time: by corruption, severity and seed."""
    kept: dict[tuple[str, int, int], np.ndarray] = {}

    def found(images_NCHW: np.ndarray, *which: Any) -> np.ndarray:
        if which not in kept:
            kept[which] = corrupt(images_NCHW, *which)
        return kept[which]

    return found


def interval(difference_S: list[float], name: str) -> dict[str, float | None]:
    """Mean of paired differences in points, with its 95% interval; of one seed alone none."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), t_interval(100 * np.array(difference_S)), strict=True))


def measured(folder: Path, ways: list[str], seeds: int, one: Callable[[str, int], Run]) -> list[Run]:
    """Every way at every seed; goes on from runs.jsonl."""
    path = folder / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(run["way"], run["seed"]) for run in runs}
    for seed in range(seeds):
        for way in ways:
            if (way, seed) not in done:
                runs.append({"way": way, "seed": seed, **one(way, seed)})
                with path.open("a") as stream:
                    stream.write(json.dumps(runs[-1]) + "\n")
    return runs


def gains(runs: list[Run], way: str, key: str, name: str) -> dict[str, float | None]:
    """Of a way over plain training, in pairs by seed."""
    of = {(run["way"], run["seed"]): run[key] for run in runs}
    return interval([value - of["plain", seed] for (own, seed), value in of.items() if own == way], name)


def sam(folder: Path, quick: bool) -> tuple[dict[str, Any], list[Run]]:
    data, epochs = pictures(folder, max_train=200 if quick else 2500), 1 if quick else 4
    under.corrupted = cached(under.corrupted)  # every network sees the same images
    ways: dict[str, dict[str, Any]] = {"plain": {}, "sam": {"sam": 0.05}}

    def one(way: str, seed: int) -> Run:
        network, seconds = trained(data, folder / "run", 2 * epochs if way == "plain" else epochs, seed, **ways[way])
        return {"seconds": seconds, **under_corruptions(network, data, 100 if quick else 500)}

    runs = measured(folder, list(ways), 1 if quick else SEEDS, one)
    figures: dict[str, Any] = {}
    for key in ("gap", "error", "clean_gap", "clean_accuracy"):
        figures |= gains(runs, "sam", key, f"sam_{key}_change")
    return figures | totals(runs, "sam"), runs


def long_tail(folder: Path, quick: bool) -> tuple[dict[str, Any], list[Run]]:
    factor, most = (10, 300) if quick else (100, 3900)

    def one(way: str, seed: int) -> Run:
        data = pictures(folder, class_mix=f"longtail={factor}", max_train=most, seed=seed)
        options = {} if way == "plain" else {"class_weight": way}
        network, seconds = trained(data, folder / "run", 1 if quick else 6, seed, **options)
        return {"seconds": seconds, "images": len(data.train), **balanced(network, data)}

    runs = measured(folder, ["plain", "logit-adjust"], 1 if quick else SEEDS, one)
    figures: dict[str, Any] = {}
    for key, name in (("balanced_accuracy", "lt_accuracy_gain_100"), ("last_three", "lt_last_three_gain_100")):
        figures |= gains(runs, "logit-adjust", key, name)
    return figures | totals(runs, "lt"), runs


def ssl(folder: Path, quick: bool) -> tuple[dict[str, Any], list[Run]]:
    data, epochs = pictures(folder, max_train=200 if quick else 1000), 1 if quick else 6

    def one(way: str, seed: int) -> Run:
        options = {"epochs": 3 * epochs} if way == "plain" else {"epochs": 2 * epochs, "ssl_epochs": epochs}
        network, seconds = trained(data, folder / "run", seed=seed, **options)
        return {"seconds": seconds, **balanced(network, data)}

    runs = measured(folder, ["plain", "ssl"], 1 if quick else SEEDS, one)
    return gains(runs, "ssl", "balanced_accuracy", "ssl_accuracy_gain") | totals(runs, "ssl"), runs


def totals(runs: list[Run], tag: str) -> dict[str, Any]:
    """CPU seconds of a training of each way, so that one sees whether they are equal, and the plain figures."""
    found: dict[str, Any] = {}
    for way in dict.fromkeys(run["way"] for run in runs):
        own = [run for run in runs if run["way"] == way]
        found[f"{tag}_{way}_s"] = float(np.mean([run["seconds"] for run in own]))
        for key in ("balanced_accuracy", "last_three", "clean_accuracy", "error", "clean_gap", "gap"):
            if way == "plain" and key in own[0]:
                found[f"{tag}_plain_{key}"] = float(np.mean([run[key] for run in own]))
    return found


def _here(row: Callable[..., Any], folder: Path, quick: bool) -> tuple[dict[str, Any], list[Run]]:
    """Nothing where the pictures are not here."""
    if not (SHARED / "cifar10").is_dir():
        return {}, []
    torch.set_num_threads(1)
    return row(folder, quick)


ROWS = {"sam": partial(_here, sam), "long_tail": partial(_here, long_tail), "ssl": partial(_here, ssl)}
