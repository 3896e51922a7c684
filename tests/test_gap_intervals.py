"""Cells, means and gaps with their intervals, against formulas written out; with endless samples an interval is its value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from supernet.fairness import get_notion
from supernet.fairness.notions import speaks_of_all_samples
from supernet.figures import rates
from supernet.gap_intervals import _absolute, _pairs, gap_interval
from supernet.intervals import Cells, Interval, _design, cells, difference_interval, joint, mean_interval, rate_interval
from supernet.metrics import _resampled, evaluate_predictions

SCORE = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])[:, None]
MASK = np.array([1, 1, 0, 1, 1, 1, 1, 0.0])[:, None]
GROUP = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def many(rates: list[float], sizes: list[float]) -> Cells:
    """Rates of groups that are known all but exactly."""
    rate_GE, size_GE = np.array(rates)[:, None], 1e12 * np.array(sizes)[:, None]
    return Cells(
        rate_GE,
        size_GE,
        size_GE,
        size_GE,
        np.full_like(rate_GE, np.nan),
        np.full(rate_GE.shape, True),
        np.ones_like(rate_GE),
    )


def test_a_mean_of_single_samples_has_students_interval() -> None:
    found = cells(SCORE, MASK, GROUP, 2, np.arange(8), is_rate=False)
    for group, own in enumerate(([3, 1, 1], [5, 9, 2])):
        mean, error = np.mean(own), np.std(own, ddof=1) / np.sqrt(3)
        assert (
            found.rate_GE[group, 0] == pytest.approx(mean) and found.size_GE[group, 0] == found.units_GE[group, 0] == 3
        )
        assert found.error_GE[group, 0] == pytest.approx(error)
        low, high = (ends[group, 0] for ends in rate_interval(found))
        half = stats.t.ppf(0.975, 2) * error
        assert (low, high) == pytest.approx((mean - half, mean + half))


def test_a_mean_of_clusters_has_theirs() -> None:
    unit = np.array([7, 7, 7, 9, 2, 2, 4, 4])  # group 0: {3, 1}, {1}; group 1: {5, 9}, {2}
    found = cells(SCORE, MASK, GROUP, 2, np.unique(unit, return_inverse=True)[1], is_rate=False)
    for group, clusters in enumerate(([[3, 1], [1]], [[5, 9], [2]])):
        mean = np.mean(np.concatenate(clusters))
        residual = [sum(own) - mean * len(own) for own in clusters]
        error = np.sqrt(2 / 1 * np.sum(np.square(residual))) / 3
        assert (found.units_GE[group, 0], found.error_GE[group, 0]) == (2, pytest.approx(error))


def test_a_mean_whose_spread_is_unknown_has_no_interval() -> None:
    """Not that of a rate, 0 to 1, which no decibel is inside; so it is when every group is one cluster."""
    parity, loss = get_notion("accuracy_parity"), get_notion("loss_parity")
    for unit, known in (([0, 0, 0, 0, 1, 1, 1, 1], [False, False]), ([0, 0, 2, 2, 1, 1, 1, 1], [True, False])):
        found = cells(10 * SCORE, np.ones_like(MASK), GROUP, 2, np.array(unit), is_rate=False)
        ends = rate_interval(found)
        assert np.isfinite(ends.low[:, 0]).tolist() == np.isfinite(ends.high[:, 0]).tolist() == known
        assert [row[0]["low"] is not None for row in rates(found, True)] == known
        for ends_of_gap in (gap_interval(found, parity), gap_interval(found, loss)):
            assert np.isnan(ends_of_gap).all(), "of a group whose spread is unknown the gap's is, too"
        assert np.isnan(mean_interval(found)).all()
    lone = cells(SCORE[:1], MASK[:1], GROUP[:1], 1, np.arange(1), is_rate=False)
    assert np.isnan(rate_interval(lone)).all(), "one sample"
    as_rates = cells(
        (SCORE > 2).astype(float), np.ones_like(MASK), GROUP, 2, np.array([0, 0, 0, 0, 1, 1, 1, 1]), is_rate=True
    )
    assert np.array(rate_interval(as_rates))[..., 0].tolist() == [[0, 0], [1, 1]], "of a rate that much is known"


def test_a_loss_gap_between_groups_of_one_cluster_each_is_unknown() -> None:
    rng = np.random.default_rng(0)
    prob, label, group = rng.dirichlet([1, 1], 40), rng.integers(0, 2, 40), np.arange(40) % 2
    found = evaluate_predictions(
        prob, label, group[:, None], ("a", "b"), {"x": ("p", "q")}, cluster=group, n_boot=10, margin=9.0
    )
    gap = found["attributes"]["x"]["gaps"]["loss_parity"]
    assert gap["value"] > 0 and gap["low"] is gap["high"] is None and gap["within_margin"] is False


def test_a_mean_over_groups_adds_their_distances_as_squares() -> None:
    found = cells((SCORE > 2).astype(float), np.ones_like(MASK), GROUP, 2, np.arange(8), is_rate=True)
    each, (low, high) = rate_interval(found), mean_interval(found)
    below, above = (found.rate_GE - each.low)[:, 0], (each.high - found.rate_GE)[:, 0]
    mean = found.rate_GE.mean()
    assert low[0] == pytest.approx(mean - np.hypot(*below) / 2) and high[0] == pytest.approx(
        mean + np.hypot(*above) / 2
    )


def test_a_mean_over_groups_is_as_unsure_as_its_clusters_where_these_span_them() -> None:
    """Each writer writes every class: of G classes that a writer has all right or all wrong, the mean is as unsure as one."""
    writer, label = np.repeat(np.arange(40), 4), np.tile(np.arange(4), 40)
    right = (np.random.default_rng(0).random(40) < 0.8).astype(float)[writer][:, None]
    found = cells(right, np.ones_like(right), label, 4, writer, is_rate=True)
    assert found.wider_GE[0, 0] == pytest.approx(2), "√4"
    one = rate_interval(cells(right[label == 0], np.ones((40, 1)), np.zeros(40, int), 1, np.arange(40), is_rate=True))
    low, high = mean_interval(found)
    assert high[0] - low[0] == pytest.approx(one.high[0, 0] - one.low[0, 0], rel=0.2)
    apart = cells(right, np.ones_like(right), label, 4, writer * 4 + label, is_rate=True)
    assert apart.wider_GE[0, 0] == 1, "clusters of one class each"


def test_coverage_of_balanced_accuracy_where_each_writer_writes_all_classes() -> None:
    rng, hits = np.random.default_rng(1), 0
    writer, label = np.repeat(np.arange(50), 20), np.tile(np.arange(10), 100)
    for _ in range(200):
        right = (rng.random(1000) < rng.beta(3.6, 0.4, 50)[writer]).astype(float)[:, None]
        low, high = mean_interval(cells(right, np.ones_like(right), label, 10, writer, is_rate=True))
        hits += bool(low[0] <= 0.9 <= high[0])
    assert hits >= 0.9 * 200


def test_a_ratio_of_losses_and_the_worst_loss_have_ends_that_few_images_allow() -> None:
    """A mean loss of few images may be 0 or less by its interval: then nothing is known of the ratio, and 1 − loss has no floor."""
    score = np.array([0.1, 0.1, 4.0, 0.1, 0.1, 6.0])[:, None]
    found = cells(score, np.ones_like(score), np.array([0, 0, 0, 1, 1, 1]), 2, np.arange(6), is_rate=False)
    assert (rate_interval(found).low < 0).all()
    assert gap_interval(found, get_notion("loss_parity:ratio")) == (0, 1)
    low, high = gap_interval(found, get_notion("loss_parity:worst"))
    assert low < 1 - found.rate_GE.max() < high and low < 0


def test_an_absolute_value_has_its_ends() -> None:
    low, high = _absolute(Interval(np.array([-0.2, 0.1, -0.5, 0.0]), np.array([0.1, 0.3, -0.2, 0.4])))
    assert low.tolist() == [0, 0.1, 0.2, 0] and high.tolist() == [0.2, 0.3, 0.5, 0.4]


def test_three_groups_have_three_pairs_that_hold_at_once() -> None:
    found = many([0.9, 0.6, 0.3], [1e-10, 1e-10, 1e-10])
    for ours, theirs in zip(_pairs(found, 0.95), difference_interval(found, joint(0.95, 3)), strict=True):
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize(
    ("notion", "value"),
    [
        ("accuracy_parity", 0.6),
        ("accuracy_parity:mean", (1 / 6 + 2 / 15 + 13 / 30) / 3),
        ("unfairness", 1 / 6 + 2 / 15 + 13 / 30),
        ("accuracy_parity:square", ((1 / 6) ** 2 + (2 / 15) ** 2 + (13 / 30) ** 2) / 3),
        ("accuracy_ratio", 1 - 0.3 / 0.9),
        ("worst_group_accuracy", 0.7),
    ],
)
def test_of_endless_samples_the_interval_is_the_gap(notion: str, value: float) -> None:
    """Rates .9, .6, .3 of groups of 6, 1 and 2 ninths: .7333 over all."""
    low, high = gap_interval(many([0.9, 0.6, 0.3], [6, 1, 2]), get_notion(notion))
    assert (low, high) == pytest.approx((value, value), abs=1e-4)


def test_every_figure_over_groups_lies_inside_its_interval() -> None:
    rng = np.random.default_rng(0)
    prob, label = rng.dirichlet([1, 1, 1], 300), rng.integers(0, 3, 300)
    label[:200] = prob[:200].argmax(1)
    found = evaluate_predictions(
        prob, label, np.arange(300)[:, None] % 3, ("a", "b", "c"), {"x": ("p", "q", "r")}, n_boot=60
    )
    own = found["attributes"]["x"]
    for name in ("mean_group_accuracy", "worst_group_accuracy", "pqd"):
        assert 0 <= own[name]["low"] < own[name]["value"] < own[name]["high"] <= 1, name
    for name in ("cross_entropy", "ece"):
        assert 0 < found[name]["low"] < found[name]["value"] < found[name]["high"], name


def test_notions_say_whether_they_are_of_the_second_class_alone_and_of_all_samples() -> None:
    one_sided = ("equal_opportunity", "demographic_parity:ratio", "equalized_odds:worst")
    both = ("demographic_parity", "equalized_odds", "accuracy_parity", "accuracy_ratio", "worst_group_accuracy")
    assert all(get_notion(name).one_sided for name in one_sided) and not any(
        get_notion(name).one_sided for name in both
    )
    everyone = ("accuracy_parity", "loss_parity", "unfairness", "accuracy_ratio", "worst_group_accuracy")
    assert all(map(speaks_of_all_samples, everyone))
    assert not any(map(speaks_of_all_samples, ("demographic_parity", "equal_opportunity", "equalized_odds")))


def test_a_design_effect_that_cannot_be_estimated_is_a_clusters_mean_size() -> None:
    column = lambda *values: np.array(values, float)[:, None]  # noqa: E731
    found = _design(column(np.nan, np.nan, np.nan), column(6, 5, 0), column(2, 1, 0))
    assert found[:, 0].tolist() == [3, 5, 1]
    found = _design(column(3, 0.5, np.nan), column(4, 12, 7), column(2, 6, 2))
    pooled = (3 * 4 + 0.5 * 12) / 16
    assert found[:, 0] == pytest.approx([3, max(pooled, 1), 3.5]), (
        "never below what all groups say together, nor below 1"
    )


def test_a_calibration_error_is_reflected_and_a_cross_entropy_is_not() -> None:
    """The calibration error of a resample is too large: the basic interval takes that off (Davison & Hinkley 1997, eq. 5.6)."""
    draws_R = 0.095 + 0.02 * np.random.default_rng(0).random(400)
    low, high = np.quantile(draws_R, [0.025, 0.975])
    found = {name: _resampled(name, {name: np.array([0.1])}, {name: draws_R}, 0) for name in ("ece", "cross_entropy")}
    assert (found["cross_entropy"]["low"], found["cross_entropy"]["high"]) == pytest.approx((low, high))
    assert (found["ece"]["low"], found["ece"]["high"]) == pytest.approx((0.2 - high, 0.2 - low))
