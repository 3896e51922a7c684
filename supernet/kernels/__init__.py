"""A faster training step on CPU: what torch runs slowly there, in C, for channels-last models.

`fast_cpu(model)` replaces two things in place, with the same parameters and the same state_dict: the weight gradient of
3×3 and 5×5 depthwise convolutions (depthwise.py), and batch norm with ReLU (batch_norm.py). The C code (native.c) is
compiled at first use by the machine's own compiler; without one, and on every input it is not made for (CUDA, autocast,
export, other memory formats), torch's own code runs. `keep_freed_memory()` spares the process the price of fresh pages.

`benchmarks/depthwise.py` measures each; `docs/log.md` says what else was tried.
"""

from __future__ import annotations

import ctypes
import platform
from typing import TypeVar

from timm.layers import BatchNormAct2d
from torch import nn

from supernet.kernels.batch_norm import FastBatchNormAct2d
from supernet.kernels.batch_norm import has_kernel as norm_has_kernel
from supernet.kernels.depthwise import DepthwiseConv2d
from supernet.kernels.depthwise import has_kernel as convolution_has_kernel

Model = TypeVar("Model", bound=nn.Module)

__all__ = ["DepthwiseConv2d", "FastBatchNormAct2d", "fast_cpu", "keep_freed_memory"]


def fast_cpu(model: Model) -> Model:
    """Gives the model's depthwise convolutions and timm batch norms their fast code, in place; returns the model.

    Needs `model.to(memory_format=torch.channels_last)` and inputs of that format to be faster; harmless otherwise.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and convolution_has_kernel(module):
            module.__class__ = DepthwiseConv2d
        elif type(module) is BatchNormAct2d and norm_has_kernel(module):
            module.__class__ = FastBatchNormAct2d
    return model


def keep_freed_memory() -> bool:
    """Lets the process keep the memory it frees, so that a step reuses the last step's pages; False where not possible.

    glibc returns big tensors to the system at once, and every step pays for fresh pages again. Process-wide, so a
    command calls it once, at its start. Linux with glibc only.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, -1))
