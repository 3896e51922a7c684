"""Which pictures leave at which exit: thresholds on confidence, chosen so that the expected cost keeps a budget.

A picture leaves at the first exit whose largest probability reaches the exit's threshold (MSDNet's rule: Huang et al., ICLR 2018,
section 3), and costs what was run up to there. Thresholds are chosen on search-val, exactly over a grid: of all grid points whose mean
cost keeps the budget, the most accurate one, of equal ones the cheapest.

Shapes: E early exits, N = E + 1 outputs (the full network's last), S images, C classes, K points of the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LEVELS = 20  # thresholds of an exit that are tried: quantiles of its confidence, and never to leave there
NEVER = 2.0  # a threshold that no probability reaches


@dataclass(frozen=True)
class Grid:
    """All points of the grid, on the images that they were scored on.

    threshold_KE: NEVER where nobody leaves.  accuracy_K: shares.  cost_K: mean over the images, in the unit of the costs given.
    """

    threshold_KE: np.ndarray
    accuracy_K: np.ndarray
    cost_K: np.ndarray

    def best(self, budget: float) -> np.ndarray | None:
        """(E,) the thresholds of the most accurate point whose mean cost keeps the budget; None where none does."""
        inside_K = np.flatnonzero(self.cost_K <= budget * (1 + 1e-9))
        if not len(inside_K):
            return None
        order = np.lexsort((self.cost_K[inside_K], -self.accuracy_K[inside_K]))
        return self.threshold_KE[inside_K[order[0]]]


def grid(prob_NSC: np.ndarray, label_S: np.ndarray, cost_N: Sequence[float] | np.ndarray) -> Grid:
    """Scores every point. cost_N: what a picture costs that leaves at each output, rising."""
    confidence_ES = prob_NSC[:-1].max(-1)
    right_NS = prob_NSC.argmax(-1) == label_S
    levels = np.linspace(0, 1, LEVELS, endpoint=False)
    tried = [np.unique([*np.quantile(own_S, levels, method="higher"), NEVER]) for own_S in confidence_ES]
    size = len(label_S)

    def walk(e: int, here_S: np.ndarray) -> Iterator[tuple[tuple[float, ...], int, float]]:
        """(thresholds from exit e on, images right, summed cost) of the images that are still there."""
        if e == len(tried):
            yield (), int((right_NS[e] & here_S).sum()), cost_N[e] * int(here_S.sum())
            return
        for threshold in tried[e]:
            leave_S = here_S & (confidence_ES[e] >= threshold)
            right, cost = int((right_NS[e] & leave_S).sum()), cost_N[e] * int(leave_S.sum())
            for later, more_right, more_cost in walk(e + 1, here_S & ~leave_S):
                yield (float(threshold), *later), right + more_right, cost + more_cost

    found = list(walk(0, np.ones(size, bool)))
    return Grid(
        np.array([thresholds for thresholds, _, _ in found]).reshape(len(found), len(tried)),
        np.array([right for _, right, _ in found]) / size,
        np.array([cost for _, _, cost in found]) / size,
    )


def leaves(prob_NSC: np.ndarray, threshold_E: Sequence[float] | np.ndarray) -> np.ndarray:
    """(S,) the output at which each picture leaves: 0 … E."""
    sure_NS = np.ones(prob_NSC.shape[:2], bool)  # nobody passes the last one
    sure_NS[:-1] = prob_NSC[:-1].max(-1) >= np.asarray(threshold_E)[:, None]
    return sure_NS.argmax(0)


def answered(prob_NSC: np.ndarray, left_S: np.ndarray) -> np.ndarray:
    """(S, C) the probabilities that each picture leaves with."""
    return prob_NSC[left_S, np.arange(prob_NSC.shape[1])]
