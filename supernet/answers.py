"""A table of predicted losses and the costs of any device → the best architectures inside every budget, exactly.

Minimised is the mean of the groups' predicted losses plus a weight times their gap, or the worst group's loss; a cap on the gap may be
held. With the logarithm as the table's link, a loss is the exponential of a sum over layers. Outer approximation (Duran &
Grossmann, 1986) makes that linear: a loss from below by tangents, and, where a gap subtracts one, from above by chords between
points, one of which a binary variable picks. What linear programmes find first bounds each loss, so that few points do.
Whatever is found is told exactly to the next programme, until the programme's bound and the best found agree to `CLOSE`.
A space of few architectures is simply counted through.

Shapes: L layers, K operations, G groups, V columns of the integer programme.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.optimize import Bounds, LinearConstraint

from supernet.choices import every
from supernet.costs.factors import Cost, least_text
from supernet.derive import best_first, inside
from supernet.errors import UserError
from supernet.programme import Programme
from supernet.quality import Quality
from supernet.solver import solve

CLOSE = 1e-3  # relative, between the best found and the bound: a tenth of what such a table is off at the best
STEP = 0.1  # between the first points, of a loss's logarithm: a chord is then off by 1.3 in a thousand at the most
FEW = 20_000  # architectures that are counted through
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)  # of the gap, tried in turn to find something that keeps a cap


@dataclass(frozen=True)
class Wish:
    """What is best: mean predicted loss + `weight` · predicted gap, or the `worst` group's loss; `max_gap` caps the gap, nats."""

    weight: float = 0.0
    max_gap: float | None = None
    worst: bool = False

    def values(self, quality: Quality, loss: np.ndarray) -> np.ndarray:
        """(…, G) losses → (…,) what is minimised."""
        if self.worst:
            return np.asarray(loss.max(axis=-1))
        return np.asarray(loss.mean(axis=-1) + self.weight * quality.gaps(loss))

    def value(self, quality: Quality, loss_G: np.ndarray) -> float:
        """`values` of one architecture."""
        return float(self.values(quality, loss_G))

    def slope(self, quality: Quality, loss_G: np.ndarray) -> np.ndarray:
        """(G,) how fast the mean + weight · gap grows with the link of each loss."""
        slope_G = np.full(len(loss_G), 1 / len(loss_G))
        same = {name: np.flatnonzero([own == name for own in quality.attributes]) for name in quality.attributes}
        members = max(same.values(), key=lambda index: np.ptp(loss_G[index]))
        slope_G[members[loss_G[members].argmax()]] += self.weight
        slope_G[members[loss_G[members].argmin()]] -= self.weight
        return slope_G * (loss_G if quality.link == "log" else 1)

    def keeps(self, one: Answer) -> bool:
        """Whether the cap is kept."""
        return self.max_gap is None or one.gap <= self.max_gap


@dataclass(frozen=True)
class Answer:
    """One architecture with what the table foretells of it; `value` is what was minimised."""

    index_L: np.ndarray
    loss_G: np.ndarray
    gap: float
    value: float


def answers(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int = 1
) -> list[Answer]:
    """Up to `number` architectures inside every budget, the best first; after it, the best that were met on the way to it.

    Raises UserError where nothing fits, with the least possible cost, or where nothing keeps the cap, with the least gap.
    """
    valid_LK = quality.space.valid_LK
    for cost in costs:
        limit, (least, _) = budgets.get(cost.name, np.inf), cost.bounds(valid_LK)
        if least > limit:
            raise UserError(
                f"No architecture of {quality.space.name} has a {cost.name} of {limit:g} {cost.unit} or less; "
                f"the least possible is {least_text(least)} {cost.unit}."
            )
    few = valid_LK.sum(axis=1, dtype=float).prod() <= FEW
    found = (_counted if few else _programmed)(quality, costs, budgets, wish, number)
    if not found:
        raise UserError(_nothing(quality, costs, budgets, wish))
    return sorted(found, key=lambda one: one.value)[:number]


def _counted(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int
) -> list[Answer]:
    """The best of all architectures."""
    index_NL = np.array(list(every(quality.space.valid_LK)))
    inside_N = np.all([cost.totals(index_NL) <= budgets.get(cost.name, np.inf) for cost in costs], axis=0)
    index_NL = index_NL[inside_N]
    loss_NG = quality.loss_NG(index_NL)
    keeps_N = quality.gaps(loss_NG) <= (np.inf if wish.max_gap is None else wish.max_gap)
    best = wish.values(quality, loss_NG[keeps_N]).argsort(kind="stable")[:number]
    return [_answer(quality, wish, index_L) for index_L in index_NL[keeps_N][best]]


