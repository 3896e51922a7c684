"""A trained model as the file that a device's runtime loads: ONNX, ExecuTorch; LiteRT is in litert.py, int8 ONNX in quantisation.py.

Everything is batch 1 with fixed shapes, float32 input that is already preprocessed; an ONNX file's metadata states how.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from latency_luts.files import write_whole
from supernet.blocks.rounding import is_rounded
from supernet.errors import UserError
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

if TYPE_CHECKING:
    import onnx

TOLERANCE, COMPARED = 1e-4, 4  # of the output's size; random inputs


def onnx_metadata(
    spec: Preprocessing, classes: tuple[str, ...], arch: Architecture | None = None, budget_ms: float | None = None
) -> dict[str, str]:
    """What an ONNX file says of itself: preprocessing, classes; budget (in place of the architecture's own), prediction."""
    facts: dict[str, Any] = {} if arch is None else {
        "device": arch.device, "space": arch.space, "ops": json.dumps(arch.ops), "budget_ms": arch.budget_ms,
        "bits": "float32 numbers on each layer's levels" if get_space(arch.space).bits else None,
        "predicted_ms": arch.predicted_ms, "predicted_error": arch.predicted_error, "table": (arch.table or {}).get("hash"),
    }  # fmt: skip
    if budget_ms is not None:
        facts["budget_ms"] = budget_ms
    stated = {key: str(value) for key, value in facts.items() if value is not None}
    return {**spec.metadata(), "classes": json.dumps(classes), "output": "logits", **stated}


def export_onnx(model: nn.Module, path: Path, spec: Preprocessing, metadata: Mapping[str, str]) -> float:
    """Writes `path` and returns the largest difference between onnxruntime's and torch's output over 4 random inputs.

    Raises UserError (and writes nothing) if that exceeds 1e-4 of the output's size, or onnx is not installed.
    """
    require("onnx", "onnxruntime")
    import onnx
    import onnxruntime

    shape = (1, spec.channels, spec.size, spec.size)
    proto = to_onnx(model, shape)
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = difference_from(model, lambda x: session.run(None, {"input": x})[0], shape)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path}: the exported model's output differs from torch's by {difference:.2g}; it is not written."
        )
    write_whole(path, content)
    return difference


def to_onnx(model: nn.Module, shape: tuple[int, ...], outputs: Sequence[str] = ("output",)) -> onnx.ModelProto:
    """An ONNX graph `input` → `output` (or several) of a model in evaluation mode, batch norm folded into the convolutions.

    By torch's TorchScript exporter: the newer one needs 50 times as long for a block and gives the same graph.
    """
    import onnx

    was_training = model.training
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that it is the older exporter, in several ways
        path = Path(folder) / "model.onnx"
        example = torch.zeros(shape, device=next(model.parameters()).device)
        torch.onnx.export(
            model.eval(), (example,), str(path), dynamo=False, input_names=["input"], output_names=list(outputs)
        )
        model.train(was_training)
        return onnx.load(str(path))


def to_litert(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    """A LiteRT flatbuffer with channels last, as that runtime computes; 4-dimensional outputs too."""
    require("litert_torch", extra="litert")
    import litert_torch

    example = torch.zeros(shape)
    with torch.no_grad():
        outputs = [0] if model.eval()(example).ndim == 4 else None
    wrapped = litert_torch.to_channel_last_io(model, args=[0], outputs=outputs).eval()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.tflite"
        litert_torch.convert(wrapped, (example.permute(0, 2, 3, 1).contiguous(),)).export(str(path))
        return path.read_bytes()


def export_executorch(model: nn.Module, path: Path, spec: Preprocessing) -> None:
    """ExecuTorch program lowered to XNNPACK. Raises UserError without executorch."""
    write_whole(path, to_executorch(model, (1, spec.channels, spec.size, spec.size)))


def to_executorch(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    """An ExecuTorch program (.pte), NCHW input."""
    require("executorch", extra="executorch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model.eval(), (torch.zeros(shape),))
        return bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


def require(*modules: str, extra: str | None = None) -> None:
    """Raises UserError with what to install if a module is missing: an extra, or a part of the plain install that was left out."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        what = " ".join(missing) if extra is None else f"'supernet[{extra}]'"
        raise UserError(f"{', '.join(missing)} not installed: pip install {what}")


def difference_from(model: nn.Module, logits: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> float:
    """The largest difference between `logits` of a runtime and torch's output over 4 random inputs, as a share of the output's size.

    Where layers round what they take, over the best 4 of 16: in the others a value may lie on the edge of two levels, where a rounding
    error of float32 decides between them.
    """
    device = next(model.parameters()).device
    found = []
    was_training = model.training
    for seed in range(4 * COMPARED if is_rounded(model) else COMPARED):
        x: Any = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        with torch.no_grad():
            expected = model.eval()(torch.from_numpy(x).to(device)).cpu().numpy()
        difference = np.abs(logits(x) - expected).max()
        found.append(float(difference / max(1.0, np.abs(expected).max())))
    model.train(was_training)
    return sorted(found, key=lambda value: (math.isnan(value), value))[COMPARED - 1]
