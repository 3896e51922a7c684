"""What a search ends with: the architectures that were compared on search-val, the derived one first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from supernet.config import SearchConfig
from supernet.costs.table import CostTable
from supernet.data import Batches, GroupedData
from supernet.evaluate import predict, subnet
from supernet.metrics import evaluate_predictions
from supernet.network import Supernet

CALIBRATION_BATCHES = 10


@dataclass(frozen=True)
class Candidate:
    """One architecture, and how it does on search-val with the supernet's weights.

    `log_probability` is Σ_l log p[l, op(l)] where the strategy has a p. `gap` is the hard gap of the notion asked for, the
    worst over the attributes. `non_dominated`: no other candidate is as good in error, gap and every cost, and better in one.
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
    """`candidates[0]` is the derived architecture; p_LK (L, K) the probabilities it was derived from, if any."""

    candidates: tuple[Candidate, ...]
    p_LK: np.ndarray | None


def non_dominated(objective_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: rows (M objectives, smaller is better) that no other row dominates."""
    no_worse_NN = (objective_NM[:, None] <= objective_NM[None]).all(-1)
    better_NN = (objective_NM[:, None] < objective_NM[None]).any(-1)
    return ~(no_worse_NN & better_NN).any(0)


def compare(
    config: SearchConfig,
    data: GroupedData,
    costs: Mapping[str, CostTable],
    supernet: Supernet,
    index_NL: Sequence[np.ndarray],
    log_p_LK: np.ndarray | None,
) -> tuple[Candidate, ...]:
    """Scores architectures on search-val with the supernet's weights, batch-norm statistics measured anew for each.

    Supernet scores rank networks weakly (Yu et al., "Evaluating the search phase of NAS", ICLR 2020), which is why they are
    shown beside the probability and decide nothing.
    """
    shared = {"mean": data.mean, "std": data.std, "device": supernet.conv_stem.weight.device}
    train = Batches(data.train, config.batch_size, stratify=True, seed=config.seed, **shared)
    calibration = [train.at(step) for step in range(min(CALIBRATION_BATCHES, len(train)))]
    val = Batches(data.val, 256, stratify=True, floor=0.0, seed=0, **shared)  # the same images for every seed
    positions = np.concatenate(val.order(0))[: max(config.eval_images, 256)]
    batches = [val.at(step) for step in range(-(-len(positions) // 256))]
    positions = np.concatenate(val.order(0)[: len(batches)])
    rows, objectives = [], []
    for index_L in tqdm(index_NL, desc="compare", unit="architecture"):
        ops = supernet.space.names(index_L)
        prob_NC = predict(subnet(supernet, ops, calibration), batches)
        metrics = evaluate_predictions(
            prob_NC, data.val.label_N[positions], data.val.group_NA[positions], data.classes, data.attributes, n_boot=0
        )
        raise SystemExit(metrics)
    return tuple(rows)
