"""A few of the shipped digits of each class and group, as a file for --data: for quick runs of tests and benchmarks."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np


def few_digits(path: Path, train: int, val: int, test: int) -> str:
    """Writes so many images of each class and group in each split to `path` (.npz); how --data names it."""
    arrays = {}
    with np.load(str(resources.files("supernet.data") / "writers.npz")) as whole:
        for split, each in (("train", train), ("val", val), ("test", test)):
            label_N, student_N = whole[f"{split}_labels"], whole[f"{split}_student"]
            cells = [np.flatnonzero((label_N == c) & (student_N == s))[:each] for c in range(10) for s in (0, 1)]
            index_N = np.concatenate(cells)
            arrays |= {f"{split}_{what}": whole[f"{split}_{what}"][index_N] for what in ("images", "labels", "student")}
    np.savez_compressed(path, **arrays)
    return f"writers:{path}"
