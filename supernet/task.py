"""What is learned: how wide the network's output is, what an output costs beside what was true, and how good outputs are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """A task.

    outputs:     width of the network's head
    loss:        (outputs (B, outputs), labels (B,)) → (B,) loss of each sample, with gradient
    predictions: (…, outputs) → what is scored, and what a fairness notion looks at; of the same shape, with gradient
    scores:      (predictions (N, outputs), labels (N,)) → scores by name. None: the predictions are probabilities of classes, whose
                 scores are by group, and which the fairness notions speak of; no notion speaks of other tasks yet
    """

    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    predictions: Callable[[Tensor], Tensor]
    scores: Callable[[np.ndarray, np.ndarray], dict[str, float]] | None = None


def probabilities(output: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return output.softmax(-1)


def classification(num_classes: int, smoothing: float = 0.0) -> Task:
    """One of several classes, by cross-entropy; `smoothing` of the labels in [0, 1). Predictions are probabilities."""
    loss = partial(F.cross_entropy, reduction="none", label_smoothing=smoothing)
    return Task(num_classes, loss, probabilities)
