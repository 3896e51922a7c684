"""A trained model and pictures without labels: the probability of each class, prepared as in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from latency_luts.sheets import csv_text
from supernet.data.pictures import White, open_picture
from supernet.errors import UserError
from supernet.models import read_model
from supernet.onnx_model import OnnxModel
from supernet.preprocessing import Preprocessing

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
BATCH = 64


class Classifier(NamedTuple):
    """A trained model, whatever runs it. `probabilities`: prepared images (B, channels, size, size) → (B, C)."""

    classes: tuple[str, ...]
    spec: Preprocessing
    probabilities: Callable[[np.ndarray], np.ndarray]

    def predict(self, files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | UserError]]:
        """Each picture's (C,) probabilities, in order; in their place a UserError where it is no readable picture."""
        remaining = iter(files)
        while batch := list(islice(remaining, BATCH)):
            prepared = [_prepared(file, self.spec) for file in batch]
            images = [image for image in prepared if isinstance(image, np.ndarray)]
            rows = iter(self.probabilities(np.stack(images)) if images else ())
            for file, image in zip(batch, prepared, strict=True):
                yield file, image if isinstance(image, UserError) else next(rows)


def load_classifier(path: Path) -> Classifier:
    """From a train run's folder or its model.json (torch), or an ONNX file (onnxruntime).

    Raises UserError for a file that is missing, damaged, or does not say how pictures are prepared.
    """
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UserError(f"model {path} does not exist.")
        onnx = OnnxModel(path)
        return Classifier(onnx.classes, onnx.preprocessing, onnx.probabilities)
    model = read_model(path / "model.json" if path.is_dir() else path)
    network = model.network.eval()

    @torch.no_grad()
    def probabilities(image_BCHW: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(image_BCHW)).double().softmax(-1).numpy()

    return Classifier(model.classes, model.spec, probabilities)


def find_pictures(path: Path) -> list[Path]:
    """The picture itself, or all below a folder, by name. Raises UserError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give a folder of pictures, or one picture.")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise UserError(f"No picture is below {path}: known are {', '.join(SUFFIXES)}.")
    return found


def table(classifier: Classifier, rows: Iterable[tuple[str, np.ndarray | None]], all_classes: bool) -> str:
    """CSV: file, label, probability, and on request the probability of each class. None: the picture cannot be read."""
    more = [f"probability {name}" for name in classifier.classes] if all_classes else []
    written: list[list[str]] = [["file", "label", "probability", *more]]
    for name, prob_C in rows:
        if prob_C is None:
            written.append([name, "", "", *("" for _ in more)])
            continue
        best = int(prob_C.argmax())
        shown = [f"{value:.6f}" for value in prob_C] if all_classes else []
        written.append([name, classifier.classes[best], f"{prob_C[best]:.6f}", *shown])
    return csv_text(written)


def _prepared(file: Path, spec: Preprocessing) -> np.ndarray | UserError:
    try:
        return spec(open_picture(file, White(*spec.white), least=2 * spec.size))
    except UserError as error:
        return error
