"""Draws keep rare classes and groups: caps, splits that we hold out, group mixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.data.drawing import Share, apportion, draw, draw_mix
from supernet.data.floors import cells_of, within_bounds
from supernet.data.grouped import Part
from supernet.data.holding_out import hold_out
from supernet.errors import UserError


def part_of(class_sizes: list[int], groups: int = 2, cluster_N: np.ndarray | None = None) -> Part:
    """Classes of these sizes, the groups in turn."""
    label_N = np.repeat(np.arange(len(class_sizes)), class_sizes)
    group_NA = (np.arange(len(label_N)) % groups)[:, None]
    return Part(np.zeros((len(label_N), 1, 1), np.uint8), label_N, group_NA, cluster_N)


def counts(part: Part, classes: int) -> list[int]:
    return np.bincount(part.label_N, minlength=classes).tolist()


def test_a_cap_keeps_each_class_and_two_where_there_are_two() -> None:
    part = part_of([1000, 1, 2, 3])
    drawn = part.take(draw(part, 50, np.random.default_rng(0), "--max-train"))
    assert len(drawn) == 50 and counts(drawn, 4) == [45, 1, 2, 2]
    drawn = part.take(draw(part, 5, np.random.default_rng(0), "--max-train"))
    assert len(drawn) == 5 and min(counts(drawn, 4)) == 1 and set(drawn.group_NA[:, 0]) == {0, 1}


def test_a_cap_below_one_of_each_says_how_many_it_takes() -> None:
    with pytest.raises(UserError, match=r"--max-train 3 is too few .* it takes 12\."):
        draw(part_of([5] * 12), 3, np.random.default_rng(0), "--max-train")


def test_a_cap_of_large_classes_is_the_plain_stratified_draw() -> None:
    part = part_of([60, 30, 10])
    cells = cells_of(part)
    drawn = part.take(draw(part, 50, np.random.default_rng(0), "--max-train"))
    assert np.array_equal(np.bincount(drawn.cell_N), apportion(cells.size_S, 50))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.integers(1, 3), st.data())
def test_quotas_stay_in_their_cells_and_their_sum_stays(sizes: list[int], groups: int, data: st.DataObject) -> None:
    cells = cells_of(part_of(sizes, groups))
    total = data.draw(st.integers(0, int(cells.size_S.sum())))
    least_F, most_F = np.minimum(cells.image_F, 1), np.maximum(cells.image_F - 1, 1)
    quota_S, unmet = within_bounds(apportion(cells.size_S, total), cells, least_F, most_F)
    assert quota_S.sum() == total and (quota_S >= 0).all() and (quota_S <= cells.size_S).all()
    drawn_F = np.array([quota_S[(cells.owner_SM == owner).any(1)].sum() for owner in range(len(least_F) - 1)])
    outside = np.flatnonzero((drawn_F < least_F[:-1]) | (drawn_F > most_F[:-1]))
    assert np.array_equal(outside, unmet)
    needed = sum(least_F[: cells.num_classes])
    if groups == 1 and needed <= total <= sum(most_F[: cells.num_classes]) and total <= most_F[cells.num_classes]:
        assert not len(unmet)


@pytest.mark.parametrize("sizes", [[40, 40, 20, 10, *[1] * 8], [40, 2, 2, 2, 3, 3, 4], [4] * 30, [20, 20]])
def test_what_is_held_out_leaves_two_of_a_class_in_train(sizes: list[int]) -> None:
    part, classes = part_of(sizes), len(sizes)
    rest, test = hold_out(part, 0.2, 0, later=1)
    train, val = hold_out(rest, 0.2, 0)
    for size, *own in zip(sizes, counts(train, classes), counts(test, classes), counts(val, classes), strict=True):
        assert sum(own) == size and own[0] >= min(size, 2), own
        assert (own[1] > 0) == (size >= 3) and (own[2] > 0) == (size >= 4), own
    for split in (train, val, test):
        assert set(split.group_NA[:, 0]) == {0, 1}
    assert len(test) >= round(0.2 * len(part))


def test_too_few_images_of_a_group_are_our_need_not_the_tables_fault() -> None:
    part = part_of([20, 20])
    part.group_NA[:] = 0
    part.group_NA[:2] = 1
    with pytest.raises(UserError, match="it takes 3 images of each group"):
        hold_out(part, 0.2, 0, later=1)


def test_copies_of_a_picture_stay_on_one_side() -> None:
    part = part_of([50, 50])
    copy_N = np.arange(100) // 4 * 2 + np.arange(100) % 2  # each file twice
    images = copy_N.astype(np.uint8)[:, None, None]
    stays, held = hold_out(Part(images, part.label_N, part.group_NA), 0.2, 0)
    assert set(stays.images.flat) & set(held.images.flat)  # type: ignore[union-attr]
    for cluster_N in (None, np.arange(100)):
        stays, held = hold_out(Part(images, part.label_N, part.group_NA, cluster_N), 0.2, 0, copy_N=copy_N)
        assert not set(stays.images.flat) & set(held.images.flat)  # type: ignore[union-attr]
        assert len(stays) + len(held) == 100 and len(held) == pytest.approx(20, abs=2)


def test_whole_clusters_are_held_out_that_leave_each_class_in_train() -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):  # a class that lives in two clusters of 30
        cluster_N = np.arange(300) // 10
        label_N = np.where(cluster_N < 2, 2, rng.integers(0, 2, 300))
        part = Part(np.zeros((300, 1, 1), np.uint8), label_N, rng.integers(0, 2, (300, 1)), cluster_N)
        stays, held = hold_out(part, 0.2, seed)
        assert set(stays.label_N) == {0, 1, 2} and not set(stays.cluster_N) & set(held.cluster_N)  # type: ignore[arg-type]
    part = Part(part.images, np.where(cluster_N < 1, 2, label_N % 2), part.group_NA, cluster_N)
    assert 2 in hold_out(part, 0.2, 0)[0].label_N


def test_a_group_mix_keeps_the_rare_class() -> None:
    label_N = np.zeros(1000, dtype=np.int64)
    label_N[7], group_NA = 1, (np.arange(1000) % 2)[:, None]
    part = Part(np.zeros((1000, 1, 1), np.uint8), label_N, group_NA)
    for seed in range(5):
        drawn = part.take(draw_mix(part, (Share(0, 1, 0.05),), 60, seed))
        assert len(drawn) == 60 and drawn.label_N.sum() == 1 and drawn.group_NA.sum() == 3
    part.group_NA[7] = -1
    with pytest.raises(UserError, match="only images with known groups"):
        draw_mix(part, (Share(0, 1, 0.05),), 60, 0)
