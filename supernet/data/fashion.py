"""`fashion`: pictures of clothes from Fashion-MNIST, embedded in the package. They are harder than digits, and have no groups.

The embedded file was drawn by `benchmarks/make_fashion.py`, equally many of each class with seed 0: 8,000 search-train and 2,000 search-val images of the
training part, 4,000 test images of the test part. Fashion-MNIST: Xiao, Rasul, Vollgraf, Zalando SE, 2017, MIT; see LICENSE-fashion.txt.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from supernet.arrays import read_npz
from supernet.data.grouped import Augment, Columns, Part, Source
from supernet.errors import UserError

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
AUGMENT = Augment(shift=2, scale=0.1, flip=True)


def load(path: str, columns: Columns) -> Source:
    """The embedded draw. Raises UserError where something else is asked for."""
    columns.refuse("fashion", "label", "groups", "cluster")
    if path:
        raise UserError("fashion takes no path: it is in the package. Of your own pictures give the folder alone.")
    arrays = read_npz(Path(str(resources.files("supernet.data") / "fashion.npz")), "images")
    parts = {
        split: Part(arrays[f"{split}_images"], arrays[f"{split}_labels"].astype(np.int64), np.empty((len(arrays[f"{split}_labels"]), 0), np.int64))
        for split in ("train", "val", "test")
    }  # fmt: skip
    return Source("fashion", parts, CLASSES, {}, AUGMENT)
