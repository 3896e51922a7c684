"""--task segment: the class of every pixel, and how well it is found: IoU by class, their mean, pixel accuracy, by group."""

from __future__ import annotations

from collections.abc import Mapping
from colorsys import hsv_to_rgb
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import nn

from supernet.commands.dense import DenseTask, shown, units
from supernet.config import CommonConfig, TrainConfig
from supernet.data import GroupedData
from supernet.data.grouped import Batch
from supernet.figures import NONE, Figure, figure
from supernet.intervals import LEVEL, TOO_FEW
from supernet.report.dense import figure_words
from supernet.task import Task, iou, pixel_counts, segmentation

Array = np.ndarray


def _miou(counts_R3C: Array) -> Array:
    """(…) mean over the classes that are there; NaN where none is."""
    iou_RC = iou(counts_R3C)
    present_R = np.isfinite(iou_RC).sum(-1)
    return np.where(present_R > 0, np.nansum(iou_RC, -1) / np.maximum(present_R, 1), np.nan)


def _accuracy(counts_R3C: Array) -> Array:
    right_R, true_R = counts_R3C[..., 0, :].sum(-1), counts_R3C[..., 1, :].sum(-1)
    return np.where(true_R > 0, right_R / np.maximum(true_R, 1), np.nan)


def _told(value: Any, draws_R: Array, images: int, share: float = 1 - LEVEL) -> Figure:
    """The percentile interval of the draws in which the figure is defined; "too few" below 10 images; unknown of none."""
    draws_R = draws_R[np.isfinite(draws_R)]
    known = np.isfinite(value) and len(draws_R) > 0
    ends = tuple(np.percentile(draws_R, [50 * share, 100 - 50 * share])) if known else NONE
    return figure(value, *ends) | ({"too_few": images} if 0 < images < TOO_FEW else {})


def _gap(value_G: Array, draws_RG: Array) -> Figure:
    """The largest difference; its ends are the largest of the pairs' own ends (Bonferroni over the pairs)."""
    pairs = list(combinations(range(len(value_G)), 2))
    if not pairs or not np.isfinite(value_G).all():
        return figure(np.nan, *NONE)
    ends = [_told(value_G[a] - value_G[b], draws_RG[:, a] - draws_RG[:, b], 0, (1 - LEVEL) / len(pairs)) for a, b in pairs]  # fmt: skip
    value = float(np.ptp(value_G))
    if any(end["low"] is None for end in ends):
        return figure(value, *NONE)
    return figure(value, max(max(e["low"], -e["high"], 0.0) for e in ends), max(max(-e["low"], e["high"]) for e in ends))  # fmt: skip


def figures(
    counts_N3C: Array, group_NA: Array, unit_N: Array, attributes: Mapping[str, tuple[str, ...]],
    classes: tuple[str, ...], draws: int,
) -> dict[str, Any]:  # fmt: skip
    """IoU by class, mean IoU and pixel accuracy over all pixels, and by group; JSON-ready.

    counts_N3C: of `pixel_counts`.  unit_N: what is drawn together.  draws: of the bootstrap that gives the intervals; 0: none.
    A class that no pixel is of has no IoU (null). Groups are compared over the classes that each group of enough pictures has.
    """
    unit_N = np.unique(unit_N, return_inverse=True)[1]
    number, classes_C = int(unit_N.max()) + 1, len(classes)
    weights_RU = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=draws)

    def summed(of_N: Array) -> tuple[Array, Array]:
        """Counts (3, C) of these pictures, and of each draw (R, 3, C)."""
        counts_UF = np.zeros((number, 3 * classes_C))
        np.add.at(counts_UF, unit_N[of_N], counts_N3C[of_N].reshape(-1, 3 * classes_C))
        return counts_UF.sum(0).reshape(3, -1), (weights_RU @ counts_UF).reshape(-1, 3, classes_C)

    everyone = np.ones(len(unit_N), bool)
    counts_3C, drawn_R3C = summed(everyone)
    images_C = (counts_N3C[:, 1] > 0).sum(0)
    own_C, own_RC, images = iou(counts_3C), iou(drawn_R3C), len(unit_N)
    found: dict[str, Any] = {
        "images": images,
        "miou": _told(_miou(counts_3C), _miou(drawn_R3C), images),
        "pixel_accuracy": _told(_accuracy(counts_3C), _accuracy(drawn_R3C), images),
        "iou": {name: _told(own_C[c], own_RC[:, c], int(images_C[c])) for c, name in enumerate(classes)},
        "attributes": {},
    }
    for column, (attribute, names) in enumerate(attributes.items()):
        of_GN = [group_NA[:, column] == group for group in range(len(names))]
        sums = [summed(of_N) for of_N in of_GN]
        enough = [group for group, of_N in enumerate(of_GN) if of_N.sum() >= TOO_FEW]
        compared_C = (
            np.all([sums[group][0][1] > 0 for group in enough], axis=0) if enough else np.zeros(classes_C, bool)
        )
        told_of: dict[str, Any] = {"compared": [name for name, is_in in zip(classes, compared_C, strict=True) if is_in]}
        for key, value_of, chosen in (("miou", _miou, compared_C), ("pixel_accuracy", _accuracy, np.ones(classes_C, bool))):  # fmt: skip
            values = [(value_of(own[:, chosen]), value_of(drawn[..., chosen])) for own, drawn in sums]
            told_of[key] = {name: _told(value, draws_R, int(of_N.sum())) for name, (value, draws_R), of_N in zip(names, values, of_GN, strict=True)}  # fmt: skip
            told_of[f"{key}_gap"] = _gap(np.array([values[g][0] for g in enough]), np.array([values[g][1] for g in enough]).T)  # fmt: skip
        told_of["iou"] = {
            name: {c: _told(iou(own)[i], iou(drawn)[:, i], int((counts_N3C[of_N, 1, i] > 0).sum())) for i, c in enumerate(classes)}
            for name, (own, drawn), of_N in zip(names, sums, of_GN, strict=True)
        }  # fmt: skip
        found["attributes"][attribute] = told_of
    return found