def _programmed(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int
) -> list[Answer]:
    """The best, and what was met on the way to it."""
    programme = Programme(quality.space.valid_LK, [edge for cost in costs for edge in cost.pairs])
    for cost in costs:
        if budgets.get(cost.name, np.inf) < np.inf:
            cost.constraints(programme, budgets[cost.name])
    found = {one.index_L.tobytes(): one for one in _first(quality, costs, budgets, wish, number) if wish.keeps(one)}
    highest = min((one.value for one in found.values()), default=None)
    relaxed = _OuterApproximation(quality, programme, wish, _ranges(quality, costs, budgets, wish, highest))
    for bound, index_L in relaxed.solutions():
        one = _answer(quality, wish, index_L)
        if inside(index_L, costs, budgets) and wish.keeps(one):
            found[index_L.tobytes()] = one
        if found and bound >= min(one.value for one in found.values()) * (1 - CLOSE):
            break
    return list(found.values())


def _answer(quality: Quality, wish: Wish, index_L: np.ndarray) -> Answer:
    (loss_G,) = quality.loss_NG(index_L[None])
    return Answer(index_L, loss_G, quality.gap(loss_G), wish.value(quality, loss_G))


def _first(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int
) -> list[Answer]:
    """Good architectures inside the budgets: what is minimised is taken as linear where the last best one stands, again and again.

    Raises UserError where the budgets leave nothing.
    """
    found: dict[bytes, Answer] = {}
    for weight in (wish.weight, *(WEIGHTS if wish.max_gap is not None else ())):
        goal, at_G = Wish(weight), np.ones(len(quality.base_G))
        for _ in range(4):
            score_LK = -(quality.added_LKG @ goal.slope(quality, at_G))
            best = islice(best_first(score_LK, quality.space.valid_LK, costs, budgets), number)
            new = [_answer(quality, wish, index_L) for index_L in best]
            if all(one.index_L.tobytes() in found for one in new):
                break
            found |= {one.index_L.tobytes(): one for one in new}
            at_G = new[0].loss_G
        if sum(wish.keeps(one) for one in found.values()) >= number:
            break
    return list(found.values())


def _ranges(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, highest: float | None
) -> list[tuple[float, float]]:
    """(least, most) link of each group's loss in an architecture inside the budgets that is no worse than `highest`, if known."""
    valid_LK, ends = quality.space.valid_LK, []
    least_G = np.empty(len(quality.base_G))
    for g in range(len(least_G)):
        index_L = next(best_first(-quality.added_LKG[:, :, g], valid_LK, costs, budgets))
        least_G[g] = quality.linked_NG(index_L[None])[0, g]
    most_G = quality.base_G + np.where(valid_LK[:, :, None], quality.added_LKG, -np.inf).max(axis=1).sum(axis=0)
    if highest is not None and quality.link == "log":
        others = 0.0 if wish.worst else np.exp(least_G).sum() - np.exp(least_G)
        most_G = np.minimum(most_G, np.log(highest * (1 if wish.worst else len(least_G)) - others))
    for least, most in zip(least_G, np.maximum(most_G, least_G), strict=True):
        ends.append((float(least) - 1e-6, float(most) + 1e-6))
    return ends


def _nothing(quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish) -> str:
    """Why there is no answer. Raises UserError itself where the budgets alone leave none."""
    if wish.max_gap is None:
        return f"No architecture keeps all of these budgets at once: {dict(budgets)}."
    least = answers(quality, costs, budgets, Wish(weight=1e3))[0].gap
    return (
        f"No architecture inside the budgets has a predicted gap of {wish.max_gap:g} or less; "
        f"the least possible is {least_text(least)}. Raise --max-gap or the budget."
    )


