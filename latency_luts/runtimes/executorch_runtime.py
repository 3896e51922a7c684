"""ExecuTorch with XNNPACK, through its Python binding (which brings torch; on a phone use its C++ runner)."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

FORMAT, PROVENANCE = "pte", "measured"
ERRORS = (RuntimeError,)


def version() -> str:
    return package_version("executorch")


def load(model: bytes, threads: int) -> Any:
    if portable_lib._threadpool_get_thread_count() != threads:
        portable_lib._unsafe_reset_threadpool(threads)  # unsafe only while a model runs
    program = Runtime.get().load_program(model)
    return program, program.load_method("forward")


def example(session: Any) -> list[torch.Tensor]:
    sizes = session[1].metadata.input_tensor_meta(0).sizes()
    return [torch.randn(*sizes, generator=torch.Generator().manual_seed(0))]


def run(session: Any, inputs: list[torch.Tensor]) -> Any:
    return session[1].execute(inputs)
