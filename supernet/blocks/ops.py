"""Candidate operations: one entry each, which tells all that is known of it.

A block is written once, as a timm architecture string; the supernet's operation and the derived network are
both built from it, so they cannot differ. Blocks: Sandler et al., "MobileNetV2" (CVPR 2018), as in FBNet
(the first 1×1 convolution is there at expansion 1 too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import EfficientNetBuilder, decode_arch_def, efficientnet_init_weights
from torch import nn

from supernet.blocks import primitives
from supernet.blocks.fresh import zero_init_residual
from supernet.blocks.primitives import BlockPrimitives
from supernet.blocks.rounding import round_block
from supernet.blocks.sensing import SensingConv2d
from supernet.errors import UserError, nearest
from supernet.spaces import PLAIN, Bits, SearchSpace, Style, View
from supernet.spaces.bits import OPTIONS
from supernet.spaces.sensor import VIEWS


class Label(NamedTuple):
    """How a picture shows a block: in words, in short lines inside its box, and how heavy it is (identity, low, middle, high)."""

    words: str
    lines: tuple[str, ...]
    weight: str


@dataclass(frozen=True)
class Op:
    """A candidate operation: this entry alone tells the supernet, the derived network, cost models, table keys and pictures.

    arch: (c_in, c_out, stride) → the timm architecture string of its block there; None for the identity.
    primitives: (c_in, c_out, stride, resolution) → the kernels that a device runs.
    label: (c_in, c_out, stride) → how a picture shows it.
    family, size: operations of one family differ in size alone, so a larger one should not be faster.
    name: as in tables and derived.json.
    view: of a first operation that decides what is taken of the picture; it is the network's stem, and no block of it.
    bits: of its weights and activations; None where they are float32.
    """

    name: str
    arch: Callable[[int, int, int], str | None]
    primitives: BlockPrimitives
    label: Callable[[int, int, int], Label]
    family: str = ""
    size: float = 0.0
    view: View | None = None
    bits: Bits | None = None


def _inverted_residual(kernel: int, expansion: int) -> Op:
    name = f"k{kernel}_e{expansion}"
    weight = "low" if expansion < 3 else "middle" if expansion < 6 else "high"
    return Op(
        name,
        arch=lambda c_in, c_out, stride: f"ir_r1_k{kernel}_s{stride}_e{expansion}_c{c_out}",
        primitives=primitives.inverted_residual(kernel, expansion),
        label=lambda c_in, c_out, stride: Label(name, (f"k{kernel}", f"e{expansion}"), weight),
        family=f"k{kernel}",
        size=expansion,
    )


def _squeezed(kernel: int, expansion: int) -> Op:
    """An inverted residual with squeeze-excite (Hu et al., CVPR 2018), a quarter of the channels as in EfficientNet."""
    name = f"k{kernel}_e{expansion}_se"
    return Op(
        name,
        arch=lambda c_in, c_out, stride: f"ir_r1_k{kernel}_s{stride}_e{expansion}_se0.25_c{c_out}",
        primitives=primitives.squeezed(kernel, expansion),
        label=lambda c_in, c_out, stride: Label(name, (f"k{kernel}", f"e{expansion}", "se"), "middle"),
    )


def _basic() -> Op:
    """Two dense 3×3 convolutions: the basic block of He et al., "Deep residual learning" (CVPR 2016), without the last activation."""
    return Op(
        "res_k3",
        arch=lambda c_in, c_out, stride: f"er_r1_k3_p3_s{stride}_e1_c{c_out}",
        primitives=primitives.fused(3, 1, 3),
        label=lambda c_in, c_out, stride: Label("res_k3", ("res", "k3"), "high"),
    )


def _fused(expansion: int) -> Op:
    """A dense 3×3 convolution that expands, then a pointwise one: fused MBConv (Tan & Le, "EfficientNetV2", ICML 2021)."""
    name = f"fused_e{expansion}"
    return Op(
        name,
        arch=lambda c_in, c_out, stride: f"er_r1_k3_s{stride}_e{expansion}_c{c_out}",
        primitives=primitives.fused(3, expansion, 1),
        label=lambda c_in, c_out, stride: Label(name, ("fused", f"e{expansion}"), "high"),
        family="fused",
        size=expansion,
    )


def _universal(start: int, middle: int, expansion: int) -> Op:
    """A depthwise convolution before the expansion, and maybe one after it: Qin et al., "MobileNetV4" (ECCV 2024)."""
    name = f"uib_a{start}{f'k{middle}' if middle else ''}_e{expansion}"
    return Op(
        name,
        arch=lambda c_in, c_out, stride: f"uir_r1_a{start}_k{middle}_s{stride}_e{expansion}_c{c_out}",
        primitives=primitives.universal(start, middle, expansion),
        label=lambda c_in, c_out, stride: Label(name, ("uib", f"a{start}k{middle}", f"e{expansion}"), "middle"),
    )


def _skip() -> Op:
    """Identity, or conv 1×1 + batch norm + activation where the shape changes."""

    def same(c_in: int, c_out: int, stride: int) -> bool:
        return (c_in, stride) == (c_out, 1)

    return Op(
        "skip",
        arch=lambda *shape: None if same(*shape) else f"cn_r1_k1_s{shape[2]}_c{shape[1]}",
        primitives=primitives.shortcut,
        label=lambda *shape: (
            Label("identity", ("id",), "identity") if same(*shape) else Label("1×1 conv", ("1×1",), "low")
        ),
    )


def _separable() -> Op:
    """Depthwise 3×3, then a pointwise convolution without activation: EfficientNet's first block."""
    return Op(
        "ds_k3",
        arch=lambda c_in, c_out, stride: f"ds_r1_k3_s{stride}_e1_c{c_out}",
        primitives=primitives.separable(3),
        label=lambda c_in, c_out, stride: Label("ds_k3", ("ds", "k3"), "low"),
    )