class _OuterApproximation:
    """The integer programme with a column for each group's loss, from below (`low`) and from above (`high`)."""

    def __init__(
        self, quality: Quality, programme: Programme, wish: Wish, ends_G: Sequence[tuple[float, float]]
    ) -> None:
        self.quality, self.programme, self.wish, self.ends_G = quality, programme, wish, ends_G
        self.needs_gap = wish.max_gap is not None or wish.weight > 0
        self.linear = quality.link == "identity" or (wish.worst and not self.needs_gap)
        self.point_G = [np.empty(0)] * len(quality.base_G)
        if not self.linear:
            self.point_G = [np.linspace(least, most, 2 + int((most - least) / STEP)) for least, most in ends_G]

    def solutions(self) -> Iterator[tuple[float, np.ndarray]]:
        """(a bound that nothing left is below, an architecture), each architecture once; ends where nothing is left."""
        told: set[bytes] = set()
        while True:
            solved = self._solve()
            if solved is None:
                return
            bound, index_L = solved
            if index_L.tobytes() in told:  # its value is exact by now: the next one
                self.programme.exclude(index_L)
                continue
            told.add(index_L.tobytes())
            yield bound, index_L
            (linked_G,) = self.quality.linked_NG(index_L[None])
            if self.linear:
                self.programme.exclude(index_L)
            else:
                self.point_G = [np.union1d(own, value) for own, value in zip(self.point_G, linked_G, strict=True)]

    def _solve(self) -> tuple[float, np.ndarray] | None:
        model = _Model(self.programme)
        linked = [
            (self.programme.row(self.quality.added_LKG[:, :, g]), float(base))
            for g, base in enumerate(self.quality.base_G)
        ]
        for (row_V, base), (_, most) in zip(linked, self.ends_G, strict=True):
            model.rows.append((row_V, {}, -np.inf, most - base))
        low = [self._low(model, g, *own) for g, own in enumerate(linked)]
        if self.wish.worst:
            (top,) = model.add(1, -np.inf, np.inf)
            for column in low:
                model.at_most({column: 1.0, top: -1.0}, 0.0)
            goal = {top: 1.0}
        else:
            goal = {column: 1.0 / len(low) for column in low}
        if self.needs_gap:
            high = [self._high(model, g, *own) for g, own in enumerate(linked)]
            (gap,) = model.add(1, 0.0, np.inf if self.wish.max_gap is None else self.wish.max_gap)
            for g, attribute in enumerate(self.quality.attributes):
                for h, other in enumerate(self.quality.attributes):
                    if g != h and attribute == other:
                        model.at_most({low[g]: 1.0, high[h]: -1.0, gap: -1.0}, 0.0)
            goal[gap] = self.wish.weight
        found_V = model.best(goal)
        if found_V is None:
            return None
        shape = self.programme.shape
        bound = sum(weight * found_V[column] for column, weight in goal.items())
        if self.wish.worst and self.linear and self.quality.link == "log":
            bound = float(np.exp(bound))
        return float(bound), found_V[: np.prod(shape)].reshape(shape).argmax(axis=1)

    def _low(self, model: _Model, g: int, row_V: np.ndarray, base: float) -> int:
        """A column that is at least the loss's tangents (with the identity as link, or the worst group alone: the link itself)."""
        (column,) = model.add(1, -np.inf, np.inf)
        if self.linear:
            model.rows.append((row_V, {column: -1.0}, -np.inf, -base))
        for point in self.point_G[g]:
            slope = float(np.exp(point))
            model.rows.append((slope * row_V, {column: -1.0}, -np.inf, slope * (point - 1 - base)))
        return column

    def _high(self, model: _Model, g: int, row_V: np.ndarray, base: float) -> int:
        """A column that is at most the chord of the loss over the part of its range that the sum lies in."""
        (column,) = model.add(1, -np.inf, np.inf)
        if self.linear:
            model.rows.append((-row_V, {column: 1.0}, -np.inf, base))
            return column
        least, most = self.ends_G[g]
        point_P = np.unique(np.concatenate([[least, most], self.point_G[g]]))
        start_P, end_P = point_P[:-1], point_P[1:]
        picked = model.add(len(start_P), 0.0, 1.0, whole=True)
        value = model.add(len(start_P), -np.inf, np.inf)
        slope_P = (np.exp(end_P) - np.exp(start_P)) / (end_P - start_P)
        for z, a, start, end in zip(picked, value, start_P, end_P, strict=True):
            model.at_most({z: start, a: -1.0}, 0.0)
            model.at_most({a: 1.0, z: -end}, 0.0)
        nothing_V = np.zeros_like(row_V)
        model.rows.append((nothing_V, dict.fromkeys(picked, 1.0), 1.0, 1.0))
        model.rows.append((-row_V, dict.fromkeys(value, 1.0), base, base))
        chord = {z: slope * start - np.exp(start) for z, slope, start in zip(picked, slope_P, start_P, strict=True)}
        model.at_most({column: 1.0, **chord, **{a: -slope for a, slope in zip(value, slope_P, strict=True)}}, 0.0)
        return column


class _Model:
    """A programme with further columns; `rows` are (coefficients of its own columns, of further ones, least, most)."""

    def __init__(self, programme: Programme) -> None:
        self.programme, self.own = programme, len(programme.upper)
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.whole: list[int] = []
        self.rows: list[tuple[np.ndarray, dict[int, float], float, float]] = []

    def add(self, number: int, lower: float, upper: float, whole: bool = False) -> list[int]:
        first = self.own + len(self.lower)
        self.lower += [lower] * number
        self.upper += [upper] * number
        self.whole += [int(whole)] * number
        return list(range(first, first + number))

    def at_most(self, further: dict[int, float], limit: float) -> None:
        self.rows.append((np.zeros(self.own), further, -np.inf, limit))

    def best(self, goal: Mapping[int, float]) -> np.ndarray | None:
        """(V,) all columns at the least goal; None where nothing keeps the rows."""
        width = self.own + len(self.lower)
        rules = [
            LinearConstraint(np.pad(np.atleast_2d(rule.A), ((0, 0), (0, width - self.own))), rule.lb, rule.ub)
            for rule in self.programme.rows
        ]
        if self.rows:
            matrix = np.zeros((len(self.rows), width))
            for number, (row_V, further, _, _) in enumerate(self.rows):
                matrix[number, : self.own] = row_V
                for column, value in further.items():
                    matrix[number, column] = value
            rules.append(LinearConstraint(matrix, [row[2] for row in self.rows], [row[3] for row in self.rows]))
        goal_V, whole_V = np.zeros(width), np.zeros(width)
        for column, value in goal.items():
            goal_V[column] = value
        whole_V[: np.prod(self.programme.shape)] = 1
        whole_V[self.own :] = self.whole
        bounds = Bounds(
            np.concatenate([np.zeros(self.own), self.lower]), np.concatenate([self.programme.upper, self.upper])
        )
        return solve(goal_V, rules, bounds, whole_V)
