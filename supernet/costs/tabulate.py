"""The price of every operation where it may stand → a cost of the space's decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from supernet.costs.factors import Cost
from supernet.spaces import LayerSpec, SearchSpace


def tabulate(
    space: SearchSpace,
    name: str,
    unit: str,
    base: float,
    price: Callable[[str, LayerSpec], float],
    combine: Literal["sum", "max"] = "sum",
) -> Cost:
    """base + Σ price(operation, where it stands) over the layers, in `unit`; or the greatest of these.

    A layer whose channels another layer decides costs by the pair of both options, so it stays exact.
    """
    decisions = space.choices.decisions
    unary_LK, pairs = np.zeros(space.valid_LK.shape), {}
    for row, decision in enumerate(decisions):
        options = [(k, option) for k, option in enumerate(decision.options) if option is not None]
        before = space.before(row)
        if before is None:
            for k, option in options:
                unary_LK[row, k] = price(*space.place(row, option))
            continue
        table_KK = pairs[before, row] = np.zeros((len(decision.options),) * 2)
        for j, taken in enumerate(decisions[before].options):
            for k, option in options:
                if taken is not None:
                    table_KK[j, k] = price(*space.place(row, option, taken))
    return Cost(name, unit, base, unary_LK, pairs, combine)
