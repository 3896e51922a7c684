"""The warm-up of a supernet: where α starts, and which paths teach the weights before α moves.

From scratch the operations of a layer pull the next layers apart, and nothing is learned for hundreds of steps; beside
one path that works (the anchor), the others learn to fit in. docs/log.md has what each part brought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from supernet.alpha.generator import FreeAlpha
from supernet.alpha.relaxation import balanced_paths, one_hot
from supernet.config import SearchConfig
from supernet.costs.factors import Cost, leading
from supernet.derive import broadest_alpha, hand_made
from supernet.spaces import SearchSpace

WARMUP_BLOCK = 28  # paths that are balanced together: at uniform p each of 7 operations comes 4 times


class Start(NamedTuple):
    """Where a search starts.

    alpha:       the generator of α
    hand_made_D: (D,) what one would build without a search
    anchor_D:    (D,) the path that the warm-up begins with, if it has one
    expected:    of each cost by name, its expectation under p (D, K), in its unit, where it is known
    """

    alpha: FreeAlpha
    hand_made_D: np.ndarray
    anchor_D: Tensor | None
    expected: Mapping[str, Callable[[Tensor], Tensor]]

    @property
    def sized_by(self) -> str:
        """The name of the cost that networks are sized by."""
        return leading(self.expected)


def begin(config: SearchConfig, space: SearchSpace, costs: Mapping[str, Cost], budgets: Mapping[str, float]) -> Start:
    """The start that the options ask for. Raises UserError where nothing keeps the budgets."""
    assert config.anchor is not None, "known by the space"
    hand_made_D = hand_made(space, costs, budgets)
    anchor_D, valid_DK = torch.from_numpy(hand_made_D), torch.from_numpy(space.valid_LK)
    sized = leading(costs)
    budget = budgets[sized] if config.latency_weight is None else None
    alpha = FreeAlpha(valid_DK, start(valid_DK, costs[sized], budget, anchor_D, config.anchor))
    expected = {name: cost.expected for name, cost in costs.items() if cost.expectable}
    return Start(alpha, hand_made_D, anchor_D if config.anchor else None, expected)


def start(valid_LK: Tensor, cost: Cost, budget: float | None, anchor_L: Tensor, anchor: float) -> Tensor:
    """logits_LK to start with: the broadest distribution inside the budget, and `anchor` more on the anchor's logits.

    1.8 is six times the odds: a path of seven operations a layer then differs from it in some 15% (tight budgets) to 40% of
    its layers. Without a budget: uniform.
    """
    if budget is None:
        return torch.zeros(valid_LK.shape)
    logits_LK = torch.from_numpy(broadest_alpha(cost, valid_LK.numpy(), budget)).float()
    return logits_LK + anchor * one_hot(anchor_L, logits_LK)


class WarmUp:
    """A curriculum: one path alone, then more and more layers draw their operation, then all of them do.

    The quarters of its `steps`: anchor, ramp (two), all; without an anchor all layers draw from the start. `paths` are the
    balanced ones that are still to come.
    """

    def __init__(self, anchor_L: Tensor | None, steps: int) -> None:
        self.anchor_L, self.steps = anchor_L, steps
        self.paths: list[Tensor] = []

    def weights(self, p_LK: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """(L, K) one-hot operation weights of the step."""
        if not self.paths:
            self.paths = list(balanced_paths(p_LK, WARMUP_BLOCK, generator))
        path_L = self.paths.pop(0)
        if self.anchor_L is None:
            return one_hot(path_L, p_LK)
        drawn_share = (step / max(1, self.steps) - 0.25) / 0.5
        drawn_L = torch.rand(len(self.anchor_L), generator=generator) < drawn_share
        return one_hot(torch.where(drawn_L, path_L, self.anchor_L), p_LK)
