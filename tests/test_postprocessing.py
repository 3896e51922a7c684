"""Outputs adjusted by group: fairlearn's thresholds for two classes, scaling by group for more."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate

from supernet.commands.comparison import kept_words
from supernet.postprocessing import CONSTRAINTS, adjust_by_group


def predictions(seed: int, size: int, num_classes: int):
    """Probabilities, labels and groups: group 1 is told apart less well, a tenth of the groups is unknown."""
    rng = np.random.default_rng(seed)
    label, group = rng.integers(num_classes, size=size), (rng.random(size) < 0.3).astype(int)
    logit = rng.normal(size=(size, num_classes))
    logit[np.arange(size), label] += np.where(group, 1.0, 3.0)
    logit[:, 0] += 1.5 * group  # and is taken for class 0 too often
    prob = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    # float32, as networks predict
    return prob.astype(np.float32), label, np.where(rng.random(size) < 0.1, -1, group)


@pytest.mark.parametrize(
    ("notion", "rate"), [("demographic_parity", selection_rate), ("equal_opportunity", true_positive_rate)]
)
def test_two_classes_meet_fairlearns_constraint(notion: str, rate) -> None:
    val, (prob, label, group) = predictions(0, 1500, 2), predictions(1, 1500, 2)
    adjusted, method, _ = adjust_by_group(*val, prob, group, notion, 1.0, seed=0)
    known = group >= 0
    gaps = [
        MetricFrame(
            metrics=rate, y_true=label[known], y_pred=p.argmax(1)[known], sensitive_features=group[known]
        ).difference()
        for p in (prob, adjusted)
    ]
    assert gaps[1] < 0.08 < gaps[0]
    assert CONSTRAINTS[notion] in method and set(adjusted[known].ravel()) == {0.0, 1.0}
    np.testing.assert_array_equal(adjusted[~known], prob[~known])


def test_more_classes_get_calibrated_by_group_and_fairer_in_the_notion_asked_for() -> None:
    val, (prob, label, group) = predictions(0, 1500, 4), predictions(1, 1500, 4)
    adjusted, method, kept = adjust_by_group(*val, prob, group, "demographic_parity", 1.0, seed=0)
    assert kept == ()
    assert "temperature" in method and adjusted.sum(1) == pytest.approx(1)
    known = group >= 0

    def loss(p):
        return -np.log(p[np.arange(len(label)), label])[known].mean()

    def gap(p):
        return max(abs(p[group == 0, k].mean() - p[group == 1, k].mean()) for k in range(4))

    assert loss(adjusted) < loss(prob) and gap(adjusted) < gap(prob) / 2
    np.testing.assert_array_equal(adjusted[~known], prob[~known])


def test_a_group_that_validation_has_nobody_of_is_left_as_it_was() -> None:
    (prob_V, label_V, group_V), (prob, _, group) = predictions(0, 300, 3), predictions(1, 300, 3)
    adjusted, *_ = adjust_by_group(
        prob_V, label_V, np.where(group_V == 1, -1, group_V), prob, group, "accuracy_parity", 1.0
    )
    assert (adjusted[group == 1] == prob[group == 1]).all() and not (adjusted[group == 0] == prob[group == 0]).all()


@pytest.mark.parametrize("notion", ["equalized_odds", "loss_parity"])
def test_where_thresholds_cannot_be_fitted_two_classes_are_scaled(notion: str) -> None:
    """A group without both classes, or a notion of probabilities."""
    prob_V, label_V, group_V = predictions(0, 300, 2)
    if notion == "equalized_odds":
        label_V = np.where(group_V == 1, 0, label_V)
    _, method, _ = adjust_by_group(prob_V, label_V, group_V, prob_V, group_V, notion, 0.0)
    assert "temperature" in method


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("left", [0, 1, 4])
@pytest.mark.parametrize("groups", [(1,), (0, 1)])
def test_a_class_that_a_group_hardly_has_in_search_val_keeps_its_recall(
    num_classes: int, left: int, groups: tuple[int, ...]
) -> None:
    prob_V, label_V, group_V = predictions(0, 1500, num_classes)
    prob, label, group = predictions(1, 1500, num_classes)
    gone = (label_V == 1) & np.isin(group_V, groups)
    for g in groups:
        gone[np.flatnonzero(gone & (group_V == g))[:left]] = False
    adjusted, method, kept = adjust_by_group(
        prob_V[~gone], label_V[~gone], group_V[~gone], prob, group, "demographic_parity", 1.0, seed=0
    )
    assert set(kept) == {(g, 1) for g in groups} and "temperature" in method
    assert adjusted.sum(1) == pytest.approx(1, abs=1e-5)
    for g in groups:
        own = (group == g) & (label == 1)
        before, after = ((p[own].argmax(1) == 1).mean() for p in (prob, adjusted))
        assert after >= before
        np.testing.assert_allclose(adjusted[group == g, 1], prob[group == g, 1], rtol=1e-5)
    if num_classes > 2 or groups == (1,):
        assert not np.allclose(adjusted[group == 0], prob[group == 0]), "the rest is adjusted"


def test_a_group_of_a_few_is_left_as_it_was() -> None:
    prob_V, label_V, group_V = predictions(0, 300, 3)
    few = (group_V == 0) | (np.cumsum(group_V == 1) <= 4)
    adjusted, _, kept = adjust_by_group(
        prob_V[few], label_V[few], group_V[few], prob_V, group_V, "accuracy_parity", 1.0
    )
    assert set(kept) == {(1, 0), (1, 1), (1, 2)} and (adjusted[group_V == 1] == prob_V[group_V == 1]).all()


def test_the_words_name_what_was_kept() -> None:
    assert kept_words([], ("a",), ("x",)) == ""
    told = kept_words([(1, 0)] * 6, ("a", "b"), ("x", "y"))
    assert told.startswith(
        '; as trained, for fewer than 5 images in search-val: "x" with group "b", '
    ) and told.endswith("and 1 more")
