"""Which pictures a training has seen, kept beside it: an evaluation on one of them would flatter."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts.files import write_whole
from supernet.arrays import read_npz
from supernet.data import GroupedData
from supernet.data.decode import BLANK
from supernet.data.grouped import ImageFile
from supernet.data.labelled import Labelled
from supernet.data.repeats import find_repeats, path_keys, pixel_keys
from supernet.errors import UserError
from supernet.schema import printable

FILE = "seen.npz"


def save_seen(folder: Path, data: GroupedData) -> None:
    """Writes the marks of train's and val's picture files; of a built-in data set nothing."""
    if data.seen_N is None:
        return
    packed = io.BytesIO()
    np.savez_compressed(packed, mark=data.seen_N)
    write_whole(folder / FILE, packed.getvalue())


def seen(folder: Path, mark_N: np.ndarray) -> np.ndarray:
    """(N,) bool: the training in that folder has seen this picture. All False where it has not told, and of blank pictures.

    Raises UserError for a file that was damaged.
    """
    if not (folder / FILE).is_file():
        return np.zeros(len(mark_N), dtype=bool)
    before = read_npz(folder / FILE, "pictures seen in training").get("mark")
    if before is None or before.dtype != np.uint64:
        raise UserError(
            f"{folder / FILE} is damaged: put it back, or remove it and see to it yourself that no picture was trained on."
        )
    return np.isin(mark_N, before) & (mark_N != BLANK)


def repeat_notes(
    labelled: Labelled, mark_N: np.ndarray, home: Path, trained: Mapping[str, Any], allow: bool
) -> list[str]:
    """Lines about pictures that come twice, or were trained on.

    home, `trained`: the folder of the training, and its options. Raises UserError for two labels of one picture, and for pictures
    that were trained on unless `allow`.
    """
    files: Any = labelled.part.images
    notes: tuple[str, ...] = ()
    known, first = np.arange(len(files)), ""
    if isinstance(files[0], ImageFile):
        repeats, notes = find_repeats(labelled.source, pixel_keys(mark_N, path_keys(labelled.source)))
        if repeats.contradiction is not None:
            raise UserError(repeats.contradiction)
        known = np.flatnonzero(seen(home, mark_N))
        first = "".join(f" ({printable(files[n].row)})" for n in known[:1])
    elif (
        labelled.split == "test" or str(trained.get("data")).partition(":")[0] != labelled.source.name
    ):  # a built-in set: its splits are known by name
        known = known[:0]
    if not len(known):
        return list(notes)
    line = f"{len(known):,} of {len(files):,} pictures were in the training's search-train or search-val{first}."
    if not allow:
        raise UserError(f"{line} Their figures would flatter: leave them out, or accept them with --allow-duplicates.")
    return [*notes, f"{line} The figures are better than they would be for new pictures."]
