"""What a strategy is given, and what it ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from supernet.config import SearchConfig
from supernet.costs.latency import LatencyTable
from supernet.costs.table import CostTable
from supernet.data import Batches, GroupedData
from supernet.evaluate import brief_scores, predict, subnet
from supernet.network import Supernet
from supernet.runs import RunFolder
from supernet.space import SearchSpace
from supernet.strategies.front import non_dominated

CALIBRATION_BATCHES = 10


@dataclass(frozen=True)
class Problem:
    """What is searched. `budgets` gives the most that each named cost may be; `notes` are lines for the person.

    `budget_ms` is the latency budget as asked; with a quantile, the one in `budgets` is tighter.
    """

    folder: RunFolder
    space: SearchSpace
    data: GroupedData
    table: LatencyTable
    costs: dict[str, CostTable]
    budgets: dict[str, float]
    budget_ms: float
    device: torch.device
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """One architecture, and how it does on search-val with the supernet's weights.

    `log_probability` is Σ_l log p[l, op(l)] where the strategy has a p. `gap` is the hard gap of the notion asked for, the
    worst over the attributes. `non_dominated`: no other candidate is as good in error, gap and latency, and better in one.
    """

    ops: tuple[str, ...]
    costs: dict[str, float]
    log_probability: float | None
    accuracy: float
    balanced_accuracy: float
    gap: float
    non_dominated: bool


@dataclass(frozen=True)
class Outcome:
    """`candidates[0]` is the derived architecture; p_LK (L, K) the probabilities it was derived from, if any.

    `seconds` of wall time by part, `steps` of training that this call did.
    """

    candidates: tuple[Candidate, ...]
    p_LK: np.ndarray | None
    seconds: dict[str, float]
    steps: int


def compare(
    config: SearchConfig,
    problem: Problem,
    supernet: Supernet,
    index_NL: Sequence[np.ndarray],
    log_p_LK: np.ndarray | None,
) -> tuple[Candidate, ...]:
    """Scores architectures on search-val with the supernet's weights, batch-norm statistics measured anew for each.

    Supernet scores rank networks weakly (Yu et al., "Evaluating the search phase of NAS", ICLR 2020): they are shown beside
    the probability and decide nothing.
    """
    data = problem.data
    shared: dict[str, Any] = {"stratify": True, "mean": data.mean, "std": data.std, "device": problem.device}
    train = Batches(data.train, config.batch_size, seed=config.seed, **shared)
    calibration = [train.at(step) for step in range(min(CALIBRATION_BATCHES, len(train)))]
    # the same images for every seed, in the data's own proportions
    val = Batches(data.val, 256, floor=0.0, seed=0, **shared)
    batches = [val.at(step) for step in range(min(-(-config.eval_images // 256), len(val)))]
    label_N = torch.cat([batch.label for batch in batches]).cpu().numpy()
    group_NA = torch.cat([batch.group for batch in batches]).cpu().numpy()
    rows = []
    for index_L in tqdm(index_NL, desc="compare", unit="architecture"):
        ops = supernet.space.names(index_L)
        prob_NC = predict(subnet(supernet, ops, calibration), batches)
        rows.append(
            Candidate(
                ops=ops,
                costs={name: cost.total(index_L) for name, cost in problem.costs.items()},
                log_probability=None if log_p_LK is None else float(log_p_LK[np.arange(len(index_L)), index_L].sum()),
                **brief_scores(prob_NC, label_N, group_NA, data, config.fairness),
                non_dominated=True,
            )
        )
    front_N = non_dominated(np.array([[1 - row.balanced_accuracy, row.gap, row.costs["latency"]] for row in rows]))
    return tuple(replace(row, non_dominated=bool(on_front)) for row, on_front in zip(rows, front_N, strict=True))
