"""Scales, ticks and labels of the pictures."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from report_page import numbers

from supernet.report.svg import Scale, scale_of, spread


@given(st.lists(numbers, min_size=1, max_size=8), st.booleans())
def test_a_scale_holds_its_values_and_few_round_ticks(values: list[float], zero: bool) -> None:
    scale = scale_of(values, zero)
    assert scale.low < scale.high
    assert all(-1e-6 <= scale.share(value) <= 1 + 1e-6 for value in values)
    assert not zero or scale.low <= 0 <= scale.high
    assert 2 <= len(scale.ticks()) <= 12


def test_ticks_are_round() -> None:
    assert Scale(0, 15).ticks() == [0, 5, 10, 15]
    assert Scale(0.93, 0.97).ticks() == [0.93, 0.94, 0.95, 0.96, 0.97]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_are_moved_apart(wanted: list[float]) -> None:
    placed = sorted(spread(wanted, 13))
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(placed))
