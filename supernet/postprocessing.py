"""Fairness after training: a network's outputs adjusted by group, fitted on search-val. A baseline for the search.

Two classes: fairlearn's ThresholdOptimizer (Hardt et al., NeurIPS 2016). More: a temperature and an offset of each class for
each group, fitted to cross-entropy + λ_fair · soft gap, the search's own loss (temperature: Guo et al., ICML 2017).
Either needs to know the group of whoever is classified. A class of which a group has fewer than `FEWEST` images in search-val would be
unlearned: it keeps the probability that the network gives it there, and what the network takes for it is left as it was. Shapes: V validation samples, N others, C classes, G groups.
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
FEWEST = 5  # images of a group × class


class Adjusted(NamedTuple):
    """prob_NC after the adjustment (one-hot where it decides by thresholds), how it was made, and the (group, class) that V has
    too few images of: they are left as they were."""

    prob_NC: Array
    method: str
    kept: tuple[tuple[int, int], ...] = ()


def adjust_by_group(
    prob_VC: Array,
    label_V: Array,
    group_V: Array,
    prob_NC: Array,
    group_N: Array,
    notion: str,
    weight: float,
    *,
    seed: int = 0,
) -> Adjusted:
    """Fits on V, adjusts N; `seed` of what is drawn at random. A sample whose group is unknown, or has nobody in V, is left as it was."""
    known_V = group_V >= 0
    prob_VC, prob_NC = prob_VC.astype(np.float64), prob_NC.astype(np.float64)  # fairlearn cannot take float32
    prob_VC, label_V, group_V = prob_VC[known_V], label_V[known_V], group_V[known_V]
    fitted_N = np.isin(group_N, group_V)
    count_GC = np.zeros((int(max(group_V.max(initial=-1), group_N.max(initial=-1))) + 1, prob_VC.shape[1]), int)
    np.add.at(count_GC, (group_V, label_V), 1)
    seen_GC = count_GC >= FEWEST
    groups = np.unique(group_V)
    by_thresholds = prob_VC.shape[1] == 2 and get_notion(notion).hard and bool(seen_GC[groups].all())
    adjusted_NC = prob_NC.copy()
    if by_thresholds:
        constraint = CONSTRAINTS.get(notion.split(":")[0], "equalized_odds")
        predicted_N = _thresholds(prob_VC, label_V, group_V, prob_NC[fitted_N], group_N[fitted_N], constraint, seed)
        adjusted_NC[fitted_N] = np.eye(2)[predicted_N]
        method = (
            f"fairlearn's ThresholdOptimizer, constraint {constraint} (predictions drawn at random between thresholds)"
        )
        return Adjusted(adjusted_NC, method)
    own_V = seen_GC[group_V, label_V]
    fit = _Fit(prob_VC[own_V], label_V[own_V], group_V[own_V])
    fitted_N &= seen_GC[group_N, prob_NC.argmax(1)]
    adjusted_NC[fitted_N] = _scaling(fit, prob_NC[fitted_N], group_N[fitted_N], seen_GC, notion, weight)
    method = f"a temperature and class offsets for each group, fitted to cross-entropy + {weight:g} · soft gap"
    kept = tuple((int(g), int(k)) for g in groups for k in np.flatnonzero(~seen_GC[g]))
    return Adjusted(adjusted_NC, method, kept)


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


class _Fit(NamedTuple):
    """What scalings are fitted to."""

    prob_VC: Array
    label_V: Array
    group_V: Array


def _scaling(fit: _Fit, prob_NC: Array, group_N: Array, seen_GC: Array, notion: str, weight: float) -> Array:
    """(N, C) probabilities; a small ridge keeps a group of few from being fitted by heart. What is not seen keeps its own."""
    num_groups = len(seen_GC)
    log_cold_G = torch.zeros(num_groups, requires_grad=True)  # log (1 / temperature)
    offset_GC = torch.zeros(seen_GC.shape, requires_grad=True)
    seen = torch.from_numpy(seen_GC)

    def adjusted(prob: Array, at_B: Tensor) -> Tensor:
        prob_BC = torch.from_numpy(prob).float()
        logits_BC = prob_BC.clamp_min(1e-12).log() * log_cold_G.exp()[at_B, None] + offset_GC[at_B]
        share_BC = logits_BC.masked_fill(~seen[at_B], -torch.inf).softmax(1)
        rest_B1 = (prob_BC * seen[at_B]).sum(1, keepdim=True)
        return torch.where(seen[at_B], rest_B1 * share_BC, prob_BC)

    label, group = torch.from_numpy(fit.label_V), torch.from_numpy(fit.group_V)
    optimizer = torch.optim.Adam([log_cold_G, offset_GC], RATE)
    for _ in range(STEPS if len(fit.label_V) else 0):
        adjusted_VC = adjusted(fit.prob_VC, group)
        loss = F.nll_loss(adjusted_VC.clamp_min(1e-12).log(), label) + RIDGE * offset_GC.square().mean()
        if weight:
            loss = loss + weight * soft_gap(adjusted_VC, label, group, num_groups, notion)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return adjusted(prob_NC, torch.from_numpy(group_N)).numpy()
