"""One option of every decision, the best under linear limits: an integer programme, solved exactly (HiGHS).

Shapes: D decisions, K options, V variables of the programme.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import lil_array

from supernet.choices import Edge
from supernet.solver import solve

Pairs = Mapping[Edge, np.ndarray]
"""(d, e) with d < e → (K, K): a number for option k of decision d beside option l of decision e."""


class _Grouped(NamedTuple):
    """An edge, and of both decisions the group of each option: options alike in every table share their products.

    rows_RK, columns_CK: 0/1, a row a group.
    """

    edge: Edge
    rows_RK: np.ndarray
    columns_CK: np.ndarray

    def of_groups(self, table_KK: np.ndarray) -> np.ndarray:
        """(R, C) the table's number for each pair of groups."""
        first, second = self.rows_RK.argmax(axis=1), self.columns_CK.argmax(axis=1)
        return table_KK[np.ix_(first, second)]


class Programme:
    """Maximises a score over x_DK ∈ {0, 1} with one option of every decision, under the limits that were added.

    An edge (d, e) adds y_KK, which is the product x[d, k] · x[e, l]: Σ_l y[k, l] = x[d, k] and Σ_k y[k, l] = x[e, l] leave
    nothing else at whole x. So sums over pairs are linear, and stay exact. Options that no table tells apart, such as
    operations of one width, share a row or a column of y: that is the same programme, and a small part of its size.

    valid_DK: (D, K) bool, True where the option may be taken.  tables: over pairs of decisions, all that a limit or the score will name.
    """

    def __init__(self, valid_DK: np.ndarray, tables: Iterable[Pairs] = ()) -> None:
        self.valid_DK, self.shape = valid_DK, valid_DK.shape
        D, K = self.shape
        by_edge: dict[Edge, list[np.ndarray]] = {}
        for pairs in tables:
            for edge, table in pairs.items():
                assert edge[0] < edge[1], "an edge names the earlier decision first"
                by_edge.setdefault(edge, []).append(table)
        self.grouped = tuple(_grouped(edge, own, valid_DK) for edge, own in by_edge.items())
        sizes = [len(one.rows_RK) * len(one.columns_CK) for one in self.grouped]
        self.upper = np.concatenate([valid_DK.ravel().astype(float), np.ones(sum(sizes))])
        self.rows = [LinearConstraint(self._widened(np.kron(np.eye(D), np.ones(K))), 1, 1)]
        for one, start in zip(self.grouped, D * K + np.cumsum([0, *sizes]), strict=False):
            (first, second), (R, C) = one.edge, (len(one.rows_RK), len(one.columns_CK))
            link_GV = lil_array((R + C, len(self.upper)))
            link_GV[:R, first * K : (first + 1) * K] = -one.rows_RK
            link_GV[R:, second * K : (second + 1) * K] = -one.columns_CK
            link_GV[:R, start : start + R * C] = np.kron(np.eye(R), np.ones(C))
            link_GV[R:, start : start + R * C] = np.kron(np.ones(R), np.eye(C))
            self.rows.append(LinearConstraint(link_GV.tocsr(), 0, 0))

    def row(self, unary_DK: np.ndarray, pairs: Pairs | None = None) -> np.ndarray:
        """(V,) coefficients whose product with the variables is Σ_d unary[d, k(d)] + Σ_(d, e) pairs[d, e][k(d), k(e)]."""
        pairs = pairs or {}
        known = {one.edge for one in self.grouped}
        assert set(pairs) <= known, "an edge that the programme was not told of would be ignored"
        unknown = np.zeros((self.shape[1],) * 2)
        return np.concatenate(
            [unary_DK.ravel(), *(one.of_groups(pairs.get(one.edge, unknown)).ravel() for one in self.grouped)]
        )

    def at_most(self, base: float, unary_DK: np.ndarray, pairs: Pairs, limit: float) -> None:
        """base + Σ_d unary[d, k(d)] + Σ_(d, e) pairs[d, e][k(d), k(e)] ≤ limit; a little more for rounding.

        The solver's tolerances are absolute and it refuses large ratios. So each table is told by what it has above its own
        least allowed number, what has no room even beside the least of all others is forbidden, and the rest is scaled to [0, 1].
        """
        valid_DK = self.valid_DK
        masked_DK = np.where(valid_DK, unary_DK, np.inf)
        least = masked_DK.min(axis=1).sum()
        above_DK, above = masked_DK - masked_DK.min(axis=1, keepdims=True), {}
        for (d, e), table in pairs.items():
            masked_KK = np.where(np.outer(valid_DK[d], valid_DK[e]), table, np.inf)
            above[d, e] = masked_KK - masked_KK.min()
            least += masked_KK.min()
        room = limit - (base + least) + 1e-12 * max(abs(limit), abs(base))
        row_V = self.row(above_DK, above)
        self.upper = self.upper * (row_V <= room)
        row_V = np.where(row_V <= room, row_V, 0.0)
        scale = max(row_V.max(), 1e-300)
        row_V = np.where(row_V < 1e-9 * scale, 0.0, row_V) / scale  # smaller ones the solver drops, with a line
        self.rows.append(LinearConstraint(row_V, -np.inf, room / scale))

    def forbid(self, wrong_DK: np.ndarray, pairs: Pairs | None = None) -> None:
        """Options, and pairs of options, that are True are not taken."""
        self.upper = self.upper * (self.row(wrong_DK, pairs) == 0)

    def exclude(self, index_D: np.ndarray, apart: int = 1) -> None:
        """This architecture is not found again, nor one that differs from it in fewer than `apart` decisions."""
        chosen_DK = np.zeros(self.shape)
        chosen_DK[np.arange(len(index_D)), index_D] = 1
        self.rows.append(LinearConstraint(self.row(chosen_DK), -np.inf, len(index_D) - apart))

    def best(self, score_V: np.ndarray) -> np.ndarray | None:
        """(D,) option of every decision with the greatest score; None where nothing keeps the limits.

        A limit may be exceeded within the solver's tolerance: who must keep it exactly adds it up and excludes.
        """
        whole = np.zeros(len(self.upper))
        whole[: np.prod(self.shape)] = 1
        found_V = solve(-score_V, self.rows, Bounds(0, self.upper), whole)
        return None if found_V is None else found_V[: np.prod(self.shape)].reshape(self.shape).argmax(axis=1)

    def _widened(self, row_DK: np.ndarray) -> np.ndarray:
        return np.pad(row_DK, ((0, 0), (0, len(self.upper) - row_DK.shape[1])))


def _grouped(edge: Edge, tables: list[np.ndarray], valid_DK: np.ndarray) -> _Grouped:
    """The groups of options that are alike in all tables of the edge, of those that may be taken."""
    first_K, second_K = valid_DK[edge[0]], valid_DK[edge[1]]
    reached = [table[np.ix_(first_K, second_K)] for table in tables]
    groups = []
    for valid_K, alike in ((first_K, np.hstack(reached)), (second_K, np.vstack(reached).T)):
        _, group_N = np.unique(alike, axis=0, return_inverse=True)
        member_GK = np.zeros((group_N.max() + 1, len(valid_K)))
        member_GK[group_N.ravel(), np.flatnonzero(valid_K)] = 1
        groups.append(member_GK)
    return _Grouped(edge, *groups)
