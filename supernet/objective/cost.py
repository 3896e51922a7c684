"""The cost term: λ · (expected cost / budget − 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supernet.costs.factors import Cost
from supernet.objective.terms import Multiplier


class CostTerm(nn.Module):
    """λ · (expected cost / budget − 1), with the exact expectation under p.

    cost:   of the space
    budget: in the cost's unit
    weight: λ, fixed; None: it adapts itself
    """

    def __init__(self, cost: Cost, budget: float, weight: float | None = None) -> None:
        super().__init__()
        self.cost, self.budget = cost, budget
        self.multiplier = Multiplier(0.0, rate=0.02, damping=4.0) if weight is None else Multiplier(weight)

    def value(self, p_DK: Tensor) -> Tensor:
        """Scalar with gradient."""
        violation = self._violation(p_DK)
        return self.multiplier(violation) * violation

    @torch.no_grad()
    def update(self, p_DK: Tensor) -> None:
        """One step of dual ascent."""
        self.multiplier.update(self._violation(p_DK))

    def _violation(self, p_DK: Tensor) -> Tensor:
        return self.cost.expected(p_DK) / self.budget - 1
