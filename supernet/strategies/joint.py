"""Architecture and training options in one study: an option is one more decision, with a short list of values.

RA-AutoML (Yang et al., 2020) searches both jointly, too. A strategy draws, changes and repairs decisions whatever they are about, so that every ask/tell
one can: the budgets do not depend on these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from supernet.choices import Choices, Decision
from supernet.costs.factors import Cost
from supernet.errors import UserError
from supernet.strategies.region import Region

VALUES: dict[str, tuple[float | bool, ...]] = {
    "lr": (1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
    "weight_decay": (1e-4, 1e-3, 1e-2, 1e-1),
    "augment": (True, False),
}


def tuned_names(text: str | None) -> tuple[str, ...]:
    """The options in `lr,augment`. Raises UserError for one that stands twice."""
    names = () if text is None else tuple(name.strip() for name in text.split(","))
    if len(set(names)) < len(names):
        raise UserError(f"--tune {text}: an option stands twice.")
    return names


def chosen(names: Sequence[str], index_T: Sequence[int] | np.ndarray) -> dict[str, float | bool]:
    """The value of each tuned option, of the last T columns of an architecture with its options."""
    return {name: VALUES[name][int(column)] for name, column in zip(names, index_T, strict=True)}


class JointRegion(Region):
    """A region whose last decisions are the options in `names`; without names it is that of the architectures.

    valid_LK, costs, budgets: as of `Region`, of the architecture alone.
    """

    def __init__(
        self, valid_LK: np.ndarray, costs: Mapping[str, Cost], budgets: Mapping[str, float], names: Sequence[str]
    ) -> None:
        self.names, self.layers = tuple(names), len(valid_LK)
        columns = max([valid_LK.shape[1], *(len(VALUES[name]) for name in names)])
        valid_DK = np.zeros((self.layers + len(names), columns), dtype=bool)
        valid_DK[: self.layers, : valid_LK.shape[1]] = valid_LK
        for row, name in enumerate(names, self.layers):
            valid_DK[row, : len(VALUES[name])] = True
        wider = {name: _widened(cost, valid_DK.shape) for name, cost in costs.items()}
        super().__init__(valid_DK, wider, budgets)

    def choices(self, own: Choices) -> Choices:
        """Every decision by name, in the region's columns; `own` are those of the architecture."""
        columns = self.valid_LK.shape[1]

        def filled(decision: Decision) -> Decision:
            return Decision(decision.name, (*decision.options, *[None] * (columns - len(decision.options))))

        tuned = [Decision(name, tuple(str(value) for value in VALUES[name])) for name in self.names]
        return Choices(own.name, tuple(map(filled, (*own.decisions, *tuned))), own.edges)

    def options(self, index_L: Sequence[int] | np.ndarray) -> dict[str, float | bool]:
        return chosen(self.names, index_L[self.layers :])


def _widened(cost: Cost, shape: tuple[int, int]) -> Cost:
    """The same cost where more decisions and columns, that cost nothing, come after its own."""

    def padded(table: np.ndarray, rows: int, columns: int) -> np.ndarray:
        return np.pad(table, ((0, rows - table.shape[0]), (0, columns - table.shape[1])))

    pairs = {edge: padded(table, shape[1], shape[1]) for edge, table in cost.pairs.items()}
    return replace(cost, unary_DK=padded(cost.unary_DK, *shape), pairs=pairs)
