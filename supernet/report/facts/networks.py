"""The facts of networks: their layers, what they cost, how candidates did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supernet.report.facts.reading import OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One searchable layer: shapes (channels, px at its input), the operation, its latency, and the probability of each.

    stage: number.  c_in, c_out: channels.  stride, resolution: pixels.  op: its name.  ms: latency; bops: bit operations, where it has none.  probabilities: by operation.
    utilisation: of a modelled array's cells, in [0, 1]; None elsewhere, and of an identity.
    """

    layer: int
    stage: int
    c_in: int
    c_out: int
    stride: int
    resolution: int
    op: str
    ms: float | None
    probabilities: Mapping[str, float] | None = None
    utilisation: float | None = field(default=None, metadata=OPTIONAL)
    bops: float | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Network:
    """An architecture with its costs. `ops` is None of a timm baseline; `predicted_error` is relative.

    arch_def: timm strings by stage.  predicted_ms, budget_ms: latency.  macs, params: for one image.
    peak_activation_bytes: of one float32 image; None in files of before.  utilisation: of a modelled array's cells; None elsewhere.
    bops: bit operations, `bits` of weights/activations; None where they have no budget and no layer has bits of its own.
    energy_mj: of an image; None where no power is known.  limits: of a training, the budgets beside latency that its search kept, by the cost's name.
    """

    ops: Sequence[str] | None
    arch_def: Sequence[Sequence[str]] | None
    predicted_ms: float | None
    predicted_error: float | None
    budget_ms: float | None
    macs: float
    params: float
    peak_activation_bytes: float | None = field(default=None, metadata=OPTIONAL)
    utilisation: float | None = field(default=None, metadata=OPTIONAL)
    bops: float | None = field(default=None, metadata=OPTIONAL)
    bits: str | None = field(default=None, metadata=OPTIONAL)
    energy_mj: float | None = field(default=None, metadata=OPTIONAL)
    limits: Mapping[str, float] | None = field(default=None, metadata=OPTIONAL)


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
    cross_entropy, by_hand, gaps, distance, options (None in a file of before).
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
    options: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
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
