"""OpenVINO on the CPU; it reads the same ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

FORMAT, PROVENANCE = "onnx", "measured"
ERRORS = (RuntimeError,)


def version() -> str:
    return str(openvino.__version__).split("-")[0]


def load(model: bytes, threads: int) -> Any:
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(core.read_model(model), "CPU", options).create_infer_request()


def example(session: Any) -> np.ndarray:
    tensor = session.get_input_tensor()
    values = np.random.default_rng(0).normal(size=tuple(tensor.shape))
    dtype = tensor.data.dtype
    return (values * 30 + 128 * (dtype == np.uint8) if np.issubdtype(dtype, np.integer) else values).astype(dtype)


def run(session: Any, inputs: np.ndarray) -> Any:
    return session.infer([inputs], share_inputs=True)
