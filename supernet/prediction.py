"""A trained model and pictures: the probability of each class, prepared as in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from latency_luts.sheets import csv_text
from supernet.bars import bar
from supernet.data.pictures import SUFFIXES, White, as_seen, open_picture
from supernet.data.tables import read_table
from supernet.data.trees import pictures_below
from supernet.data.unpack import unpacked
from supernet.errors import UserError
from supernet.litert import LitertModel
from supernet.models import read_model
from supernet.onnx_model import OnnxModel
from supernet.preprocessing import Preprocessing
from supernet.schema import printable

TABLES = (".csv", ".tsv", ".txt", ".jsonl")
BATCH = 64
RUNTIMES = {".onnx": OnnxModel, ".tflite": LitertModel}


class Classifier(NamedTuple):
    """A trained model, whatever runs it. `probabilities`: prepared images (B, channels, size, size) → (B, C)."""

    classes: tuple[str, ...]
    spec: Preprocessing
    probabilities: Callable[[np.ndarray], np.ndarray]

    def opened(self, picture: str | Path | Image.Image) -> Image.Image:
        """The file or image as training would see it, not yet prepared. Raises UserError where it is no readable picture."""
        white = White(*self.spec.white)
        if isinstance(picture, Image.Image):
            return as_seen(picture, white)
        return open_picture(picture, white, least=2 * self.spec.size)

    def is_strange(self, picture: Image.Image) -> bool:
        """Whether it is in colour, and the model for grey."""
        return self.spec.channels == 1 and picture.mode != "L"

    def predict(self, pictures: Iterable[Path | Image.Image | UserError]) -> Iterator[np.ndarray | UserError]:
        """Each picture's (C,) probabilities, in order, of files and of images that are `opened`; in their place a UserError where a file is no readable picture."""
        remaining = iter(pictures)
        while batch := list(islice(remaining, BATCH)):
            prepared = [self._prepared(picture) for picture in batch]
            images = [image for image in prepared if isinstance(image, np.ndarray)]
            rows = iter(self._finite(np.stack(images)) if images else ())
            for image in prepared:
                yield image if isinstance(image, UserError) else next(rows)

    def _finite(self, image_BCHW: np.ndarray) -> np.ndarray:
        """Raises UserError for a model that answers with no numbers: it would seem to name the first class."""
        prob_BC = self.probabilities(image_BCHW)
        if not np.isfinite(prob_BC).all():
            raise UserError("The model's outputs are not finite: its training diverged, or its weights are damaged.")
        return prob_BC

    def _prepared(self, picture: Path | Image.Image | UserError) -> np.ndarray | UserError:
        if isinstance(picture, UserError):
            return picture
        try:
            return self.spec(picture if isinstance(picture, Image.Image) else self.opened(picture))
        except UserError as error:
            return error


def load_classifier(path: Path) -> Classifier:
    """From a train run's folder or its model.json (torch), an ONNX file (onnxruntime), or a LiteRT file (its interpreter).

    Raises UserError for a file that is missing, damaged, or does not say how pictures are prepared.
    """
    if path.suffix in RUNTIMES:
        if not path.is_file():
            raise UserError(f"model {path} does not exist.")
        file = RUNTIMES[path.suffix](path)
        return Classifier(file.classes, file.preprocessing, file.probabilities)
    model = read_model(path / "model.json" if path.is_dir() else path)
    network = model.network.eval()

    @torch.no_grad()
    def probabilities(image_BCHW: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(image_BCHW)).double().softmax(-1).numpy()

    return Classifier(model.classes, model.spec, probabilities)


def find_pictures(data: str | Path, file_col: str | None = None) -> list[tuple[str, Path]]:
    """(name, file) of the picture itself, of all below a folder (or in a .zip) by name, or of a table's rows in their order.

    `file_col` is the table's column of the files (None: file_name). Hidden files are no pictures. Raises UserError where there is
    none, and for a column where there is no table.
    """
    if not str(data).strip():
        raise UserError("--data is empty: give a folder, a CSV file or a picture (. is the current folder).")
    path = unpacked(Path(data))
    if path.is_file() and path.suffix.lower() in TABLES:
        file_col = file_col or "file_name"
        rows = [(cells[file_col], Path(image.path)) for image, cells in read_table(path, file_col, ())]
        if not rows:
            raise UserError(f"{path} has no rows.")
        return rows
    if file_col is not None:
        raise UserError(f"--file-col has no effect: {path} is no table.")
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give a folder of pictures, a CSV file, or one picture.")
    found = sorted(pictures_below(path))
    if not found:
        raise UserError(f"No picture is below {path}: known are {', '.join(SUFFIXES)}.")
    return [(file.relative_to(path).as_posix(), file) for file in found]


def colour_words(strange: Sequence[str], total: int) -> str:
    """Of pictures in colour that a model for grey was given, by name; "" where there are none."""
    if not strange:
        return ""
    are = f"picture{'s' * (total > 1)} {'is' if len(strange) == 1 else 'are'}"
    return f"{len(strange):,} of {total:,} {are} in colour, such as {printable(strange[0])}: the model is for grey, and they were read in grey."


class Predictions(NamedTuple):
    """What a model says of pictures. prob_NC: a row of NaN where a picture could not be read; `unreadable`: its name → why.

    classes: C names.  names: N files.  strange: names of those in colour, where the model is for grey.
    """

    classes: tuple[str, ...]
    names: list[str]
    prob_NC: np.ndarray
    unreadable: dict[str, str]
    strange: tuple[str, ...] = ()

    def rows(self, all_classes: bool = False) -> list[list[str]]:
        """The header, then a row a picture: file, label, probability, and on request each class's; empty where it is unreadable."""
        more = [f"probability {name}" for name in self.classes] if all_classes else []
        written: list[list[str]] = [["file", "label", "probability", *more]]
        for name, prob_C in zip(self.names, self.prob_NC, strict=True):
            if name in self.unreadable:
                written.append([name, "", "", *("" for _ in more)])
                continue
            best = int(prob_C.argmax())
            shown = [f"{value:.6f}" for value in prob_C] if all_classes else []
            written.append([name, self.classes[best], f"{prob_C[best]:.6f}", *shown])
        return written

    def csv(self, all_classes: bool = False) -> str:
        """The rows as CSV."""
        return csv_text(self.rows(all_classes))


def predict_all(classifier: Classifier, pictures: Sequence[tuple[str, Path | Image.Image]]) -> Predictions:
    """Of (name, picture). Raises UserError where none can be read."""
    prob_NC, unreadable = np.full((len(pictures), len(classifier.classes)), np.nan), {}
    strange: list[str] = []

    def opened() -> Iterator[Image.Image | UserError]:
        for name, picture in pictures:
            try:
                image = classifier.opened(picture)
            except UserError as error:
                yield error
                continue
            if classifier.is_strange(image):
                strange.append(name)
            yield image

    found = bar(classifier.predict(opened()), desc="predict", total=len(pictures), leave=False)
    for number, ((name, _), prob_C) in enumerate(zip(pictures, found, strict=True)):
        if isinstance(prob_C, UserError):
            unreadable[name] = str(prob_C)
        else:
            prob_NC[number] = prob_C
    if len(unreadable) == len(dict(pictures)):
        raise UserError(f"No picture can be read: {next(iter(unreadable.values()), 'there is none')}")
    return Predictions(classifier.classes, [name for name, _ in pictures], prob_NC, unreadable, tuple(strange))
