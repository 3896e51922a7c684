"""95% intervals of rates, of differences of rates and of group gaps, which hold for few images and near 0 and 1.

A rate has Wilson's score interval (1927), modified where few are wrong or right (Brown, Cai & DasGupta 2001): it has no zero width at
0 or 1, and stays inside [0, 1]. Where images come in clusters
(writers, patients) the count is divided by the design effect (Kish 1965; Rao & Scott 1992) and the normal quantile is Student's.
Differences of rates are combined from the rates' intervals (MOVER: Newcombe 1998, method 10; Zou & Donner 2008). A gap is a function of
many differences: each gets an interval at a Šidák-corrected level, so that all hold at once, and the gap's interval follows by
interval arithmetic. The upper end of a largest difference needs no correction: one of the differences is the gap, and its own end holds.
``benchmarks/interval_coverage.py`` measures how often the truth is inside.

Shapes: N samples, U units (samples or clusters), G groups, E events. The last two axes of a rate are (G, E).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

from supernet.fairness import Notion

Array = np.ndarray
LEVEL = 0.95
TOO_FEW = 10  # images of a group below which its figures are called "too few images"


class Cells(NamedTuple):
    """Rates of group × event cells, and what they rest on; NaN and 0 in empty ones.

    rate_GE: the mean score.  size_GE: samples.  effective_GE: samples as independent ones count.  units_GE: clusters.
    error_GE: standard error of a mean that is no rate (a loss), NaN for rates in [0, 1].
    """

    rate_GE: Array
    size_GE: Array
    effective_GE: Array
    units_GE: Array
    error_GE: Array


class Interval(NamedTuple):
    """The ends, of any one shape; NaN where there is none."""

    low: Array
    high: Array


def cells(score_NE: Array, mask_NE: Array, group_N: Array, num_groups: int, unit_N: Array, is_rate: bool) -> Cells:
    """The cells of scores (rates in [0, 1] where `is_rate`) of the samples that an event's mask holds; group −1: left out."""
    known_N = group_N >= 0
    score_NE, mask_NE = score_NE[known_N], mask_NE[known_N].astype(float)
    group_N, (ids, unit_N) = group_N[known_N], np.unique(unit_N[known_N], return_inverse=True)
    member_GN = sparse.csr_array(
        (np.ones(len(group_N)), (group_N, np.arange(len(group_N)))), (num_groups, len(group_N))
    )
    size_GE, sum_GE = member_GN @ mask_NE, member_GN @ (score_NE * mask_NE)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate_GE = np.where(size_GE > 0, sum_GE / size_GE, np.nan)
        if len(ids) == len(group_N):  # every sample by itself
            units_GE = size_GE
            square_GE = member_GN @ (score_NE**2 * mask_NE) - size_GE * np.nan_to_num(rate_GE) ** 2
        else:
            place_N = group_N * len(ids) + unit_N
            gather = sparse.csr_array(
                (np.ones(len(group_N)), (place_N, np.arange(len(group_N)))), (num_groups * len(ids), len(group_N))
            )
            size_GUE = (gather @ mask_NE).reshape(num_groups, len(ids), -1)
            sum_GUE = (gather @ (score_NE * mask_NE)).reshape(num_groups, len(ids), -1)
            units_GE = (size_GUE > 0).sum(1).astype(float)
            square_GE = ((sum_GUE - np.nan_to_num(rate_GE)[:, None] * size_GUE) ** 2).sum(1)
        variance_GE = np.where(units_GE > 1, units_GE / (units_GE - 1) * square_GE.clip(0) / size_GE**2, np.nan)
        if not is_rate:
            return Cells(rate_GE, size_GE, size_GE, units_GE, np.sqrt(variance_GE))
        effective_GE = size_GE
        if len(ids) < len(group_N):
            effective_GE = size_GE / _design(variance_GE * size_GE / (rate_GE * (1 - rate_GE)), size_GE, units_GE)
    return Cells(rate_GE, size_GE, effective_GE, units_GE, np.full_like(rate_GE, np.nan))


def _design(design_GE: Array, size_GE: Array, units_GE: Array) -> Array:
    """Design effects of at least 1, and of at most a cluster's mean size where they cannot be estimated."""
    largest_GE = np.where(units_GE > 0, size_GE / np.maximum(units_GE, 1), 1.0)
    finite_GE = np.isfinite(design_GE)
    pooled_E = np.where(finite_GE, design_GE * size_GE, 0.0).sum(0) / np.maximum((finite_GE * size_GE).sum(0), 1)
    own_GE = np.where(finite_GE, np.maximum(design_GE, pooled_E), largest_GE)
    return np.maximum(own_GE, 1.0)


