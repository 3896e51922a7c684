"""What is decided in a search: D decisions with up to K options each. No torch here, and nothing of layers or networks.

A layer's operation is a decision, and so are a stage's width or the input's resolution. Costs, derivation, α and the ask/tell
strategies know decisions alone; what an option builds is the space's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from supernet.errors import UserError, nearest

Edge = tuple[int, int]


class Decision(NamedTuple):
    """One thing to decide. Option k stands in column k of every table; None: this column may not be taken here."""

    name: str
    options: tuple[str | None, ...]

    @property
    def allowed(self) -> tuple[str, ...]:
        """The names that may be taken."""
        return tuple(option for option in self.options if option is not None)


@dataclass(frozen=True)
class Choices:
    """All decisions of a search.

    name:      for messages
    decisions: all of one number of columns, K
    edges:     pairs of decisions (d, e), d < e, that a cost may depend on together, such as the widths on both sides of a layer
    """

    name: str
    decisions: tuple[Decision, ...]
    edges: tuple[Edge, ...] = ()

    @cached_property
    def valid_DK(self) -> np.ndarray:
        """(D, K) bool: True where the option may be taken."""
        return np.array([[option is not None for option in decision.options] for decision in self.decisions])

    def index_D(self, names: Sequence[str]) -> np.ndarray:
        """(D,) column of each decision's option. Raises UserError for a wrong number or an option that is not allowed."""
        if len(names) != len(self.decisions):
            raise UserError(f"{self.name} has {len(self.decisions)} decisions, but {len(names)} options were given.")
        for name, decision in zip(names, self.decisions, strict=True):
            if name not in decision.allowed:
                raise UserError(
                    f'{decision.name}: "{name}" is not an option of {self.name} there.{nearest(name, decision.allowed)}'
                )
        return np.array([decision.options.index(name) for name, decision in zip(names, self.decisions, strict=True)])

    def names(self, index_D: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """The options of a (D,) index vector."""
        assert self.valid_DK[np.arange(len(self.decisions)), np.asarray(index_D)].all(), "an option that is not allowed"
        return tuple(str(decision.options[int(k)]) for decision, k in zip(self.decisions, index_D, strict=True))


def draw(valid_DK: np.ndarray, number: int, rng: np.random.Generator, weight_K: np.ndarray | None = None) -> np.ndarray:
    """(number, D) architectures: every decision's option drawn on its own, evenly among those that are allowed.

    weight_K: how likely each column is beside the others; alike if None. The one way to draw without budgets.
    """
    columns = []
    for valid_K in valid_DK:
        allowed = np.flatnonzero(valid_K)
        p = None if weight_K is None else weight_K[allowed] / weight_K[allowed].sum()
        columns.append(rng.choice(allowed, number, p=p))
    return np.stack(columns, axis=1)


def every(valid_DK: np.ndarray) -> Iterator[np.ndarray]:
    """Each (D,) architecture, in lexicographic order."""
    options = [np.flatnonzero(valid_K) for valid_K in valid_DK]
    for rank in np.ndindex(*(len(own) for own in options)):
        yield np.array([own[r] for own, r in zip(options, rank, strict=True)])
