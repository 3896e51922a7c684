"""onnxruntime on the CPU. It folds batch norm into convolutions and fuses activations when it loads a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

FORMAT, PROVENANCE = "onnx", "measured"
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


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
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    values = np.random.default_rng(0).normal(size=shape)
    dtype = _TYPES[spec.type]
    return {spec.name: values.astype(dtype) if dtype is np.float32 else (values * 30 + 128 * (dtype is np.uint8)).astype(dtype)}


def run(session: Any, inputs: dict[str, np.ndarray]) -> Any:
    return session.run(None, inputs)
