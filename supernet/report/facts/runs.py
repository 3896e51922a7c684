"""The facts of a run: what was asked, the data, the architecture and its latency, what came out, with what it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supernet.report.facts.measured import Adjusted, Comparison, Int8, Metrics, TeacherComparison
from supernet.report.facts.reading import OPTIONAL, to_json

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set. `counts`: images by split, attribute and group; `positive`: the class that somebody chose of two;
    `by_class`: there are no groups, and each class stands for one."""

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
    """Pictures that a finished model was measured on; `split` "all" where there are none."""

    name: str
    split: str
    classes: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    positive: str | None = None
    by_class: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A latency table. `validation`: its sums against `n` whole networks on the device (`mape`, `spearman`); `error`: relative."""

    device: str
    provenance: str
    source: str
    licence: str | None
    validation: Mapping[str, Any] | None
    notes: str | None = None
    hash: str
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One searchable layer: shapes (channels, px at its input), the operation, its latency, and the probability of each."""

    layer: int
    stage: int
    c_in: int
    c_out: int
    stride: int
    resolution: int
    op: str
    ms: float
    probabilities: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency layer by layer: `base_ms` is fixed, of stem, head and classifier."""

    table: Table
    base_ms: float
    layers: Sequence[Layer]


@dataclass(frozen=True, kw_only=True)
class Network:
    """An architecture with its costs. `ops` is None of a timm baseline; `predicted_error` is relative."""

    ops: Sequence[str] | None
    arch_def: Sequence[Sequence[str]] | None
    predicted_ms: float | None
    predicted_error: float | None
    budget_ms: float | None
    macs: float
    params: float
    peak_activation_bytes: float | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Derived(Network):
    """What a search found."""

    log_probability: float | None


@dataclass(frozen=True, kw_only=True)
class Trained(Network):
    """What was trained. `estimated`: that no table predicts it, and how good the estimate is or why there is none."""

    name: str
    device: str | None
    estimated: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """As `supernet.problem.Candidate`, and whether it was derived."""

    ops: Sequence[str]
    costs: Mapping[str, float]
    log_probability: float | None = None
    accuracy: float
    mean_group_accuracy: float
    gap: float | None
    non_dominated: bool
    cross_entropy: float | None = None
    by_hand: bool = False
    gaps: Mapping[str, float | None] | None = field(default=None, metadata=OPTIONAL)
    distance: float | None = field(default=None, metadata=OPTIONAL)
    derived: bool


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One device, budget and fairness weight that a search for several answers; losses in nats, as the search foretells them."""

    device: str
    budget_ms: float
    weight: float
    ops: Sequence[str]
    costs: Mapping[str, float]
    mean_loss: float
    gap: float
    folder: str


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Of every run. `asked`: the options by name, as they stand (another version's may lack some); `notes`: for the person."""

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
    """`seconds` of wall time by part; `evaluations`: of an ask/tell strategy; `history`: the rows of metrics.jsonl."""

    seconds: Mapping[str, float]
    steps: int | None = field(default=None, metadata=OPTIONAL)
    data: Data
    table: Table
    derived: Derived
    evaluations: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    answers: Sequence[Answered] | None = field(default=None, metadata=OPTIONAL)
    base_ms: float
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
    def latency(self) -> Latency:
        """Layer by layer."""
        return Latency(table=self.table, base_ms=self.base_ms, layers=self.layers)


@dataclass(frozen=True, kw_only=True)
class TrainFacts(RunFacts):
    """`files`: what was written for a device, or why not; `closer`: `supernet.closer`; `table`, `base_ms`, `layers`: where the table is at hand."""

    seconds: Mapping[str, float]
    data: Data
    arch: Trained
    preprocessing: Mapping[str, Any] | None = None
    pretrained: Mapping[str, Any] | None = None
    files: Mapping[str, str] | None = None
    int8: Int8 | None = None
    metrics: Metrics
    closer: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    adjusted: Mapping[str, Adjusted] | None = None
    baseline: Comparison | None = None
    teacher: TeacherComparison | None = None
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
    """Of a finished model on other pictures."""

    data: Evaluated
    preprocessing: Mapping[str, Any]
    metrics: Metrics
    closer: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