@torch.no_grad()
def measured(
    network: nn.Module, data: GroupedData, config: TrainConfig, task: Task, device: torch.device
) -> dict[str, Any]:
    """`figures` of the test pictures."""
    network.eval()
    counts = [
        pixel_counts(task.predictions(network(batch.image).float()).cpu().numpy(), batch.label.cpu().numpy(), len(data.classes))
        for batch in shown(data, data.test, task, device).epoch()
    ]  # fmt: skip
    return figures(np.concatenate(counts), data.test.group_NA, units(data.test), data.attributes, data.classes, config.bootstrap)  # fmt: skip


def _lines(found: Mapping[str, Any], config: TrainConfig) -> list[str]:
    interval = " (95% intervals)" if config.bootstrap else ""
    lines = [
        f"Pixels of {found['images']:,} test images{interval}: mean IoU {figure_words('miou', found['miou'])}, pixel accuracy {figure_words('pixel_accuracy', found['pixel_accuracy'])}.",
        "  IoU: " + ", ".join(f"{name} {figure_words('iou', value)}" for name, value in found["iou"].items()),
    ]
    for attribute, own in found["attributes"].items():
        for key, name in (("miou", "mean IoU"), ("pixel_accuracy", "pixel accuracy")):
            groups = ", ".join(f"{group} {figure_words(key, value)}" for group, value in own[key].items())
            lines.append(f"  {attribute}: {name} {groups}; gap {figure_words(key, own[f'{key}_gap'])}")
        if len(own["compared"]) < len(found["iou"]):
            lines.append(f"  {attribute}: mean IoU is over the classes that each group of 10 images or more has: {', '.join(own['compared']) or 'none'}.")  # fmt: skip
    return lines


def _task(data: GroupedData, config: CommonConfig) -> Task:
    return segmentation(len(data.classes))


def _drawn(data: GroupedData, batch: Batch, output: torch.Tensor, config: CommonConfig) -> tuple[np.ndarray, ...]:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    picture = (255 * (batch.image.cpu() * std + mean).clamp(0, 1)).round().byte().numpy()
    masks = (output.argmax(1).cpu().numpy(), batch.label.cpu().numpy())
    return (picture, *(_coloured(mask, len(data.classes)) for mask in masks))


def _coloured(mask_BHW: Array, classes: int) -> Array:
    """(B, 3, H, W): hues around the circle, the first class black, what is ignored grey."""
    colours = [(0, 0, 0), *(tuple(round(255 * v) for v in hsv_to_rgb(k / (classes - 1), 0.8, 1.0)) for k in range(classes - 1))]  # fmt: skip
    palette = np.full((256, 3), 128, np.uint8)
    palette[:classes] = colours
    return palette[mask_BHW].transpose(0, 3, 1, 2)


SEGMENT = DenseTask(
    name="segment",
    words="finds the class of each pixel",
    score="miou",
    told=lambda value: f"mean IoU {value:.4f}",
    options=frozenset({"mask_col", "mask_classes", "bootstrap"}),
    task=_task,
    pictures=lambda data: data,
    measured=measured,
    lines=_lines,
    output=lambda config: {"output": "logits of each pixel's classes"},
    drawn=_drawn,
    strip="picture, found, true mask",
)
