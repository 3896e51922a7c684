"""Images to uint8 at the space's resolution, once.

Decoded files over `CACHE_ABOVE` bytes are kept in `$XDG_CACHE_HOME/supernet` (default ~/.cache/supernet) under a hash
of the files' paths, sizes and times; beyond `MEMORY_LIMIT` they are read from there as np.memmap.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from supernet.data.grouped import ImageFile
from supernet.errors import UserError
from supernet.preprocessing import DIGIT, DIGIT_MARGIN, Preprocessing

CACHE_ABOVE = 64 * 2**20
MEMORY_LIMIT = 2 * 2**30
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")


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


def decode_files(files: Sequence[ImageFile], resolution: int, progress: bool) -> tuple[np.ndarray, str]:
    """((N, C, resolution, resolution) uint8, SHA-256 of it), C = 1 if every file is grey, else 3.

    The middle square of a picture is taken and resized (bilinear, antialias). Raises UserError that names the file and
    the row for a missing or damaged image, and for a cache directory without room.
    """
    states = [_state(file) for file in files]
    key = hashlib.sha256(repr((resolution, states)).encode()).hexdigest()[:32]
    kept = _cache_directory() / "images" / key
    if not (kept / "sha256").is_file():
        channels = 3 if any(map(_is_colour, files)) else 1
        shape = (len(files), channels, resolution, resolution)
        pictures = _decoded(files, resolution, channels, progress)
        if np.prod(shape) <= CACHE_ABOVE:
            images = np.empty(shape, dtype=np.uint8)
            for position, picture in enumerate(pictures):
                images[position] = picture
            return images, hashlib.sha256(images.data).hexdigest()
        _write(kept, shape, pictures)
    path = kept / "images.npy"
    images = np.load(path, mmap_mode="r" if path.stat().st_size > MEMORY_LIMIT else None, allow_pickle=False)
    return images, (kept / "sha256").read_text()


def _state(file: ImageFile) -> tuple[str, int, int]:
    try:
        status = Path(file.path).stat()
    except OSError as error:
        raise UserError(f"{file.row}: no image file {file.path}.") from error
    return str(Path(file.path).absolute()), status.st_size, status.st_mtime_ns


def _cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supernet"


def _damaged(file: ImageFile, error: Exception) -> UserError:
    return UserError(f"{file.row}: {file.path} is not a readable image ({error}).")


# All of these come out of PIL for damaged files.
PIL_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def _is_colour(file: ImageFile) -> bool:
    try:
        with Image.open(file.path) as image:
            return image.mode not in GREY_MODES
    except PIL_ERRORS as error:
        raise _damaged(file, error) from error


def _decode(file: ImageFile, resolution: int, channels: int) -> np.ndarray:
    """(C, resolution, resolution) uint8."""
    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(file.path) as image:
            image.draft(mode, (2 * resolution, 2 * resolution))  # JPEG only: decode at a fraction of the size
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits, which PIL would clip to 255
                upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
            return unnormalised(resolution, channels).pixels(upright)
    except PIL_ERRORS as error:
        raise _damaged(file, error) from error


def _decoded(files: Sequence[ImageFile], resolution: int, channels: int, progress: bool) -> Iterator[np.ndarray]:
    with ThreadPool(os.cpu_count()) as pool:
        pictures = pool.imap(lambda file: _decode(file, resolution, channels), files, chunksize=32)
        yield from tqdm(pictures, "decoding", total=len(files), unit="image", disable=not progress, leave=False)


def _write(kept: Path, shape: tuple[int, ...], pictures: Iterator[np.ndarray]) -> None:
    """Writes beside the final place and renames at the end: an interrupted decode leaves nothing that is read."""
    size = int(np.prod(shape))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(kept.parent).free
        if free < size:
            need, have = f"{size / 2**30:.1f} GiB", f"{free / 2**30:.1f} GiB"
            raise UserError(f"The decoded images need {need}, {kept.parent} has {have}: set XDG_CACHE_HOME.")
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="partial-", ignore_cleanup_errors=True) as partial:
            digest = hashlib.sha256()
            with (Path(partial) / "images.npy").open("wb") as stream:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for picture in pictures:
                    data = np.ascontiguousarray(picture).data
                    digest.update(data)
                    stream.write(data)
            (Path(partial) / "sha256").write_text(digest.hexdigest())
            if not kept.exists():  # another process may have been faster
                Path(partial).rename(kept)
    except OSError as error:
        raise UserError(f"Cannot write decoded images to {kept.parent} ({error}): set XDG_CACHE_HOME.") from error