def _stem(name: str, view: View) -> Op:
    """What a sensor delivers, and the first convolution on it."""
    lines = (f"{view.size} px", "grey" if view.grey else "rgb", *(("crop",) if view.crop else ()))
    return Op(
        name,
        arch=lambda c_in, c_out, stride: None,
        primitives=primitives.stem,
        label=lambda c_in, c_out, stride: Label(view.words, lines, "low"),
        view=view,
    )


def _rounded(bits: Bits) -> Op:
    """The basic block with these bits."""
    words = f"res_k3, weights {bits.weights} bits, activations {bits.activations}"
    weight = {8: "high", 4: "middle"}.get(bits.weights, "low")
    label = Label(words, ("res", f"w{bits.weights}", f"a{bits.activations}"), weight)
    return replace(_basic(), name=bits.name, label=lambda *shape: label, bits=bits)


_ENTRIES = (
    *(_inverted_residual(kernel, expansion) for kernel in (3, 5) for expansion in (1, 2, 3, 4, 6)),
    _separable(),
    _squeezed(3, 3),
    _basic(),
    _fused(2),
    _universal(3, 0, 3),
    _universal(3, 3, 3),
    _skip(),
    *(_stem(name, view) for name, view in VIEWS.items()),
    *map(_rounded, OPTIONS.values()),
)
OPS: dict[str, Op] = {op.name: op for op in _ENTRIES}


def get_op(name: str) -> Op:
    """The named operation; raises UserError with the nearest names."""
    if name not in OPS:
        raise UserError(f'Unknown operation "{name}".{nearest(name, OPS)}')
    return OPS[name]


def arch_string(op: str, c_in: int, c_out: int, stride: int) -> str | None:
    """timm architecture string of an operation; None for the identity.

    Raises UserError for an unknown operation, and for channels that timm would change.
    """
    entry = get_op(op)
    if c_out % 8:
        raise UserError(f"{op} to {c_out} channels: timm would round them to a multiple of 8; choose one.")
    return entry.arch(c_in, c_out, stride)


def build_op(op: str, c_in: int, c_out: int, stride: int, style: Style = PLAIN) -> nn.Module:
    """The operation as a module: (B, c_in, H, W) → (B, c_out, H/stride, W/stride); one with a view takes the whole picture."""
    if (view := get_op(op).view) is not None:
        stem = build_block(f"cn_r1_k3_s{stride}_c{c_out}", c_in, style)
        stem.conv = SensingConv2d(view, cast(nn.Conv2d, stem.conv))
        return stem
    string, bits = arch_string(op, c_in, c_out, stride), get_op(op).bits
    if string is None:
        return nn.Identity()
    block = build_block(string, c_in, style)
    return block if bits is None else round_block(block, bits)


def computes(op: str, c_in: int, c_out: int, stride: int) -> bool:
    """Whether the operation does anything there; an identity does not."""
    return get_op(op).view is not None or arch_string(op, c_in, c_out, stride) is not None


def style_arguments(style: Style) -> dict[str, Any]:
    """What timm's EfficientNet and its builder are told of a space's style."""
    activations: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}
    return {
        "act_layer": activations[style.act],
        "norm_layer": partial(nn.BatchNorm2d, eps=style.norm_eps),
        "pad_type": style.padding,
    }


def build_block(string: str, c_in: int, style: Style = PLAIN) -> nn.Module:
    """One timm block of an architecture string, fresh weights: (B, c_in, H, W) → (B, c_out, H/stride, W/stride)."""
    with torch.random.fork_rng(devices=[]):  # timm makes a trial layer, whose weights are drawn
        builder = EfficientNetBuilder(se_layer=SqueezeExcite, **style_arguments(style))
    block = cast(nn.Module, builder(c_in, decode_arch_def([[string]]))[0][0])
    efficientnet_init_weights(block)
    zero_init_residual(block)
    return block


def arch_strings(space: SearchSpace, ops: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """timm architecture strings by stage; identities, the stem and stages without a block are left out."""
    stages: dict[int, list[str]] = {}
    for op, layer in space.placed(ops):
        string = arch_string(op, *layer.shape)
        if string is not None:
            stages.setdefault(layer.stage, []).append(string)
    return tuple(tuple(strings) for strings in stages.values())
