"""Peak activation memory: of a network as it runs, and of every architecture of a space as a maximum over its blocks.

The networks of a space are chains of blocks, and between two blocks one tensor alone is alive. So the peak is the greatest of
the blocks' own peaks, and the order of the forward pass is the best one: a block's operations form a chain, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supernet.blocks.ops import build_block, build_op
from supernet.costs.analytic import weight_bytes
from supernet.costs.factors import Cost
from supernet.costs.tabulate import tabulate
from supernet.spaces import LayerSpec, SearchSpace, Style

FOLDED = ("batch_norm", "aten.relu", "aten.hardtanh")  # into the convolution before; the last is ReLU6
KIB = 1024  # bytes: memories are sold in powers of two


def peak_table(space: SearchSpace, in_chans: int, num_classes: int, dtype: str = "float32") -> Cost:
    """Peak activation memory for one image, in KiB: a maximum, whose `base` is that of stem, head and classifier.

    `total` equals `peak_activation_bytes` of the derived network exactly.
    """

    def kib(values: int) -> float:
        return weight_bytes(values, dtype) / KIB

    def price(op: str, layer: LayerSpec) -> float:
        return kib(_values(space, op, layer, in_chans))

    return tabulate(space, "peak_memory", "KiB", kib(_fixed_values(space, in_chans, num_classes)), price, combine="max")


def path_peak_bytes(
    space: SearchSpace, ops: Sequence[str], in_chans: int, num_classes: int, dtype: str = "float32"
) -> float:
    """The same of one architecture, in bytes, without a table of the whole space."""
    values = [_values(space, op, layer, in_chans) for op, layer in space.placed(ops)]
    return weight_bytes(max(_fixed_values(space, in_chans, num_classes), *values), dtype)


def _fixed_values(space: SearchSpace, in_chans: int, num_classes: int) -> int:
    last = space.layers[-1]
    if space.inputs:  # the stem and the last layer are decisions; of the average that layer's own peak is no less
        return space.features + num_classes
    stem = _stem_values(in_chans, space.stem_channels, space.stem_stride, space.resolution, space.style)
    if space.dense:  # the input and the output of the last convolution
        return max(stem, (space.features + num_classes) * last.resolution_out**2)
    return max(stem, _tail_values(last.c_out, space.head_channels, num_classes, last.resolution_out, space.style))


def _values(space: SearchSpace, op: str, layer: LayerSpec, in_chans: int) -> int:
    """Of one operation where it stands; the stem of a view begins with the whole picture."""
    if op in space.inputs:
        with torch.device("meta"):
            stem = build_op(op, *layer.shape, space.style)
        return _network_values(stem, in_chans, space.resolution)
    return _op_values(op, *layer.shape, layer.resolution, space.style)


@lru_cache(maxsize=10_000)
def _op_values(op: str, c_in: int, c_out: int, stride: int, resolution: int, style: Style) -> int:
    with torch.device("meta"):
        block = build_op(op, c_in, c_out, stride, style)
    return _network_values(block, c_in, resolution)


@lru_cache(maxsize=100)
def _stem_values(in_chans: int, channels: int, stride: int, resolution: int, style: Style) -> int:
    with torch.device("meta"):
        stem = build_block(f"cn_r1_k3_s{stride}_c{channels}", in_chans, style)
    return _network_values(stem, in_chans, resolution)


@lru_cache(maxsize=100)
def _tail_values(c_in: int, head: int, num_classes: int, resolution: int, style: Style) -> int:
    """Of the convolution after the blocks, where there is one, the average over the pixels and the classifier."""
    with torch.device("meta"):
        conv = build_block(f"cn_r1_k1_s1_c{head}", c_in, style) if head else nn.Identity()
        tail = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head or c_in, num_classes))
    return _network_values(tail, c_in, resolution)


def peak_activation_bytes(network: nn.Module, channels: int, size: int, dtype: str = "float32") -> float:
    """The most bytes of activations that are alive at one moment of inference, for one image (1, channels, size, size).

    The operations run in the order of the forward pass. During one, its inputs, its output and all that a later
    one still reads (a residual block's input) are alive; the image counts until it was read. Batch norm, ReLU and
    ReLU6 that are the last readers write in place, as runtimes fold them into the convolution; views cost nothing.
    A strided convolution reads a padded copy of its input, as in a LiteRT file: that format's own padding is one-sided.
    Weights, workspace and a runtime's own records are not in it.
    """
    return weight_bytes(_network_values(network, channels, size), dtype)


def _network_values(network: nn.Module, channels: int, size: int) -> int:
    """The most values that are alive at one moment; 0 of an identity."""
    tensors = [*network.parameters(), *network.buffers()]
    if not tensors:
        return 0
    image = torch.zeros(1, channels, size, size, device=tensors[0].device)
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), _Recorder() as recorder:
            network(image)
    finally:
        network.train(training)
    return _peak_values(recorder.steps, {_storage(tensor) for tensor in tensors})


Step = tuple[Any, list[Tensor], list[Tensor]]


class _Recorder(TorchDispatchMode):
    """Lists each operation with its tensors; it keeps them, so that no storage's address is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = _tensors((args, kwargs))
        if func is torch.ops.aten.convolution.default and (padded := _padded(args, result)) is not None:
            self.steps.append(("pad", inputs[:1], [padded]))
            inputs[0] = padded
        self.steps.append((func, inputs, _tensors(result)))
        return result


def _padded(convolution: tuple[Any, ...], result: Tensor) -> Tensor | None:
    """The copy that a LiteRT file makes: its "SAME" pads at the end what is odd, so most strided convolutions need one."""
    x, weight, _, stride, padding, dilation, transposed, *_ = convolution
    for axis, pad in enumerate([] if transposed else padding, 2):
        step, reach = stride[axis - 2], dilation[axis - 2] * (weight.shape[axis] - 1) + 1
        if pad and max(0, (result.shape[axis] - 1) * step + reach - x.shape[axis]) != 2 * pad:
            padded: Tensor = x.new_empty(*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)))
            return padded
    return None


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.numel()]


def _storage(tensor: Tensor) -> int:
    """Which storage; the address of its values would be 0 on the meta device."""
    return int(tensor.untyped_storage()._cdata)


def _peak_values(steps: list[Step], weights: set[int]) -> int:
    """The largest sum of live buffers' sizes, in values."""
    buffer_of: dict[int, int] = {}  # storage → buffer, which in-place operations hand on
    size: dict[int, int] = {}
    span: dict[int, tuple[int, int]] = {}
    last_read = {_storage(t): time for time, (_, inputs, _) in enumerate(steps) for t in inputs}
    for time, (func, inputs, outputs) in enumerate(steps):
        read = {_storage(t): t.numel() for t in inputs if _storage(t) not in weights}
        written = {_storage(t): t.numel() for t in outputs if _storage(t) not in weights}
        fused = len(read) == 1 and any(name in str(func) for name in FOLDED)
        for storage in read | written:
            numel = max(read.get(storage, 0), written.get(storage, 0))  # a view may show a part of what it keeps alive
            if storage not in buffer_of:
                source = next(iter(read), storage)
                in_place = fused and source in buffer_of and last_read[source] == time and read[source] == numel
                buffer_of[storage] = buffer_of[source] if in_place else storage
            buffer = buffer_of[storage]
            size[buffer] = max(size.get(buffer, 0), numel)
            span[buffer] = (span.get(buffer, (time, time))[0], time)
    return max(
        sum(size[buffer] for buffer, (first, last) in span.items() if first <= time <= last)
        for time in range(len(steps))
    )
