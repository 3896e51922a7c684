"""Progressive Pareto search with a surrogate, after DPP-Net (Dong et al., ECCV 2018)."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import RidgeCV

from supernet.front import non_dominated
from supernet.strategies.driver import Setting

START, KEPT = 16, 8


class Progressive:
    """DPP-Net grows networks by a layer a stage, predicts all children with a surrogate and trains the predicted front.

    Here every architecture has L layers. So a stage changes one layer more: its candidates are all that differ in one
    layer from those kept, and the distance from the `START` random ones grows by one a stage. The `KEPT` best of them as
    predicted are evaluated, and the `KEPT` best of all so far are kept: front by front, at random within the last.
    The surrogate is a ridge regression on one-hot operations, refitted at every stage; costs that the tables tell are
    not predicted.
    """

    def __init__(self, setting: Setting) -> None:
        self.region, self.objectives = setting.region, setting.objectives
        self.rng = np.random.default_rng(setting.seed)
        self.told: dict[tuple[int, ...], list[float]] = {}
        self.queue: list[np.ndarray] = []

    def ask(self) -> np.ndarray:
        if not self.queue and len(self.told) >= START:
            self.queue = self._stage()
        return self.queue.pop() if self.queue else self.region.random(self.rng)

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        self.told[tuple(int(k) for k in index_L)] = [objectives[name] for name in self.objectives]

    def _stage(self) -> list[np.ndarray]:
        """The next architectures to evaluate, none where all neighbours of those kept are known."""
        known = list(self.told)
        kept = [known[n] for n in self._best(np.array(list(self.told.values())))]
        near = {tuple(n.tolist()): n for key in kept for n in self.region.neighbours(np.array(key))}
        rest = [index_L for key, index_L in near.items() if key not in self.told]
        return [rest[n] for n in self._best(self._predicted(rest))][::-1] if rest else []

    def _best(self, objective_NM: np.ndarray) -> list[int]:
        """Up to `KEPT` rows, front by front, at random within the last."""
        rest_N, best = np.arange(len(objective_NM)), list[int]()
        while len(rest_N) and len(best) < KEPT:
            front_N = non_dominated(objective_NM[rest_N])
            best += self.rng.permutation(rest_N[front_N])[: KEPT - len(best)].tolist()
            rest_N = rest_N[~front_N]
        return best

    def _predicted(self, index: list[np.ndarray]) -> np.ndarray:
        """(N, M) objectives: known ones from the tables, the others from the surrogate."""
        told_NM = np.array(list(self.told.values()))
        surrogate = RidgeCV(np.logspace(-3, 2, 6)).fit(self._one_hot(list(self.told)), told_NM)
        predicted_NM = np.reshape(surrogate.predict(self._one_hot(index)), (len(index), -1))
        for column, name in enumerate(self.objectives):
            if name in self.region.costs:
                predicted_NM[:, column] = [self.region.costs[name].total(index_L) for index_L in index]
        return predicted_NM

    def _one_hot(self, index: list[tuple[int, ...]] | list[np.ndarray]) -> np.ndarray:
        return np.eye(self.region.valid_LK.shape[1])[np.array(index)].reshape(len(index), -1)
