"""Early exits on the test images: what each exit gives, and what leaving early costs each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from supernet.report.facts.measured import Difference, Figure, Gap


@dataclass(frozen=True, kw_only=True)
class Exit:
    """One exit, or the end of the network. `accuracy`: if all test images left there; `cost`: of an image that does.

    stage: of the network's blocks, from 0; None: the end.
    """

    stage: int | None
    cost: float
    accuracy: Figure


@dataclass(frozen=True, kw_only=True)
class LeftEarly:
    """One attribute's groups. `change`: the gap with exits − the full network's, in pairs; `early_gap`: between shares.

    early, accuracy: by group; the share that leaves before the end, and the accuracy with exits.  gap: of the notion asked for.
    """

    early: Mapping[str, Figure]
    early_gap: Figure
    accuracy: Mapping[str, Figure]
    gap: Gap
    change: Difference


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Thresholds, chosen on search-val for a budget of expected cost, and what they give on test.

    budget: of the mean cost of an image.  thresholds: of each exit; None: nobody leaves there.
    leaving: the share at each exit and at the end.  cost: mean of an image, on test.  accuracy: with exits.
    change: of accuracy, to the full network.  attributes: by name.
    """

    budget: float
    thresholds: Sequence[float | None]
    leaving: Sequence[Figure]
    cost: Figure
    accuracy: Figure
    change: Difference
    attributes: Mapping[str, LeftEarly]


@dataclass(frozen=True, kw_only=True)
class Anytime:
    """exits: the full network last.  unit: of every cost, "ms" or "MACs".  counted: how they are known.  points: the largest budget first.

    notes: for the person.
    """

    exits: Sequence[Exit]
    unit: str
    counted: str
    points: Sequence[OperatingPoint]
    notes: Sequence[str]
