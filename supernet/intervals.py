"""95% intervals of rates and of their differences, which hold for few images and near 0 and 1.

A rate has Wilson's score interval (1927), modified where few are wrong or right (Brown, Cai & DasGupta 2001): it has no zero width at
0 or 1, and stays inside [0, 1]. Where images come in clusters
(writers, patients) the count is divided by the design effect (Kish 1965; Rao & Scott 1992) and the normal quantile is Student's.
Differences of rates are combined from the rates' intervals (MOVER: Newcombe 1998, method 10; Zou & Donner 2008).
``benchmarks/interval_coverage.py`` measures how often the truth is inside.

Shapes: N samples, U units (samples or clusters), G groups, E events. The last two axes of a rate are (G, E).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

Array = np.ndarray
LEVEL = 0.95
TOO_FEW = 10  # images of a group below which its figures are called "too few images"


class Cells(NamedTuple):
    """Rates of group × event cells, and what they rest on; NaN and 0 in empty ones.

    rate_GE: the mean score.  size_GE: samples.  effective_GE: samples as independent ones count.  units_GE: clusters.
    error_GE: standard error of a mean that is no rate (a loss), NaN for rates, and where fewer than two units leave it unknown.
    is_rate_GE: bool, whether the mean is a rate in [0, 1]; the errors do not tell it, as all of them may be unknown.
    wider_GE: how many times wider than of independent groups the interval of their mean is, where a cluster has samples of several.
    """

    rate_GE: Array
    size_GE: Array
    effective_GE: Array
    units_GE: Array
    error_GE: Array
    is_rate_GE: Array
    wider_GE: Array

    @property
    def unknown_GE(self) -> Array:
        """Which cells have a mean whose spread is unknown: it has no interval."""
        return np.isfinite(self.rate_GE) & ~self.is_rate_GE & ~np.isfinite(self.error_GE)


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
            units_GE, wider_GE = size_GE, np.ones_like(size_GE)
            square_GE = member_GN @ (score_NE**2 * mask_NE) - size_GE * np.nan_to_num(rate_GE) ** 2
        else:
            place_N = group_N * len(ids) + unit_N
            gather = sparse.csr_array(
                (np.ones(len(group_N)), (place_N, np.arange(len(group_N)))), (num_groups * len(ids), len(group_N))
            )
            size_GUE = (gather @ mask_NE).reshape(num_groups, len(ids), -1)
            sum_GUE = (gather @ (score_NE * mask_NE)).reshape(num_groups, len(ids), -1)
            units_GE = (size_GUE > 0).sum(1).astype(float)
            off_GUE = sum_GUE - np.nan_to_num(rate_GE)[:, None] * size_GUE
            square_GE, wider_GE = (off_GUE**2).sum(1), _wider(off_GUE, size_GE)
        variance_GE = np.where(units_GE > 1, units_GE / (units_GE - 1) * square_GE.clip(0) / size_GE**2, np.nan)
        is_rate_GE = np.full(rate_GE.shape, is_rate)
        if not is_rate:
            return Cells(rate_GE, size_GE, size_GE, units_GE, np.sqrt(variance_GE), is_rate_GE, wider_GE)
        effective_GE = size_GE
        if len(ids) < len(group_N):
            effective_GE = size_GE / _design(variance_GE * size_GE / (rate_GE * (1 - rate_GE)), size_GE, units_GE)
    return Cells(rate_GE, size_GE, effective_GE, units_GE, np.full_like(rate_GE, np.nan), is_rate_GE, wider_GE)


def _wider(off_GUE: Array, size_GE: Array) -> Array:
    """(G, E), one number for each event: the error of the groups' mean over that of independent groups, at least 1; off_GUE: what a unit is above its group's rate, in samples."""
    share_GUE = off_GUE / np.maximum(size_GE, 1)[:, None]
    apart_E, together_E = (share_GUE**2).sum((0, 1)), (share_GUE.sum(0) ** 2).sum(0)
    ratio_E = np.divide(together_E, apart_E, out=np.ones_like(apart_E), where=apart_E > 0)
    return np.broadcast_to(np.sqrt(np.maximum(ratio_E, 1.0)), size_GE.shape)


def _design(design_GE: Array, size_GE: Array, units_GE: Array) -> Array:
    """Design effects of at least 1, and of at most a cluster's mean size where they cannot be estimated."""
    largest_GE = np.where(units_GE > 0, size_GE / np.maximum(units_GE, 1), 1.0)
    finite_GE = np.isfinite(design_GE)
    pooled_E = np.where(finite_GE, design_GE * size_GE, 0.0).sum(0) / np.maximum((finite_GE * size_GE).sum(0), 1)
    own_GE = np.where(finite_GE, np.maximum(design_GE, pooled_E), largest_GE)
    return np.maximum(own_GE, 1.0)


def rate_interval(found: Cells, level: float = LEVEL) -> Interval:
    """Each cell's interval at this level by itself: Wilson's for rates, Student's for other means.

    NaN in empty cells, and for a mean whose spread is unknown.
    """
    tail = (1 + level) / 2
    clustered = found.units_GE < found.size_GE
    with np.errstate(invalid="ignore", divide="ignore"):
        student_GE = stats.t.ppf(tail, np.maximum(found.units_GE - 1, 1))
        mean_half_GE = student_GE * found.error_GE
        z_GE = np.where(clustered, student_GE, stats.norm.ppf(tail))
        p_GE = np.where(found.is_rate_GE, found.rate_GE, np.nan)
        n_GE, square_GE = found.effective_GE, z_GE**2
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
    return Interval(
        np.where(found.is_rate_GE, np.where(alone, 0.0, low_GE), found.rate_GE - mean_half_GE),
        np.where(found.is_rate_GE, np.where(alone, 1.0, high_GE), found.rate_GE + mean_half_GE),
    )


def mean_interval(found: Cells, level: float = LEVEL) -> Interval:
    """Of the mean over the groups that are not empty, one for each event; NaN where a group's own is unknown."""
    each, number_E = rate_interval(found, level), np.isfinite(found.rate_GE).sum(0)
    mean_E = np.nansum(found.rate_GE, 0) / number_E
    low_E, high_E = (
        found.wider_GE.max(0) * np.sqrt(np.nansum((found.rate_GE - ends_GE) ** 2, 0)) / number_E for ends_GE in each
    )
    low_E, high_E = (np.where(found.unknown_GE.any(0), np.nan, half_E) for half_E in (low_E, high_E))
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


def joint(level: float, number: int) -> float:
    """The level of each of `number` intervals that all hold at once with `level` (Šidák 1967)."""
    return float(level ** (1 / max(number, 1)))
