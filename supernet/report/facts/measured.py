"""What was measured on labelled pictures: figures with intervals, gaps. JSON of `supernet.metrics.evaluate_predictions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from supernet.report.facts.reading import KEY, OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value with its 95% interval; None: undefined, or no interval. `too_few`: the images, where there are fewer than 10.

    low, high: its ends.
    """

    value: float | None
    low: float | None
    high: float | None
    too_few: int | None = field(default=None, metadata=OPTIONAL)


UNKNOWN = Figure(value=None, low=None, high=None)


@dataclass(frozen=True, kw_only=True)
class GapFigure(Figure):
    """`margin`: a gap that does not matter; `within_margin`: whether this one is shown to be within it."""

    margin: float | None = field(default=None, metadata=OPTIONAL)
    within_margin: bool | None = field(default=None, metadata=OPTIONAL)

    @property
    def shown(self) -> bool | None:
        """Whether there is any gap. Its interval is cut at 0, so one that reaches 0 shows none; None without an interval."""
        return None if self.low is None else self.low > 0


@dataclass(frozen=True, kw_only=True)
class ClassGap(GapFigure):
    """A gap of one class alone."""

    name: str = field(metadata={KEY: "class"})


@dataclass(frozen=True, kw_only=True)
class Gap(GapFigure):
    """`worst_event` is where it is largest ("class 3"), `other_class` the same gap of the first of two classes."""

    empty_cells: int = 0
    worst_event: str | None = None
    other_class: ClassGap | None = field(default=None, metadata=OPTIONAL)


class Verdict(Enum):
    """Which of two networks is shown to be better, or fairer: the first, the second, or neither."""

    FIRST = "A"
    SECOND = "B"
    OPEN = "not shown"


@dataclass(frozen=True, kw_only=True)
class Difference(Figure):
    """Of two networks on the same images, first − second. `not_worse`: shown to do no harm beyond the margin."""

    verdict: Verdict
    margin: float | None = field(default=None, metadata=OPTIONAL)
    not_worse: bool | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class OfClass:
    """One class over all images: how many there are, and how many were called so.

    predicted: images called so.  recall, precision: shares.
    """

    images: int
    predicted: int
    recall: Figure
    precision: Figure


@dataclass(frozen=True, kw_only=True)
class Shots:
    """The classes with many, medium or few (`name`) training images: test images, and their mean recall.

    classes: names.
    """

    name: str
    classes: Sequence[str]
    images: int
    recall: Figure


@dataclass(frozen=True, kw_only=True)
class Majority:
    """The largest class and its share. `exceeded`: the network is better than always naming it."""

    name: str = field(metadata={KEY: "class"})
    share: float
    exceeded: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of an attribute. Rates of each class by its name; `confusion`: counts, rows are true classes; not where the
    groups are the classes, whose rows are in that of all images.

    count: images.  accuracy, ece, recall, precision, selection_rate, false_positive_rate, balanced_accuracy: shares.
    cross_entropy: nats.  auc, average_precision: of two classes, of the `positive` one.
    """

    count: int
    accuracy: Figure
    cross_entropy: Figure
    ece: Figure
    selection_rate: Mapping[str, Figure]
    recall: Mapping[str, Figure]
    precision: Mapping[str, Figure] | None = field(default=None, metadata=OPTIONAL)
    false_positive_rate: Mapping[str, Figure]
    balanced_accuracy: Figure | None = field(default=None, metadata=OPTIONAL)
    positive: str | None = field(default=None, metadata=OPTIONAL)
    auc: Figure | None = field(default=None, metadata=OPTIONAL)
    average_precision: Figure | None = field(default=None, metadata=OPTIONAL)
    confusion: Sequence[Sequence[int]] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A sensitive attribute. `unknown`: images whose group is not known; `pqd`: lowest rate over highest.

    groups, gaps: by group and by notion.  empty_groups: names without an image.
    mean_group_accuracy, worst_group_accuracy: shares; `worst_group` is the latter's name.
    """

    groups: Mapping[str, Group]
    unknown: int
    empty_groups: Sequence[str]
    mean_group_accuracy: Figure
    worst_group_accuracy: Figure
    pqd: Figure
    worst_group: str
    gaps: Mapping[str, Gap]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals were made. `unit`: "sample" or "cluster"; no `resamples`: none were asked for.

    units: of these that are drawn.  level: .95.  seed: of the draws.
    """

    resamples: int
    unit: str
    units: int
    level: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All that is said of predictions. What files of before lack is None; `auc` … are of two classes.

    samples: images.  bootstrap: how intervals were made.  accuracy, ece, balanced_accuracy (mean recall), average_precision: shares.
    cross_entropy: nats.  by_class, attributes: by name.  majority: the largest class.  positive: of two classes.
    confusion: counts of all images, rows are true classes, where the groups are the classes.
    """

    samples: int
    classes: Sequence[str]
    bootstrap: Bootstrap
    accuracy: Figure
    cross_entropy: Figure
    ece: Figure
    by_class: Mapping[str, OfClass] | None = field(default=None, metadata=OPTIONAL)
    majority: Majority | None = field(default=None, metadata=OPTIONAL)
    balanced_accuracy: Figure | None = field(default=None, metadata=OPTIONAL)
    positive: str | None = field(default=None, metadata=OPTIONAL)
    auc: Figure | None = field(default=None, metadata=OPTIONAL)
    average_precision: Figure | None = field(default=None, metadata=OPTIONAL)
    attributes: Mapping[str, Attribute]
    confusion: Sequence[Sequence[int]] | None = field(default=None, metadata=OPTIONAL)
