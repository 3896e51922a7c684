"""Labels, predictions and groups of random tables."""

from __future__ import annotations

import numpy as np
import torch


def random_table(seed: int, size: int, num_classes: int, num_groups: int, unknown: bool = False):
    """label_B, predicted_B, group_B with classes and groups of very different sizes, so that cells may be empty."""
    rng = np.random.default_rng(seed)
    label = rng.choice(num_classes, size, p=rng.dirichlet(np.ones(num_classes)))
    predicted = np.where(rng.random(size) < 0.6, label, rng.integers(num_classes, size=size))
    group = rng.choice(num_groups, size, p=rng.dirichlet(np.ones(num_groups)))
    if unknown:
        group = np.where(rng.random(size) < 0.2, -1, group)
    return torch.tensor(label), torch.tensor(predicted), torch.tensor(group)


def one_hot(predicted_B: torch.Tensor, num_classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(predicted_B, num_classes).double()


def random_probs(seed: int, size: int, num_classes: int) -> torch.Tensor:
    return torch.randn(size, num_classes, generator=torch.Generator().manual_seed(seed)).double().softmax(1)
