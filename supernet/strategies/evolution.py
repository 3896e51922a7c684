"""Regularised evolution: the oldest dies, not the worst (Real et al., AAAI 2019, algorithm 1)."""

from __future__ import annotations

from collections import deque

import numpy as np

from supernet.front import non_dominated
from supernet.strategies.driver import Setting

POPULATION = 20  # the paper's 100 are for 20,000 evaluations, not for some hundred
SAMPLE = 5


class Evolution:
    """A tournament's winner has one layer changed; the child enters the population and the oldest leaves it.

    With several objectives the winner is drawn from the sample's non-dominated members: no weights to choose, and with
    one objective it is the paper's tournament.
    """

    def __init__(self, setting: Setting) -> None:
        self.region, self.objectives = setting.region, setting.objectives
        self.rng = np.random.default_rng(setting.seed)
        self.population: deque[tuple[np.ndarray, list[float]]] = deque(maxlen=POPULATION)

    def ask(self) -> np.ndarray:
        if len(self.population) < POPULATION:
            return self.region.random(self.rng)
        sample = [self.population[i] for i in self.rng.choice(POPULATION, SAMPLE, replace=False)]
        winners = np.flatnonzero(non_dominated(np.array([values for _, values in sample])))
        return self.region.mutate(sample[self.rng.choice(winners)][0], self.rng)

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        self.population.append((index_L, [objectives[name] for name in self.objectives]))
