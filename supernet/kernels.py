"""Faster depthwise convolutions for training on CPU.

torch's weight gradient of a 5×5 depthwise convolution takes 2 to 40 times as long as it needs on CPU, and is the dearest
part of a mobile network's training step. `fast_depthwise` replaces it by `kernels.c`, compiled at first use by the
machine's own C compiler (a third of a second, then cached), and runs the input gradient as a forward convolution with
flipped weights. Without a compiler, and on every input the kernel is not made for, torch's own code runs.
`benchmarks/depthwise.py` measures it; `docs/decisions.md` says what else was tried.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SOURCE = Path(__file__).with_suffix(".c")
C_TYPES = {torch.float32: "float", torch.float64: "double"}
SLICES = 8  # of the batch, each summed by itself: the sum does not depend on the number of threads
Model = TypeVar("Model", bound=nn.Module)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` (same parameters, same state_dict, same output) with a faster backward pass on CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not _kernel_applies(self, input):
            return super().forward(input)
        return cast(Tensor, _Depthwise.apply(input, self.weight, self.stride[0]))


def fast_depthwise(model: Model) -> Model:
    """Turns every depthwise 3×3 and 5×5 `nn.Conv2d` of the model into a `DepthwiseConv2d`, in place; returns the model.

    Worth it on CPU with `model.to(memory_format=torch.channels_last)` only, and harmless elsewhere.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _has_kernel(module):
            module.__class__ = DepthwiseConv2d
    return model


def keep_freed_memory() -> bool:
    """Lets the process keep the memory it frees, so that a step reuses the last step's pages; False where not possible.

    glibc returns big tensors to the system at once, and each step pays for fresh pages again: a quarter of a CPU
    training step and more. Process-wide, so a command calls it once at its start; Linux with glibc only.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def _has_kernel(conv: nn.Conv2d) -> bool:
    """Depthwise, 3×3 or 5×5, "same" zero padding, stride 1 or 2, no bias, channels in multiples of 8."""
    kernel = conv.kernel_size[0]
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and conv.kernel_size in ((3, 3), (5, 5))
        and conv.padding == (kernel // 2, kernel // 2)
        and conv.stride in ((1, 1), (2, 2))
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.bias is None
        and conv.in_channels % 8 == 0
    )


def _kernel_applies(conv: DepthwiseConv2d, x: Tensor) -> bool:
    """Whether this call is plain eager CPU training on channels-last tensors, and the kernel can be had."""
    return (
        type(x) is Tensor  # no fake, traced or wrapped tensors
        and x.device.type == conv.weight.device.type == "cpu"
        and torch.is_grad_enabled()
        and x.dim() == 4
        and x.dtype == conv.weight.dtype
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled("cpu")
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.dtype in C_TYPES
        and library(x.dtype) is not None
    )


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution with padding K//2: x (B, C, H, W), weight (C, 1, K, K) → (B, C, Ho, Wo)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        need_x, need_weight = _wanted(ctx, 0), _wanted(ctx, 1)
        twice = torch.is_grad_enabled()  # create_graph=True: torch's own backward pass can be differentiated again
        fast_weight = need_weight and not twice
        fast_x = need_x and ctx.stride == 1 and not twice
        padding, grad_x, grad_weight = weight.shape[-1] // 2, None, None
        if need_x != fast_x or need_weight != fast_weight:
            mask = [need_x and not fast_x, need_weight and not fast_weight, False]
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, [ctx.stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0], mask
            )
        if fast_x:
            grad_x = F.conv2d(grad, weight.flip(2, 3), None, 1, padding, 1, weight.shape[0])
        if fast_weight:
            grad_weight = weight_gradient(x, grad, weight.shape[-1], ctx.stride)
        return grad_x, grad_weight, None


def _wanted(ctx: Any, number: int) -> bool:
    """Whether this backward pass asks for the gradient of that input, as torch's own nodes know it.

    `torch.autograd.grad(loss, alpha)` needs no weight gradients, but `needs_input_grad` says what required one in the
    forward pass (github.com/pytorch/pytorch/issues/174017).
    """
    if not ctx.needs_input_grad[number]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[number][0])
    except RuntimeError:  # refuses to answer for a leaf that torch.autograd.grad was asked for
        return True


def weight_gradient(x: Tensor, grad: Tensor, kernel: int, stride: int) -> Tensor:
    """(C, 1, K, K) weight gradient of a depthwise convolution with padding K//2.

    x (B, C, H, W) is channels-last; grad is (B, C, Ho, Wo). The result is the same bit for bit at any thread count.
    """
    x, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, grad))
    (B, C, H, W), (Ho, Wo) = x.shape, grad.shape[2:]
    slices = min(B, SLICES)
    starts = [B * number // slices for number in range(slices + 1)]
    partial = torch.empty((slices, kernel * kernel, C), dtype=x.dtype)
    native = library(x.dtype)
    assert native is not None and C % 8 == 0 and x.dtype == grad.dtype

    def run(number: int) -> None:
        start, count = starts[number], starts[number + 1] - starts[number]
        pointers = (tensor.data_ptr() for tensor in (x[start:], grad[start:], partial[number]))
        if native.depthwise_weight_grad(*pointers, count, H, W, C, Ho, Wo, kernel, stride):
            raise MemoryError("depthwise weight gradient: no memory for one input row")

    threads = min(torch.get_num_threads(), slices)
    for _ in map(run, range(slices)) if threads == 1 else _pool(os.getpid(), threads).map(run, range(slices)):
        pass
    return partial.sum(0).t().reshape(C, 1, kernel, kernel)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process (a forked child needs its own); ctypes releases the GIL while they run."""
    return ThreadPoolExecutor(threads, "depthwise")


@cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """kernels.c compiled by `cc` (or `$CC`) for this processor and float32 or float64; None where that fails."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    native = ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.so"
        command = [compiler, "-O3", *native, "-shared", "-fPIC", f"-DREAL={C_TYPES[dtype]}", str(SOURCE), "-o", str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            compiled = ctypes.CDLL(str(path))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
            warnings.warn(f"{SOURCE.name} does not compile here, torch's slower code runs: {reason}", stacklevel=2)
            return None
    compiled.depthwise_weight_grad.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 8
    return compiled
