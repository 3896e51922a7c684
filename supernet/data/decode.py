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
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from tqdm import tqdm

from supernet.data.grouped import ImageFile
from supernet.errors import UserError

CACHE_ABOVE = 64 * 2**20
MEMORY_LIMIT = 2 * 2**30
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
DIGIT_MARGIN = 2


def fit_digits(images_NHW: np.ndarray, resolution: int) -> np.ndarray:
    """(N, 28, 28) → (N, 1, resolution, resolution) uint8: padded by 2 black pixels to 32, so that at 32 no pixel is
    interpolated; resized from there (bilinear, antialias) for any other resolution."""
    margin = (DIGIT_MARGIN, DIGIT_MARGIN)
    padded = np.pad(images_NHW, ((0, 0), margin, margin))[:, None]
    if resolution == padded.shape[-1]:
        return padded
    pieces = [
        F.interpolate(piece.float(), size=(resolution, resolution), mode="bilinear", antialias=True).round().byte()
        for piece in torch.from_numpy(padded).split(1024)
    ]
    return torch.cat(pieces).numpy()


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
            fitted = ImageOps.fit(upright.convert(mode), (resolution, resolution), Image.Resampling.BILINEAR)
    except PIL_ERRORS as error:
        raise _damaged(file, error) from error
    return np.asarray(fitted).reshape(resolution, resolution, channels).transpose(2, 0, 1)


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
