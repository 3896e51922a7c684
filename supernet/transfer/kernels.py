"""The kernels that a device runs for a network: convolutions by kind, linear layers, passes over elements; of any network.

What a runtime folds into a convolution costs nothing here: batch norm, bias, ReLU. Every other operation that moves elements
is one pass over them. Operations that no convolutional network has (attention, recurrence) are named `OTHER` and never priced.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supernet.errors import UserError

OTHER = "other"
FOLDED = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "batch_norm", "relu", "relu_",
          "hardtanh", "hardtanh_"}  # fmt: skip
FREE = {"view", "_unsafe_view", "reshape", "flatten", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "detach",
        "alias", "slice", "select", "split", "chunk", "split_with_sizes", "unbind", "dropout", "clone", "contiguous", "to", "_to_copy",
        "zeros", "ones", "empty", "as_strided", "lift_fresh", "arange", "full", "empty_like", "zeros_like"}  # fmt: skip
PASSES = {"add", "add_", "mul", "mul_", "sub", "div", "div_", "hardswish", "hardswish_", "silu", "silu_", "sigmoid", "sigmoid_",
          "hardsigmoid", "hardsigmoid_", "gelu", "elu", "leaky_relu", "leaky_relu_", "clamp", "clamp_", "mean", "adaptive_avg_pool2d",
          "_adaptive_avg_pool2d", "avg_pool2d", "max_pool2d_with_indices", "max_pool2d", "cat", "constant_pad_nd", "softmax",
          "_softmax", "sum", "tanh", "mish", "neg", "exp", "copy_", "upsample_bilinear2d"}  # fmt: skip


@dataclass(frozen=True)
class Kernel:
    """One launch: multiply-adds, elements moved (read and written) and weights, for one image.

    `kind`: pointwise, depthwise, dense (k × k over all channels), grouped, linear, pass, or the name of an operation not known.
    macs: 0 of a pass.
    """

    kind: str
    macs: int
    moved: int
    weights: int
    name: str = ""


def conv(kernel: int, c_in: int, c_out: int, groups: int, hw_in: int, hw_out: int) -> Kernel:
    """A square convolution on a square image."""
    return _conv((kernel, kernel), c_in, c_out, groups, hw_in * hw_in, hw_out * hw_out)


def _conv(kernel: tuple[int, ...], c_in: int, c_out: int, groups: int, pixels_in: int, pixels_out: int) -> Kernel:
    weights = prod(kernel) * c_in * c_out // groups
    if groups == 1:
        kind = "dense" if prod(kernel) > 1 else "linear" if pixels_in == 1 else "pointwise"
    else:
        kind = "depthwise" if groups == c_in else "grouped"
    side = "×".join(map(str, kernel))
    return Kernel(
        kind, weights * pixels_out, c_in * pixels_in + c_out * pixels_out, weights, f"{side} {kind} convolution"
    )


def passing(elements: int, name: str) -> Kernel:
    """A pass that reads and writes each element."""
    return Kernel("pass", 0, 2 * elements, 0, name)


def kernels_of(network: nn.Module, channels: int, size: int) -> list[Kernel]:
    """The kernels of one forward pass for one image (1, channels, size, size), found by running it without memory (meta).

    Raises UserError for a network that cannot run on such an image.
    """
    shadow = copy.deepcopy(network).eval().to("meta")
    try:
        with torch.no_grad(), _Recorder() as recorder:
            shadow(torch.zeros(1, channels, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(f"The network does not run on {channels} × {size} × {size}: {first[:200]}") from error
    return [kernel for call in recorder.calls if (kernel := _kernel(*call)) is not None]


class _Recorder(TorchDispatchMode):
    """Lists torch's own operations as they come by: name, arguments, result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func.overloadpacket.__name__, args, result))
        return result


def _kernel(name: str, args: tuple[Any, ...], result: Any) -> Kernel | None:
    if name == "convolution":
        image, weight, groups = args[0], args[1], args[8]
        if args[6]:
            return Kernel(OTHER, 0, 0, 0, "transposed convolution")
        return _conv(
            tuple(weight.shape[2:]),
            image.shape[1],
            weight.shape[0],
            groups,
            prod(image.shape[2:]),
            prod(result.shape[2:]),
        )
    if name in ("addmm", "mm"):
        x, weight = args[-2], args[-1]
        rows = x.shape[0]
        kind = "linear" if rows == 1 else "pointwise"
        return Kernel(kind, rows * weight.numel(), x.numel() + rows * weight.shape[1], weight.numel(), "linear layer")
    if name in FOLDED or name in FREE:
        return None
    tensors = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)]
    moved = sum(tensor.numel() for tensor in tensors)
    return Kernel("pass" if name in PASSES else OTHER, 0, moved, 0, name)
