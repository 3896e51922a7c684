"""95% intervals of group gaps.

A gap is a function of many differences of rates: each gets an interval at a Šidák-corrected level, so that all hold at once, and
the gap's interval follows by interval arithmetic. The upper end of a largest difference needs no correction: one of the
differences is the gap, and its own end holds. ``benchmarks/interval_coverage.py`` measures how often the truth is inside.

Shapes: G groups, E events. The last two axes of a rate are (G, E).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from supernet.fairness import Notion
from supernet.intervals import LEVEL, Array, Cells, Interval, difference_interval, joint, rate_interval


def gap_interval(found: Cells, notion: Notion, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of a notion's gap.

    (NaN, NaN) where no event has two groups, the notion has no rates (mmd), or the spread of a group's mean is unknown.
    """
    present_GE = np.isfinite(found.rate_GE)
    defined_E = present_GE.sum(0) >= 2
    if not defined_E.any() or (notion.groups == "square" and not notion.hard):
        return np.nan, np.nan
    found = Cells(*(array[:, defined_E] for array in found))
    if found.unknown_GE.any():  # that group may be the worst one: the other groups' ends would be too sure
        return np.nan, np.nan
    within = _WITHIN[notion.groups]
    low_E, high_E = within(found, level)
    if notion.events == "worst" and notion.groups in _HIGHEST:
        high_E = _HIGHEST[notion.groups](found, level)
    low, high = (_over_events(ends_E, notion.events) for ends_E in (low_E, high_E))
    least = -np.inf if notion.groups == "worst" and not notion.hard else 0.0  # 1 − the lowest mean loss may be below 0
    return max(low, least), high


def _over_events(ends_E: Array, events: str) -> float:
    return float(ends_E.max() if events == "worst" else ends_E.mean() if events == "mean" else ends_E.sum())


def _absolute(interval: Interval) -> Interval:
    """Of |x| from that of x."""
    low, high = interval
    spans = (low <= 0) & (high >= 0)
    return Interval(np.where(spans, 0.0, np.minimum(abs(low), abs(high))), np.maximum(abs(low), abs(high)))


def _pairs(found: Cells, level: float) -> Interval:
    """(G, G, E) signed differences that hold at once."""
    groups_E = np.isfinite(found.rate_GE).sum(0)
    return difference_interval(found, joint(level, int((groups_E * (groups_E - 1) // 2).sum())))


def _difference(found: Cells, level: float) -> tuple[Array, Array]:
    low_GGE, high_GGE = _absolute(_pairs(found, level))
    apart = ~np.eye(len(low_GGE), dtype=bool)[..., None] & np.isfinite(low_GGE)
    low_E, high_E = (np.where(apart, ends, -np.inf).max((0, 1)) for ends in (low_GGE, high_GGE))
    return low_E, high_E


def _highest_difference(found: Cells, level: float) -> Array:
    high_GGE = difference_interval(found, level).high
    apart = ~np.eye(len(high_GGE), dtype=bool)[..., None] & np.isfinite(high_GGE)
    return np.where(apart, high_GGE, -np.inf).max((0, 1))


def _highest_of_worst(found: Cells, level: float) -> Array:
    return 1 - np.nanmin(rate_interval(found, level).low, 0)


def _from_overall(found: Cells, level: float) -> tuple[Interval, Array]:
    """|rate − overall rate| of each group, and which are there: Σ_h weight[h] · (rate[g] − rate[h])."""
    weight_GE = found.size_GE / found.size_GE.sum(0)
    pairs = _pairs(found, level)
    apart = ~np.eye(len(weight_GE), dtype=bool)[..., None]
    low_GE, high_GE = (np.nansum(np.where(apart, ends * weight_GE[None], 0.0), 1) for ends in pairs)
    present_GE = np.isfinite(found.rate_GE)
    absolute = _absolute(Interval(low_GE, high_GE))
    return Interval(*(np.where(present_GE, ends, 0.0) for ends in absolute)), present_GE


def _sum(found: Cells, level: float) -> tuple[Array, Array]:
    absolute, _ = _from_overall(found, level)
    return absolute.low.sum(0), absolute.high.sum(0)


def _mean(found: Cells, level: float) -> tuple[Array, Array]:
    absolute, present_GE = _from_overall(found, level)
    return absolute.low.sum(0) / present_GE.sum(0), absolute.high.sum(0) / present_GE.sum(0)


def _square(found: Cells, level: float) -> tuple[Array, Array]:
    absolute, present_GE = _from_overall(found, level)
    return (absolute.low**2).sum(0) / present_GE.sum(0), (absolute.high**2).sum(0) / present_GE.sum(0)


def _ends(found: Cells, level: float) -> tuple[Interval, Interval]:
    """The lowest and the highest group's rate, all groups' intervals holding at once."""
    each = rate_interval(found, joint(level, int(np.isfinite(found.rate_GE).sum())))
    lowest = Interval(*(np.nanmin(ends, 0) for ends in each))
    return lowest, Interval(*(np.nanmax(ends, 0) for ends in each))


def _worst(found: Cells, level: float) -> tuple[Array, Array]:
    lowest, _ = _ends(found, level)
    return 1 - lowest.high, 1 - lowest.low


def _ratio(found: Cells, level: float) -> tuple[Array, Array]:
    lowest, highest = (Interval(*(np.maximum(end_E, 0) for end_E in ends)) for ends in _ends(found, level))

    def less_ratio(low_E: Array, high_E: Array, unknown: float) -> Array:
        """1 − low / high; `unknown` where high is 0."""
        ratio_E = np.divide(low_E, high_E, out=np.full_like(low_E, 1 - unknown), where=high_E > 0)
        return np.clip(1 - ratio_E, 0, 1)

    return less_ratio(lowest.high, highest.low, 0.0), less_ratio(lowest.low, highest.high, 1.0)


_WITHIN: dict[str, Callable[[Cells, float], tuple[Array, Array]]] = {
    "difference": _difference,
    "mean": _mean,
    "sum": _sum,
    "ratio": _ratio,
    "worst": _worst,
    "square": _square,
}


# the upper end of a largest one: one of them is the gap, so each by itself holds (an intersection–union test: Berger 1982)
_HIGHEST: dict[str, Callable[[Cells, float], Array]] = {
    "difference": _highest_difference,
    "worst": _highest_of_worst,
}
