"""Images to uint8 at the space's resolution, once.

Decoded files over `CACHE_ABOVE` bytes are kept in `$XDG_CACHE_HOME/supernet` (default ~/.cache/supernet) under a hash
of the files' paths, sizes and times; beyond `MEMORY_LIMIT` they are read from there as np.memmap.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from PIL import Image

from supernet.bars import bar as progress_bar
from supernet.data.grouped import ImageFile
from supernet.data.pictures import Look, White, check_file, find_white, look, open_picture
from supernet.errors import UserError
from supernet.preprocessing import DIGIT, DIGIT_MARGIN, Preprocessing

CACHE_ABOVE = 64 * 2**20
MEMORY_LIMIT = 2 * 2**30
CACHE_VERSION = 2  # of what pictures become: a change makes old directories of the cache useless
BLANK = 0
SAME_COLOUR = 2  # levels of 255


def fit_digits(images_NHW: np.ndarray, resolution: int) -> np.ndarray:
    """(N, 28, 28) → (N, 1, resolution, resolution) uint8, as `Preprocessing` of a digit says."""
    if resolution == DIGIT + 2 * DIGIT_MARGIN:  # nothing is interpolated: all at once
        margin = (DIGIT_MARGIN, DIGIT_MARGIN)
        return np.pad(images_NHW, ((0, 0), margin, margin))[:, None]
    spec = replace(unnormalised(resolution, 1), fit="digit")
    return np.stack([spec.pixels(Image.fromarray(image)) for image in images_NHW])


def unnormalised(resolution: int, channels: int) -> Preprocessing:
    """The preprocessing of pictures before the channels' mean and std are known."""
    return Preprocessing(resolution, channels, (0.0,) * channels, (1.0,) * channels)


class Decoded(NamedTuple):
    """images_NCHW uint8, `digest` its SHA-256, `colour_N` bool.

    bright_N2 is the largest value of each picture of more than 8 bits, as in White (0: 8 bits), and `white` their scale.

    mark_N uint64 is a hash of each whole picture, before it was made small: equal pixels have equal marks, whatever the
    file's name and format. It is BLANK where the picture is of one colour.
    """

    images_NCHW: np.ndarray
    digest: str
    mark_N: np.ndarray
    colour_N: np.ndarray
    bright_N2: np.ndarray
    white: White


def decode_digits(images_NHW: np.ndarray, resolution: int, channels: int | None) -> Decoded:
    """Digits that are in memory; with three channels they are grey all the same."""
    images = np.repeat(fit_digits(images_NHW, resolution), channels or 1, axis=1)
    rows_ND = np.ascontiguousarray(images_NHW.reshape(len(images_NHW), -1))
    same_N = np.unique(rows_ND.view(f"V{rows_ND.shape[1]}"), return_inverse=True)[1].reshape(-1)
    mark_N = np.where(np.ptp(rows_ND, axis=1) <= SAME_COLOUR, BLANK, same_N + 1).astype(np.uint64)
    none_N = np.zeros(len(images), dtype=bool)
    digest = hashlib.sha256(images.data).hexdigest()
    return Decoded(images, digest, mark_N, none_N, np.zeros((len(images), 2)), White())


