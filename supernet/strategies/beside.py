"""A choice that no search compared with others: it and the network one would build by hand, each trained alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from supernet.config import SearchConfig
from supernet.derive import hand_made
from supernet.problem import Candidate, Problem
from supernet.strategies.asktell import JOURNAL, candidate
from supernet.strategies.driver import Run, drive
from supernet.strategies.evaluators import scratch
from supernet.strategies.region import Region


class Listed:
    """Asks for these architectures, in this order."""

    def __init__(self, index: list[np.ndarray]) -> None:
        self.rest = list(index)

    def ask(self) -> np.ndarray | None:
        return self.rest.pop(0) if self.rest else None

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        pass


def beside_hand_made(config: SearchConfig, problem: Problem, chosen_L: np.ndarray) -> tuple[Run, list[Candidate]]:
    """The choice and what one would build by hand, each trained alone and scored on search-val. Raises UserError and Interrupted."""
    control_L = hand_made(problem.space, problem.costs, problem.budgets)
    asked = [chosen_L] if np.array_equal(chosen_L, control_L) else [chosen_L, control_L]
    region = Region(problem.space.valid_LK, problem.costs, problem.budgets)
    run = drive(
        Listed(asked), scratch(config, problem), region, max_evaluations=len(asked),
        journal=problem.folder.path / JOURNAL, progress=True,
    )  # fmt: skip
    rows = [
        replace(candidate(problem, record), by_hand=np.array_equal(record.index_L, control_L)) for record in run.records
    ]
    return run, rows


def comparison_notes(rows: Sequence[Candidate]) -> tuple[str, ...]:
    """What `beside_hand_made` says of the choice."""
    if len(rows) == 1:
        return ("The choice is the network that one would build by hand, too.",)
    if rows[1].mean_group_accuracy <= rows[0].mean_group_accuracy:
        return ()
    return (
        f"Trained alone, the network that one would build by hand did better on search-val: mean group accuracy "
        f"{rows[1].mean_group_accuracy:.3f} against {rows[0].mean_group_accuracy:.3f}. One training each: look at both.",
    )
