"""A picture file as a person sees it: an upright PIL image of 8 bits, grey (mode L) or colour (RGB).

Files are opened by Pillow with the formats of `FORMATS` alone: others would start programs (EPS starts Ghostscript) or
are seldom tested. Transparent pictures are laid on a ground, and values of more than 8 bits are brought to 0 … 255.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from supernet.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
WHITES = tuple(2**bits - 1 for bits in (1, 8, 10, 12, 14, 16, 24, 31))  # what whole numbers of so many bits reach
GREY_MODES = ("1", "L", "LA", "La", "F", "I", "I;16", "I;16B", "I;16L", "I;16N")
NEARLY_WHITE = 224  # too little contrast with a white ground
WITH_OPACITY = (2, 4)  # channels
MIN_IS_WHITE = 0  # TIFF tag 262, which Pillow heeds in pictures of 8 bits only

# What Pillow raises for damaged files.
PIL_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class White(NamedTuple):
    """The value that is white in pictures of more than 8 bits a channel: of whole numbers, and of floating-point ones."""

    whole: float = 65535
    real: float = 1.0


class Look(NamedTuple):
    """Whether the header says colour, and the largest value of a picture of more than 8 bits (the other field is 0).

    Only pictures of more than 8 bits are decoded for it.
    """

    colour: bool
    brightest: White | None


def open_picture(path: str | Path, white: White | None = None, least: int | None = None) -> Image.Image:
    """The first picture of the file, upright, in mode L or RGB.

    `white` is that of the data set (`find_white`); None takes the file's own. `least`: a JPEG may be decoded at a
    fraction of its size, but not below so many pixels a side. Transparent pixels show white ground; a picture of
    which nothing would then be seen is laid on black. Raises UserError for what is no readable picture.
    """
    with opened(path) as image:
        if least is not None:
            image.draft(None, (least, least))
        return _as_seen(image, white)


def as_seen(image: Image.Image, white: White | None = None) -> Image.Image:
    """A picture that is open already, as `open_picture` would give it. Raises UserError where its pixels cannot be read."""
    with _told("This picture"):
        return _as_seen(image, white)


def _as_seen(image: Image.Image, white: White | None) -> Image.Image:
    upright = ImageOps.exif_transpose(_to_8_bits(image, white) if _is_deep(image) else image)
    if upright.has_transparency_data:
        upright = _on_ground(upright)
    return upright.convert("RGB" if _shows_colour(upright) else "L")


def look(path: str | Path) -> Look:
    """What must be known of all pictures before the first is read. Raises UserError as `open_picture`."""
    with opened(path) as image:
        colour = _shows_colour(image)
        return Look(colour, _brightest(_values(image)) if _is_deep(image) else None)


def find_white(brightest_values: Iterable[White]) -> White:
    """One scale for all pictures of a data set, by their largest values.

    Whole numbers: the smallest of 8, 10, 12, 14, 16 … bits that holds them all. Floating point: 0 to 1, or as whole
    numbers where they go beyond. So a dark picture stays dark beside the others.
    """
    found = list(brightest_values)
    whole, real = (max((values[i] for values in found), default=0.0) for i in range(2))
    default = White()
    return White(
        next(level for level in WHITES if level >= whole) if whole else default.whole,
        default.real if real <= 1.5 * default.real else next((level for level in WHITES[1:] if level >= real), real),
    )


def check_file(path: str | Path) -> os.stat_result:
    """The file's status. Raises UserError for what is no regular file: opening a pipe or a device would wait, or do something."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"no image file {path}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a regular file.")
    return status


