"""Successive halving of networks that no supernet chose: the hand-made one, one of each family of blocks, and random ones.

Where networks of one latency differ in ways that a supernet does not see, training some of them alone is the better search (docs/decisions.md).
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from supernet.config import SearchConfig
from supernet.derive import hand_made, inside
from supernet.problem import Outcome, Problem
from supernet.scoring import marked
from supernet.strategies.asktell import candidate
from supernet.strategies.driver import MOST_REPEATS
from supernet.strategies.finalists import halved
from supernet.strategies.region import Region

NETWORKS = 16


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """The network that did best when trained alone. Raises UserError (nothing inside the budgets, loss not finite) and Interrupted."""
    started = time.monotonic()
    control_L = hand_made(problem.space, problem.costs, problem.budgets)
    found = halved(config, problem, pool(problem, control_L, config.finalists or NETWORKS, config.seed), control_L)
    rows = [
        replace(candidate(problem, record), cross_entropy=record.objectives["cross_entropy"], by_hand=np.array_equal(record.index_L, control_L))
        for record in found.records
    ]  # fmt: skip
    facts = {"strategy": config.strategy, "evaluator": "scratch", "evaluated": found.number, "epochs": found.epochs, "seconds": found.seconds}  # fmt: skip
    return Outcome(marked(rows), None, {"search": time.monotonic() - started}, 0, facts, (found.words,))


def pool(problem: Problem, control_L: np.ndarray, number: int, seed: int) -> list[np.ndarray]:
    """Different architectures inside the budgets: the hand-made one, the largest of each family, random ones; fewer where there are no more."""
    space, costs = problem.space, list(problem.costs.values())
    region, rng = Region(space.valid_LK, problem.costs, problem.budgets), np.random.default_rng(seed)
    found = {control_L.tobytes(): control_L}
    for family in space.families:
        own = [index_L for ops in family if inside(index_L := space.index_L(ops), costs, problem.budgets)]
        if own:
            largest_L = max(own, key=problem.costs["latency"].total)
            found.setdefault(largest_L.tobytes(), largest_L)
    repeats = 0
    while len(found) < number and repeats < MOST_REPEATS:
        index_L = region.random(rng)
        repeats = repeats + 1 if index_L.tobytes() in found else 0
        found.setdefault(index_L.tobytes(), index_L)
    return list(found.values())[:number]
