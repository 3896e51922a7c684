"""The one shape that every cost has: a base, a number for each option of each decision, and one for some pairs of options.

Shapes: D decisions (of a plain space, its layers), K options (its operations), N architectures. Without pairs a cost is the
(L, K) table that one thinks of. Widths need pairs: what a layer takes depends on the width before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from supernet.choices import draw
from supernet.programme import Pairs, Programme


@dataclass(frozen=True)
class Cost:
    """cost(architecture) = base + Σ_d unary_DK[d, k(d)] + Σ_(d, e) pairs[d, e][k(d), k(e)], in `unit`.

    With ``combine="max"`` it is the greatest of all these terms instead (peak memory). 0 where an option is not allowed.

    unary_DK: (D, K).  pairs: edge (d, e), d < e → (K, K), option of d by option of e.
    name: for budgets and messages.  unit: of every number.  base: what every architecture costs.  combine: how terms join.
    """

    name: str
    unit: str
    base: float
    unary_DK: np.ndarray
    pairs: Pairs = field(default_factory=dict)
    combine: Literal["sum", "max"] = "sum"

    def terms(self, index_D: Sequence[int] | np.ndarray) -> np.ndarray:
        """(…, D + edges) the terms of an architecture (D,), or of several (…, D): of each decision, then of each edge."""
        index_D = np.asarray(index_D)
        unary = self.unary_DK[np.arange(len(self.unary_DK)), index_D]
        pairs = [table[index_D[..., d], index_D[..., e]] for (d, e), table in self.pairs.items()]
        return unary if not pairs else np.concatenate([unary, np.stack(pairs, axis=-1)], axis=-1)

    def totals(self, index: np.ndarray) -> np.ndarray:
        """(…,) the cost of each architecture (…, D), given by the column of each decision's option."""
        terms = self.terms(index)
        return self.base + terms.sum(axis=-1) if self.combine == "sum" else np.maximum(terms.max(axis=-1), self.base)

    def total(self, index_D: Sequence[int] | np.ndarray) -> float:
        """The cost of one architecture (D,)."""
        return float(self.totals(np.asarray(index_D)))

    def by_decision(self, index_D: Sequence[int] | np.ndarray) -> np.ndarray:
        """(D,) what each decision adds to a sum; a pair's share is told with its later decision."""
        terms = self.terms(index_D)
        added_D = terms[: len(self.unary_DK)].copy()
        for (_, later), share in zip(self.pairs, terms[len(added_D) :], strict=True):
            added_D[later] += share
        return added_D

    def change_DK(self, index_D: np.ndarray) -> np.ndarray:
        """(D, K) how much the cost changes where one decision takes another option; columns of its own are 0."""
        changed_DKD = np.tile(index_D, (*self.unary_DK.shape, 1))
        decisions, options = np.indices(self.unary_DK.shape)
        changed_DKD[decisions, options, decisions] = options
        return self.totals(changed_DKD) - self.total(index_D)

    @property
    def expectable(self) -> bool:
        """Whether `expected` is known: of a maximum over pairs no closed form holds for every graph."""
        return self.combine == "sum" or not self.pairs

    def expected(self, p_DK: Tensor) -> Tensor:
        """Scalar: expected cost where every decision is drawn independently from p_DK; differentiable.

        Of a sum: Wu et al. (FBNet, 2019), eq. 4, and p_d · pairs · p_e. Of a maximum: ∫ P(cost > v) dv, exactly, without
        pairs (see `expectable`; a budget needs no expectation).
        """
        unary_DK = torch.as_tensor(self.unary_DK, dtype=p_DK.dtype, device=p_DK.device)
        if self.combine == "max":
            return self._expected_max(unary_DK, p_DK)
        cost = self.base + (p_DK * unary_DK).sum()
        for (d, e), table in self.pairs.items():
            cost = cost + p_DK[d] @ torch.as_tensor(table, dtype=p_DK.dtype, device=p_DK.device) @ p_DK[e]
        return cost

    def _expected_max(self, unary_DK: Tensor, p_DK: Tensor) -> Tensor:
        assert self.expectable, "the expectation of a maximum over pairs is not known: use a budget"
        value_V = unary_DK.clamp_min(self.base).unique()  # sorted
        below_VD = ((unary_DK <= value_V[:, None, None]) * p_DK).sum(-1)
        return value_V[-1] - (below_VD.prod(-1)[:-1] * value_V.diff()).sum()

    def marginal_DK(self, valid_DK: np.ndarray) -> np.ndarray:
        """(D, K) what an option adds to a sum where the others are drawn uniformly; without pairs, its own number."""
        uniform = torch.from_numpy(valid_DK / valid_DK.sum(axis=1, keepdims=True)).requires_grad_()
        assert self.combine == "sum", "a maximum has no shares"
        (gradient,) = torch.autograd.grad(self.expected(uniform), uniform)
        return gradient.numpy()

    def bounds(self, valid_DK: np.ndarray) -> tuple[float, float]:
        """The least and the most that any allowed architecture costs, exactly."""
        least_D = np.where(valid_DK, self.unary_DK, np.inf).min(axis=1)
        most_D = np.where(valid_DK, self.unary_DK, -np.inf).max(axis=1)
        if self.combine == "sum" and not self.pairs:
            return float(self.base + least_D.sum()), float(self.base + most_D.sum())
        if self.combine == "sum":
            return self._extreme_sum(valid_DK, -1.0), self._extreme_sum(valid_DK, 1.0)
        reached = [table[np.ix_(valid_DK[d], valid_DK[e])] for (d, e), table in self.pairs.items()]
        most = max(self.base, most_D.max(), *(table.max() for table in reached))
        least = max(self.base, least_D.max(), *(table.min() for table in reached))
        return (self._least_max(valid_DK, least, most) if self.pairs else float(least)), float(most)

    def _extreme_sum(self, valid_DK: np.ndarray, sign: float) -> float:
        programme = Programme(valid_DK, [self.pairs])
        row_V = programme.row(self.unary_DK, self.pairs)
        largest = float(abs(row_V).max()) or 1.0
        found_D = programme.best(sign * row_V / largest)  # the solver's tolerances are absolute
        assert found_D is not None, "without a limit there is always an architecture"
        return self.total(found_D)

    def _least_max(self, valid_DK: np.ndarray, least: float, most: float) -> float:
        """The smallest of the terms that some architecture stays at or below, by bisection."""
        terms = np.concatenate([[self.base], self.unary_DK.ravel(), *(table.ravel() for table in self.pairs.values())])
        value_V = np.unique(terms[(terms >= least) & (terms <= most)])

        def reached(limit: float) -> bool:
            programme = Programme(valid_DK, [self.pairs])
            self.constraints(programme, limit)
            return programme.best(programme.row(np.zeros(valid_DK.shape))) is not None

        return float(value_V[bisect_left(value_V, True, key=reached)])

    def constraints(self, programme: Programme, limit: float) -> None:
        """Adds `cost ≤ limit` to an integer programme that knows this cost's edges. A maximum forbids what exceeds it."""
        if self.combine == "max":
            programme.forbid(self.unary_DK > limit, {edge: table > limit for edge, table in self.pairs.items()})
        else:
            programme.at_most(self.base, self.unary_DK, self.pairs, limit)

    def median(self, valid_DK: np.ndarray, draws: int = 2001) -> float:
        """The median cost of architectures drawn uniformly (fixed seed: the same table gives the same number)."""
        rng = np.random.default_rng(0)
        return float(np.median(self.totals(draw(valid_DK, draws, rng))))


def leading(costs: Mapping[str, object]) -> str:
    """The name of the cost that networks are sized by: latency, or the first one where nothing has a latency."""
    return "latency" if "latency" in costs else next(iter(costs))


def least_text(value: float) -> str:
    """A least possible cost as text, never below it: four digits rounded up, whole numbers (MACs, parameters) in full.

    What a message offers as possible is then accepted when it is asked for; no exponent, so it can be typed back.
    """
    if float(value).is_integer():
        return str(int(value))
    return f"{Context(prec=4, rounding=ROUND_CEILING).create_decimal(Decimal(value)):f}"
