"""One option of every decision, the best under linear limits: an integer programme, solved exactly (HiGHS).

Shapes: D decisions, K options, V variables of the programme.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import lil_array

from supernet.choices import Edge
from supernet.solver import solve

Pairs = Mapping[Edge, np.ndarray]
"""(d, e) with d < e → (K, K): a number for option k of decision d beside option l of decision e."""


class Programme:
    """Maximises a score over x_DK ∈ {0, 1} with one option of every decision, under the limits that were added.

    An edge (d, e) adds y_KK, which is the product x[d, k] · x[e, l]: Σ_l y[k, l] = x[d, k] and Σ_k y[k, l] = x[e, l] leave
    nothing else at whole x. So sums over pairs are linear, and stay exact.

    valid_DK: (D, K) bool, True where the option may be taken.  edges: pairs of decisions that a limit or the score couples.
    """

    def __init__(self, valid_DK: np.ndarray, edges: Iterable[Edge] = ()) -> None:
        self.valid_DK, self.shape = valid_DK, valid_DK.shape
        self.edges = tuple(dict.fromkeys(edges))
        D, K = self.shape
        self.upper = np.concatenate([valid_DK.ravel().astype(float), np.ones(len(self.edges) * K * K)])
        self.rows = [LinearConstraint(self._widened(np.kron(np.eye(D), np.ones(K))), 1, 1)]
        for n, (first, second) in enumerate(self.edges):
            assert first < second, "an edge names the earlier decision first"
            link_KV, y = lil_array((2 * K, len(self.upper))), D * K + n * K * K
            for k in range(K):
                link_KV[k, y + k * K : y + (k + 1) * K] = link_KV[K + k, y + k : y + K * K : K] = 1
                link_KV[k, first * K + k] = link_KV[K + k, second * K + k] = -1
            self.rows.append(LinearConstraint(link_KV.tocsr(), 0, 0))
            allowed = np.outer(valid_DK[first], valid_DK[second])
            self.upper[y : y + K * K] = allowed.ravel()

    def row(self, unary_DK: np.ndarray, pairs: Pairs | None = None) -> np.ndarray:
        """(V,) coefficients whose product with the variables is Σ_d unary[d, k(d)] + Σ_(d, e) pairs[d, e][k(d), k(e)]."""
        pairs = pairs or {}
        assert set(pairs) <= set(self.edges), "an edge that the programme was not told of would be ignored"
        unknown = np.zeros((self.shape[1],) * 2)
        return np.concatenate([unary_DK.ravel(), *(pairs.get(edge, unknown).ravel() for edge in self.edges)])

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
