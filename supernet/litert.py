"""LiteRT files (.tflite), float32 and int8, checked by LiteRT's own interpreter: litert-torch converts, ai-edge-quantizer quantises.

The int8 file is whole: weights, activations, input and output. tflite-micro, LiteRT and Ethos-U's compiler (vela) read it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from latency_luts.files import write_whole
from supernet.arena import memory
from supernet.data import GroupedData
from supernet.errors import UserError
from supernet.export import difference_from, require, to_litert
from supernet.onnx_model import ExportedModel
from supernet.packing import offsets
from supernet.preprocessing import Preprocessing
from supernet.quantisation import Form, calibration_images, judge

SETTING = "min-max calibration, 8-bit weights per channel, int8 input and output"
TOLERANCE = 1e-3  # of the output's size; XNNPACK adds up in another order, and barely trained networks are off by 2e-4
METADATA = "supernet:"  # begins the names of what a file says of itself
ALIGNED = 16  # bytes, as the format's schema asks for a buffer
BYTES = {0: 4, 2: 4, 9: 1}  # of a value, by the schema's number of its type: float32, int32, int8
ELSEWHERE = -1  # in a plan: what is no activation


class LitertModel(ExportedModel):
    """A .tflite in LiteRT's interpreter, on the CPU. It is given and gives real numbers, whatever the file's input and output are."""

    def __init__(self, model: Path | bytes, name: str = "model") -> None:
        """From a file or its content; `name` is for messages. Raises UserError if LiteRT is not installed or cannot load it."""
        require("ai_edge_litert", extra="litert")
        from ai_edge_litert.interpreter import Interpreter

        self.name = str(model) if isinstance(model, Path) else name
        content = model.read_bytes() if isinstance(model, Path) else model
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
            self.metadata = _metadata(content)
        except Exception as error:  # of the flatbuffer's reader, too, which has no class of its own
            raise UserError(f"{self.name} does not load in LiteRT ({(str(error).splitlines() or [''])[0][:200]}).") from error  # fmt: skip
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if (len(inputs), len(outputs)) != (1, 1) or len(inputs[0]["shape"]) != 4 or len(outputs[0]["shape"]) != 2:
            raise UserError(f"{self.name} is not an image classifier with one input and one output.")
        self._input, self._output = inputs[0], outputs[0]
        _, height, width, channels = map(int, inputs[0]["shape"])
        self.shape_CHW, self.outputs = (channels, height, width), int(outputs[0]["shape"][-1])

    @property
    def input_words(self) -> str:
        """What the file is given, after the picture was prepared."""
        dtype = np.dtype(self._input["dtype"]).name
        if not np.issubdtype(self._input["dtype"], np.integer):
            return f"{dtype} NHWC"
        scale, zero = self._input["quantization"]
        return f"divide by {scale:.9g}, round, add {zero}; {dtype} NHWC"

    def logits(self, image_NCHW: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate([self._logits(image[None]) for image in image_NCHW])

    def _logits(self, image_1CHW: np.ndarray) -> np.ndarray:
        x = image_1CHW.transpose(0, 2, 3, 1)
        if np.issubdtype(self._input["dtype"], np.integer):
            scale, zero = self._input["quantization"]
            x = np.clip(np.round(x / scale) + zero, *_ends(self._input["dtype"]))
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(x, self._input["dtype"]))
        self._interpreter.invoke()
        y = self._interpreter.get_tensor(self._output["index"])
        if not np.issubdtype(y.dtype, np.integer):
            return np.asarray(y)
        scale, zero = self._output["quantization"]
        return np.asarray((y.astype(np.float32) - zero) * np.float32(scale))


def export_litert(model: nn.Module, path: Path, spec: Preprocessing, metadata: Mapping[str, str]) -> float:
    """Writes `path` (float32, channels last) and returns the largest difference between LiteRT's and torch's output, as `export_onnx`.

    Raises UserError (and writes nothing) if that exceeds 1e-3 of the output's size, or without litert-torch.
    """
    shape = (1, spec.channels, spec.size, spec.size)
    content = laid_out(
        to_litert(model, shape),
        {**metadata, "layout": "NHWC", "preprocessing": f"{spec.words().removesuffix('NCHW')}NHWC"},
    )
    difference = difference_from(model, LitertModel(content).logits, shape)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path}: the exported model's output differs from torch's by {difference:.2g}; it is not written."
        )
    write_whole(path, content)
    return difference


def quantise_litert(source: Path, path: Path, data: GroupedData, notion: str) -> dict[str, Any]:
    """Writes `path`, the int8 form of the float32 file `source`, and returns what it costs (`quantisation.judge`), and its `memory`.

    Calibrated on search-train. Its metadata is that of `source`, and its setting. Raises UserError without the extra litert.
    """
    float32 = LitertModel(source)
    made = quantise(source.read_bytes(), calibration_images(float32, data))
    model = LitertModel(made)
    words = float32.metadata["preprocessing"].removesuffix(float32.input_words) + model.input_words
    made = with_places(
        laid_out(made, float32.metadata | {"dtype": "int8", "quantisation": SETTING, "preprocessing": words})
    )
    content, told = judge(float32, [Form(SETTING, 8, made, model)], data, notion)
    if left := real_operators(content):
        told["warnings"].append(f"{path.name} is not int8 throughout; real numbers remain in {', '.join(left)}.")
    write_whole(path, content)
    return told | {"memory": memory(content)}


def quantise(float32: bytes, images_BCHW: np.ndarray) -> bytes:
    """An int8 file from a float32 one with channels last, calibrated one image at a time: int8 throughout, weights per channel.

    Raises UserError without the extra litert.
    """
    require("ai_edge_quantizer", extra="litert")
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    (key, own), *_ = Interpreter(model_content=float32).get_signature_list().items()
    samples = [{own["inputs"][0]: np.ascontiguousarray(image[None].transpose(0, 2, 3, 1))} for image in images_BCHW]
    with _quiet():
        tool = quantizer.Quantizer(float32, recipe.static_wi8_ai8())
        found = tool.quantize(tool.calibrate({key: samples})).quantized_model
    return laid_out(bytes(found), {})


def laid_out(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The same file as a microcontroller needs it: weights inside the flatbuffer, aligned, tensors with short names; its metadata is this alone.

    A larger file of the quantiser's keeps weights behind the flatbuffer, where tflite-micro does not find them.
    """
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    model = read_model_from_bytearray(content)
    for graph in model.subgraphs:
        for number, tensor in enumerate(graph.tensors):
            tensor.name = str(number).encode()  # 17 KB of module names else, in a network of 100 KB
    for entry in model.metadata or []:
        if entry.name.startswith(METADATA.encode()):
            model.buffers[entry.buffer].data = None
    model.metadata = [entry for entry in model.metadata or [] if not entry.name.startswith(METADATA.encode())]
    for name, text in metadata.items():
        _attach(model, METADATA + name, text.encode())
    return _packed(model)


