"""The architectures that may be asked for: those that keep every budget.

A strategy draws, changes and repairs architectures through a region, so that none outside the budgets is ever evaluated.
An architecture is an (L,) array: the column of each layer's operation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from supernet.choices import every
from supernet.costs.factors import Cost
from supernet.derive import drawn_inside, inside, most_probable, repaired
from supernet.errors import UserError


class Region:
    """All architectures of `valid_LK` that keep `budgets`, the most that each named cost may be.

    Raises UserError where there is none, with the least possible cost.
    """

    def __init__(self, valid_LK: np.ndarray, costs: Mapping[str, Cost], budgets: Mapping[str, float]) -> None:
        self.valid_LK, self.costs, self.budgets = valid_LK, dict(costs), dict(budgets)
        self._most_probable(np.zeros(valid_LK.shape))

    def measured(self, index_L: np.ndarray) -> dict[str, float]:
        """Every cost of an architecture by name."""
        return {name: cost.total(index_L) for name, cost in self.costs.items()}

    def options(self, index_L: Sequence[int] | np.ndarray) -> dict[str, float | bool]:
        """The training options that were chosen with an architecture, by name; none here (see `joint.JointRegion`)."""
        return {}

    def worst(self, name: str) -> float:
        """The most that a cost can be here, to scale by: its budget, or the largest of the space."""
        return min(self.budgets.get(name, np.inf), self.costs[name].bounds(self.valid_LK)[1])

    def keeps(self, index_L: np.ndarray) -> bool:
        """Whether the architecture is allowed and keeps every budget."""
        allowed = self.valid_LK[np.arange(len(self.valid_LK)), index_L].all()
        return bool(allowed) and inside(index_L, list(self.costs.values()), self.budgets)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """(L,) drawn uniformly, as `derive.drawn_inside`."""
        return drawn_inside(self.valid_LK, list(self.costs.values()), self.budgets, rng)

    def neighbours(self, index_L: np.ndarray) -> list[np.ndarray]:
        """Every architecture inside that differs in exactly one layer, in the order of layers and operations."""
        other_LK = self.valid_LK & (np.arange(self.valid_LK.shape[1]) != np.asarray(index_L)[:, None])
        found = []
        for layer, op in np.argwhere(other_LK):
            changed_L = np.array(index_L)
            changed_L[layer] = op
            if self.keeps(changed_L):
                found.append(changed_L)
        return found

    def mutate(self, index_L: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One of the neighbours, uniformly; a random architecture where there is none."""
        near = self.neighbours(index_L)
        return near[rng.integers(len(near))] if near else self.random(rng)

    def repair(self, index_L: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An architecture inside that is near, as `derive.repaired`."""
        return repaired(index_L, self.valid_LK, list(self.costs.values()), self.budgets, rng)

    def count(self) -> int:
        """Architectures of the space, budgets apart."""
        return math.prod(self.valid_LK.sum(axis=1).tolist())

    def every(self) -> Iterator[np.ndarray]:
        """Every architecture inside, in lexicographic order."""
        return filter(self.keeps, every(self.valid_LK))

    def _most_probable(self, alpha_LK: np.ndarray) -> np.ndarray:
        return next(most_probable(alpha_LK, self.valid_LK, list(self.costs.values()), self.budgets))


class ListedRegion(Region):
    """The listed architectures, (N, L) rows: for benchmarks whose costs are no sums (NAS-Bench-201's measured latency).

    `valid_LK` is all that occurs in the rows. Raises UserError for an empty list.
    """

    def __init__(self, index_NL: np.ndarray) -> None:
        if not len(index_NL):
            raise UserError("No architecture is inside the budgets: the list is empty.")
        self.index_NL = np.unique(index_NL, axis=0)
        self._inside = {row.tobytes() for row in self.index_NL.astype(np.int64)}
        valid_LK = (self.index_NL[:, :, None] == np.arange(self.index_NL.max() + 1)).any(axis=0)
        super().__init__(valid_LK, {}, {})

    def keeps(self, index_L: np.ndarray) -> bool:
        return np.asarray(index_L, np.int64).tobytes() in self._inside

    def random(self, rng: np.random.Generator) -> np.ndarray:
        return self.index_NL[rng.integers(len(self.index_NL))]

    def repair(self, index_L: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changed_N = (self.index_NL != index_L).sum(axis=1)  # the nearest one exactly, ties at random
        return self.index_NL[rng.choice(np.flatnonzero(changed_N == changed_N.min()))]

    def count(self) -> int:
        return len(self.index_NL)

    def every(self) -> Iterator[np.ndarray]:
        yield from self.index_NL
