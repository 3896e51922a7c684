"""The files for a device's runtime: written after a training, or later by `supernet export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from supernet.data import GroupedData
from supernet.errors import UserError
from supernet.export import export_executorch, export_litert, export_onnx
from supernet.preprocessing import Preprocessing
from supernet.quantisation import quantise_best

FILES = {"onnx": "model.onnx", "int8": "model-int8.onnx", "litert": "model.tflite", "executorch": "model.pte"}


class Exportable(NamedTuple):
    """What there is to export.

    network:  with its trained weights
    spec:     what it is fed
    metadata: `export.onnx_metadata`
    notion:   of the gap that int8 is compared by
    data:     gives the data set that int8 is calibrated on and compared with
    """

    network: nn.Module
    spec: Preprocessing
    metadata: dict[str, str]
    notion: str
    data: Callable[[], GroupedData]


class Exported(NamedTuple):
    """What was written.

    files:    file name → what was checked of it, or why it is not there
    int8:     what int8 costs (`quantisation.quantise_best`), None where there is no such file
    warnings: what a person has to know before shipping a file
    failed:   names of the files that could not be written
    """

    files: dict[str, str]
    int8: dict[str, Any] | None
    warnings: tuple[str, ...]
    failed: tuple[str, ...]


def export(model: Exportable, formats: str, folder: Path) -> Exported:
    """Writes files of the formats (joined by commas). One that fails, for whatever reason, is told and never raised:
    exporters fail in many ways, and what was trained must not be lost by it."""
    asked = [kind for kind in formats.split(",") if kind in FILES]
    if "int8" in asked:
        asked.insert(0, "onnx")  # what it is made of
    model.network.to("cpu").eval()
    files: dict[str, str] = {}
    failed: list[str] = []
    int8, warnings = None, []
    for kind in dict.fromkeys(asked):
        path = folder / FILES[kind]
        try:
            if kind == "int8":
                if FILES["onnx"] in failed:
                    raise UserError("it is made of model.onnx, which is missing")
                int8 = quantise_best(folder / FILES["onnx"], path, model.data(), model.notion)
                files[path.name] = int8_words(int8)
                warnings += int8["warnings"]
            else:
                files[path.name] = _write(model, kind, path)
        except Exception as error:
            failed.append(path.name)
            told = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            files[path.name] = f"not written: {told}"
            warnings.append(f"{path.name} was not written: {told}")
    return Exported(files, int8, tuple(warnings), tuple(failed))


def _write(model: Exportable, kind: str, path: Path) -> str:
    """The file of a format, and what was checked of it."""
    if kind == "onnx":
        difference = export_onnx(model.network, path, model.spec, model.metadata)
        return f"float32, batch 1; differs from torch by {difference:.1e} at most"
    if kind == "litert":
        export_litert(model.network, path, model.spec)
        return "LiteRT, float32, batch 1"
    export_executorch(model.network, path, model.spec)
    return "ExecuTorch with XNNPACK, float32, batch 1"


def int8_words(int8: dict[str, Any]) -> str:
    """One line of what int8 costs."""
    val, test = int8["val"], int8["test"]
    return (
        f"int8, batch 1 ({int8['setting']}); the class of float32 on {val['agreement']:.1%} of {val['images']:,} search-val "
        f"images; test accuracy {test['int8']['accuracy']:.1%}, float32 {test['float32']['accuracy']:.1%}"
    )
