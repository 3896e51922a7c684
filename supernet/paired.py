"""How much two networks' gaps differ on the same samples, where a gap is the largest of several contrasts.

A contrast is one group's rate − another's, of one event; for the worst group, −1 × a group's rate. With j the contrast that is
A's gap, gap_A − gap_B ≤ a_j − b_j; with j the one that is B's, gap_A − gap_B ≥ a_j − b_j. The difference a_j − b_j is one of paired
rates, in which what is hard for both cancels out. Which contrast j is, is not known: all that may be count. That is tight where
the largest ones are clear; where they are not, the two gaps' own intervals may be tighter. Both hold: the narrower ends are taken.

Shapes: N samples, G groups, E events, K contrasts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from supernet.fairness import Notion
from supernet.intervals import (
    LEVEL,
    Array,
    Cells,
    Interval,
    cells,
    gap_interval,
    joint,
    paired_interval,
    paired_rate_interval,
    rate_interval,
)

OWN, LIMITS, SCREEN = (
    0.5,
    0.4,
    0.1,
)  # shares of the miss: the gaps' own intervals, the contrasts', which may be the largest


class Pair(NamedTuple):
    """Two networks' 0/1 scores of the same samples: score_NE of each, the events' mask_NE, group_N (−1: unknown), unit_N."""

    a_NE: Array
    b_NE: Array
    mask_NE: Array
    group_N: Array
    num_groups: int
    unit_N: Array

    def cells(self) -> tuple[Cells, Cells]:
        """The rates of each."""
        shared = (self.mask_NE, self.group_N, self.num_groups, self.unit_N)
        return cells(self.a_NE, *shared, is_rate=True), cells(self.b_NE, *shared, is_rate=True)


def is_largest_contrast(notion: Notion) -> bool:
    """Whether the notion's gap is the largest of contrasts between rates."""
    return notion.hard and notion.groups in ("difference", "worst") and notion.events == "worst"


def rate_differences(pair: Pair, level: float = LEVEL) -> tuple[Array, Interval]:
    """(G, E): rate_A − rate_B of each cell, and its interval by itself; NaN in empty cells."""
    value_GE, low_GE, high_GE = (np.full((pair.num_groups, pair.mask_NE.shape[1]), np.nan) for _ in range(3))
    for g in range(pair.num_groups):
        own = pair.group_N == g
        for e in np.flatnonzero(pair.mask_NE[own].any(0)):
            chosen = own & pair.mask_NE[:, e]
            a_N, b_N = pair.a_NE[chosen, e], pair.b_NE[chosen, e]
            value_GE[g, e] = a_N.mean() - b_N.mean()
            low_GE[g, e], high_GE[g, e] = paired_rate_interval(a_N, b_N, pair.unit_N[chosen], level)
    return value_GE, Interval(np.minimum(low_GE, value_GE), np.maximum(high_GE, value_GE))


def mean_difference(pair: Pair) -> tuple[float, float]:
    """Of the mean over the groups of rate_A − rate_B, of the only event; groups share no sample."""
    value_GE, ends = rate_differences(pair)
    number = np.isfinite(value_GE).sum()
    below, above = (np.sqrt(np.nansum((value_GE - end_GE) ** 2)) / number for end_GE in ends)
    value = np.nanmean(value_GE)
    return float(value - below), float(value + above)


def gap_difference(pair: Pair, notion: Notion, level: float = LEVEL) -> tuple[float, float]:
    """Of gap_A − gap_B; (NaN, NaN) where no event has two groups. Only for what `is_largest_contrast`."""
    both = pair.cells()
    defined_E = (both[0].size_GE > 0).sum(0) >= 2
    if not defined_E.any():
        return np.nan, np.nan
    pair = pair._replace(a_NE=pair.a_NE[:, defined_E], b_NE=pair.b_NE[:, defined_E], mask_NE=pair.mask_NE[:, defined_E])
    both = pair.cells()
    value_GE, ends = rate_differences(pair, 1 - (1 - level) * LIMITS)
    _, difference_K = _contrasts(value_GE, ends, notion)
    screen = joint(1 - (1 - level) * SCREEN, difference_K.low.size)
    a, b = (_contrasts(own.rate_GE, rate_interval(own, screen), notion) for own in both)
    may_be_a, may_be_b = (own.high >= own.low.max() for _, own in (a, b))
    # where A's largest contrast is B's turned around, what raises one gap lowers the other
    opposed = notion.groups == "difference" and a[0][b[0].argmax()] == -a[0].max() < 0
    own_level, lack = 1 - (1 - level) * OWN, float(notion.groups == "worst")  # its gap is 1 − the lowest rate
    gap_a, gap_b = (
        (lack + float(value_K.max()), *gap_interval(own, notion, own_level))
        for (value_K, _), own in zip((a, b), both, strict=True)
    )
    low, high = paired_interval(gap_a, gap_b, correlation=-1.0 if opposed else 0.0)
    return max(low, float(difference_K.low[may_be_b].min())), min(high, float(difference_K.high[may_be_a].max()))


def _contrasts(rate_GE: Array, ends: Interval, notion: Notion) -> tuple[Array, Interval]:
    """(K,): the contrasts between groups that are there, and their intervals, from those of independent rates."""
    if notion.groups == "worst":
        there_GE = np.isfinite(rate_GE)
        return -rate_GE[there_GE], Interval(-ends.high[there_GE], -ends.low[there_GE])
    below_GE, above_GE = rate_GE - ends.low, ends.high - rate_GE
    value_GGE = rate_GE[:, None] - rate_GE[None]
    there_GGE = np.isfinite(value_GGE) & ~np.eye(len(rate_GE), dtype=bool)[..., None]
    low_GGE = value_GGE - np.sqrt(below_GE[:, None] ** 2 + above_GE[None] ** 2)
    high_GGE = value_GGE + np.sqrt(above_GE[:, None] ** 2 + below_GE[None] ** 2)
    return value_GGE[there_GGE], Interval(low_GGE[there_GGE], high_GGE[there_GGE])
