"""Which pictures a training has seen, kept beside it: an evaluation on one of them would flatter."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from latency_luts.files import write_whole
from supernet.arrays import read_npz
from supernet.data import GroupedData
from supernet.data.decode import BLANK

FILE = "seen.npz"


def save_seen(folder: Path, data: GroupedData) -> None:
    """Writes the marks of train's and val's picture files; of a built-in data set nothing."""
    if data.seen_N is None:
        return
    packed = io.BytesIO()
    np.savez_compressed(packed, mark=data.seen_N)
    write_whole(folder / FILE, packed.getvalue())


def seen(folder: Path, mark_N: np.ndarray) -> np.ndarray:
    """(N,) bool: the training in that folder has seen this picture. All False where it has not told, and of blank pictures."""
    if not (folder / FILE).is_file():
        return np.zeros(len(mark_N), dtype=bool)
    before = read_npz(folder / FILE, "pictures seen in training")["mark"]
    return np.isin(mark_N, before) & (mark_N != BLANK)
