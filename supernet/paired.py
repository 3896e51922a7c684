"""How much two networks' gaps differ on the same samples, where a gap is the largest of several contrasts.

A contrast is one group's rate − another's, of one event; for the worst group, −1 × a group's rate. With j the contrast that is
A's gap, gap_A − gap_B ≤ a_j − b_j; with j the one that is B's, gap_A − gap_B ≥ a_j − b_j. The difference a_j − b_j is one of paired
rates, in which what is hard for both cancels out. Which contrast j is, is not known: all that may be count. That is tight where
the largest ones are clear; where they are not, the two gaps' own intervals may be tighter. Both hold: the narrower ends are taken.

Shapes: N samples, G groups, E events, K contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from supernet.fairness import NOTIONS, Notion
from supernet.figures import NONE, figure
from supernet.gap_intervals import gap_interval
from supernet.intervals import LEVEL, Array, Cells, Interval, cells, joint, rate_interval
from supernet.paired_intervals import paired_interval, paired_rate_interval
from supernet.resampling import Predictions

OWN, LIMITS, SCREEN = (
    0.5,
    0.4,
    0.1,
)  # shares of the miss: the gaps' own intervals, the contrasts', which may be the largest


class Pair(NamedTuple):
    """Two networks' 0/1 scores of the same samples: score_NE of each, the events' mask_NE, group_N (−1: unknown), unit_N.

    a_NE, b_NE: (N, E) scores of the first and the second.  mask_NE: (N, E) whether the event holds.
    group_N: group numbers.  num_groups: G.  unit_N: what is drawn together in a resample.
    """

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


def paired_differences(
    prob_a_NC: Array,
    prob_b_NC: Array,
    label_N: Array,
    group_NA: Array,
    classes: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    *,
    cluster: Array | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    notions: Mapping[str, Notion] = NOTIONS,
    margin: float | None = None,
) -> dict[str, Any]:
    """A against B on the same samples, in pairs: differences A − B with 95% intervals inside what is possible.

    ``{"accuracy": d, "attributes": {name: {"mean_group_accuracy": d, "worst_group_accuracy": d, "gaps": {notion: d}}}}``
    with d = ``{"value", "low", "high", "verdict"}``; the verdict is "A" or "B", the better or fairer one, and "not
    shown" where the interval spans 0, or there is none (n_boot 0). With a `margin` d also says whether A is shown to be
    ``not_worse`` by more than that, by a one-sided 5% test. Other arguments and errors as in ``evaluate_predictions``.
    """
    pair = [
        Predictions.checked(prob, label_N, group_NA, classes, attributes, cluster, notions)
        for prob in (prob_a_NC, prob_b_NC)
    ]
    # what is no largest contrast (sums, means, ratios) and soft scores: correlated by resampling both alike
    resampled = [name for name, notion in notions.items() if not is_largest_contrast(notion)]
    draws = [data.bootstrap(n_boot, seed, resampled) for data in pair] if n_boot and resampled else []
    both = _Both(pair, [data.statistics() for data in pair], draws, n_boot > 0, margin)
    right, worst = NOTIONS["accuracy_parity"], NOTIONS["worst_group_accuracy"]
    everything = _pair(pair, right, np.zeros(len(pair[0].label_N), int), 1)
    found: dict[str, Any] = {"accuracy": both.told("accuracy", partial(mean_difference, everything)), "attributes": {}}
    for a, (attribute, names) in enumerate(attributes.items()):
        group_N = pair[0].group_NA[:, a]
        rights = _pair(pair, right, group_N, len(names))
        # lowest_A − lowest_B = (1 − lowest_B) − (1 − lowest_A)
        swapped = rights._replace(a_NE=rights.b_NE, b_NE=rights.a_NE)
        gaps = {}
        for name, notion in notions.items():
            key = f"{attribute}/gap/{name}"
            gaps[name] = both.told(key, partial(both.gap, key, notion, group_N, len(names)), less_is_better=True)
        found["attributes"][attribute] = {
            "mean_group_accuracy": both.told(f"{attribute}/mean_group_accuracy", partial(mean_difference, rights)),
            "worst_group_accuracy": both.told(
                f"{attribute}/worst_group_accuracy", partial(gap_difference, swapped, worst)
            ),
            "gaps": gaps,
        }
    return found


class _Both(NamedTuple):
    """Two networks' predictions, their statistics by name, those of resamples (none where none are needed).

    pair: the two.  point, draws: of each, name → statistic, and (draws,) of it.  intervals: whether they are asked for.
    margin: a harm that does not matter, as a share; None: not asked.
    """

    pair: Sequence[Predictions]
    point: Sequence[Mapping[str, Array]]
    draws: Sequence[Mapping[str, Array]]
    intervals: bool
    margin: float | None

    def told(
        self, name: str, ends: Callable[[float], tuple[float, float]], less_is_better: bool = False
    ) -> dict[str, Any]:
        """The difference in one statistic. `ends`: level → its interval."""
        value = float(self.point[0][name][0] - self.point[1][name][0])
        found = figure(value, *(ends(LEVEL) if self.intervals else NONE))
        low, high = found["low"], found["high"]
        unsure = low is None or high is None or low <= 0 <= high
        found["verdict"] = "not shown" if unsure else "A" if (value < 0) == less_is_better else "B"
        if self.margin is not None:
            low, high = ends(2 * LEVEL - 1) if self.intervals else NONE
            not_worse = high <= self.margin if less_is_better else low >= -self.margin
            found |= {"margin": self.margin, "not_worse": bool(not_worse)}
        return found

    def gap(self, name: str, notion: Notion, group_N: Array, num_groups: int, level: float) -> tuple[float, float]:
        """The interval of a difference of gaps."""
        if is_largest_contrast(notion):
            return gap_difference(_pair(self.pair, notion, group_N, num_groups), notion, level)
        one, other = (
            (
                float(values[name][0]),
                *gap_interval(cells(*scores, group_N, num_groups, data.unit_N, notion.hard), notion, level),
            )
            for values, data in zip(self.point, self.pair, strict=True)
            for scores in [data.scores(notion)]
        )
        return paired_interval(one, other, _correlation(*(drawn[name] for drawn in self.draws)))


def _pair(pair: Sequence[Predictions], notion: Notion, group_N: Array, num_groups: int) -> Pair:
    (a_NE, mask_NE), (b_NE, _) = (data.scores(notion) for data in pair)
    return Pair(a_NE, b_NE, mask_NE, group_N, num_groups, pair[0].unit_N)


def _correlation(a_R: Array, b_R: Array) -> float:
    """Of two figures over the same resamples; NaN where one of them does not vary."""
    both = np.isfinite(a_R) & np.isfinite(b_R)
    if both.sum() < 2 or not (np.ptp(a_R[both]) and np.ptp(b_R[both])):
        return np.nan
    return float(np.corrcoef(a_R[both], b_R[both])[0, 1])


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


def mean_difference(pair: Pair, level: float = LEVEL) -> tuple[float, float]:
    """Of the mean over the groups of rate_A − rate_B, of the only event; groups share no sample, but clusters may span them."""
    value_GE, ends = rate_differences(pair, level)
    number = np.isfinite(value_GE).sum()
    off = cells(pair.a_NE - pair.b_NE, pair.mask_NE, pair.group_N, pair.num_groups, pair.unit_N, is_rate=False)
    below, above = (off.wider_GE[0, 0] * np.sqrt(np.nansum((value_GE - end_GE) ** 2)) / number for end_GE in ends)
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
