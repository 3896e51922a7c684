"""The one shape that every cost has: a base, and a number for each operation at each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class CostTable:
    """cost(architecture) = base + Σ_l cost_LK[l, op(l)], in `unit`; 0 where an operation is not allowed."""

    name: str
    unit: str
    base: float
    cost_LK: np.ndarray

    def total(self, index_L: Sequence[int] | np.ndarray) -> float:
        """The cost of one architecture, given by the (L,) column of each layer's operation."""
        return float(self.base + self.cost_LK[np.arange(len(self.cost_LK)), index_L].sum())

    def expected(self, weights_LK: Tensor) -> Tensor:
        """Scalar: expected cost under operation weights (L, K); differentiable. Wu et al. (FBNet, 2019), eq. 4."""
        cost_LK = torch.as_tensor(self.cost_LK, dtype=weights_LK.dtype, device=weights_LK.device)
        return self.base + (weights_LK * cost_LK).sum()

    def fastest(self, valid_LK: np.ndarray) -> float:
        """The least cost that any architecture has."""
        return float(self.base + np.where(valid_LK, self.cost_LK, np.inf).min(axis=1).sum())

    def slowest(self, valid_LK: np.ndarray) -> float:
        """The greatest cost that any architecture has."""
        return float(self.base + np.where(valid_LK, self.cost_LK, -np.inf).max(axis=1).sum())

    def median(self, valid_LK: np.ndarray, draws: int = 2001) -> float:
        """The median cost of architectures drawn uniformly (fixed seed: the same table gives the same number)."""
        rng = np.random.default_rng(0)
        columns = [rng.choice(np.flatnonzero(valid_K), draws) for valid_K in valid_LK]
        sums = sum(row[column] for row, column in zip(self.cost_LK, columns, strict=True))
        return float(self.base + np.median(sums))


def least_text(value: float) -> str:
    """A least possible cost as text, never below it: four digits rounded up, whole numbers (MACs, parameters) in full.

    What a message offers as possible is then accepted when it is asked for; no exponent, so it can be typed back.
    """
    if float(value).is_integer():
        return str(int(value))
    return f"{Context(prec=4, rounding=ROUND_CEILING).create_decimal(Decimal(value)):f}"
