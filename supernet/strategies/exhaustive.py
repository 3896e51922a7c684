"""Every architecture inside the budgets, for small spaces: nothing can be better."""

from __future__ import annotations

import numpy as np

from supernet.errors import UserError
from supernet.strategies.driver import Setting

MOST = 100_000


class Exhaustive:
    """In lexicographic order. Raises UserError, with the count, for a space of more than `MOST` architectures."""

    def __init__(self, setting: Setting) -> None:
        count = setting.region.count()
        if count > MOST:
            raise UserError(
                f"The space has {count:,} architectures: too many to try every one of them (at most {MOST:,}). "
                "Choose another --strategy."
            )
        self.rest = list(setting.region.every())[::-1]

    def ask(self) -> np.ndarray | None:
        return self.rest.pop() if self.rest else None

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        """Nothing depends on it."""
