"""Candidate operations: name → the timm block of that operation.

A block is written once, as a timm architecture string; the supernet's operation and the derived network are
both built from it, so they cannot differ. Blocks: Sandler et al., "MobileNetV2" (CVPR 2018), as in FBNet
(the first 1×1 convolution is there at expansion 1 too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from timm.models._efficientnet_blocks import InvertedResidual
from timm.models._efficientnet_builder import EfficientNetBuilder, decode_arch_def, efficientnet_init_weights
from torch import nn

from supernet.errors import UserError, nearest
from supernet.spaces import SearchSpace

ArchString = Callable[[int, int, int], "str | None"]


def _inverted_residual(kernel: int, expansion: int) -> ArchString:
    return lambda c_in, c_out, stride: f"ir_r1_k{kernel}_s{stride}_e{expansion}_c{c_out}"


def _skip(c_in: int, c_out: int, stride: int) -> str | None:
    """Identity, or conv 1×1 + batch norm + activation where the shape changes."""
    return None if (c_in, stride) == (c_out, 1) else f"cn_r1_k1_s{stride}_c{c_out}"


OPS: dict[str, ArchString] = {
    "k3_e1": _inverted_residual(3, 1),
    "k3_e3": _inverted_residual(3, 3),
    "k3_e6": _inverted_residual(3, 6),
    "k5_e1": _inverted_residual(5, 1),
    "k5_e3": _inverted_residual(5, 3),
    "k5_e6": _inverted_residual(5, 6),
    "skip": _skip,
}


def arch_string(op: str, c_in: int, c_out: int, stride: int) -> str | None:
    """timm architecture string of an operation; None for the identity.

    Raises UserError for an unknown operation, and for channels that timm would change.
    """
    if op not in OPS:
        raise UserError(f'Unknown operation "{op}".{nearest(op, OPS)}')
    if c_out % 8:
        raise UserError(f"{op} to {c_out} channels: timm would round them to a multiple of 8; choose one.")
    return OPS[op](c_in, c_out, stride)


def build_op(op: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    """The operation as a module: (B, c_in, H, W) → (B, c_out, H/stride, W/stride)."""
    string = arch_string(op, c_in, c_out, stride)
    return nn.Identity() if string is None else build_block(string, c_in)


def build_block(string: str, c_in: int) -> nn.Module:
    """One timm block of an architecture string, fresh weights: (B, c_in, H, W) → (B, c_out, H/stride, W/stride)."""
    builder = EfficientNetBuilder(act_layer=nn.ReLU, norm_layer=nn.BatchNorm2d)
    block = cast(nn.Module, builder(c_in, decode_arch_def([[string]]))[0][0])
    efficientnet_init_weights(block)
    zero_init_residual(block)
    return block


def zero_init_residual(network: nn.Module) -> None:
    """Residual blocks begin as the identity: scale 0 in their last batch norm (Goyal et al. 2017, section 5.1).

    A supernet needs it: the operations of a layer begin alike, so that what follows learns from all of them.
    """
    for block in network.modules():
        if isinstance(block, InvertedResidual) and block.has_skip:
            nn.init.zeros_(block.bn3.weight)


def arch_strings(space: SearchSpace, ops: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """timm architecture strings by stage; identities and stages of identities only are left out."""
    stages: dict[int, list[str]] = {}
    space.index_L(ops)
    for op, layer in zip(ops, space.layers, strict=True):
        string = arch_string(op, layer.c_in, layer.c_out, layer.stride)
        if string is not None:
            stages.setdefault(layer.stage, []).append(string)
    return tuple(tuple(strings) for strings in stages.values())
