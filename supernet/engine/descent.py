"""One step of gradient descent on a network's weights, the same for a supernet and for a single network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from supernet.engine import distributed
from supernet.engine.sam import Sam

MOST_NORM = 5.0  # of a step's gradient


def descend(loss: Tensor, optimizer: Optimizer, weights: Sequence[nn.Parameter], sam: Sam | None = None) -> None:
    """Backward pass, the mean over processes, clipping, the optimiser's step. Weights that did not run have no gradient and stay.

    sam: `loss` is what its climb gave; the step starts where the climb did.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if sam is not None:
        sam.release()
    distributed.average_gradients(weights)
    nn.utils.clip_grad_norm_(weights, MOST_NORM)
    optimizer.step()