def with_places(content: bytes) -> bytes:
    """The same file, which tells tflite-micro where each activation is to lie (`packing.offsets`)."""
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    model = read_model_from_bytearray(content)
    (graph,) = model.subgraphs
    end = len(graph.operators) - 1
    first, last = dict.fromkeys(map(int, graph.inputs), 0), dict.fromkeys(map(int, graph.outputs), end)
    for now, operator in enumerate(graph.operators):
        for tensor in map(int, operator.outputs):
            first.setdefault(tensor, now)
        for tensor in map(int, operator.inputs):
            last[tensor] = max(now, last.get(tensor, 0))
    alive = sorted(first)  # weights are no operator's output
    sizes = [int(np.prod(graph.tensors[tensor].shape)) * BYTES[graph.tensors[tensor].type] for tensor in alive]
    begins, _ = offsets(
        sizes, [first[tensor] for tensor in alive], [last.get(tensor, first[tensor]) for tensor in alive]
    )
    place_T = np.full(len(graph.tensors), ELSEWHERE, np.int32)
    place_T[alive] = begins
    header = np.array([1, 0, len(place_T)], np.int32)  # version, subgraph, tensors
    _attach(model, "OfflineMemoryAllocation", np.concatenate([header, place_T]).tobytes())
    return _packed(model)


def _attach(model: Any, name: str, content: bytes) -> None:
    """Metadata of a file that was read."""
    from ai_edge_litert import schema_py_generated as schema

    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(content, np.uint8)
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def _packed(model: Any) -> bytes:
    import flatbuffers

    class Builder(flatbuffers.Builder):
        """Puts bytes where the schema's `force_align` wants them; the Python packer leaves that out."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, ALIGNED if elemSize == 1 else alignment)

    builder = Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def real_operators(content: bytes) -> list[str]:
    """Names of the operators that are given or give real numbers, each once."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    found: dict[str, None] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            tensors = [graph.tensors[n] for n in (*operator.inputs, *operator.outputs) if n >= 0]
            if any(tensor.type == schema.TensorType.FLOAT32 for tensor in tensors):
                found[names[model.operatorCodes[operator.opcodeIndex].builtinCode]] = None
    return list(found)


def _metadata(content: bytes) -> dict[str, str]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    entries = [model.Metadata(n) for n in range(model.MetadataLength())]
    return {
        entry.Name().decode().removeprefix(METADATA): model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
        for entry in entries
        if entry.Name().startswith(METADATA.encode())
    }


def _ends(dtype: Any) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress that the quantiser prints, and its warnings of its own calls."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():  # fmt: skip
        warnings.simplefilter("ignore")
        yield
