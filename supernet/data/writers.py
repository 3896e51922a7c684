"""`writers`: MNIST with the writer's group, embedded in the package; `writers:FILE` is the full set or another draw.

The embedded file was drawn by `benchmarks/make_writers.py` from the full set, stratified by class × group with seed 0:
12,000 search-train and 4,000 search-val images of MNIST's training part (disjoint images, but a writer may have some in
both) and 7,000 test images of its test part (whose writers are in no other split).
MNIST: Y. LeCun and C. Cortes, CC BY-SA 3.0; see LICENSE-writers.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from supernet.arrays import read_npz
from supernet.data import digits
from supernet.data.grouped import Columns, Part, Source
from supernet.errors import UserError, nearest


def load(path: str, columns: Columns) -> Source:
    """The embedded subset, or the .npz file at `path`. Raises UserError for a file that is not of that form."""
    columns.refuse("writers", "label", "groups", "cluster")
    file = Path(path).expanduser() if path else Path(str(resources.files("supernet.data") / "writers.npz"))
    if not file.is_file():
        raise UserError(f"No file {path}: writers:FILE needs the .npz file with the digits and their groups.")
    arrays = read_npz(file, "images")
    present = [split for split in ("train", "val", "test") if f"{split}_images" in arrays]
    parts = {split: _part(arrays, split, path) for split in present}
    if "train" not in parts or "test" not in parts:
        raise UserError(f"{path} must have train_images and test_images.")
    return Source("writers", parts, digits.CLASSES, digits.ATTRIBUTES, digits.AUGMENT)


def _part(arrays: Mapping[str, np.ndarray], split: str, path: str) -> Part:
    names = [f"{split}_{what}" for what in ("images", "labels", "student")]
    for name in names:
        if name not in arrays:
            raise UserError(f'{path} has no array "{name}".{nearest(name, arrays)}')
    images, labels, student = (arrays[name] for name in names)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise UserError(f"{path}: {names[0]} must be (N, 28, 28) uint8, but is {images.shape} {images.dtype}.")
    if labels.shape != images.shape[:1] or not np.isin(labels, np.arange(10)).all():
        raise UserError(f"{path}: {names[1]} must be {len(images)} digits from 0 to 9.")
    if student.shape != images.shape[:1] or not np.isin(student, (-1, 0, 1)).all():
        raise UserError(f"{path}: {names[2]} must be {len(images)} numbers, 1 student, 0 employee, -1 unknown.")
    return digits.part(images, labels, student, None)
