"""What a report shows beside its figures: pictures of mistakes, curves by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from supernet.closer import closer, mistakes
from supernet.report.facts import Metrics


def closer_facts(
    prob_NC: np.ndarray,
    label_N: np.ndarray,
    group_NA: np.ndarray,
    metrics: Metrics,
    attributes: Mapping[str, Sequence[str]],
    pixels: Callable[[int], np.ndarray] | None,
) -> dict[str, Any]:
    """Facts of the closer look. `pixels`: position → (channels, H, W) uint8; None leaves pictures out."""
    classes = metrics.classes
    found = closer(prob_NC, label_N, group_NA, classes, attributes)
    if pixels is None:
        return found | {"mistakes": []}
    worst = [
        (column, attribute, list(names).index(metrics.attributes[attribute].worst_group), metrics.attributes[attribute].worst_group)
        for column, (attribute, names) in enumerate(attributes.items())
    ]  # fmt: skip
    return found | {"mistakes": mistakes(prob_NC, label_N, group_NA, classes, worst, pixels)}
