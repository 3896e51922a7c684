"""The files for a device's runtime: written after a training, or later by `supernet export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from supernet.blocks.rounding import baked, is_rounded
from supernet.data import GroupedData
from supernet.errors import UserError
from supernet.exits import Exits
from supernet.exits_export import export_parts
from supernet.export import export_executorch, export_onnx, require
from supernet.litert import export_litert, quantise_litert
from supernet.preprocessing import Preprocessing
from supernet.quantisation import quantise_best

FILES = {
    "onnx": "model.onnx", "int8": "model-int8.onnx", "litert": "model.tflite", "litert-int8": "model-int8.tflite",
    "executorch": "model.pte",
}  # fmt: skip
INT8 = {"int8": ("onnx", quantise_best), "litert-int8": ("litert", quantise_litert)}  # made of which format, and how
NEEDS = {
    "onnx": ("onnx", "onnxruntime"), "litert": ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    "executorch": ("executorch",),
}  # fmt: skip
NO_INT8 = "each layer has bits of its own, which int8 would round once more; the float32 file has them"
PARTS = "model-part*.onnx"


class Exportable(NamedTuple):
    """What there is to export.

    network:  with its trained weights
    spec:     what it is fed
    metadata: `export.onnx_metadata`
    notion:   of the gap that int8 is compared by
    data:     gives the data set that int8 is calibrated on and compared with
    exits:    its early exits, if it has any
    """

    network: nn.Module
    spec: Preprocessing
    metadata: dict[str, str]
    notion: str
    data: Callable[[], GroupedData]
    exits: Exits | None = None


class Exported(NamedTuple):
    """What was written.

    files:    file name → what was checked of it, or why it is not there
    int8:     what int8 costs (`quantisation.judge`), by the report's key: int8 (ONNX), litert_int8; without a file there is none
    warnings: what a person has to know before shipping a file
    failed:   names of the files that could not be written
    """

    files: dict[str, str]
    int8: dict[str, dict[str, Any]]
    warnings: tuple[str, ...]
    failed: tuple[str, ...]


def export(model: Exportable, formats: str, folder: Path) -> Exported:
    """Writes files of the formats (joined by commas). One that fails, for whatever reason, is told and never raised:
    exporters fail in many ways, and what was trained must not be lost by it."""
    asked = _in_order(formats)
    model.network.to("cpu").eval()
    rounded = is_rounded(model.network)
    if rounded:
        model = model._replace(network=baked(model.network))
    files: dict[str, str] = {}
    failed: list[str] = []
    int8: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    for kind in asked:
        path = folder / FILES[kind]
        try:
            if kind in INT8 and rounded:
                files[path.name] = f"not written: {NO_INT8}"
            elif kind in INT8:
                source, quantise = INT8[kind]
                if FILES[source] in failed:
                    raise UserError(f"it is made of {FILES[source]}, which is missing")
                costs = quantise(folder / FILES[source], path, model.data(), model.notion)
                files[path.name] = int8_words(costs)
                warnings += costs["warnings"]
                int8[kind.replace("-", "_")] = costs
            else:
                files[path.name] = _write(model, kind, path)
        except Exception as error:
            failed.append(path.name)
            told = _first_line(error)
            files[path.name] = f"not written: {told}"
            warnings.append(f"{path.name} was not written: {told}")
    if model.exits is not None and "onnx" in asked:
        try:
            files |= export_parts(model.network, model.exits, folder, model.spec, model.metadata)
        except Exception as error:
            failed.append(PARTS)
            files[PARTS] = f"not written: {_first_line(error)}"
            warnings.append(f"{PARTS} were not written: {_first_line(error)}")
    return Exported(files, int8, tuple(warnings), tuple(failed))


def require_exporters(formats: str) -> None:
    """Raises UserError, with what to install, where an exporter of these formats (joined by commas) is missing, and for none beside others."""
    if "none" in (asked := _named(formats)) and len(asked) > 1:
        raise UserError(f"--export {formats}: none goes with no other format.")
    for kind in _in_order(formats):
        if kind in NEEDS:
            require(*NEEDS[kind], extra=None if kind == "onnx" else kind)


def _in_order(formats: str) -> list[str]:
    """Each format that there is, once, what another one is made of first."""
    asked = [kind for kind in _named(formats) if kind in FILES]
    return list(dict.fromkeys([*(INT8[kind][0] for kind in asked if kind in INT8), *asked]))


def _named(formats: str) -> list[str]:
    return [kind.strip() for kind in formats.split(",")]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _write(model: Exportable, kind: str, path: Path) -> str:
    """The file of a format, and what was checked of it."""
    bits = ", weights and activations rounded to each layer's bits" if is_rounded(model.network) else ""
    edge = ", save where a value lies on the edge of two levels" if bits else ""
    if kind == "onnx":
        difference = export_onnx(model.network, path, model.spec, model.metadata)
        return f"float32{bits}, batch 1; differs from torch by {difference:.1e} at most{edge}"
    if kind == "litert":
        difference = export_litert(model.network, path, model.spec, model.metadata)
        return f"LiteRT, float32{bits}, batch 1; differs from torch by {difference:.1e} at most{edge}"
    export_executorch(model.network, path, model.spec)
    return f"ExecuTorch with XNNPACK, float32{bits}, batch 1"


def int8_words(int8: dict[str, Any]) -> str:
    """One line of what int8 costs."""
    val, test = int8["val"], int8["test"]
    kept = memory_words(int8["memory"]) if "memory" in int8 else ""
    return (
        f"int8, batch 1 ({int8['setting']}); the class of float32 on {val['agreement']:.1%} of {val['images']:,} search-val "
        f"images; test accuracy {test['int8']['accuracy']:.1%}, float32 {test['float32']['accuracy']:.1%}{kept}"
    )


def memory_words(memory: dict[str, Any]) -> str:
    """What the file takes of a microcontroller, to be read after a figure."""
    flash = f"; {memory['file_bytes'] / 1024:,.1f} KiB of flash"
    if memory["unmeasured"] is not None:
        return f"{flash}, RAM not measured: {memory['unmeasured']}"
    arena, activations = memory["arena_bytes"] / 1024, memory["activation_bytes"] / 1024
    return f"{flash}, {arena:,.1f} KiB of RAM under tflite-micro ({activations:,.1f} of activations)"
