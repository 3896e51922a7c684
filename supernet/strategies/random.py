"""Random search: the bar for every other strategy (Li & Talwalkar, "Random search and reproducibility for NAS", 2019)."""

from __future__ import annotations

import numpy as np

from supernet.strategies.driver import Setting


class Random:
    """Architectures drawn uniformly inside the budgets."""

    def __init__(self, setting: Setting) -> None:
        self.region, self.rng = setting.region, np.random.default_rng(setting.seed)

    def ask(self) -> np.ndarray:
        return self.region.random(self.rng)

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        """Nothing is learned."""
