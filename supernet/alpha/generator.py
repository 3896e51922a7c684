"""Where α comes from: condition → alpha_DK. Today a table of logits that is trained directly, and there is no condition."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FreeAlpha(nn.Module):
    """α as a small module of its own, saved with the rest. Options that are not allowed have logit −inf.

    valid_DK: (D, K) bool, True where decision d may take option k.
    start_DK: (D, K) first logits; 0 if None, so that every allowed option is equally probable.
    """

    valid_DK: Tensor

    def __init__(self, valid_DK: Tensor, start_DK: Tensor | None = None) -> None:
        super().__init__()
        self.logits_DK = nn.Parameter(torch.zeros(valid_DK.shape) if start_DK is None else start_DK.clone())
        self.register_buffer("valid_DK", valid_DK.bool())

    def forward(self, condition: Tensor | None = None) -> Tensor:
        """(D, K) logits. A generator for many devices and budgets would look at the condition; this one has none."""
        assert condition is None, "free logits know no condition"
        return self.logits_DK.masked_fill(~self.valid_DK, -torch.inf)
