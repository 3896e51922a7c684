"""Costs that need no device: multiply-accumulates and parameters, the sums of each block's kernels (blocks/primitives.py).

tests/test_costs.py holds them against torch's flop counter on whole networks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.blocks.ops import get_op
from supernet.blocks.primitives import Primitive, conv, elementwise, linear, stem
from supernet.costs.factors import Cost
from supernet.costs.tabulate import tabulate
from supernet.errors import UserError, nearest
from supernet.spaces import Bits, LayerSpec, SearchSpace

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
BITS_PATTERN = r"([1-9]|[12]\d|3[0-2])/([1-9]|[12]\d|3[0-2])"


def macs_table(space: SearchSpace, in_chans: int, num_classes: int) -> Cost:
    """Multiply-accumulates for one image, as torch's flop counter has them (half its flops: convolutions and linear).

    `base` is stem (where it is fixed), head and classifier; `total` equals the count on the derived timm network exactly.
    """
    return _counted(space, in_chans, num_classes, "macs", "MACs", 0)


def params_table(space: SearchSpace, in_chans: int, num_classes: int) -> Cost:
    """Trainable parameters (batch-norm statistics not counted). `base` is stem, head and classifier.

    `total` equals the sum over the derived timm network's parameters exactly.
    """
    return _counted(space, in_chans, num_classes, "params", "parameters", 1)


def weights_table(params: Cost, dtype: str) -> Cost:
    """KiB of the weights in one number format: what they take of a device's flash, beside the runtime's code. Raises UserError as `weight_bytes`."""
    kib = weight_bytes(1, dtype) / 1024
    pairs = {edge: kib * table for edge, table in params.pairs.items()}
    return Cost("weights", "KiB", kib * params.base, kib * params.unary_DK, pairs)


def bops_table(space: SearchSpace, in_chans: int, num_classes: int, bits: str) -> Cost:
    """Bit operations for one image. bits: `W/A` of weights and activations, such as 8/8, of all that has none of its own in the space.

    Raises UserError for other text.

    A product of n terms takes b_w b_a + b_w + b_a + log2(n) for each multiply-accumulate, its accumulator counted: Baskin et al., "UNIQ"
    (ACM TOCS 2021), as in Karbachevsky et al., "HCM" (2020). Only convolutions and linear layers count.
    """
    if re.fullmatch(BITS_PATTERN, bits) is None:
        raise UserError(f"--bits {bits[:20]}: bits of weights and activations, 1 to 32 each, such as 8/8 or 4/8.")
    uniform = Bits(*map(int, bits.split("/")))

    def bops(kernels: Iterable[Primitive], bits: Bits) -> float:
        products = [kernel.product for kernel in kernels if kernel.product is not None]
        own = bits.weights * bits.activations + bits.weights + bits.activations
        return sum(product.macs * (own + math.log2(product.terms)) for product in products)

    def price(op: str, layer: LayerSpec) -> float:
        return bops(get_op(op).primitives(*layer.shape, layer.resolution), space.bits.get(op, uniform))

    return tabulate(space, "bops", "bit operations", bops(frame(space, in_chans, num_classes), uniform), price)


def input_table(space: SearchSpace, in_chans: int) -> Cost:
    """KiB that the sensor delivers for a picture: a byte for each pixel and channel. Without a choice it is the whole picture."""
    unary_LK = np.zeros(space.valid_LK.shape)
    for option, view in space.inputs.items():
        unary_LK[0, space.ops.index(option)] = view.kib
    base = 0.0 if space.inputs else space.resolution**2 * in_chans / 1024
    return Cost("input", "KiB", base, unary_LK)


def weight_bytes(parameters: float, dtype: str) -> float:
    """Bytes of that many parameters in one number format. Raises UserError for an unknown format.

    A file is a little larger: it holds names, and int8 adds scales (one per output channel).
    """
    if dtype not in BYTES:
        raise UserError(f'Unknown number format "{dtype}".{nearest(dtype, BYTES)}')
    return parameters * BYTES[dtype]


def bits_of(dtype: str) -> str:
    """The bits of weights and activations in one number format, as `bops_table` takes them."""
    return "/".join([str(8 * BYTES[dtype])] * 2)


def count(module: nn.Module, *shape: int) -> tuple[int, int]:
    """(MACs for an input of this shape, parameters) of a module in evaluation mode; shape is (B, C, H, W) or (B, C)."""
    counter = FlopCounterMode(display=False)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:  # else the counter's hooks fail where a parameter is a layer's input (class tokens)
        parameter.requires_grad_(False)
    try:
        with torch.no_grad(), counter:
            module(torch.zeros(shape, device=next(module.parameters()).device))
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() // 2, sum(p.numel() for p in module.parameters())


def frame(space: SearchSpace, in_chans: int, num_classes: int) -> list[Primitive]:
    """The kernels of stem (where it is fixed), head and classifier; of a dense space, of stem and last convolution."""
    last = space.layers[-1]
    out = last.resolution_out
    kernels: list[Primitive] = []
    if not space.inputs:  # else the stem is the first layer's
        kernels += stem(in_chans, space.stem_channels, space.stem_stride, space.resolution)
    if space.head_channels:
        kernels += [
            conv("pointwise", 1, last.c_out, space.head_channels, 1, out, 1),
            elementwise(space.head_channels, out, 2 * space.head_channels),
        ]
    if space.dense:  # a 3×3 convolution over the whole picture, and its bias
        last_conv = conv("dense", 3, space.features, num_classes, 1, out, 1)
        return [*kernels, last_conv, elementwise(num_classes, out, num_classes)]
    return [*kernels, linear(space.features, num_classes)]


def _counted(space: SearchSpace, in_chans: int, num_classes: int, name: str, unit: str, column: int) -> Cost:
    def count_of(kernels: Iterable[Primitive]) -> float:
        return float(sum((kernel.macs, kernel.params)[column] for kernel in kernels))

    def price(op: str, layer: LayerSpec) -> float:
        return count_of(get_op(op).primitives(*layer.shape, layer.resolution))

    return tabulate(space, name, unit, count_of(frame(space, in_chans, num_classes)), price)
