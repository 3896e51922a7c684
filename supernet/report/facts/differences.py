"""What was measured of two networks, or of two forms of one: paired differences, adjusted outputs, the int8 files.

JSON of `supernet.paired.paired_differences` and `supernet.quantisation.judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from supernet.report.facts.measured import Difference, Figure, Gap
from supernet.report.facts.reading import OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Differences of one attribute; `gap` is that of the notion asked for.

    accuracy, mean_group_accuracy, worst_group_accuracy: differences of shares.
    """

    accuracy: Difference
    gap: Difference
    mean_group_accuracy: Difference
    worst_group_accuracy: Difference


@dataclass(frozen=True, kw_only=True)
class OtherAttribute:
    """Figures of an attribute after outputs were adjusted by another one's groups. `groups`: accuracies.

    accuracy, mean_group_accuracy, worst_group_accuracy: shares.  gap: of the notion asked for.
    against_as_trained: adjusted − as trained.
    """

    accuracy: Figure
    mean_group_accuracy: Figure
    worst_group_accuracy: Figure
    gap: Gap
    groups: Mapping[str, Figure]
    against_as_trained: Compared


@dataclass(frozen=True, kw_only=True)
class Adjusted(OtherAttribute):
    """Outputs adjusted by this attribute's groups."""

    method: str
    others: Mapping[str, OtherAttribute]
    warnings: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """This run − another one, by attribute: the other as it was trained, and with its outputs adjusted.

    folder: of the other run.  accuracy: over all images.  as_trained, adjusted: by attribute.  warnings: for the person.
    """

    folder: str
    accuracy: Difference
    as_trained: Mapping[str, Compared]
    adjusted: Mapping[str, Compared]
    warnings: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class TeacherComparison(Comparison):
    """This run − its teacher, and the teacher's own figures."""

    predicted_ms: float | None
    accuracy_of_teacher: Figure
    gaps_of_teacher: Mapping[str, Gap]


@dataclass(frozen=True, kw_only=True)
class AttributeScores:
    """Accuracy of each group, and the gap asked for."""

    groups: Mapping[str, float | None]
    gap: float | None


@dataclass(frozen=True, kw_only=True)
class Scores:
    accuracy: float | None
    attributes: Mapping[str, AttributeScores]


@dataclass(frozen=True, kw_only=True)
class Int8Compared:
    """On some images; `agreement`: the share that both give the same class.

    float32, int8: what each scores there.
    """

    images: int
    agreement: float
    float32: Scores
    int8: Scores


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a LiteRT file takes of a microcontroller's flash (`file_bytes`) and RAM, planned by tflite-micro.

    arena_bytes: of RAM.  activation_bytes: of these, what operators share.  unmeasured: why both are None, else None.
    """

    file_bytes: int
    arena_bytes: int | None
    activation_bytes: int | None
    unmeasured: str | None


@dataclass(frozen=True, kw_only=True)
class Int8:
    """An int8 file: its setting, the agreement of each setting that was tried, and both files on search-val and test.

    warnings: for the person.  memory: of a LiteRT file.
    """

    setting: str
    tried: Mapping[str, float]
    val: Int8Compared
    test: Int8Compared
    warnings: Sequence[str]
    memory: Memory | None = field(default=None, metadata=OPTIONAL)