@contextmanager
def opened(path: str | Path) -> Iterator[ImageFile]:
    """The file as Pillow opens it. Raises UserError for whatever goes wrong inside, too: Pillow decodes late.

    It gets a stream, since it misreads turned TIFFs that it maps from a file's name (Pillow 13.0).
    """
    check_file(path)
    with _told(str(path)), Path(path).open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
        assert isinstance(image, ImageFile)
        yield image


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raises UserError for what Pillow raises inside."""
    try:
        yield
    except UserError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{what} is not a readable image: none of {', '.join(FORMATS)}.") from error
    except PIL_ERRORS as error:
        raise UserError(f"{what} is not a readable image ({error or type(error).__name__}).") from error


def _raw_mode(image: Image.Image) -> str:
    """How the values lie in the file, such as "RGB;16B"; "" where the format does not say."""
    tiles = getattr(image, "tile", ())  # gone once the picture is turned
    args = tiles[0].args if tiles else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def _is_deep(image: Image.Image) -> bool:
    return image.mode[0] in "IF" or ";16" in _raw_mode(image)


def _shows_colour(image: Image.Image) -> bool:
    return image.mode not in GREY_MODES


def _values(image: Image.Image) -> np.ndarray:
    """(H, W) or (H, W, channels) of a picture of more than 8 bits, as they stand in the file."""
    if image.mode[0] in "IF":
        return np.asarray(image)
    lower = _lower_bytes(image)
    upper = np.asarray(image).astype(np.uint16)
    if lower is not None:
        return upper * 256 + lower
    if upper[..., :3].max() < 64:
        raise ValueError("it has 16 bits a channel but uses the lower ones alone: save it with 8 bits")
    return upper * 257


def _lower_bytes(image: Image.Image) -> np.ndarray | None:
    """Of colours of 16 bits Pillow keeps the upper byte; it keeps the lower one if told the other byte order."""
    raw = _raw_mode(image)
    if raw[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16"):
        return None
    assert isinstance(image, ImageFile) and image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    with Image.open(BytesIO(image.fp.read()), formats=FORMATS) as again:
        assert isinstance(again, ImageFile)
        swapped = raw[:-1] + ("L" if raw.endswith("B") else "B")
        again.tile = [
            tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
            for tile in again.tile
        ]
        image.fp.seek(position)
        return np.asarray(again)


def _brightest(values: np.ndarray) -> White:
    light = values[..., :-1] if values.ndim == 3 and values.shape[2] in WITH_OPACITY else values
    low, high = float(light.min()), float(light.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it has values that are not finite")
    if low < -0.05 * abs(high):
        raise ValueError(f"it has values below 0, such as {low:g}: store 0 for black")
    return White(0, high) if values.dtype.kind == "f" else White(high, 0)


def _to_8_bits(image: Image.Image, white: White | None) -> Image.Image:
    """The same with 8 bits a channel, and with its orientation as EXIF has it."""
    values = _values(image)
    own = _brightest(values)
    white = white or find_white([own])
    fraction = (values.astype(np.float64) / (white.real if own.real else white.whole)).clip(0, 1)
    if values.ndim == 3 and values.shape[2] in WITH_OPACITY:  # opacity always fills its 16 bits
        fraction[..., -1] = values[..., -1] / 65535
    if image.format == "TIFF" and image.tag_v2.get(262) == MIN_IS_WHITE:  # type: ignore[attr-defined]
        fraction = 1 - fraction
    converted = Image.fromarray(np.rint(255 * fraction).astype(np.uint8))
    if image.getexif():
        converted.info["exif"] = image.getexif().tobytes()
    return converted


def _on_ground(image: Image.Image) -> Image.Image:
    """Without transparency, on white; on black where white would hide all that can be seen."""
    mode, layers = "RGB" if _shows_colour(image) else "L", image.convert("RGBA")

    def laid_on(ground: str) -> Image.Image:
        return Image.alpha_composite(Image.new("RGBA", layers.size, ground), layers).convert(mode)

    on_white = laid_on("white")
    darkest = on_white.convert("L").getextrema()[0]
    return laid_on("black") if darkest >= NEARLY_WHITE else on_white  # type: ignore[operator]