def rate_interval(found: Cells, level: float = LEVEL) -> Interval:
    """Each cell's interval at this level by itself: Wilson's for rates, Student's for other means; NaN in empty cells."""
    tail = (1 + level) / 2
    clustered = found.units_GE < found.size_GE
    with np.errstate(invalid="ignore", divide="ignore"):
        student_GE = stats.t.ppf(tail, np.maximum(found.units_GE - 1, 1))
        if np.isfinite(found.error_GE).any():
            half_GE = student_GE * found.error_GE
            return Interval(found.rate_GE - half_GE, found.rate_GE + half_GE)
        z_GE = np.where(clustered, student_GE, stats.norm.ppf(tail))
        n_GE, p_GE, square_GE = found.effective_GE, found.rate_GE, z_GE**2
        centre_GE = (p_GE + square_GE / (2 * n_GE)) / (1 + square_GE / n_GE)
        half_GE = z_GE / (1 + square_GE / n_GE) * np.sqrt(p_GE * (1 - p_GE) / n_GE + square_GE / (4 * n_GE**2))
        # where few are wrong (or right) Wilson's end lies too near: there the exact one-sided bound (Brown et al. 2001, section 4.1.1)
        right_GE, wrong_GE = n_GE * p_GE, n_GE * (1 - p_GE)
        exact_low_GE = np.where(right_GE > 0, stats.beta.ppf(1 - level, right_GE, wrong_GE + 1), 0.0)
        exact_high_GE = np.where(wrong_GE > 0, stats.beta.ppf(level, right_GE + 1, wrong_GE), 1.0)
        low_GE = np.fmin(centre_GE - half_GE, exact_low_GE).clip(0)
        high_GE = np.fmax(centre_GE + half_GE, exact_high_GE).clip(max=1)
        low_GE, high_GE = (np.where(np.isfinite(p_GE), ends, np.nan) for ends in (low_GE, high_GE))
        alone = clustered & (found.units_GE < 2)  # of one cluster nothing is known about another
    return Interval(np.where(alone, 0.0, low_GE), np.where(alone, 1.0, high_GE))


def mean_interval(found: Cells, level: float = LEVEL) -> Interval:
    """Of the mean over the groups that are not empty, one for each event."""
    each, number_E = rate_interval(found, level), np.isfinite(found.rate_GE).sum(0)
    mean_E = np.nansum(found.rate_GE, 0) / number_E
    low_E = np.sqrt(np.nansum((found.rate_GE - each.low) ** 2, 0)) / number_E
    high_E = np.sqrt(np.nansum((each.high - found.rate_GE) ** 2, 0)) / number_E
    return Interval(mean_E - low_E, mean_E + high_E)


def difference_interval(found: Cells, level: float = LEVEL) -> Interval:
    """(G, G, E): of rate[g] − rate[h], each at this level by itself. NaN where one of the two is empty."""
    each, rate_GE = rate_interval(found, level), found.rate_GE
    below_GE, above_GE = rate_GE - each.low, each.high - rate_GE
    difference_GGE = rate_GE[:, None] - rate_GE[None]
    return Interval(
        difference_GGE - np.sqrt(below_GE[:, None] ** 2 + above_GE[None] ** 2),
        difference_GGE + np.sqrt(above_GE[:, None] ** 2 + below_GE[None] ** 2),
    )


def gap_interval(found: Cells, notion: Notion, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of a notion's gap; (NaN, NaN) where no event has two groups, or the notion has no rates (mmd)."""
    present_GE = np.isfinite(found.rate_GE)
    defined_E = present_GE.sum(0) >= 2
    if not defined_E.any() or (notion.groups == "square" and not notion.hard):
        return np.nan, np.nan
    found = Cells(*(array[:, defined_E] for array in found))
    within = _WITHIN[notion.groups]
    low_E, high_E = within(found, level)
    if notion.events == "worst" and notion.groups in _HIGHEST:
        high_E = _HIGHEST[notion.groups](found, level)
    low, high = (_over_events(ends_E, notion.events) for ends_E in (low_E, high_E))
    return max(float(low), 0.0), float(high)


def _over_events(ends_E: Array, events: str) -> float:
    return float(ends_E.max() if events == "worst" else ends_E.mean() if events == "mean" else ends_E.sum())


def joint(level: float, number: int) -> float:
    """The level of each of `number` intervals that all hold at once with `level` (Šidák 1967)."""
    return float(level ** (1 / max(number, 1)))


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
    lowest, highest = _ends(found, level)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(1 - lowest.high / highest.low, 0, 1), np.where(
            highest.high > 0, 1 - lowest.low / highest.high, 1.0
        )


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


def paired_rate_interval(a_N: Array, b_N: Array, unit_N: Array, level: float = LEVEL) -> tuple[float, float]:
    """Of mean(a) − mean(b), two 0/1 scores of the same samples: adjusted Wald (Bonett & Price 2012), by design effect in clusters."""
    size = len(a_N)
    ids, unit_N = np.unique(unit_N, return_inverse=True)
    won, lost = float((a_N > b_N).sum()), float((a_N < b_N).sum())
    up, down = (won + 1) / (size + 2), (lost + 1) / (size + 2)
    variance = (up + down - (up - down) ** 2) / (size + 2)
    quantile = float(stats.norm.ppf((1 + level) / 2))
    if len(ids) < size:
        if len(ids) < 2:
            return -1.0, 1.0
        each_N = a_N.astype(float) - b_N
        per_U = np.bincount(unit_N, each_N - each_N.mean())
        plain = each_N.var() / size
        clustered = len(ids) / (len(ids) - 1) * (per_U**2).sum() / size**2
        variance *= max(1.0, clustered / plain) if plain > 0 else size / len(ids)
        quantile = float(stats.t.ppf((1 + level) / 2, len(ids) - 1))
    half = quantile * float(np.sqrt(variance))
    return max(up - down - half, -1.0), min(up - down + half, 1.0)


Estimate = tuple[float, float, float]  # value, low, high


def paired_interval(a: Estimate, b: Estimate, correlation: float) -> tuple[float, float]:
    """Of a − b, each with its own interval, on the same samples (MOVER for correlated estimates: Zou & Donner 2008, eq. 4)."""
    correlation = min(max(correlation if np.isfinite(correlation) else 0.0, -1.0), 0.95)  # 1 would leave no width
    ends = []
    for sign, (near, far) in ((-1, (a[0] - a[1], b[2] - b[0])), (1, (a[2] - a[0], b[0] - b[1]))):
        ends.append(a[0] - b[0] + sign * np.sqrt(max(near**2 + far**2 - 2 * correlation * near * far, 0.0)))
    return float(ends[0]), float(ends[1])
