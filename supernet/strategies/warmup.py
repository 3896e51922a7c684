"""The warm-up of a supernet: where α starts, and which paths teach the weights before α moves.

From scratch the operations of a layer pull the next layers apart, and nothing is learned for hundreds of steps; beside
one path that works (the anchor), the others learn to fit in. docs/decisions.md has what each part brought.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.costs.table import CostTable
from supernet.derive import broadest_alpha
from supernet.relaxation import balanced_paths, one_hot

WARMUP_BLOCK = 28  # paths that are balanced together: at uniform p each of 7 operations comes 4 times


def start(valid_LK: Tensor, latency: CostTable, budget: float | None, anchor: float) -> tuple[Tensor, Tensor | None]:
    """logits_LK to start with, and the anchor_L: in each layer the operation whose latency is nearest the expected one.

    With a budget, the broadest distribution inside it, and `anchor` more on the anchor's logits (1.8 is six times the
    odds: a path of seven operations a layer then differs from it in some 40% of its layers); without one, the uniform.
    `anchor` 0: no anchor.
    """
    logits_LK = torch.zeros(valid_LK.shape)
    if budget is not None:
        logits_LK = torch.from_numpy(broadest_alpha(latency, valid_LK.numpy(), budget)).float()
    if anchor == 0:
        return logits_LK, None
    latency_LK = torch.from_numpy(latency.cost_LK)
    p_LK = F.softmax(logits_LK.masked_fill(~valid_LK, -torch.inf), dim=-1)
    distance_LK = (latency_LK - (p_LK * latency_LK).sum(1, keepdim=True)).abs()
    anchor_L = distance_LK.masked_fill(~valid_LK, torch.inf).argmin(1)
    if budget is not None:
        logits_LK = logits_LK + anchor * one_hot(anchor_L, logits_LK)
    return logits_LK, anchor_L


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
