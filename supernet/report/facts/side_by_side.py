"""The facts of `supernet compare`: trainings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supernet.report.facts.measured import Difference, Figure, Gap, Majority
from supernet.report.facts.reading import OPTIONAL, to_json


@dataclass(frozen=True, kw_only=True)
class AgainstFirst:
    """A run − the first one, on the same test images; `gaps` by attribute."""

    accuracy: Difference
    gaps: Mapping[str, Difference]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A training. `worst`: (group, its accuracy) by attribute; `against_first`: a text says why there are no differences.

    folder, arch: names.  searched, pretrained: how it came about.  images: of test.  gaps: by attribute.
    predicted_ms, predicted_error, device, estimated, budget_ms: as in report.json.  macs, params: for one image.
    int8_accuracy, val_accuracy, val_mean_recall (of the classes): shares; None: not known.  majority: of the test images.
    bops: bit operations, of a network whose layers have bits of their own and so no latency.
    """

    folder: str
    arch: str
    searched: bool
    pretrained: bool
    images: int
    accuracy: Figure
    gaps: Mapping[str, Gap | None]
    worst: Mapping[str, tuple[str, Figure]]
    predicted_ms: float | None
    predicted_error: float | None
    device: str | None
    estimated: str | None
    budget_ms: float | None
    macs: float | None
    params: float | None
    int8_accuracy: float | None
    val_accuracy: float | None
    val_mean_recall: float | None = None
    majority: Majority | None = None
    bops: float | None = field(default=None, metadata=OPTIONAL)
    against_first: AgainstFirst | str | None


@dataclass(frozen=True, kw_only=True)
class CompareFacts:
    """`fairness`: the notion that the first run asked for, whose gaps these are.

    schema_version, command, name, date: of the comparison.  runs: the first is what others are compared with.
    machine, versions, commit: where and with what it ran.
    """

    schema_version: int = 1
    command: str
    name: str
    fairness: str
    runs: Sequence[ComparedRun]
    date: str
    machine: str | None = None
    versions: Mapping[str, str]
    commit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of the file beside the page."""
        found: dict[str, Any] = to_json(self)
        return found
