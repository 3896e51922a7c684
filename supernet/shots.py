"""Recall of the classes with many, medium and few training images: Liu et al., "Large-Scale Long-Tailed Recognition", CVPR 2019."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from supernet.class_metrics import over_classes
from supernet.resampling import Predictions

MANY, FEW = 100, 20  # training images: many are more, few are less


def shot_of(images: int) -> str:
    """`many`, `medium` or `few`."""
    return "many" if images > MANY else "few" if images < FEW else "medium"


def shot_figures(
    data: Predictions, classes: Sequence[str], train_images: Mapping[str, int], intervals: bool
) -> list[dict[str, Any]] | None:
    """The JSON of `report.facts.Shots`: of each kind that there is, its classes and their mean recall on these predictions.

    None where all classes are of one kind. train_images: of each class.
    """
    kinds = {
        kind: [name for name in classes if shot_of(train_images[name]) == kind] for kind in ("many", "medium", "few")
    }
    if sum(bool(own) for own in kinds.values()) < 2:
        return None
    found = []
    for kind, own in kinds.items():
        if own:
            member_N = np.isin(data.label_N, [classes.index(name) for name in own])
            recall = over_classes(data, member_N, classes, intervals)["balanced_accuracy"]
            found.append({"name": kind, "classes": own, "images": int(member_N.sum()), "recall": recall})
    return found
