"""Costs that need no device: multiply-accumulates and parameters, counted by torch on the blocks themselves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.blocks.ops import arch_string, build_block
from supernet.costs.factors import Cost
from supernet.errors import UserError, nearest
from supernet.spaces import SearchSpace

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def macs_table(space: SearchSpace, in_chans: int, num_classes: int) -> Cost:
    """Multiply-accumulates for one image, as torch's flop counter has them (half its flops: convolutions and linear).

    `base` is stem, head and classifier; `total` equals the count on the derived timm network exactly.
    """
    base, cost_LK = _counts(space, in_chans, num_classes, 0)
    return Cost("macs", "MACs", base, cost_LK)


def params_table(space: SearchSpace, in_chans: int, num_classes: int) -> Cost:
    """Trainable parameters (batch-norm statistics not counted). `base` is stem, head and classifier.

    `total` equals the sum over the derived timm network's parameters exactly.
    """
    base, cost_LK = _counts(space, in_chans, num_classes, 1)
    return Cost("params", "parameters", base, cost_LK)


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
def _count_block(string: str | None, c_in: int, resolution: int) -> tuple[int, int]:
    if string is None:
        return 0, 0
    with torch.random.fork_rng(devices=[]):  # fresh weights must not move the caller's random numbers
        return count(build_block(string, c_in).eval(), 1, c_in, resolution, resolution)


def _counts(space: SearchSpace, in_chans: int, num_classes: int, column: int) -> tuple[float, np.ndarray]:
    last = space.layers[-1]
    head_hw = last.resolution // last.stride
    stem = _count_block(f"cn_r1_k3_s{space.stem_stride}_c{space.stem_channels}", in_chans, space.resolution)
    head = _count_block(f"cn_r1_k1_s1_c{space.head_channels}", last.c_out, head_hw)
    classifier = (space.head_channels * num_classes, (space.head_channels + 1) * num_classes)
    cost_LK = np.zeros(space.valid_LK.shape)
    for row, layer in enumerate(space.layers):
        for op in layer.ops:
            string = arch_string(op, *layer.shape)
            cost_LK[row, space.ops.index(op)] = _count_block(string, layer.c_in, layer.resolution)[column]
    return float(stem[column] + head[column] + classifier[column]), cost_LK
