"""Training-free: the architecture with the greatest score inside the budgets, exactly; nothing is trained for the choice.

The score of untrained networks is one (L, K) table (transfer/score_table.py). What it does not tell apart is decided by
multiply-accumulates: what is left of the budget is spent. Then the choice and what one would build by hand are each trained alone
and compared on search-val, so that one sees what the choice is worth; the choice stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from supernet.config import SearchConfig
from supernet.costs.factors import Cost
from supernet.data import Batches
from supernet.derive import best_first
from supernet.problem import Outcome, Problem
from supernet.scoring import marked
from supernet.strategies.beside import beside_hand_made, comparison_notes
from supernet.strategies.driver import Run
from supernet.transfer.score_table import COUNTED, HELD_OUT, ScoreTable, score_table

IMAGES = 64  # of search-train, for the scores that look at images


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """The choice by the score, then its comparison with the hand-made network. Raises UserError and Interrupted."""
    started = time.monotonic()
    table = scored(config, problem)
    chosen_L = greatest(table, problem.space.valid_LK, problem.costs, problem.budgets)
    found = time.monotonic()
    run, rows = beside_hand_made(config, problem, chosen_L)
    seconds = {"score": found - started, "compare": time.monotonic() - found}
    return Outcome(marked(rows), None, seconds, 0, facts(config, run, table), (*notes(table), *comparison_notes(rows)))


def scored(config: SearchConfig, problem: Problem) -> ScoreTable:
    """The table of the score that the options name."""
    if config.score in COUNTED:
        cost = problem.costs[COUNTED[config.score]]
        return ScoreTable(config.score, cost.base, cost.unary_DK, 0, None, None, cost.pairs)
    data = problem.data
    batch = Batches(data.train, IMAGES, seed=config.seed, stratify=True, mean=data.mean, std=data.std).at(0)
    return score_table(problem.space, config.score, len(data.classes), batch.image, batch.label, config.seed)


def greatest(
    table: ScoreTable, valid_LK: np.ndarray, costs: Mapping[str, Cost], budgets: Mapping[str, float]
) -> np.ndarray:
    """(L,) with the greatest score inside the budgets; among those that score the same, with the most multiply-accumulates.

    Raises UserError where nothing fits.
    """
    limited, macs = list(costs.values()), costs["macs"]
    first_L = next(best_first(table.added_LK, valid_LK, limited, budgets, table.pairs))
    lacking = Cost("lacking score", "", 0.0, -table.added_LK, {edge: -pair for edge, pair in table.pairs.items()})
    rounding = 1e-9 * float(np.ptp(table.added_LK[valid_LK]))
    as_good = {**budgets, lacking.name: lacking.total(first_L) + rounding}
    return next(best_first(macs.unary_DK, valid_LK, [*limited, lacking], as_good, macs.pairs))


def facts(config: SearchConfig, run: Run, table: ScoreTable) -> dict[str, Any]:
    """What the report says of the choice, as of other evaluations."""
    return {
        "strategy": "score",
        "evaluator": "scratch",
        "objectives": [config.score],
        "evaluated": len(run.records),
        "asked": run.asked,
        "seconds": run.seconds,
        "ended": run.ended,
        "score": {"name": table.name, "networks": table.networks, "kendall": table.kendall, "r2": table.r2},
    }


def notes(table: ScoreTable) -> tuple[str, ...]:
    """Lines for the person: what the choice rests on."""
    source = f"a table from {table.networks} untrained networks" if table.networks else "counted, exactly"
    lines = [
        f"The choice is the greatest {table.name} inside the budgets ({source}; then the most MACs). Nothing was trained for it."
    ]
    if table.kendall is not None and table.r2 is not None:
        lines.append(
            f"On {HELD_OUT} other random networks the table's sums rank like the score itself (Kendall τ {table.kendall:.2f}, "
            f"R² {table.r2:.3f}). How well the score foretells a trained network is another matter: docs/one_search.md."
        )
    return tuple(lines)
