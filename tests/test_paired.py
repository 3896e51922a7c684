"""Differences of two networks' gaps hold the truth, near 0 too, and are exact where they can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from supernet.fairness import NOTIONS, get_notion
from supernet.gap_intervals import gap_interval
from supernet.paired import Pair, gap_difference, is_largest_contrast, mean_difference, paired_differences
from supernet.paired_intervals import paired_interval, paired_rate_interval
from supernet.report.facts import Difference, read
from supernet.report.words import not_worse

PARITY, WORST = NOTIONS["accuracy_parity"], NOTIONS["worst_group_accuracy"]


def drawn(rng: np.random.Generator, size: int, a_G: list[float], b_G: list[float], alike: float) -> Pair:
    """Right or wrong of two networks with these accuracies; `alike`: how often both meet the same chance."""
    group_N = np.repeat(np.arange(len(a_G)), size)
    chance_N = rng.random(len(group_N))
    other_N = np.where(rng.random(len(group_N)) < alike, chance_N, rng.random(len(group_N)))
    right = [(c < np.array(p)[group_N]).astype(float)[:, None] for c, p in ((chance_N, a_G), (other_N, b_G))]
    return Pair(right[0], right[1], np.ones((len(group_N), 1), bool), group_N, len(a_G), np.arange(len(group_N)))


@pytest.mark.parametrize(
    ("a_G", "b_G", "alike"),
    [
        ([0.9, 0.8], [0.9, 0.9], 0.9),  # a gap beside none: a bootstrap's correlation held the truth in 89%
        ([0.9, 0.9], [0.9, 0.9], 0.0),
        ([0.9, 0.8], [0.8, 0.9], 0.9),  # opposed: what raises one gap lowers the other
        ([0.95, 0.9, 0.85], [0.95, 0.9, 0.9], 0.8),
    ],
)
def test_coverage_of_differences_of_gaps(a_G: list[float], b_G: list[float], alike: float) -> None:
    rng, hits = np.random.default_rng(0), np.zeros(3)
    truth = np.ptp(a_G) - np.ptp(b_G), min(b_G) - min(a_G), np.mean(a_G) - np.mean(b_G)
    for _ in range(150):
        pair = drawn(rng, 150, a_G, b_G, alike)
        found = gap_difference(pair, PARITY), gap_difference(pair, WORST), mean_difference(pair)
        hits += [low - 1e-9 <= true <= high + 1e-9 for (low, high), true in zip(found, truth, strict=True)]
    assert (hits >= 0.9 * 150).all(), hits


def test_where_the_gaps_are_clear_the_difference_is_one_of_pairs() -> None:
    """Nine errors in ten are shared: the interval is far narrower than that of two gaps apart, and excludes 0."""
    pair = drawn(np.random.default_rng(1), 2000, [0.9, 0.6], [0.9, 0.65], 0.95)
    low, high = gap_difference(pair, PARITY)
    one, other = ((0.0, *gap_interval(cells, PARITY)) for cells in pair.cells())
    apart = paired_interval(one, other, 0.0)
    assert 0 < low < 0.05 < high and high - low < 0.7 * (apart[1] - apart[0])


def test_one_group_is_the_paired_difference_of_rates() -> None:
    pair = drawn(np.random.default_rng(2), 80, [0.8], [0.7], 0.5)
    assert mean_difference(pair) == pytest.approx(paired_rate_interval(pair.a_NE[:, 0], pair.b_NE[:, 0], pair.unit_N))
    assert np.isnan(gap_difference(pair, PARITY)).all(), "one group has no gap"


def test_clusters_that_span_groups_make_the_mean_difference_as_unsure_as_they_are() -> None:
    """By 4 images a writer in each of 2 groups, all alike: both groups say the same."""
    rng, writer, group = np.random.default_rng(0), np.repeat(np.arange(30), 8), np.tile([0, 0, 0, 0, 1, 1, 1, 1], 30)
    a, b = ((rng.random(30) < 0.7).astype(float)[writer][:, None] for _ in range(2))
    pair = Pair(a, b, np.ones_like(a, dtype=bool), group, 2, writer)
    low, high = mean_difference(pair)
    alone = mean_difference(pair._replace(group_N=np.zeros(240, int), num_groups=1))
    assert high - low == pytest.approx(alone[1] - alone[0], rel=0.1)


def test_the_same_network_differs_by_nothing_but_never_for_certain() -> None:
    pair = drawn(np.random.default_rng(3), 30, [0.9, 0.8], [0.9, 0.8], 1.0)
    for notion in (PARITY, WORST):
        low, high = gap_difference(pair._replace(b_NE=pair.a_NE), notion)
        assert -0.5 < low < 0 < high < 0.5


def test_swapping_the_networks_turns_the_interval_around() -> None:
    pair = drawn(np.random.default_rng(4), 90, [0.9, 0.7, 0.8], [0.8, 0.85, 0.8], 0.5)
    for notion in (PARITY, WORST):
        low, high = gap_difference(pair, notion)
        swapped = gap_difference(pair._replace(a_NE=pair.b_NE, b_NE=pair.a_NE), notion)
        assert swapped == pytest.approx((-high, -low))


def test_which_notions_are_a_largest_contrast() -> None:
    assert [name for name, notion in NOTIONS.items() if is_largest_contrast(notion)] == [
        "accuracy_parity", "demographic_parity", "equal_opportunity", "equalized_odds", "worst_group_accuracy"
    ]  # fmt: skip
    assert not is_largest_contrast(get_notion("equalized_odds:difference:mean"))


def test_not_worse_by_more_than_a_margin_is_a_one_sided_test() -> None:
    """2,000 images, of which each network errs on another 20: neither is better, and both are within two points."""
    label_N, group_NA = np.zeros(2000, int), np.repeat([[0], [1]], 1000, 0)
    taken_N, other_N = (np.isin(np.arange(2000) % 100, wrong).astype(int) for wrong in ([3], [7]))
    shared = (label_N, group_NA, ("x", "y"), {"g": ("p", "q")})
    notions = {"accuracy_parity": PARITY}

    def found(margin: float | None, chosen: slice = slice(None)) -> dict:
        arrays = [np.eye(2)[taken_N][chosen], np.eye(2)[other_N][chosen], label_N[chosen], group_NA[chosen]]
        return paired_differences(*arrays, *shared[2:], n_boot=1, notions=notions, margin=margin)

    accuracy, gap = found(0.02)["accuracy"], found(0.02)["attributes"]["g"]["gaps"]["accuracy_parity"]
    assert accuracy["verdict"] == gap["verdict"] == "not shown" and accuracy["not_worse"] and gap["not_worse"]
    assert not_worse(read(Difference, gap)) == "not worse by more than 0.02: shown"
    assert not found(0.002)["accuracy"]["not_worse"] and not found(0.02, slice(975, 1025))["accuracy"]["not_worse"]
    assert "not_worse" not in found(None)["accuracy"] and not_worse(read(Difference, found(None)["accuracy"])) == ""
    worse = paired_differences(
        np.eye(2)[np.ones(2000, int)], np.eye(2)[taken_N], *shared, n_boot=1, notions=notions, margin=0.02
    )
    assert not worse["accuracy"]["not_worse"] and worse["accuracy"]["verdict"] == "B"
