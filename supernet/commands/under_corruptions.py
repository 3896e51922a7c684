"""--corruptions of train and evaluate: the test images as they are and under 15 common corruptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from supernet.commands.without_groups import notions_of
from supernet.corrupted import cost_words, drawn, measure
from supernet.data.grouped import GroupedData, Split
from supernet.report.facts import Corruptions, read

if TYPE_CHECKING:
    from supernet.config import TrainConfig
    from supernet.data.labelled import Labelled
    from supernet.prediction import Classifier

BATCH = 64


def start_words(config: TrainConfig, data: GroupedData) -> list[str]:
    """What it will cost. Raises UserError where so few images cannot have one of each class and group."""
    if config.corruptions is None:
        return []
    chosen = drawn(data.test.label_N, data.test.group_NA, config.corruptions, config.seed)
    return [cost_words(len(chosen), len(data.train))]


def of_training(config: TrainConfig, data: GroupedData, predicted: Callable[[Split], np.ndarray]) -> Corruptions | None:
    """Of a trained network; None where nobody asked. predicted: (N, C) of a split."""
    if config.corruptions is None:
        return None
    test, notions = data.test, notions_of(config.fairness, data.by_class)
    chosen = drawn(test.label_N, test.group_NA, config.corruptions, config.seed)
    own = Split(np.asarray(test.images_NCHW[chosen]), test.label_N[chosen], test.group_NA[chosen])
    return read(Corruptions, measure(
        own.images_NCHW, own.label_N, own.group_NA, (data.classes, data.attributes),
        (config.fairness, notions[config.fairness]), lambda images: predicted(replace(own, images_NCHW=images)), config.seed,
    ))  # fmt: skip


def drawn_pictures(labelled: Labelled, group_NA: np.ndarray, images: int | None) -> np.ndarray | None:
    """Positions of the pictures to corrupt, their cost printed; None where nobody asked. Raises UserError as `start_words`."""
    if images is None:
        return None
    chosen = drawn(labelled.part.label_N, group_NA, images, 0)
    print(cost_words(len(chosen)), flush=True)
    return chosen


def of_model(
    classifier: Classifier,
    labelled: Labelled,
    groups: tuple[Mapping[str, tuple[str, ...]], np.ndarray],
    notion: str,
    chosen: np.ndarray | None,
    pixels: Callable[[int], np.ndarray],
) -> Corruptions | None:
    """Of a finished model. groups: names by attribute, and (N, A) of each picture.  chosen: positions.  pixels: of a position, uint8."""
    if chosen is None:
        return None
    attributes, group_NA = groups

    def predicted(images_NCHW: np.ndarray) -> np.ndarray:
        parts = (images_NCHW[at : at + BATCH] for at in range(0, len(images_NCHW), BATCH))
        return np.concatenate([classifier.probabilities(classifier.spec.normalised(part)) for part in parts])

    return read(Corruptions, measure(
        np.stack([pixels(int(position)) for position in chosen]), labelled.part.label_N[chosen], group_NA[chosen],
        (classifier.classes, attributes), (notion, notions_of(notion, labelled.source.by_class)[notion]), predicted,
    ))  # fmt: skip
