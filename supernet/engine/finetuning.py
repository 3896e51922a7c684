"""What a training that begins with trained weights does otherwise: the classifier learns first, photos are changed more."""

from __future__ import annotations

from torch import nn

from supernet.config import TrainConfig
from supernet.data import GroupedData
from supernet.exits import ATTRIBUTE


class HeadFirst:
    """In the first steps only the classifier (and those of early exits) learns: a fresh one's gradients would undo what the rest knows.

    Meanwhile the rest is in evaluation mode, with the batch statistics that it came with (Kumar et al., "Fine-tuning can
    distort pretrained features", ICLR 2022). Call `at` in each step, after `network.train()`.
    """

    def __init__(self, network: nn.Module, steps: int) -> None:
        self.network, self.steps = network, steps
        head = getattr(network, "get_classifier", nn.Identity)()
        own = {id(p) for part in (head, getattr(network, ATTRIBUTE, nn.Identity())) for p in part.parameters()}
        self.body = [p for p in network.parameters() if id(p) not in own and p.requires_grad] if own else []

    def at(self, step: int) -> None:
        """Freezes or frees the body for this step, counted from 0."""
        frozen = step < self.steps
        if frozen:
            self.network.eval()
        if step <= self.steps or step == 0:
            for parameter in self.body:
                parameter.requires_grad_(not frozen)


def head_steps(config: TrainConfig, steps_an_epoch: int, total_steps: int) -> int:
    """As asked, else an epoch with --pretrained; a third of the training at the most."""
    usual = steps_an_epoch if config.pretrained else 0
    return min(usual if config.head_steps is None else config.head_steps, total_steps // 3)


def trivial_augment(config: TrainConfig, data: GroupedData) -> bool:
    """As asked, else for colour photos that are trained on from trained weights."""
    if config.augmentation is not None:
        return config.augmentation == "trivial"
    return bool(config.pretrained) and data.augment.flip and data.channels == 3
