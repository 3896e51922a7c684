"""What must be measured for a space: every distinct piece once, and whole networks that the table is validated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from supernet.blocks.ops import build_op, computes
from supernet.choices import draw
from supernet.costs.analytic import macs_table
from supernet.network import DenseNetwork, Network, build_path
from supernet.spaces import PLAIN, LayerSpec, SearchSpace, Style

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Piece:
    """Something to export: `build` makes the module, `shape` is its input (1, C, H, W).

    `fields` go into the manifest.

    name: of its file.  role: stem, head, op, call, network or extra.
    """

    name: str
    role: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int, int]
    fields: dict[str, Any]


def pieces(space: SearchSpace, in_chans: int, num_classes: int) -> list[Piece]:
    """Stem, head, a graph that computes next to nothing, and each distinct (operation, c_in, c_out, stride, resolution) that computes something.

    Where what is taken of the picture is decided, each such operation is timed on the whole picture, and no stem is fixed.
    """
    size, last = space.resolution, space.layers[-1]
    head_hw = last.resolution_out
    found = [] if space.inputs else [
        Piece(f"stem_{in_chans}x{space.stem_channels}s{space.stem_stride}_{size}", "stem",
              lambda: _stem(space, in_chans, num_classes), (1, in_chans, size, size), {})
    ]  # fmt: skip
    found += [
        Piece(f"head_{last.c_out}x{space.head_channels}x{num_classes}_{head_hw}", "head",
              lambda: _head(space, in_chans, num_classes), (1, last.c_out, head_hw, head_hw), {}),
    ]  # fmt: skip
    for key in _keys(space):
        if _computes(key):
            hw = key["resolution"]
            style = "" if space.style == PLAIN else f"_{space.style.act}{space.style.padding}"
            name = f"{key['op']}_{key['c_in']}x{key['c_out']}s{key['stride']}_{hw}{style}"
            shape = (1, key["c_in"], hw, hw)
            fields: dict[str, Any] = {"key": key}
            if key["op"] in space.inputs:
                name, shape = f"{name}_of_{in_chans}x{size}", (1, in_chans, size, size)
                fields["whole_picture"] = True
            found.append(Piece(name, "op", _builder(key, space.style), shape, fields))
    found.append(Piece("call", "call", _nothing, (1, 16, 1, 1), {}))
    return found


def identities(space: SearchSpace) -> list[dict[str, Any]]:
    """The operations of the space that compute nothing: their entry is 0 ms."""
    return [key for key in _keys(space) if not _computes(key)]


def networks(space: SearchSpace, in_chans: int, num_classes: int, number: int, seed: int = 0) -> list[Piece]:
    """`number` random architectures spread evenly over the quantiles of multiply-accumulates of 500 draws.

    Each draw first draws how likely each operation is (Dirichlet), so that small and large networks occur too; uniform
    draws all cost nearly the same, and a scale and an offset could not be told apart.
    """
    cost = macs_table(space, in_chans, num_classes)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(500):
        likely = rng.dirichlet(np.ones(len(space.ops)))
        draws += list(draw(space.valid_LK, 1, rng, likely + 1e-9))
    draws.sort(key=cost.total)
    chosen = [draws[int((rank + 0.5) * len(draws) / number)] for rank in range(number)]
    return [
        network_piece(space, space.names(index_L), in_chans, num_classes, f"network_{n}")
        for n, index_L in enumerate(chosen)
    ]


def network_piece(space: SearchSpace, ops: tuple[str, ...], in_chans: int, num_classes: int, name: str) -> Piece:
    """A whole network of the space, as something to export."""
    shape = (1, in_chans, space.resolution, space.resolution)
    fields: dict[str, Any] = {"ops": list(ops)}
    if space.choices.edges:  # the shapes are this network's own
        fields["entries"] = [{"op": op, **_shape(layer)} for op, layer in space.placed(ops)]
    return Piece(name, "network", lambda: build(space, ops, in_chans, num_classes), shape, fields)


def build(space: SearchSpace, ops: tuple[str, ...], in_chans: int, num_classes: int) -> Network:
    """A network of the space with fixed random weights (see `repeat_weights`), in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return repeat_weights(build_path(space, ops, in_chans if space.dense else num_classes, in_chans)).eval()


PERIOD = 1024  # weights until they repeat


def repeat_weights(module: Module) -> Module:
    """Gives each weight tensor the same random numbers over and over, of its own spread; in place.

    What they are does not matter to their time (dense, normal numbers), and a bundle then packs to a few percent of its size. A batch norm that
    training begins with zeros gets ones: a compiler leaves out what is multiplied by zero, and a residual block would be nothing.
    """
    block = torch.randn(PERIOD, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and not parameter.any():
                parameter.fill_(1.0)
            if parameter.dim() > 1:
                values = block.repeat(-(-parameter.numel() // PERIOD))[: parameter.numel()]
                parameter.copy_(values.view_as(parameter) * parameter.std())
    return module


def layers(space: SearchSpace) -> list[dict[str, int]]:
    """Shapes of the L layers, by which the runner finds a network's entries; the largest, where channels are decided (`entries`)."""
    return [_shape(layer) for layer in space.layers]


def _shape(layer: LayerSpec) -> dict[str, int]:
    return {"c_in": layer.c_in, "c_out": layer.c_out, "stride": layer.stride, "resolution": layer.resolution}


def _keys(space: SearchSpace) -> list[dict[str, Any]]:
    distinct = dict.fromkeys(layer.key(op) for op, layer in space.places())
    return [dict(zip(("op", "c_in", "c_out", "stride", "resolution"), key, strict=True)) for key in distinct]


def _computes(key: dict[str, Any]) -> bool:
    return computes(key["op"], key["c_in"], key["c_out"], key["stride"])


def _builder(key: dict[str, Any], style: Style) -> Callable[[], nn.Module]:
    def build_piece() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return repeat_weights(build_op(key["op"], key["c_in"], key["c_out"], key["stride"], style)).eval()

    return build_piece


def _stem(space: SearchSpace, in_chans: int, num_classes: int) -> nn.Module:
    frame = build(space, tuple(layer.ops[0] for layer in space.layers), in_chans, num_classes)
    return nn.Sequential(frame.conv_stem, frame.bn1).eval()


def _nothing() -> nn.Module:
    """256 multiply-adds: as little as every runtime has a kernel for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return repeat_weights(nn.Conv2d(16, 16, 1, bias=False)).eval()


def _head(space: SearchSpace, in_chans: int, num_classes: int) -> nn.Module:
    frame = build(space, tuple(layer.ops[0] for layer in space.layers), in_chans, num_classes)
    if isinstance(frame, DenseNetwork):
        return nn.Sequential(frame.conv_out).eval()
    return nn.Sequential(frame.conv_head, frame.bn2, frame.global_pool, frame.classifier).eval()
