"""torch itself, operator by operator: a proxy that tells little about a device's runtime, and is marked so."""

from __future__ import annotations

import io
from typing import Any

import torch

FORMAT, PROVENANCE = "pt2", "host-proxy"
ERRORS = (RuntimeError, ValueError, KeyError)


def version() -> str:
    return str(torch.__version__)


def load(model: bytes, threads: int) -> Any:
    torch.set_num_threads(threads)
    program = torch.export.load(io.BytesIO(model))
    return program.module(check_guards=False), program.example_inputs[0][0].shape


def example(session: Any) -> torch.Tensor:
    return torch.randn(session[1], generator=torch.Generator().manual_seed(0))


def run(session: Any, inputs: torch.Tensor) -> Any:
    with torch.inference_mode():
        return session[0](inputs)
