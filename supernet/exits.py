"""Early exits: small classifiers at the ends of stages, so that an easy picture need not run the whole network.

All classifiers learn together (deep supervision): Teerapittayanon et al., "BranchyNet" (ICPR 2016); Huang et al., "Multi-scale dense
networks" (MSDNet, ICLR 2018), whose equal weights are the default. A picture leaves at the first exit that is sure enough (anytime.py).

Shapes: B images, E exits and the full network after them, so N = E + 1 outputs; C classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers.norm_act import BatchNormAct2d
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from latency_luts.files import write_whole
from supernet.costs.analytic import count
from supernet.errors import UserError

WEIGHTS = "exits.safetensors"  # in a run's folder
HIDDEN = 128  # channels of an exit before its classifier
SIDE = 8  # pixels that an exit looks at: a larger map is averaged first, so that its convolution costs little
ATTRIBUTE = "exits"  # where a network in training has them


class Exits(nn.Module):
    """The classifiers of the early exits of one network.

    stages:     after which stage each stands, rising
    channels_E: that the stage gives
    sides_E:    height and width there, pixels
    classes:    outputs
    """

    def __init__(self, stages: Sequence[int], channels_E: Sequence[int], sides_E: Sequence[int], classes: int) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.heads = nn.ModuleList(
            _head(channels, side, classes) for channels, side in zip(channels_E, sides_E, strict=True)
        )

    def forward(self, network: EfficientNet, image_BCHW: Tensor) -> Tensor:
        """(N, B, C) logits of each exit, the full network's last."""
        found, x = [], image_BCHW
        for part in parts(network, self):
            logits_BC, x = part(x)
            found.append(logits_BC)
        return torch.stack(found)

    def save(self, folder: Path) -> None:
        """Writes exits.safetensors."""
        weights = {name: value.contiguous().cpu() for name, value in self.state_dict().items()}
        write_whole(folder / WEIGHTS, save(weights, {"stages": json.dumps(self.stages)}))


def _head(channels: int, side: int, classes: int) -> nn.Sequential:
    stride = max(1, side // SIDE)
    return nn.Sequential(
        nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
        nn.Conv2d(channels, HIDDEN, 1, bias=False),
        BatchNormAct2d(HIDDEN),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(HIDDEN, classes),
    )


class Part(nn.Module):
    """What runs from one exit to the next: picture, or features of the part before → (logits (B, C), features)."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return self.head(features), features


class _FullHead(nn.Module):
    """timm's own head: pooling, dropout, classifier."""

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_head(x))


def parts(network: EfficientNet, exits: Exits) -> list[Part]:
    """The network in E + 1 parts that share its weights: run one after another they are the whole."""
    blocks = list(network.blocks)
    bounds = [0, *(stage + 1 for stage in exits.stages), len(blocks)]
    bodies = [blocks[a:b] for a, b in pairwise(bounds)]
    bodies[0] = [network.conv_stem, network.bn1, *bodies[0]]
    bodies[-1] = [*bodies[-1], network.conv_head, network.bn2]
    heads = [*exits.heads, _FullHead(network)]
    return [Part(nn.Sequential(*body), head) for body, head in zip(bodies, heads, strict=True)]


class UpTo(nn.Module):
    """All that runs for a picture that leaves at exit `last` (E: at the end): (B, C) logits. For costs."""

    def __init__(self, network: EfficientNet, exits: Exits, last: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts(network, exits)[: last + 1])

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            logits_BC, x = part(x)
        return logits_BC


def attach(network: nn.Module, number: int, channels: int, size: int) -> None:
    """Gives a network `number` early exits with fresh weights, at the stage ends that cut its multiply-adds most evenly.

    Until `detach` they are part of it, so that they are trained, averaged and saved with it. Raises UserError for a network
    without stages, or with too few.
    """
    if not isinstance(network, EfficientNet):
        raise UserError(
            "--exits needs a network of stages: a derived.json, or a timm model of the EfficientNet or MobileNetV2 family."
        )
    most = len(network.blocks) - 1
    if most < number:
        raise UserError(f"--exits {number}: this network has {most} stage end(s) before its last one: {_advice(most)}.")
    training = network.training
    macs, channels_S, sides_S = _by_stage(network.eval(), channels, size)
    stages: list[int] = []
    for wanted in range(1, number + 1):
        free = [stage for stage in range(most) if stage not in stages]
        stages.append(min(free, key=lambda stage: abs(macs[stage] / macs[-1] - wanted / (number + 1))))
    stages.sort()
    classes = network.classifier.out_features
    exits = Exits(stages, [channels_S[s] for s in stages], [sides_S[s] for s in stages], classes)
    setattr(network.train(training), ATTRIBUTE, exits)


def _advice(most: int) -> str:
    return f"ask for {most} at most" if most else "leave it out"


def _by_stage(network: EfficientNet, channels: int, size: int) -> tuple[list[int], list[int], list[int]]:
    """Of each stage: multiply-adds up to its end, channels and pixels a side there; the last multiply-adds are the whole's."""
    macs, own_channels, sides = [], [], []
    for stage in range(len(network.blocks)):
        body = nn.Sequential(network.conv_stem, network.bn1, *network.blocks[: stage + 1])
        with torch.no_grad():
            shape = body(torch.zeros(1, channels, size, size)).shape
        macs.append(count(body, 1, channels, size, size)[0])
        own_channels.append(shape[1])
        sides.append(shape[2])
    return [*macs[:-1], count(network, 1, channels, size, size)[0]], own_channels, sides


def outputs(network: nn.Module, image_BCHW: Tensor) -> Tensor:
    """(N, B, C) logits of each exit of a network in training, the full network's last; N is 1 where it has no exits."""
    exits = getattr(network, ATTRIBUTE, None)
    return cast(Tensor, network(image_BCHW)[None] if exits is None else exits(network, image_BCHW))


def detach(network: nn.Module) -> Exits | None:
    """Takes the exits off a network, which then is what it was before `attach`; None where it has none."""
    exits: Exits | None = getattr(network, ATTRIBUTE, None)
    if exits is not None:
        delattr(network, ATTRIBUTE)
    return exits


def read_exits(folder: Path, network: nn.Module, channels: int, size: int) -> Exits | None:
    """Those of a finished run, in evaluation mode; None where it has none. Raises UserError where they are not the network's."""
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            stages = json.loads((file.metadata() or {})["stages"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        body: Any = network
        if not isinstance(body, EfficientNet) or not all(type(s) is int and 0 <= s < len(body.blocks) for s in stages):
            raise ValueError("other stages")
        _, channels_S, sides_S = _by_stage(body.eval(), channels, size)
        exits = Exits(
            stages, [channels_S[s] for s in stages], [sides_S[s] for s in stages], body.classifier.out_features
        )
        exits.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"exits {path} are damaged, or another network's ({told}).") from error
    return exits.eval()
