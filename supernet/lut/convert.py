"""A piece → the bytes that a runtime loads, in each format of a bundle."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from supernet import export, litert, quantisation
from supernet.errors import UserError
from supernet.lut.pieces import Piece

if TYPE_CHECKING:
    import onnx


def to_onnx(piece: Piece) -> bytes:
    """float32 ONNX."""
    return bytes(export.to_onnx(piece.build(), piece.shape).SerializeToString())


def to_onnx_int8(piece: Piece) -> bytes:
    """int8 ONNX, calibrated on noise: only its time matters. A piece's ends are int8, as they are inside a network."""
    model = export.to_onnx(piece.build(), piece.shape)
    noise = np.random.default_rng(0).normal(size=(2, *piece.shape[1:])).astype(np.float32)
    quantised = quantisation.quantise(model, noise)
    if piece.role in ("op", "head", "call"):
        _strip_input(quantised)
    if piece.role in ("op", "stem", "call"):
        _strip_output(quantised)
    return bytes(quantised.SerializeToString())


def _strip_input(model: onnx.ModelProto) -> None:
    import onnx

    node = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "input")
    _replace(model, node.output[0], "input")
    model.graph.node.remove(node)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def _strip_output(model: onnx.ModelProto) -> None:
    import onnx

    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.output[0] == "output")
    source = node.input[0]
    model.graph.node.remove(node)
    _replace(model, source, "output")
    for other in model.graph.node:
        for position, name in enumerate(other.output):
            if name == source:
                other.output[position] = "output"
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def _replace(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def to_litert(piece: Piece) -> bytes:
    """LiteRT flatbuffer. Its converter finds out by convolutions that channels are last: a head without one would be transposed first."""
    network = piece.build()
    if piece.role == "head" and not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        *_, classifier = network.children()
        network = nn.Sequential(nn.AvgPool2d(piece.shape[2:]), nn.Flatten(), classifier)
    return export.to_litert(network, piece.shape)


def to_litert_int8(piece: Piece) -> bytes:
    """int8 LiteRT flatbuffer, its ends too, calibrated on noise: only its time matters."""
    noise = np.random.default_rng(0).normal(size=(2, *piece.shape[1:])).astype(np.float32)
    return litert.quantise(to_litert(piece), noise)


def to_executorch(piece: Piece) -> bytes:
    """ExecuTorch program."""
    return export.to_executorch(piece.build(), piece.shape)


def to_pt2(piece: Piece) -> bytes:
    """torch.export's own archive, run operator by operator."""
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(piece.build(), (torch.zeros(piece.shape),)), buffer)
    return buffer.getvalue()


CONVERTERS: dict[tuple[str, str], tuple[Callable[[Piece], bytes], tuple[str, ...], str]] = {
    # (format, dtype): converter, packages whose version shapes the file, extra that brings them
    ("onnx", "float32"): (to_onnx, ("torch", "onnx"), "onnx"),
    ("onnx", "int8"): (to_onnx_int8, ("torch", "onnx", "onnxruntime"), "onnx"),
    ("tflite", "float32"): (to_litert, ("torch", "litert-torch"), "litert"),
    ("tflite", "int8"): (to_litert_int8, ("torch", "litert-torch", "ai-edge-quantizer"), "litert"),
    ("pte", "float32"): (to_executorch, ("torch", "executorch"), "executorch"),
    ("pt2", "float32"): (to_pt2, ("torch",), "onnx"),
}
FORMAT_OF = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite", "executorch": "pte", "torch": "pt2"}


def get_converter(format: str, dtype: str) -> tuple[Callable[[Piece], bytes], dict[str, str]]:
    """The converter and the versions it depends on. Raises UserError if there is none, or its packages are missing."""
    if (format, dtype) not in CONVERTERS:
        known = ", ".join(f"{dtype} in {format}" for format, dtype in CONVERTERS)
        raise UserError(f"There is no export of {dtype} in {format}. There is: {known}.")
    converter, packages, extra = CONVERTERS[format, dtype]
    export.require(*(package.replace("-", "_") for package in packages), extra=extra)
    return converter, {package: version(package) for package in packages}
