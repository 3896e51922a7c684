"""The control of a search from a teacher: every block smaller by the same share, from the same weights, with the same steps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from supernet.config import SearchConfig
from supernet.costs.factors import Cost, least_text
from supernet.derive import uniform
from supernet.problem import Outcome, Problem
from supernet.scoring import marked
from supernet.spaces import SearchSpace
from supernet.spaces.lite import uniform_sizes
from supernet.strategies.assembled import compared, keep_weights


def control(config: SearchConfig, problem: Problem) -> Outcome:
    """The uniform network of the budgets: what a search must beat."""
    assert problem.teacher is not None, "checked with the options"
    started = time.monotonic()
    control_L = uniform(uniform_sizes(problem.space), list(problem.costs.values()), problem.budgets)
    assert control_L is not None, "checked before the run"
    (row,) = compared(config, problem, problem.teacher, [problem.space.names(control_L)])
    keep_weights(problem, [row], None)
    return Outcome(marked([replace(row[0], by_hand=True)]), None, {"compare": time.monotonic() - started}, 1)


def no_control(space: SearchSpace, costs: Sequence[Cost], budgets: Mapping[str, float]) -> str | None:
    """Why no uniform network keeps the budgets, with what the smallest one takes; None where one does."""
    sizes_LK = uniform_sizes(space)
    if uniform(sizes_LK, costs, budgets) is not None:
        return None
    smallest_L = np.nanargmin(sizes_LK, axis=1)
    taken = [(cost, cost.total(smallest_L)) for cost in costs]
    over = [
        f"{least_text(total)} {cost.unit}".rstrip() for cost, total in taken if total > budgets.get(cost.name, np.inf)
    ]
    return f"No uniform network keeps the budgets: the smallest, which has every block, takes {' and '.join(over)}."
