"""Sharpness-aware minimisation: a step goes down the gradient that stands a little uphill (Foret et al., ICLR 2021, algorithm 1).

    e = ρ · T² g / ‖T g‖, then descent along ∇L(w + e); T = 1, or |w| (adaptive: Kwon et al., ASAM, ICML 2021, eq. 11, with η = 0)

Two forward and backward passes a step. Nothing is kept from step to step, so a checkpoint needs nothing of it. No library: torch and timm have none;
pytorch-optimizer's wraps the optimiser, so neither this loop's batch-norm statistics nor its mean over processes would be its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from supernet.engine import distributed


class Sam:
    """Of one network. In a step: `climb`, the backward pass of what it gives, then `release`, before the optimiser's step.

    network: its running statistics (of batch norms, of rounded activations) are those of the first pass alone.  rho: ρ.  adaptive: T = |w|.
    """

    def __init__(self, network: nn.Module, rho: float, adaptive: bool) -> None:
        self.rho, self.adaptive = rho, adaptive
        self.statistics = list(network.buffers())
        self.kept: list[tuple[Tensor, Tensor]] = []

    def climb(self, loss: Tensor, weights: Sequence[nn.Parameter], again: Callable[[], Tensor]) -> Tensor:
        """The loss at w + e, with gradient, by a second forward pass `again`; `loss` is the first one's. Of several processes, e is of the joint batch."""
        for weight in weights:
            weight.grad = None
        loss.backward()
        distributed.average_gradients(weights)
        moved = [(weight, weight.grad) for weight in weights if weight.grad is not None]
        with torch.no_grad():
            scale = [weight.abs() if self.adaptive else torch.ones_like(weight) for weight, _ in moved]
            norm = torch.stack([(t * grad).norm() for t, (_, grad) in zip(scale, moved, strict=True)]).norm()
            self.kept = [(tensor, tensor.clone()) for tensor in (*(weight for weight, _ in moved), *self.statistics)]
            for t, (weight, grad) in zip(scale, moved, strict=True):
                weight.add_(t * t * grad * (self.rho / (norm + 1e-12)))
        return again()

    def release(self) -> None:
        """Weights and running statistics are exactly what they were before the climb."""
        with torch.no_grad():
            for tensor, before in self.kept:
                tensor.copy_(before)
        self.kept = []
