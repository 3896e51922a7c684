"""Decisions and options: names, columns, and the one way to draw without budgets. A toy space of widths and a resolution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from supernet.choices import Choices, Decision, draw, every
from supernet.costs.factors import Cost
from supernet.derive import best_first
from supernet.errors import UserError

TOY = Choices(
    "toy",
    (
        Decision("resolution", ("32", "64", None)),
        Decision("width of stage 1", ("8", "16", "24")),
        Decision("width of stage 2", ("16", "24", "32")),
    ),
    edges=((0, 1), (1, 2)),
)


def test_names_and_columns_are_each_others_inverse() -> None:
    assert TOY.valid_DK.tolist() == [[True, True, False], [True] * 3, [True] * 3]
    for index_D in every(TOY.valid_DK):
        assert TOY.index_D(TOY.names(index_D)).tolist() == index_D.tolist()
    assert TOY.names([1, 2, 0]) == ("64", "24", "16")


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match='width of stage 1: "32" is not an option of toy there'):
        TOY.index_D(["32", "32", "32"])
    with pytest.raises(UserError, match="3 decisions, but 2 options"):
        TOY.index_D(["32", "8"])


def test_every_architecture_is_there_once_and_a_draw_has_all_of_them_alike() -> None:
    found = [tuple(index_D.tolist()) for index_D in every(TOY.valid_DK)]
    assert found == list(itertools.product(range(2), range(3), range(3)))
    drawn = draw(TOY.valid_DK, 9000, np.random.default_rng(0))
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 18 and abs(counts - 500).max() < 120
    weighted = draw(TOY.valid_DK, 9000, np.random.default_rng(0), np.array([1.0, 3.0, 4.0]))
    assert np.bincount(weighted[:, 0]).tolist() == pytest.approx([2250, 6750], rel=0.05)
    assert np.bincount(weighted[:, 2]).tolist() == pytest.approx([1125, 3375, 4500], rel=0.08)


def test_widths_and_a_resolution_are_searched_exactly_by_their_pairs() -> None:
    """Multiply-adds of a convolution are the product of both widths, and of the pixels: two edges; more of each is better."""
    pixels, one, two = np.array([1.0, 4.0, 0.0]), np.array([8.0, 16.0, 24.0]), np.array([16.0, 24.0, 32.0])
    macs = Cost("macs", "kMACs", 0.0, np.zeros((3, 3)), {(0, 1): np.outer(pixels, one), (1, 2): np.outer(one, two) / 4})
    worth_DK = np.log(np.stack([pixels + (pixels == 0), one, two]))
    for budget in (60.0, 120.0, 200.0):
        inside = [index_D for index_D in every(TOY.valid_DK) if macs.total(index_D) <= budget]
        best = max(inside, key=lambda index_D: worth_DK[np.arange(3), index_D].sum())
        found = next(best_first(worth_DK, TOY.valid_DK, [macs], {"macs": budget}))
        assert worth_DK[np.arange(3), found].sum() == pytest.approx(worth_DK[np.arange(3), best].sum())
