"""onnxruntime on the CPU. It folds batch norm into convolutions and fuses activations when it loads a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

FORMAT, PROVENANCE = "onnx", "measured"
ERRORS = (state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NotImplemented,
          state.RuntimeException, ValueError, KeyError)  # fmt: skip


def version() -> str:
    return str(onnxruntime.__version__)


def load(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def metadata(session: Any) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def example(session: Any) -> dict[str, np.ndarray]:
    spec = session.get_inputs()[0]
    values = np.random.default_rng(0).normal(size=[size if isinstance(size, int) else 1 for size in spec.shape])
    types: dict[str, np.ndarray] = {
        "tensor(float)": values.astype(np.float32),
        "tensor(uint8)": (30 * values + 128).astype(np.uint8),
    }
    return {spec.name: types[spec.type]}


def run(session: Any, inputs: dict[str, np.ndarray]) -> Any:
    return session.run(None, inputs)
