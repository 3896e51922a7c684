"""The facts of a run: what was asked, the data, the architecture and its latency, what came out, with what it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supernet.report.facts.anytime import Anytime
from supernet.report.facts.corruptions import Corruptions
from supernet.report.facts.differences import Adjusted, Comparison, Int8, TeacherComparison
from supernet.report.facts.measured import Metrics, Shots
from supernet.report.facts.networks import Answered, Candidate, Derived, Layer, Network, Trained
from supernet.report.facts.reading import OPTIONAL, to_json

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set. `counts`: images by split, attribute and group; `positive`: the class that somebody chose of two;
    `by_class`: there are no groups, and each class stands for one.

    name, licence: of the source.  fingerprint: a hash of all that was used.  classes: names.  class_counts: images by split and class.
    """

    name: str
    licence: str | None = None
    fingerprint: str
    classes: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    images: Counts
    counts: Mapping[str, Mapping[str, Counts]]
    class_counts: Mapping[str, Counts] | None = field(default=None, metadata=OPTIONAL)
    positive: str | None = None
    by_class: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Pictures that a finished model was measured on; `split` "all" where there are none.

    name: of the data.  classes, groups: names; groups by attribute.  positive, by_class: as in Data.
    """

    name: str
    split: str
    classes: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    positive: str | None = None
    by_class: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A latency table. `validation`: its sums against `n` whole networks on the device (`mape`, `spearman`); `error`: relative.

    provenance, source, licence: where it is from.  hash: of its content.  notes: for the person.
    """

    device: str
    provenance: str
    source: str
    licence: str | None
    validation: Mapping[str, Any] | None
    notes: str | None = None
    hash: str
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency layer by layer: `base_ms` is fixed, of stem, head and classifier."""

    table: Table
    base_ms: float
    layers: Sequence[Layer]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Of every run. `asked`: the options by name, as they stand (another version's may lack some); `notes`: for the person.

    schema_version, command: what wrote it.  date: of its end.  machine, versions, commit: where and with what it ran.
    """

    schema_version: int = 1
    command: str
    name: str
    asked: Mapping[str, Any]
    notes: Sequence[str]
    date: str
    machine: str | None = None
    versions: Mapping[str, str] | None = field(default=None, metadata=OPTIONAL)
    commit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of report.json."""
        found: dict[str, Any] = to_json(self)
        return found

    @property
    def versions_told(self) -> str:
        """`torch 2.9.0, timm 1.0.20`."""
        return ", ".join(f"{name} {version}" for name, version in (self.versions or {}).items())

    @property
    def folder(self) -> str:
        """Where the run is, as the user would type it."""
        return str(self.asked.get("out") or f"runs/{self.name}")


@dataclass(frozen=True, kw_only=True)
class SearchFacts(RunFacts):
    """`seconds` of wall time by part; `evaluations`: of an ask/tell strategy; `history`: the rows of metrics.jsonl.

    table, base_ms: None where nothing has a latency.  steps: of training.  data, table, derived, candidates, answers: as their classes say.  base_ms, layers: the prediction's parts.
    """

    seconds: Mapping[str, float]
    steps: int | None = field(default=None, metadata=OPTIONAL)
    data: Data
    table: Table | None
    derived: Derived
    evaluations: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    answers: Sequence[Answered] | None = field(default=None, metadata=OPTIONAL)
    base_ms: float | None
    layers: Sequence[Layer]
    candidates: Sequence[Candidate]
    history: Sequence[Mapping[str, Any]]

    @property
    def one_shot(self) -> Mapping[str, float] | None:
        """The weight of the gap that derived.json was answered for, where one search answers several devices."""
        if self.asked["strategy"] != "one-shot":
            return None
        return {"weight": self.answers[0].weight if self.answers else 0.0}

    @property
    def network(self) -> Network:
        """What the page is about."""
        return self.derived

    @property
    def latency(self) -> Latency | None:
        """Layer by layer; None where nothing has one."""
        if self.table is None or self.base_ms is None:
            return None
        return Latency(table=self.table, base_ms=self.base_ms, layers=self.layers)


@dataclass(frozen=True, kw_only=True)
class TrainFacts(RunFacts):
    """`files`: what was written for a device, or why not; `closer`: `supernet.closer`; `table`, `base_ms`, `layers`: where the table is at hand.

    seconds: wall time by part.  data, arch, metrics, corruptions, int8, baseline, teacher, anytime: as their classes say.  adjusted: by attribute.
    search_val: accuracy and mean_recall of the weights that were kept; None where they learned from it.  litert_int8: of the LiteRT file, as int8 of the ONNX file.  shots: classes by training images.  preprocessing: what is done to a picture.  pretrained: where weights are from.  history: the rows of metrics.jsonl.
    """

    seconds: Mapping[str, float]
    data: Data
    arch: Trained
    preprocessing: Mapping[str, Any] | None = None
    pretrained: Mapping[str, Any] | None = None
    files: Mapping[str, str] | None = None
    int8: Int8 | None = None
    litert_int8: Int8 | None = field(default=None, metadata=OPTIONAL)
    metrics: Metrics
    search_val: Mapping[str, float] | None = field(default=None, metadata=OPTIONAL)
    corruptions: Corruptions | None = field(default=None, metadata=OPTIONAL)
    closer: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    adjusted: Mapping[str, Adjusted] | None = None
    baseline: Comparison | None = None
    teacher: TeacherComparison | None = None
    anytime: Anytime | None = field(default=None, metadata=OPTIONAL)
    shots: Sequence[Shots] | None = field(default=None, metadata=OPTIONAL)
    history: Sequence[Mapping[str, Any]]
    table: Table | None = field(default=None, metadata=OPTIONAL)
    base_ms: float | None = field(default=None, metadata=OPTIONAL)
    layers: Sequence[Layer] | None = field(default=None, metadata=OPTIONAL)

    @property
    def network(self) -> Network:
        """What the page is about."""
        return self.arch

    @property
    def latency(self) -> Latency | None:
        """Layer by layer; None where no table is at hand."""
        if self.table is None or self.base_ms is None or self.layers is None:
            return None
        return Latency(table=self.table, base_ms=self.base_ms, layers=self.layers)


@dataclass(frozen=True, kw_only=True)
class EvaluateFacts(RunFacts):
    """Of a finished model on other pictures.

    data, metrics, corruptions: as their classes say.  preprocessing: what is done to a picture.  closer: `supernet.closer`.
    """

    data: Evaluated
    preprocessing: Mapping[str, Any]
    metrics: Metrics
    corruptions: Corruptions | None = field(default=None, metadata=OPTIONAL)
    closer: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
