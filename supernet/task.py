"""What is learned: how wide the network's output is, and what an output costs beside what was true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """A task. Fairness notions and reports look at `predictions`; scores of a search are `scoring`'s matter.

    outputs: width of the network's head.
    loss: (outputs (B, outputs), labels (B,)) → (B,) loss of each sample, with gradient.
    predictions: (…, outputs) → what a fairness notion looks at, of the same shape, with gradient.
    """

    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    predictions: Callable[[Tensor], Tensor]


def classification(num_classes: int, smoothing: float = 0.0) -> Task:
    """One of several classes, by cross-entropy; `smoothing` of the labels in [0, 1). Predictions are probabilities."""
    loss = partial(F.cross_entropy, reduction="none", label_smoothing=smoothing)
    return Task(num_classes, loss, partial(F.softmax, dim=-1))
