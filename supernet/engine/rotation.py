"""Self-supervised warm-up: the network first learns by how much a picture was turned (Gidaris et al., "Unsupervised Representation Learning by
Predicting Image Rotations", ICLR 2018), with a classifier of four outputs of its own; labels play no part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from supernet.config import SearchConfig, TrainConfig
from supernet.data import Batches, GroupedData
from supernet.engine import distributed
from supernet.engine.descent import descend
from supernet.engine.loop import Means, train
from supernet.engine.runs import RunFolder, precision
from supernet.errors import UserError

FOLDER, TURNS = "ssl", 4  # in the run folder: its metrics and its checkpoint
Config = SearchConfig | TrainConfig
Forward = Callable[[Tensor, int], Tensor]


class Rotations:
    """For `loop.train`: each picture of search-train is turned by 0, 90, 180 or 270 degrees, and the network says by which.

    config:  ssl_epochs, lr, batch_size …  data: search-train is seen
    network: its `classifier` module has four outputs meanwhile
    forward: (images, step) → (B, 4)
    device:  where it is trained
    """

    name = "ssl"

    def __init__(
        self, config: Config, data: GroupedData, network: nn.Module, forward: Forward, device: torch.device
    ) -> None:
        assert config.ssl_epochs is not None and config.lr is not None
        self.config, self.forward, self.device, self.network = config, forward, device, network
        shared: dict[str, Any] = {"mean": data.mean, "std": data.std, "device": device, "seed": config.seed + 1}
        self.train = Batches(
            data.train, config.batch_size, stratify=True, floor=0.0, **shared, **distributed.own_slice()
        )
        self.total_steps = config.ssl_epochs * len(self.train)
        self.modules, self.weights = nn.ModuleDict({"network": network}), list(network.parameters())
        self.optimizer = create_optimizer_v2(network, "adamw", config.lr, config.weight_decay, fused=True)
        self.scheduler = CosineLRScheduler(
            self.optimizer, t_initial=self.total_steps, lr_min=config.lr / 50, t_in_epochs=False,
            warmup_t=min(50, self.total_steps // 10), warmup_lr_init=config.lr / 50,
        )  # fmt: skip

    def one_step(self, step: int) -> dict[str, Tensor]:
        """Each picture has a turn of its own, drawn by the step."""
        image = self.train.at(step).image
        turn_B = np.random.default_rng((self.config.seed, step, distributed.rank())).integers(TURNS, size=len(image))
        turned = torch.stack([torch.rot90(one, int(turn), (1, 2)) for one, turn in zip(image, turn_B, strict=True)])
        true_B = torch.from_numpy(turn_B).to(self.device)
        self.network.train()
        with precision(self.config.precision, self.device):
            output_B4 = self.forward(turned.contiguous(memory_format=torch.channels_last), step)
        loss = nn.functional.cross_entropy(output_B4.float(), true_B)
        descend(loss, self.optimizer, self.weights)
        self.scheduler.step_update(step + 1)
        return {"loss": loss.detach(), "rotation_accuracy": (output_B4.detach().argmax(1) == true_B).float().mean()}

    def over(self) -> bool:
        return False

    def row_due(self, step: int) -> bool:
        return step % len(self.train) == 0

    def row(self, step: int, means: Means) -> dict[str, Any]:
        return {"step": step, "epoch": step // len(self.train), **means}

    def words(self, row: dict[str, Any]) -> str | None:
        return f"self-supervised epoch {row['epoch']}/{self.config.ssl_epochs}: rotations told {row['rotation_accuracy']:.1%} (by chance 25%)"

    def line(self, step: int, means: Means) -> str:
        return f"rotations {means['rotation_accuracy']:.2f}"

    def rest(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "rng": torch.get_rng_state()}

    def restore_rest(self, rest: dict[str, Any], step: int) -> None:
        self.optimizer.load_state_dict(rest["optimizer"])
        torch.set_rng_state(rest["rng"])


def learn_rotations(
    config: Config,
    data: GroupedData,
    network: nn.Module,
    folder: RunFolder,
    device: torch.device,
    forward: Forward | None = None,
) -> None:
    """Trains the network in place for `ssl_epochs`; none: nothing happens. Its classifier comes back as it was, untrained.

    network: as it will be trained, on its device.  forward: (images, step) → outputs; the network itself if None.
    Goes on from the checkpoint in the run folder's `ssl`; once finished, a later call only takes its weights. The random state of torch stays as it was,
    so that what follows does not depend on where a run was cut. Raises Interrupted and UserError as `loop.train`.
    """
    if not config.ssl_epochs:
        return
    name, classifier = linear_classifier_of(network)
    own = RunFolder(folder.path / FOLDER)
    if own.writes:
        own.path.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        turned = nn.Linear(classifier.in_features, TURNS)
        nn.init.normal_(turned.weight, std=0.01)
        nn.init.zeros_(turned.bias)
        network.set_submodule(name, turned.to(device))
        try:
            train(Rotations(config, data, network, forward or (lambda image, step: network(image)), device), own)
        finally:
            network.set_submodule(name, classifier)


def linear_classifier_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """(name, module) of the classifier. Raises UserError where it is no linear layer."""
    own: Any = network  # timm's models have more methods than nn.Module
    classifier = own.get_classifier() if hasattr(network, "get_classifier") else own.classifier
    if not isinstance(classifier, nn.Linear):
        raise UserError(f"--ssl-epochs: {type(network).__name__} ends in no linear layer: leave it out.")
    return next(name for name, module in network.named_modules() if module is classifier), classifier
