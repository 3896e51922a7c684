"""Costs that need no device: multiply-accumulates and parameters, the sums of each block's kernels (blocks/primitives.py).

tests/test_costs.py holds them against torch's flop counter on whole networks."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.blocks.ops import build_block, get_op
from supernet.costs.factors import Cost
from supernet.costs.tabulate import tabulate
from supernet.errors import UserError, nearest
from supernet.spaces import LayerSpec, SearchSpace

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def macs_table(space: SearchSpace, in_chans: int, num_classes: int) -> Cost:
    """Multiply-accumulates for one image, as torch's flop counter has them (half its flops: convolutions and linear).

    `base` is stem, head and classifier; `total` equals the count on the derived timm network exactly.
    """
    return _counted(space, in_chans, num_classes, "macs", "MACs", 0)


def params_table(space: SearchSpace, in_chans: int, num_classes: int) -> Cost:
    """Trainable parameters (batch-norm statistics not counted). `base` is stem, head and classifier.

    `total` equals the sum over the derived timm network's parameters exactly.
    """
    return _counted(space, in_chans, num_classes, "params", "parameters", 1)


def weight_bytes(parameters: float, dtype: str) -> float:
    """Bytes of that many parameters in one number format. Raises UserError for an unknown format.

    A file is a little larger: it holds names, and int8 adds scales (one per output channel).
    """
    if dtype not in BYTES:
        raise UserError(f'Unknown number format "{dtype}".{nearest(dtype, BYTES)}')
    return parameters * BYTES[dtype]


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


@lru_cache(maxsize=10_000)
def _count_block(string: str, c_in: int, resolution: int) -> tuple[int, int]:
    with torch.random.fork_rng(devices=[]):  # fresh weights must not move the caller's random numbers
        return count(build_block(string, c_in).eval(), 1, c_in, resolution, resolution)


def _counted(space: SearchSpace, in_chans: int, num_classes: int, name: str, unit: str, column: int) -> Cost:
    stem = _count_block(f"cn_r1_k3_s{space.stem_stride}_c{space.stem_channels}", in_chans, space.resolution)
    last, head = space.layers[-1], (0, 0)
    if space.head_channels:
        head = _count_block(f"cn_r1_k1_s1_c{space.head_channels}", last.c_out, last.resolution // last.stride)
    classifier = (space.features * num_classes, (space.features + 1) * num_classes)

    def price(op: str, layer: LayerSpec) -> float:
        kernels = get_op(op).primitives(*layer.shape, layer.resolution)
        return float(sum((kernel.macs, kernel.params)[column] for kernel in kernels))

    return tabulate(space, name, unit, float(stem[column] + head[column] + classifier[column]), price)
