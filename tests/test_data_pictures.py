"""open_picture: the same drawing in every mode, depth and format has the same pixels; nothing else is opened."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.data.pictures import White, find_white, look, open_picture
from supernet.errors import UserError

# A white top on a dark ground, one grey bar: not symmetric, so that a turn is seen.
DRAWING = np.full((20, 30), 25, np.uint8)
DRAWING[:8] = 255
DRAWING[14:17, :10] = 128


def png_of_16_bits(values: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")).astype(int)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_values_of_any_depth_in_files_of_16_bits(tmp_path: Path, bits: int, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    values = np.rint(DRAWING / 255 * (2**bits - 1)).astype(np.uint16)
    Image.fromarray(values).save(path)
    picture = open_picture(path)
    assert picture.mode == "L" and np.abs(grey(picture) - DRAWING).max() <= 1
    assert not look(path).colour and look(path).brightest == White(2**bits - 1, 0)


@pytest.mark.parametrize(
    "values", [DRAWING / 255, DRAWING.astype(float), DRAWING * 257.0, DRAWING.astype(np.int32) * 257]
)
def test_floating_point_and_32_bits(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(values.astype(np.float32) if values.dtype.kind == "f" else values).save(path)
    assert np.abs(grey(open_picture(path)) - DRAWING).max() <= 1


def tiff_of_16_bits(values: np.ndarray, order: str) -> bytes:
    """An uncompressed TIFF of 16 bits a channel; order is "<" or ">"."""
    height, width, channels = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 2), (273, 200), (277, channels), (278, height)]
    tags += [(279, values.nbytes)] + ([(338, 2)] if channels == 4 else [])
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, 3, 1 if tag != 258 else channels)
        + (struct.pack(f"{order}I", 180) if tag == 258 else struct.pack(f"{order}HH", value, 0))
        for tag, value in tags
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    start = (head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)).ljust(180, b"\0")
    start = (start + struct.pack(f"{order}{channels}H", *[16] * channels)).ljust(200, b"\0")
    return start + values.astype(f"{order}u2").tobytes()


@pytest.mark.parametrize("kind", ["png", "<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_keep_the_lower_ones(tmp_path: Path, kind: str, channels: int) -> None:
    values = np.repeat(np.rint(DRAWING / 255 * 1023).astype(np.uint16)[..., None], channels, 2)
    values[..., 3:] = 65535
    path = tmp_path / "x.png"
    path.write_bytes(
        png_of_16_bits(values, 2 * channels - 2 if channels == 4 else 2)
        if kind == "png"
        else tiff_of_16_bits(values, kind)
    )
    picture = open_picture(path)
    assert np.abs(grey(picture) - DRAWING).max() <= 1 and picture.mode == "RGB" and picture.size == (30, 20)
    assert look(path) == (True, (1023, 0))


def test_grey_of_16_bits_with_opacity_is_read_or_refused(tmp_path: Path) -> None:
    values = np.dstack([DRAWING * np.uint16(257), np.full(DRAWING.shape, 65535, np.uint16)])
    (tmp_path / "x.png").write_bytes(png_of_16_bits(values, 4))
    assert np.array_equal(grey(open_picture(tmp_path / "x.png")), DRAWING)
    values[..., 0] //= 16
    (tmp_path / "x.png").write_bytes(png_of_16_bits(values, 4))
    with pytest.raises(UserError, match="save it with 8 bits"):
        open_picture(tmp_path / "x.png")


def test_a_dark_picture_stays_dark_beside_the_others(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.full((4, 4), 410, np.uint16)).save(path)
    assert (grey(open_picture(path, find_white([White(410, 0), White(4000, 0)]))) == 26).all()
    assert find_white([]) == White() and find_white([White(0, 0.7), White(0, 1.2)]).real == 1
    assert find_white([White(1, 0)]).whole == 1 and find_white([White(0, 240.0)]).real == 255


def drawn_with_opacity(colour: int) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        pixels = np.full((*DRAWING.shape, 4), colour, np.uint8)
        pixels[..., 3] = DRAWING if colour == 255 else 255 - DRAWING
        Image.fromarray(pixels).save(path)

    return save


def palette_with_opacity(path: Path) -> None:
    image = Image.fromarray(DRAWING).convert("P")
    image.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    image.save(path, transparency=255)  # white is transparent


def grey_with_opacity(path: Path) -> None:
    Image.fromarray(np.dstack([np.zeros_like(DRAWING), 255 - DRAWING])).save(path)


@pytest.mark.parametrize(
    "save", [drawn_with_opacity(0), drawn_with_opacity(255), palette_with_opacity, grey_with_opacity]
)
def test_transparent_pictures_look_like_in_a_viewer(tmp_path: Path, save: Callable[[Path], None]) -> None:
    save(tmp_path / "x.png")
    assert np.abs(grey(open_picture(tmp_path / "x.png")) - DRAWING).max() <= 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_turned_pictures_come_upright(tmp_path: Path, depth: type, compression: str | None, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    scale = 257 if depth is np.uint16 else 1
    Image.fromarray(DRAWING.astype(depth) * depth(scale)).save(
        tmp_path / f"x.{suffix}", exif=exif, compression=compression
    )
    assert np.array_equal(grey(open_picture(tmp_path / f"x.{suffix}")), np.rot90(DRAWING, -1))


def test_a_tiff_whose_0_is_white(tmp_path: Path) -> None:
    Image.fromarray((255 - DRAWING) * np.uint16(257)).save(tmp_path / "x.tif", tiffinfo={262: 0})
    assert np.array_equal(grey(open_picture(tmp_path / "x.tif")), DRAWING)


@pytest.mark.parametrize("low", [-1000.0, float("nan"), float("inf")])
def test_values_without_a_place_between_black_and_white_are_refused(tmp_path: Path, low: float) -> None:
    Image.fromarray(np.array([[low, 1000.0]], np.float32)).save(tmp_path / "x.tif")
    for function in (open_picture, look):
        with pytest.raises(UserError, match=r"below 0|not finite"):
            function(tmp_path / "x.tif")


def test_only_regular_files_of_the_known_formats_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.ppm")
    expected = {
        "pipe": "not a regular file",
        "eps.png": "none of PNG, JPEG, TIFF, BMP, GIF, WEBP",
        "x.ppm": "none of PNG",
        "cut.png": "not a readable image",
        "a\0b": "no image file",
        "gone.png": "no image file",
        ".": "not a regular file",
    }
    for name, message in expected.items():
        for function in (open_picture, look):
            with pytest.raises(UserError, match=message):
                function(f"{tmp_path}/{name}")
    with pytest.raises(UserError, match="not a regular file"):
        open_picture("/dev/zero")
