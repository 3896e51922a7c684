"""The control of a search from a teacher: what one would build without it, from the same weights, with the same steps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from supernet.config import SearchConfig
from supernet.costs.factors import Cost, least_text
from supernet.problem import Outcome, Problem
from supernet.scoring import marked
from supernet.spaces import SearchSpace
from supernet.spaces.lite import scaled
from supernet.strategies.assembled import compared, controls, keep_weights, material


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """The uniform network of the budgets, of the two ways to make one the better: what a search must beat. The other is its control."""
    started = time.monotonic()
    named = controls(problem.space, list(problem.costs.values()), problem.budgets)
    assert named, "checked before the run"
    rows = compared(config, problem, material(config, problem), named)
    keep_weights(problem, rows, rows[-1][0].ops)
    return Outcome(
        marked([replace(one, by_hand=True) for one, _ in rows]), None, {"compare": time.monotonic() - started}, 1
    )


def no_control(space: SearchSpace, costs: Sequence[Cost], budgets: Mapping[str, float]) -> str | None:
    """Why no uniform network keeps the budgets, with what the smallest one takes; None where one does."""
    if controls(space, costs, budgets):
        return None
    smallest_L = scaled(space, 0.05)
    taken = [(cost, cost.total(smallest_L)) for cost in costs]
    over = [
        f"{least_text(total)} {cost.unit}".rstrip() for cost, total in taken if total > budgets.get(cost.name, np.inf)
    ]
    return f"No uniform network keeps the budgets: the smallest takes {' and '.join(over)}."
