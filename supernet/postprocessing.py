"""Fairness after training: a network's outputs adjusted by group, fitted on search-val. A baseline for the search.

Two classes: fairlearn's ThresholdOptimizer (Hardt et al., NeurIPS 2016). More: a temperature and an offset of each class for
each group, fitted to cross-entropy + λ_fair · soft gap, the search's own loss (temperature: Guo et al., ICML 2017).
Either needs to know the group of whoever is classified. Shapes: V validation samples, N others, C classes, G groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor
from torch.nn import functional as F

from supernet.fairness import get_notion, soft_gap

Array = np.ndarray
CONSTRAINTS = {
    "demographic_parity": "demographic_parity",
    "equal_opportunity": "true_positive_rate_parity",
    "equalized_odds": "equalized_odds",
}  # of fairlearn; it has none for the other notions, and equalized odds implies what comes nearest
STEPS, RATE, RIDGE = 200, 0.05, 1e-2


class Adjusted(NamedTuple):
    """prob_NC after the adjustment (one-hot where it decides by thresholds), and how it was made."""

    prob_NC: Array
    method: str


def adjust_by_group(
    prob_VC: Array,
    label_V: Array,
    group_V: Array,
    prob_NC: Array,
    group_N: Array,
    notion: str,
    weight: float,
    seed: int,
) -> Adjusted:
    """Fits on V, adjusts N. A sample whose group is unknown, or has nobody in V, is left as it was."""
    known_V = group_V >= 0
    prob_VC, prob_NC = prob_VC.astype(np.float64), prob_NC.astype(np.float64)  # fairlearn cannot take float32
    prob_VC, label_V, group_V = prob_VC[known_V], label_V[known_V], group_V[known_V]
    fitted_N = np.isin(group_N, group_V)
    groups = np.unique(group_V)
    every_cell = all(len(np.unique(label_V[group_V == g])) == 2 for g in groups)
    by_thresholds = prob_VC.shape[1] == 2 and get_notion(notion).hard and every_cell
    adjusted_NC = prob_NC.copy()
    if by_thresholds:
        constraint = CONSTRAINTS.get(notion.split(":")[0], "equalized_odds")
        predicted_N = _thresholds(prob_VC, label_V, group_V, prob_NC[fitted_N], group_N[fitted_N], constraint, seed)
        adjusted_NC[fitted_N] = np.eye(2)[predicted_N]
        method = (
            f"fairlearn's ThresholdOptimizer, constraint {constraint} (predictions drawn at random between thresholds)"
        )
        return Adjusted(adjusted_NC, method)
    adjusted_NC[fitted_N] = _scaling(prob_VC, label_V, group_V, prob_NC[fitted_N], group_N[fitted_N], notion, weight)
    method = f"a temperature and class offsets for each group, fitted to cross-entropy + {weight:g} · soft gap"
    return Adjusted(adjusted_NC, method)


class _AsGiven(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose features are already the probabilities."""

    def fit(self, prob_NC: Array, label_N: Array) -> _AsGiven:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, prob_NC: Array) -> Array:
        return np.asarray(prob_NC)


def _thresholds(
    prob_VC: Array, label_V: Array, group_V: Array, prob_NC: Array, group_N: Array, constraint: str, seed: int
) -> Array:
    """(N,) predicted classes, 0 or 1."""
    optimizer = ThresholdOptimizer(
        estimator=_AsGiven(),
        constraints=constraint,
        objective="accuracy_score",
        prefit=True,
        predict_method="predict_proba",
    )
    optimizer.fit(prob_VC, label_V, sensitive_features=group_V)
    return np.asarray(optimizer.predict(prob_NC, sensitive_features=group_N, random_state=seed)).astype(int)


def _scaling(
    prob_VC: Array, label_V: Array, group_V: Array, prob_NC: Array, group_N: Array, notion: str, weight: float
) -> Array:
    """(N, C) probabilities; a small ridge keeps a group of few from being fitted by heart."""
    num_groups, num_classes = int(max(group_V.max(), group_N.max(initial=0))) + 1, prob_VC.shape[1]
    log_cold_G = torch.zeros(num_groups, requires_grad=True)  # log (1 / temperature)
    offset_GC = torch.zeros(num_groups, num_classes, requires_grad=True)

    def logs(prob_BC: Array) -> Tensor:
        return torch.from_numpy(np.log(np.clip(prob_BC, 1e-12, None))).float()

    def adjusted(log_BC: Tensor, at_B: Tensor) -> Tensor:
        return log_BC * log_cold_G.exp()[at_B, None] + offset_GC[at_B]

    log_VC, label, group = logs(prob_VC), torch.from_numpy(label_V), torch.from_numpy(group_V)
    optimizer = torch.optim.Adam([log_cold_G, offset_GC], RATE)
    for _ in range(STEPS):
        logits_VC = adjusted(log_VC, group)
        loss = F.cross_entropy(logits_VC, label) + RIDGE * offset_GC.square().mean()
        if weight:
            loss = loss + weight * soft_gap(logits_VC.softmax(1), label, group, num_groups, notion)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return adjusted(logs(prob_NC), torch.from_numpy(group_N)).softmax(1).numpy()