def decode_files(files: Sequence[ImageFile], resolution: int, channels: int | None, progress: bool) -> Decoded:
    """The pictures with so many channels; None: 1 if every file is grey, else 3.

    The middle square of a picture is taken and resized (bilinear, antialias). Raises UserError that names the file and
    the row for a missing or damaged image, and for a cache directory without room.
    """
    states = [_state(file) for file in files]
    key = hashlib.sha256(repr((CACHE_VERSION, resolution, channels, states)).encode()).hexdigest()[:32]
    kept = cache_directory() / "images" / key
    if not (kept / "facts.npz").is_file():
        with ThreadPool(os.cpu_count()) as pool:
            looks = list(pool.imap(_look, files, chunksize=32))
            colour_N = np.array([found.colour for found in looks])
            bright_N2 = np.array([found.brightest or White(0, 0) for found in looks])
            white = find_white(found.brightest for found in looks if found.brightest is not None)
            shape = (len(files), channels or (3 if colour_N.any() else 1), resolution, resolution)
            decoded = pool.imap(lambda file: _decode(file, resolution, shape[1], white), files, chunksize=32)
            shown = progress_bar(
                decoded, desc="decode", total=len(files), unit="image", disable=not progress, leave=False
            )
            if np.prod(shape) <= CACHE_ABOVE:
                pieces, marks = zip(*shown, strict=True)
                images, mark_N = np.ascontiguousarray(np.stack(pieces)), np.array(marks, np.uint64)
                return Decoded(images, hashlib.sha256(images.data).hexdigest(), mark_N, colour_N, bright_N2, white)
            _write(kept, shape, shown, colour_N, bright_N2)
    path = kept / "images.npy"
    images = np.load(path, mmap_mode="r" if path.stat().st_size > MEMORY_LIMIT else None, allow_pickle=False)
    with np.load(kept / "facts.npz", allow_pickle=False) as facts:
        bright_N2 = facts["bright_N2"]
        white = find_white(White(*values) for values in bright_N2.tolist() if any(values))
        return Decoded(images, str(facts["sha256"]), facts["mark_N"], facts["colour_N"], bright_N2, white)


def _state(file: ImageFile) -> tuple[str, int, int]:
    with named(file):
        status = check_file(file.path)
    return str(Path(file.path).absolute()), status.st_size, status.st_mtime_ns


def cache_directory() -> Path:
    """Where decoded and unpacked pictures are kept, and in a folder of its own what a bundle of models is made of."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supernet"


def _look(file: ImageFile) -> Look:
    with named(file):
        return look(file.path)


def _decode(file: ImageFile, resolution: int, channels: int, white: White) -> tuple[np.ndarray, int]:
    """((C, resolution, resolution) uint8, the mark of the whole picture)."""
    with named(file):
        picture = open_picture(file.path, white, least=2 * resolution)
    return unnormalised(resolution, channels).pixels(picture), mark(picture)


def mark(picture: Image.Image) -> int:
    """The picture's mark (see Decoded)."""
    pixels = np.asarray(picture.convert("RGB"))
    if np.ptp(pixels, axis=(0, 1)).max() <= SAME_COLOUR:
        return BLANK
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


@contextmanager
def named(file: ImageFile) -> Iterator[None]:
    """The table's row before what is wrong with its picture."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file.row}: {error}") from error


def _write(
    kept: Path,
    shape: tuple[int, ...],
    decoded: Iterable[tuple[np.ndarray, int]],
    colour_N: np.ndarray,
    bright_N2: np.ndarray,
) -> None:
    """Writes beside the final place and renames at the end: an interrupted decode leaves nothing that is read."""
    size = int(np.prod(shape))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(kept.parent).free
        if free < size:
            need, have = f"{size / 2**30:.1f} GiB", f"{free / 2**30:.1f} GiB"
            raise UserError(f"The decoded images need {need}, {kept.parent} has {have}: set XDG_CACHE_HOME.")
        with FileLock(f"{kept.parent}.lock"):  # another process may be decoding the same pictures
            for left in kept.parent.glob("partial-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            if kept.exists():
                return
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix="partial-", ignore_cleanup_errors=True) as partial:
                digest, marks = hashlib.sha256(), []
                with (Path(partial) / "images.npy").open("wb") as stream:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, header)
                    for picture, mark in decoded:
                        marks.append(mark)
                        data = np.ascontiguousarray(picture).data
                        digest.update(data)
                        stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                sha256, mark_N = np.array(digest.hexdigest()), np.array(marks, np.uint64)
                np.savez(
                    Path(partial) / "facts.npz", sha256=sha256, mark_N=mark_N, colour_N=colour_N, bright_N2=bright_N2
                )
                Path(partial).rename(kept)
    except OSError as error:
        raise UserError(f"Cannot write decoded images to {kept.parent} ({error}): set XDG_CACHE_HOME.") from error
