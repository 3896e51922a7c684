"""LiteRT (TensorFlow Lite's successor) with its default XNNPACK delegate."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

FORMAT, PROVENANCE = "tflite", "measured"
ERRORS = (ValueError, RuntimeError)


def version() -> str:
    return package_version("ai-edge-litert")


def load(model: bytes, threads: int) -> Any:
    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def example(session: Any) -> tuple[int, np.ndarray]:
    spec = session.get_input_details()[0]
    values = np.random.default_rng(0).normal(size=spec["shape"])
    integer = np.issubdtype(spec["dtype"], np.integer)
    return spec["index"], (values * 30 if integer else values).astype(spec["dtype"])


def run(session: Any, inputs: tuple[int, np.ndarray]) -> None:
    session.set_tensor(*inputs)
    session.invoke()
