"""What was measured under the 15 common corruptions. JSON of `supernet.corrupted.measure`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of the images as they are, or under one corruption at one severity. None: fewer than 10 images of a group, or undefined.

    accuracy: share.  groups: accuracy by attribute and group.  gaps: of the notion that was asked for, by attribute.
    """

    accuracy: float
    groups: Mapping[str, Mapping[str, float | None]]
    gaps: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One of the 15. `approximate`: how it departs from the authors' code, None where it does not; `severities`: five, the mildest first.

    name: the authors'.
    """

    name: str
    approximate: str | None
    severities: Sequence[Scores]


@dataclass(frozen=True, kw_only=True)
class Corruptions:
    """`images` of test, the same under each; `group_images` by attribute and group; `parameters`: whose they are.

    clean: without a corruption.  rows: of each.  mean_corruption_error: over all corruptions and severities, not normalised.
    """

    images: int
    group_images: Mapping[str, Mapping[str, int]]
    parameters: str
    clean: Scores
    rows: Sequence[Corruption]
    mean_corruption_error: float
