"""The files for a device's runtime that `supernet train` writes."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from supernet.config import TrainConfig
from supernet.data import Batches, GroupedData
from supernet.errors import UserError
from supernet.export import export_executorch, export_litert, export_onnx, onnx_metadata, quantise_onnx
from supernet.preprocessing import Preprocessing
from supernet.spaces.architecture import Architecture


def export(
    config: TrainConfig,
    network: nn.Module,
    spec: Preprocessing,
    arch: Architecture | None,
    data: GroupedData,
    folder: Path,
) -> dict[str, str]:
    """Writes the files for a device's runtime; file name → what was checked of it. A missing extra is said, not raised."""
    network = network.to("cpu")
    found, onnx_file = {}, folder / "model.onnx"
    for kind in dict.fromkeys(config.export.split(",")):
        try:
            if kind == "onnx" or (kind == "int8" and not onnx_file.exists()):
                difference = export_onnx(network, onnx_file, spec, onnx_metadata(spec, data.classes, arch))
                found["model.onnx"] = f"float32, batch 1; differs from torch by {difference:.1e} at most"
            if kind == "int8":
                calibration = Batches(data.train, min(128, len(data.train)), mean=spec.mean, std=spec.std)
                agreement = quantise_onnx(onnx_file, folder / "model-int8.onnx", calibration.at(0).image.numpy())
                found["model-int8.onnx"] = (
                    f"int8, batch 1; same class as float32 on {agreement:.1%} of its calibration images"
                )
            elif kind == "litert":
                export_litert(network, folder / "model.tflite", spec)
                found["model.tflite"] = "LiteRT, float32, batch 1"
            elif kind == "executorch":
                export_executorch(network, folder / "model.pte", spec)
                found["model.pte"] = "ExecuTorch with XNNPACK, float32, batch 1"
        except UserError as error:
            print(f"No {kind} file: {error}")
    return found
