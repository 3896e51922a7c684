"""What a strategy is given, and what it ends with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from supernet.costs.factors import Cost, leading
from supernet.costs.latency import LatencyTable
from supernet.data import GroupedData
from supernet.engine.runs import RunFolder
from supernet.spaces import SearchSpace
from supernet.task import Task
from supernet.teacher import Teacher


@dataclass(frozen=True)
class Region:
    """The architectures inside one latency budget of one device.

    device:    as it was asked for
    latency:   its cost, ms
    budget_ms: as asked
    limit_ms:  the most that a predicted latency may be; with a quantile, less than the budget
    table:     the device's, for this space
    """

    device: str
    table: LatencyTable
    latency: Cost
    budget_ms: float
    limit_ms: float


@dataclass(frozen=True)
class Problem:
    """What is searched. `budgets` gives the most that each named cost may be; `notes` are lines for the person.

    `budget_ms` is the latency budget as asked; with a quantile, the one in `budgets` is tighter. `task`: classification of the
    data's classes if None. `teacher`: the trained network that the space is made around. `regions`: where one search answers
    several devices and budgets, all of them; `table`, `costs`, `budgets` and `budget_ms` are those of the first.
    Where nothing has a latency (spaces/bits.py), `table` and `budget_ms` are None, and `costs` begins with what stands in its place.
    `folder` is the run's, `device` where it is computed. `strategy`: how it is searched, as asked or by default.
    """

    folder: RunFolder
    space: SearchSpace
    data: GroupedData
    table: LatencyTable | None
    costs: dict[str, Cost]
    budgets: dict[str, float]
    budget_ms: float | None
    device: torch.device
    notes: tuple[str, ...]
    task: Task | None = None
    teacher: Teacher | None = None
    regions: tuple[Region, ...] = ()
    strategy: str = "differentiable"


@dataclass(frozen=True)
class Candidate:
    """One architecture, and how it does on search-val, as a rule with the supernet's weights.

    A gap that search-val does not define is None: unknown, not 0, and nothing is ranked by it.
    `cross_entropy` is the mean over groups; `distance` the KL divergence from the teacher's outputs, if there is one, a mean over groups
    too. Both are nats. By their sum, `merit`, the derived one is chosen.
    `log_probability` is Σ_l log p[l, op(l)] where the strategy has a p. `gap` is the hard gap of the notion asked for, the
    worst over the attributes; `gaps` has that of each, by name, where there are several. `non_dominated`: no other candidate
    is as good in error, gap and latency, and better in one. `by_hand`: it is what one would build without a search
    (`derive.hand_made`).
    `ops` names the option of each layer, `costs` each cost in its unit, `options` those training options that were chosen with it. `accuracy` and `mean_group_accuracy` are shares.
    """

    ops: tuple[str, ...]
    costs: dict[str, float]
    log_probability: float | None
    accuracy: float
    mean_group_accuracy: float
    gap: float | None
    non_dominated: bool
    cross_entropy: float | None = None
    by_hand: bool = False
    gaps: dict[str, float | None] = field(default_factory=dict)
    distance: float | None = None
    options: dict[str, float | bool] = field(default_factory=dict)

    @property
    def sized_by(self) -> str:
        """The name of the cost that it is sized by."""
        return leading(self.costs)

    @property
    def merit(self) -> float | None:
        """Cross-entropy of the labels and distance to the teacher, whatever of them is known: less is better. None of neither.

        Few labels rank networks poorly, the teacher's outputs in their place systematically wrongly: neither alone was the better
        guide (docs/log.md).
        """
        known = [value for value in (self.cross_entropy, self.distance) if value is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class Outcome:
    """`candidates[0]` is the derived architecture; p_LK (L, K) the probabilities it was derived from, if any.

    `seconds` of wall time by part, `steps` of training that this call did. `evaluations`: of an ask/tell strategy, the facts
    for the report. `notes` are lines for the person, on what came out.
    """

    candidates: tuple[Candidate, ...]
    p_LK: np.ndarray | None
    seconds: dict[str, float]
    steps: int
    evaluations: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
