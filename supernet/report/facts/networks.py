"""The facts of networks: their layers, what they cost, how candidates did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from supernet.report.facts.reading import OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One searchable layer: shapes (channels, px at its input), the operation, its latency, and the probability of each.

    stage: number.  c_in, c_out: channels.  stride, resolution: pixels.  op: its name.  ms: latency.  probabilities: by operation.
    """

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
class Network:
    """An architecture with its costs. `ops` is None of a timm baseline; `predicted_error` is relative.

    arch_def: timm strings by stage.  predicted_ms, budget_ms: latency.  macs, params: for one image.
    peak_activation_bytes: of one float32 image; None in files of before.
    """

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
    """As `supernet.problem.Candidate`, and whether it was derived.

    Fields and units are those there: ops, costs, log_probability, accuracy, mean_group_accuracy, gap, non_dominated,
    cross_entropy, by_hand, gaps, distance.
    """

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
    """One device, budget and fairness weight that a search for several answers; losses in nats, as the search foretells them.

    budget_ms: as asked.  ops: of each layer.  costs: by name, in their units.  mean_loss, gap: in nats.  folder: of its derived.json.
    """

    device: str
    budget_ms: float
    weight: float
    ops: Sequence[str]
    costs: Mapping[str, float]
    mean_loss: float
    gap: float
    folder: str
