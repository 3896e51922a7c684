"""Drawing: exact shares, stratification, holding out, and the mix's little language."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.data.drawing import Share, apportion, draw_mix, parse_mix, stratified
from supernet.data.grouped import Part
from supernet.data.holding_out import hold_out
from supernet.errors import UserError

ATTRIBUTES = {"sex": ("female", "male"), "age": ("young", "middle", "old")}


def make_part(label_N: np.ndarray, group_NA: np.ndarray, cluster_N: np.ndarray | None = None) -> Part:
    return Part(np.zeros((len(label_N), 2, 2), dtype=np.uint8), label_N, group_NA, cluster_N)


def random_part(size: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    group_NA = np.column_stack([rng.choice(2, size, p=(0.3, 0.7)), rng.choice(3, size, p=(0.2, 0.3, 0.5))])
    return make_part(rng.integers(0, 3, size), group_NA)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(0, 500))
def test_apportion_sums_and_stays_within_one_of_the_exact_share(weights: list[int], total: int) -> None:
    weight_M = np.array(weights)
    count_M = apportion(weight_M, total)
    assert count_M.sum() == total and np.abs(count_M - weight_M / weight_M.sum() * total).max() < 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.data())
def test_stratified_keeps_proportions_and_repeats_by_seed(strata: list[int], data: st.DataObject) -> None:
    stratum_N = np.array(strata)
    count = data.draw(st.integers(0, len(strata)))
    drawn = stratified(stratum_N, count, np.random.default_rng(3))
    assert len(set(drawn.tolist())) == count and np.array_equal(drawn, np.sort(drawn))
    exact = np.bincount(stratum_N, minlength=5) * count / len(strata)
    assert np.abs(np.bincount(stratum_N[drawn], minlength=5) - exact).max() < 1
    assert np.array_equal(drawn, stratified(stratum_N, count, np.random.default_rng(3)))


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 400), st.floats(0.01, 0.99), st.one_of(st.none(), st.integers(5, 300)), st.integers(0, 9))
def test_one_share_is_exact_and_the_subset_the_largest(size: int, share: float, most: int | None, seed: int) -> None:
    part = random_part(size, seed)
    here, rest = int((part.group_NA[:, 0] == 0).sum()), int((part.group_NA[:, 0] == 1).sum())

    def fits(total: int) -> bool:
        """Some count of the group is within ½ of share · total, is there to be drawn, and leaves a drawable rest."""
        low, high = max(1, np.ceil(share * total - 0.5 - 1e-9)), np.floor(share * total + 0.5 + 1e-9)
        return max(low, total - rest) <= min(high, here, total - min(rest, 1))

    possible = [total for total in range(1, min(size, most or size) + 1) if fits(total)]
    if not possible:
        with pytest.raises(UserError, match="No subset"):
            draw_mix(part, (Share(0, 0, share),), most, seed)
        return
    drawn = draw_mix(part, (Share(0, 0, share),), most, seed)
    count = int((part.group_NA[drawn, 0] == 0).sum())
    assert abs(count - share * len(drawn)) <= 0.5 + 1e-6 and count >= 1
    assert len(drawn) == max(possible) and len(set(drawn.tolist())) == len(drawn)
    assert np.array_equal(drawn, draw_mix(part, (Share(0, 0, share),), most, seed))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 0.6), st.floats(0.1, 0.4), st.floats(0.1, 0.4), st.integers(0, 5))
def test_shares_of_several_attributes_hold_together(female: float, young: float, old: float, seed: int) -> None:
    part = random_part(600, seed)
    shares = (Share(0, 0, female), Share(1, 0, young), Share(1, 2, old))
    drawn = draw_mix(part, shares, None, seed)
    for attribute, group, share in shares:
        assert abs((part.group_NA[drawn, attribute] == group).sum() - share * len(drawn)) <= 0.5 + 1e-6
    assert len(drawn) > 100


def test_what_the_mix_does_not_name_keeps_its_proportions() -> None:
    rng = np.random.default_rng(0)
    group_NA = rng.permuted(np.repeat([0, 1, 2], [100, 600, 300]))[:, None]
    part = make_part(rng.integers(0, 2, 1000), group_NA)
    drawn = draw_mix(part, (Share(0, 0, 0.5),), None, 0)
    count_G = np.bincount(group_NA[drawn, 0])
    assert count_G[0] == 100 and abs(count_G[1] / count_G[2] - 2) < 0.05
    labels = part.label_N[drawn]
    for group in range(3):
        before = part.label_N[group_NA[:, 0] == group].mean()
        assert labels[group_NA[drawn, 0] == group].mean() == pytest.approx(before, abs=0.02)


def test_unknown_groups_are_left_out_of_a_mix() -> None:
    group_NA = np.repeat([-1, 0, 1], [50, 40, 60])[:, None]
    drawn = draw_mix(make_part(np.arange(150) % 2, group_NA), (Share(0, 1, 0.5),), None, 0)
    assert np.bincount(group_NA[drawn, 0]).tolist() in ([40, 40], [40, 41])
    with pytest.raises(UserError, match="known group in every attribute"):
        draw_mix(make_part(np.arange(9) % 2, np.full((9, 1), -1)), (Share(0, 1, 0.5),), None, 0)


def test_a_group_that_is_not_there_cannot_be_drawn() -> None:
    with pytest.raises(UserError, match="No subset"):
        draw_mix(make_part(np.arange(9) % 2, np.zeros((9, 1), dtype=int)), (Share(0, 1, 0.5),), None, 0)


def test_the_mix_is_read_with_and_without_attribute_names() -> None:
    assert parse_mix("female = 0.3", ATTRIBUTES) == (Share(0, 0, 0.3),)
    assert parse_mix("sex:male=25%,old=0.5,age:young=.1", ATTRIBUTES) == (
        Share(0, 1, 0.25),
        Share(1, 2, 0.5),
        Share(1, 0, 0.1),
    )
    assert parse_mix("female=0.3,male=0.7", ATTRIBUTES)[1] == Share(0, 1, 0.7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("femal=0.3", 'Unknown group "femal" in the group mix. Did you mean "female"'),
        ("sex:old=0.3", 'Unknown group "old" in the group mix. Known: female, male'),
        ("sx:male=0.3", 'Unknown attribute "sx" in the group mix. Did you mean "sex"'),
        ("male", "not of the form group=share"),
        ("", "not of the form group=share"),
        ("=0.3", "not of the form group=share"),
        ("male=much", "above 0 and below 1"),
        ("male=nan", "above 0 and below 1"),
        ("male=0", "above 0 and below 1"),
        ("male=1", "above 0 and below 1"),
        ("male=1.2", "above 0 and below 1"),
        ("male=0.3,female=0.3", "the sum must be 1"),
        ("old=0.6,young=0.4", "the sum must stay below 1"),
        ("old=0.3,age:old=0.3", "twice"),
    ],
)
def test_mistakes_in_the_mix(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_mix(text, ATTRIBUTES)


def test_a_group_name_of_two_attributes_needs_the_attribute() -> None:
    both = {"parent": ("yes", "no"), "student": ("yes", "no")}
    with pytest.raises(UserError, match=r"write parent:yes=0.3"):
        parse_mix("yes=0.3", both)
    assert parse_mix("student:yes=0.3", both) == (Share(1, 0, 0.3),)


def test_held_out_images_are_stratified() -> None:
    part = make_part(np.arange(400) % 2, (np.arange(400) // 2 % 4 == 0).astype(int)[:, None])
    stays, held = hold_out(part, 0.2, 0)
    assert len(stays) == 320 and np.bincount(held.cell_N).tolist() == [30, 10, 30, 10]


def test_whole_clusters_are_held_out() -> None:
    part = make_part(np.arange(200) % 2, (np.arange(200) // 10 % 2)[:, None], np.arange(200) // 10)
    stays, held = hold_out(part, 0.2, 0)
    assert stays.cluster_N is not None and held.cluster_N is not None
    assert not set(stays.cluster_N.tolist()) & set(held.cluster_N.tolist()) and len(held) == 40
    with pytest.raises(UserError, match="Too few clusters"):
        hold_out(make_part(np.arange(8) % 2, np.zeros((8, 1), dtype=int), np.arange(8) // 4), 0.2, 0)
