"""Thresholds of early exits: exact over the grid, never over the budget."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from supernet.anytime import LEVELS, NEVER, answered, grid, leaves

COSTS = (1.0, 2.5, 4.0)


def outputs(images: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(N, S, C) probabilities that get better from exit to exit, (S,) labels."""
    rng = np.random.default_rng(0)
    label_S = rng.integers(0, classes, images)
    logits = rng.normal(size=(3, images, classes)) + np.array([0.5, 1.5, 3.0])[:, None, None] * np.eye(classes)[label_S]
    prob = np.exp(logits)
    return prob / prob.sum(-1, keepdims=True), label_S


def test_a_picture_leaves_where_it_is_first_sure() -> None:
    confidence = np.array([[0.9, 0.6, 0.6], [0.95, 0.8, 0.6], [0.5, 0.5, 0.5]])
    prob_NSC = np.stack([confidence, 1 - confidence], -1)
    left_S = leaves(prob_NSC, (0.9, 0.8))
    assert left_S.tolist() == [0, 1, 2], "at the threshold itself, too"
    np.testing.assert_array_equal(answered(prob_NSC, left_S)[:, 0], [0.9, 0.8, 0.5])
    assert leaves(prob_NSC, (NEVER, NEVER)).tolist() == [2, 2, 2]


@pytest.mark.parametrize("budget", (1.0, 1.7, 2.5, 3.3, 4.0))
def test_the_best_point_is_that_of_brute_force(budget: float) -> None:
    prob_NSC, label_S = outputs()
    found = grid(prob_NSC, label_S, COSTS)
    confidence_ES = prob_NSC[:2].max(-1)
    levels = np.linspace(0, 1, LEVELS, endpoint=False)
    tried = [[*np.unique(np.quantile(own, levels, method="higher")), NEVER] for own in confidence_ES]
    scored = []
    for threshold_E in product(*tried):
        left_S = leaves(prob_NSC, threshold_E)
        right = (answered(prob_NSC, left_S).argmax(-1) == label_S).mean()
        cost = np.asarray(COSTS)[left_S].mean()
        if cost <= budget + 1e-9:
            scored.append((right, -cost))
    best = found.best(budget)
    assert best is not None
    left_S = leaves(prob_NSC, best)
    cost = np.asarray(COSTS)[left_S].mean()
    right = (answered(prob_NSC, left_S).argmax(-1) == label_S).mean()
    assert (right, pytest.approx(-cost)) == max(scored) and cost <= budget + 1e-9


def test_nothing_keeps_a_budget_below_the_first_exit() -> None:
    assert grid(*outputs(), COSTS).best(0.99) is None
