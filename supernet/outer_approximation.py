"""The least of a sum of exponentials by integer programmes: outer approximation (Duran & Grossmann, 1986); see `supernet.answers`.

Shapes: L layers, K operations, G groups, V columns of the integer programme.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint

from supernet.programme import Programme
from supernet.quality import Quality
from supernet.solver import solve
from supernet.wish import Wish

STEP = 0.1  # between the first points, of a loss's logarithm: a chord is then off by 1.3 in a thousand at the most


class OuterApproximation:
    """The integer programme with a column for each group's loss, from below (`low`) and from above (`high`).

    quality: the table.  programme: with the budgets in it; columns are added.  wish: what is minimised.
    ends_G: least and most link of each group's loss.
    """

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
        rules = [LinearConstraint(_widened(rule.A, width), rule.lb, rule.ub) for rule in self.programme.rows]
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


def _widened(rows: Any, width: int) -> sparse.csr_array:
    """The rows, dense or sparse, with columns of zeros up to that width."""
    known = sparse.csr_array(rows if sparse.issparse(rows) else np.atleast_2d(rows))
    return sparse.csr_array((known.data, known.indices, known.indptr), shape=(known.shape[0], width))
