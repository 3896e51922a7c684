"""An exported file as something that can be asked: what it is fed, its classes, its outputs. Here ONNX; LiteRT is in litert_model.py."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.special import softmax

from supernet.errors import UserError
from supernet.export import require
from supernet.preprocessing import Preprocessing


class ExportedModel(ABC):
    """A file in its runtime.

    name: for messages.  metadata: what the file says of itself.  shape_CHW: of the image it is fed.  outputs: numbers it answers with
    """

    name: str
    metadata: dict[str, str]
    shape_CHW: tuple[int, ...]
    outputs: int

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a picture first. Raises UserError where the file does not say it."""
        try:
            spec = Preprocessing.from_metadata(self.metadata)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.name} does not say how pictures are prepared ({error}): was it exported by supernet?"
            ) from error
        if (spec.channels, spec.size, spec.size) != self.shape_CHW:
            raise UserError(f"{self.name}: its metadata is of another input than {self.shape_CHW}.")
        return spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Raises UserError where the file does not name them."""
        try:
            names = json.loads(self.metadata["classes"])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("not a list of names")
        except (KeyError, ValueError) as error:
            raise UserError(f"{self.name} does not name its classes ({error}).") from error
        if len(names) != self.outputs:
            raise UserError(f"{self.name} names {len(names)} classes and has {self.outputs} outputs.")
        return tuple(names)

    def probabilities(self, image_NCHW: Iterable[np.ndarray]) -> np.ndarray:
        """(N, C) of preprocessed images."""
        return softmax(self.logits(image_NCHW).astype(np.float64), axis=1)

    @abstractmethod
    def logits(self, image_NCHW: Iterable[np.ndarray]) -> np.ndarray:
        """(N, C) of preprocessed images, one at a time, as on the device: the file has batch 1."""


class OnnxModel(ExportedModel):
    """A model.onnx in onnxruntime, on the CPU."""

    def __init__(self, model: Path | bytes, name: str = "model") -> None:
        """From a file or its content; `name` is for messages. Raises UserError if onnxruntime cannot load it."""
        require("onnxruntime")
        import onnxruntime

        self.name = str(model) if isinstance(model, Path) else name
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else str(model), providers=["CPUExecutionProvider"]
            )
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime has a class of its own for each kind, all of them plain exceptions
            raise UserError(
                f"{self.name} does not load in onnxruntime ({str(error).splitlines()[0][:200]})."
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if (len(inputs), len(outputs)) != (1, 1) or len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
            raise UserError(f"{self.name} is not an image classifier with one input and one output.")
        self._input, self.shape_CHW = inputs[0].name, tuple(inputs[0].shape[1:])
        self.outputs = outputs[0].shape[-1]

    def logits(self, image_NCHW: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate([self._session.run(None, {self._input: image[None]})[0] for image in image_NCHW])
