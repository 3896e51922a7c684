"""What is best, and one architecture with what a table of losses foretells of it.

Shapes: L layers, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supernet.quality import Quality


@dataclass(frozen=True)
class Wish:
    """What is best: mean predicted loss + `weight` · predicted gap, or the `worst` group's loss; `max_gap` caps the gap, nats."""

    weight: float = 0.0
    max_gap: float | None = None
    worst: bool = False

    def values(self, quality: Quality, loss: np.ndarray) -> np.ndarray:
        """(…, G) losses → (…,) what is minimised."""
        if self.worst:
            return np.asarray(loss.max(axis=-1))
        return np.asarray(loss.mean(axis=-1) + self.weight * quality.gaps(loss))

    def value(self, quality: Quality, loss_G: np.ndarray) -> float:
        """`values` of one architecture."""
        return float(self.values(quality, loss_G))

    def slope(self, quality: Quality, loss_G: np.ndarray) -> np.ndarray:
        """(G,) how fast the mean + weight · gap grows with the link of each loss."""
        slope_G = np.full(len(loss_G), 1 / len(loss_G))
        same = {name: np.flatnonzero([own == name for own in quality.attributes]) for name in quality.attributes}
        members = max(same.values(), key=lambda index: np.ptp(loss_G[index]))
        slope_G[members[loss_G[members].argmax()]] += self.weight
        slope_G[members[loss_G[members].argmin()]] -= self.weight
        return slope_G * (loss_G if quality.link == "log" else 1)

    def keeps(self, one: Answer) -> bool:
        """Whether the cap is kept."""
        return self.max_gap is None or one.gap <= self.max_gap


@dataclass(frozen=True)
class Answer:
    """One architecture with what the table foretells of it; `value` is what was minimised.

    index_L: column of each layer's operation.  loss_G: of each group, nats.  gap: between them, nats.
    """

    index_L: np.ndarray
    loss_G: np.ndarray
    gap: float
    value: float
