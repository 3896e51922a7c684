"""native.c: compiling it, when it applies, and running it on slices of a batch."""

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
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("native.c")
C_TYPES = {torch.float32: "float", torch.float64: "double"}
POINTER, SIZE, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
SLICE = [SIZE] * 2  # first, last
SIGNATURES: dict[str, list[Any]] = {
    "depthwise_weight_grad": [POINTER] * 3 + [SIZE] * 8 + SLICE,
    "norm_sums": [POINTER] * 2 + [SIZE] * 2 + SLICE,
    "norm_vectors": [POINTER] * 7 + [SIZE] * 2 + [REAL] * 2,
    "norm_forward": [POINTER] * 3 + [SIZE] * 2 + [REAL] + SLICE,
    "norm_backward_sums": [POINTER] * 4 + [SIZE] * 2 + [REAL] + SLICE,
    "norm_backward_vectors": [POINTER] * 3 + [SIZE] * 2,
    "norm_backward": [POINTER] * 5 + [SIZE] * 2 + [REAL] + SLICE,
}
SLICES = 8  # of a batch, as in native.c


@cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """native.c compiled by `cc` (or `$CC`) for this processor and float32 or float64; None where that fails."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    processor = ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []
    options = ["-std=gnu11", "-O3", *processor, "-shared", "-fPIC", f"-DREAL={C_TYPES[dtype]}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "native.so"
        try:
            subprocess.run([compiler, *options, SOURCE, "-o", path, "-lm"], check=True, capture_output=True, text=True)
            compiled = ctypes.CDLL(str(path))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
            warnings.warn(f"{SOURCE.name} does not compile here, torch's slower code runs: {reason}", stacklevel=2)
            return None
    for name, signature in SIGNATURES.items():
        getattr(compiled, name).argtypes = signature
    return compiled


def applies(x: Tensor, weight: Tensor) -> bool:
    """Whether x (B, C, H, W) is a plain channels-last CPU tensor in eager mode, and the kernels can be had."""
    return (
        type(x) is Tensor  # not fake, wrapped or a subclass
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in C_TYPES
        and x.dim() == 4
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
        and library(x.dtype) is not None
    )


def wanted(ctx: Any, number: int) -> bool:
    """Whether this backward pass asks for the gradient of that input, as torch's own nodes know it.

    `torch.autograd.grad(loss, alpha)` needs no weight gradients, but `needs_input_grad` says only what required one in
    the forward pass (github.com/pytorch/pytorch/issues/174017).
    """
    if not ctx.needs_input_grad[number]:
        return False
    try:
        return bool(torch._C._will_engine_execute_node(ctx.next_functions[number][0]))
    except RuntimeError:  # it refuses to answer for a leaf that torch.autograd.grad was asked for
        return True


def run(function: Any, *arguments: Tensor | float) -> None:
    """Runs a function of native.c, a tensor given as its pointer; one that works on slices, on torch's threads."""
    values = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if len(function.argtypes) == len(values):
        function(*values)
        return
    threads = min(torch.get_num_threads(), SLICES)
    if threads == 1:
        failed = function(*values, 0, SLICES)
    else:  # ctypes releases the GIL while C runs
        cuts = [SLICES * thread // threads for thread in range(threads + 1)]
        calls = _pool(os.getpid(), threads).map(lambda first, last: function(*values, first, last), cuts, cuts[1:])
        failed = any(list(calls))
    if failed:
        raise MemoryError(f"{SOURCE.name}: no memory for one row of sums")


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked child needs its own."""
    return ThreadPoolExecutor(threads, f"{SOURCE.stem}-{process}")
