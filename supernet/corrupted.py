"""A trained network on test images under the 15 common corruptions: accuracy, each group's, and the gap; JSON-ready.

N images, C classes, A attributes. No intervals: every corruption is of the same images, so differences from "none" are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from supernet.bars import bar
from supernet.data.corruptions import APPROXIMATE, NAMES, SEVERITIES, SMALL, corrupted
from supernet.data.drawing import draw
from supernet.data.grouped import Part
from supernet.fairness import Notion
from supernet.metrics import evaluate_predictions

FEWEST = 10  # images of a group whose accuracy is told
Predict = Callable[[np.ndarray], np.ndarray]


def cost_words(images: int, training: int | None = None) -> str:
    """What it takes, before it starts; `training`: images of an epoch, each of which takes some three forward passes."""
    total = (1 + len(NAMES) * SEVERITIES) * images
    like = "" if training is None else f", about as long as {total / (3 * training):.1f} epochs"
    return f"Corruptions: {len(NAMES)} at {SEVERITIES} severities on {images:,} test images. That is {total:,} forward passes after the training{like}."  # fmt: skip


def drawn(label_N: np.ndarray, group_NA: np.ndarray, images: int, seed: int) -> np.ndarray:
    """Sorted positions of so many test images, stratified by class and groups, one of each at the least; all where there are no more.

    Raises UserError where `images` is too few for that.
    """
    part = Part(np.zeros((len(label_N), 0)), label_N, group_NA)
    return draw(part, images, np.random.default_rng(seed), "--corruptions")


def measure(
    images_NCHW: np.ndarray,
    label_N: np.ndarray,
    group_NA: np.ndarray,
    names: tuple[Sequence[str], Mapping[str, Sequence[str]]],
    notion: tuple[str, Notion],
    predict: Predict,
    seed: int = 0,
) -> dict[str, Any]:
    """The JSON of `report.facts.Corruptions`. names: classes, and the groups of each attribute. predict: uint8 (N, channels, size, size) → (N, C)."""
    classes, attributes = names

    def scores(shown_NCHW: np.ndarray) -> dict[str, Any]:
        found = evaluate_predictions(
            predict(shown_NCHW), label_N, group_NA, classes, attributes, n_boot=0, notions={notion[0]: notion[1]}
        )
        groups: dict[str, Any] = {}
        gaps: dict[str, float | None] = {}
        for attribute, own in found["attributes"].items():
            few = [group["count"] for group in own["groups"].values() if 0 < group["count"] < FEWEST]
            groups[attribute] = {name: None if group["count"] < FEWEST else group["accuracy"]["value"] for name, group in own["groups"].items()}  # fmt: skip
            gaps[attribute] = None if few else own["gaps"][notion[0]]["value"]
        return {"accuracy": found["accuracy"]["value"], "groups": groups, "gaps": gaps}

    clean, rows = scores(images_NCHW), []
    for name in bar(NAMES, desc="corruptions", total=len(NAMES), leave=False):
        each = [scores(corrupted(images_NCHW, name, severity, seed)) for severity in range(1, SEVERITIES + 1)]
        rows.append({"name": name, "approximate": APPROXIMATE.get(name), "severities": each})
    counts = {
        attribute: {group: int((group_NA[:, column] == number).sum()) for number, group in enumerate(own)}
        for column, (attribute, own) in enumerate(attributes.items())
    }
    return {
        "images": len(label_N),
        "group_images": counts,
        "parameters": "CIFAR-10-C" if images_NCHW.shape[-1] <= SMALL else "ImageNet-C",
        "clean": clean,
        "rows": rows,
        "mean_corruption_error": float(np.mean([1 - one["accuracy"] for row in rows for one in row["severities"]])),
    }
