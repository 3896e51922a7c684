"""Training with int8 in the loop: what the int8 file will round is rounded in each forward pass, and gradients pass through.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (CVPR 2018), section 3. Weights: symmetric, one
scale a channel, as many bits as the file's. Activations: 256 levels between running ends. A scale a channel is what it is after batch norm was folded
into the weights, so nothing is folded here. Rounded are the inputs of convolutions and linear layers, what a block adds to its input, and what goes
into and out of an activation that is no ReLU: a runtime joins only that one with the convolution before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from timm.layers.activations import Sigmoid
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from supernet.config import TrainConfig
from supernet.data import Batches, GroupedData
from supernet.engine.loop import train
from supernet.engine.retraining import Retraining
from supernet.engine.runs import RunFolder
from supernet.quantisation import Setting
from supernet.teacher import Teacher

FOLDER = "qat"  # in the run folder: its metrics and its checkpoint
MOMENTUM = 0.05  # of an activation's running ends
FACTORS: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.SiLU: torch.sigmoid,
    nn.Hardswish: functional.hardsigmoid,
}
CURVES: tuple[type[nn.Module], ...] = (*FACTORS, nn.Sigmoid, nn.Hardsigmoid, Sigmoid)


class FakeActivation(nn.Module):
    """(…) → (…): rounded to 256 levels between running ends, which hold 0; outside of them clipped, without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ends", torch.full((2,), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        ends = cast(Tensor, self.ends)
        if self.training:
            with torch.no_grad():
                low, high = torch.aminmax(x)
                now = torch.stack([low.clamp_max(0), high.clamp_min(0)]).float()
                ends.copy_(torch.where(ends.isnan(), now, ends.lerp(now, MOMENTUM)))
        scale = (ends[1] - ends[0]).clamp_min(1e-8) / 255
        zero = (-ends[0] / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


class FakeInt8(nn.Module):
    """A convolution or linear layer on rounded inputs and with rounded weights; `module` has the weights as they are."""

    def __init__(self, module: nn.Module, bits: int) -> None:
        super().__init__()
        self.module, self.activation, self.most = module, FakeActivation(), 2 ** (bits - 1) - 1

    def forward(self, x: Tensor) -> Tensor:
        weight = cast(Tensor, self.module.weight)
        scale_C = (weight.detach().flatten(1).abs().amax(1) / self.most).clamp_min(1e-12)
        zero_C = torch.zeros_like(scale_C, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(weight, scale_C, zero_C, 0, -self.most, self.most)
        return cast(Tensor, functional_call(self.module, {"weight": rounded}, (self.activation(x),)))


class FakeSummand(nn.Module):
    """A batch norm without activation, whose output is rounded: in a block, what is added to its input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.activation = module, FakeActivation()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.activation(self.module(x)))


class FakeCurve(nn.Module):
    """A sigmoid, or what it scales (SiLU, hard-swish: x · σ(x)), on rounded inputs; the sigmoid's values are rounded, too."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.before, self.after = module, FakeActivation(), FakeActivation()

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        factor = FACTORS.get(type(self.module))
        return cast(Tensor, self.after(self.module(x)) if factor is None else x * self.after(factor(x)))


def fake(network: nn.Module, bits: int = Setting().weight_bits) -> None:
    """Puts each such layer of the network into a fake one; in place. `real` takes them out again."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            network.set_submodule(name, FakeInt8(module, bits))
        elif isinstance(module, BatchNormAct2d) and isinstance(module.act, nn.Identity):
            network.set_submodule(name, FakeSummand(module))
        elif isinstance(module, CURVES):
            network.set_submodule(name, FakeCurve(module))


def real(network: nn.Module) -> None:
    """Takes the layers out of their fake ones, with the weights that they have now; in place."""
    for name, module in list(network.named_modules()):
        if isinstance(module, FakeInt8 | FakeSummand | FakeCurve):
            network.set_submodule(name, module.module)


@torch.no_grad()
def _measure(network: nn.Module, data: GroupedData, batch_size: int, device: torch.device) -> None:
    """The ends of the activations on a batch of search-train, as the network is evaluated."""
    batches = Batches(data.train, min(batch_size, len(data.train)), mean=data.mean, std=data.std, device=device)
    network.to(device).eval()
    for module in network.modules():
        if isinstance(module, FakeActivation):
            module.train()
    network(batches.at(0).image)


class QuantisedTraining(Retraining):
    """For `loop.train`: as `Retraining`, on a network with fake layers: the last `qat_epochs` of one schedule.

    config: epochs, lr and qat_epochs are known
    data, device, teacher: as the training's
    network: with fake layers; in place
    """

    name = "int8"

    def __init__(
        self,
        config: TrainConfig,
        data: GroupedData,
        network: nn.Module,
        device: torch.device,
        teacher: Teacher | None = None,
    ) -> None:
        assert config.qat_epochs is not None, "asked for"
        own: dict[str, Any] = {"epochs": config.qat_epochs, "qat_epochs": None, "warmup_steps": 0, "head_steps": 0, "seed": config.seed + 1}  # fmt: skip
        super().__init__(replace(config, **own), data, network, device, teacher, epochs_before=config.epochs or 0)

    def words(self, row: dict[str, Any]) -> str | None:
        return f"int8 {super().words(row)}"


def train_for_int8(
    config: TrainConfig,
    data: GroupedData,
    network: nn.Module,
    folder: RunFolder,
    device: torch.device,
    teacher: Teacher | None = None,
) -> nn.Module:
    """Trains a trained network on, with int8 in the loop, for `qat_epochs`; the averaged network, its layers real again. None: as it was.

    Goes on from the checkpoint in the run folder's `qat`. Raises Interrupted and UserError as `loop.train`.
    """
    if not config.qat_epochs:
        return network
    own = RunFolder(folder.path / FOLDER)
    if own.writes:
        own.path.mkdir(exist_ok=True)
    torch.manual_seed(config.seed + 1)  # not what the training before left, which a resumed run has not
    fake(network)
    _measure(network, data, config.batch_size, device)
    training = QuantisedTraining(config, data, network, device, teacher)
    train(training, own)
    averaged = training.result()
    real(averaged)
    return averaged
