"""Masks for `--task segment`: of each picture the class of every pixel, from PNG files, or of digits on a texture.

A mask has the picture's size, and in each pixel a class number; 255 is ignored. It is cut and resized as its picture is, to the nearest
pixel. Shapes: N images, H × W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from supernet.data import digits
from supernet.data.decode import named
from supernet.data.grouped import GroupedData, ImageFile, Part, Source, Split
from supernet.data.pictures import opened
from supernet.errors import UserError
from supernet.preprocessing import DIGIT_MARGIN
from supernet.schema import printable

IGNORED = 255
MODES = ("1", "L", "P", "I", "I;16")
INK, BRIGHTEST = 128, 144  # a digit's pixel from here on; the texture's brightest value


class Masks(NamedTuple):
    """What `--mask-col` and `--mask-classes` say: the column of the files; names of the classes, or their number; None: not given."""

    column: str | None = None
    classes: str | None = None


@dataclass(frozen=True, eq=False)
class MaskedPart(Part):
    """A part with the mask of each picture: (N, 28, 28) uint8, or N files."""

    masks: np.ndarray | list[ImageFile] | None = None

    def take(self, index: np.ndarray) -> MaskedPart:
        assert self.masks is not None
        masks = self.masks[index] if isinstance(self.masks, np.ndarray) else [self.masks[i] for i in index]
        return MaskedPart(**vars(super().take(index)), masks=masks)


@dataclass(frozen=True, eq=False)
class MaskedSplit(Split):
    """A split with masks (N, H, W) uint8, which take the place of the labels in a batch."""

    mask_NHW: np.ndarray | None = None


def at(split: Split, index_N: np.ndarray) -> Split:
    """These images of a split, each as if alone."""
    own = Split(split.images_NCHW[index_N], split.label_N[index_N], split.group_NA[index_N])
    if isinstance(split, MaskedSplit) and split.mask_NHW is not None:
        return MaskedSplit(**vars(own), mask_NHW=split.mask_NHW[index_N])
    return own


def is_masked(source: Source) -> bool:
    """Whether its pictures have masks."""
    return isinstance(next(iter(source.parts.values())), MaskedPart)


def class_names(masks: Masks, source: Source) -> tuple[str, ...]:
    """The classes of the pixels. Raises UserError where none are given or needed."""
    built_in = isinstance(next(iter(source.parts.values())).images, np.ndarray) and source.classes == digits.CLASSES
    if not is_masked(source) and not built_in:
        raise UserError(f"{source.name} has no masks: --task segment takes a table with masks, or digits.")
    if not is_masked(source):
        if masks != Masks():
            raise UserError(f"{source.name} has masks of its own: leave out --mask-col and --mask-classes.")
        return ("background", *source.classes)
    if masks.classes is None:
        raise UserError('--task segment needs --mask-classes: names in the order of the class numbers, as "road,car,sky", or how many.')  # fmt: skip
    names = tuple(name.strip() for name in masks.classes.split(","))
    if len(names) == 1 and names[0].isdecimal():
        names = tuple(str(number) for number in range(min(int(names[0]), IGNORED + 1)))
    if not 2 <= len(names) <= IGNORED or len(set(names)) < len(names) or "" in names:
        raise UserError(f"--mask-classes: 2 to {IGNORED} different names, or their number, not {masks.classes[:40]}.")
    return names


def on_textures(source: Source) -> Source:
    """Digits on textured ground, the same at every call; the mask has a digit's number + 1 where its ink is, else 0."""
    parts: dict[str, Part] = {}
    for split, part in source.parts.items():
        assert isinstance(part.images, np.ndarray)
        rng = np.random.default_rng(sum(split.encode()))
        smooth = gaussian_filter(rng.standard_normal(part.images.shape, dtype=np.float32), (0, 1.5, 1.5), mode="wrap")
        low, high = (end(smooth, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
        texture = (BRIGHTEST * (smooth - low) / (high - low)).astype(np.uint8)
        masks = np.where(part.images >= INK, part.label_N[:, None, None] + 1, 0).astype(np.uint8)
        own = {**vars(part), "images": np.maximum(part.images, texture)}
        parts[split] = MaskedPart(**own, masks=masks)
    return replace(source, parts=parts)


def with_masks(data: GroupedData, source: Source, classes: tuple[str, ...]) -> GroupedData:
    """The data with the masks of its pictures, and the pixels' classes as its classes.

    Raises UserError that names the row of a mask that is not of its picture's size, has a number that is no class, ignores all, or is
    another one than the same picture has elsewhere.
    """
    digest, first = (
        hashlib.sha256(f"{data.fingerprint} {classes}".encode()),
        dict[bytes, tuple[np.ndarray, ImageFile]](),
    )
    found: dict[str, Any] = {}
    for name in ("train", "val", "test"):
        part, split = source.parts[name], getattr(data, name)
        assert isinstance(part, MaskedPart) and part.masks is not None
        if isinstance(part.masks, np.ndarray):
            margin = (DIGIT_MARGIN, DIGIT_MARGIN)
            masks = [_resized(np.pad(mask, margin, constant_values=IGNORED), data.resolution) for mask in part.masks]
        else:
            assert isinstance(part.images, list)
            pairs = zip(part.masks, part.images, strict=True)
            masks = [_read(mask, picture, data.resolution, classes) for mask, picture in pairs]
            for picture_CHW, mask_HW, file in zip(split.images_NCHW, masks, part.masks, strict=True):
                _check_alike(first, np.ascontiguousarray(picture_CHW), mask_HW, file)
        mask_NHW = np.stack(masks)
        digest.update(mask_NHW.tobytes())
        found[name] = MaskedSplit(**vars(split), mask_NHW=mask_NHW)
    return replace(data, classes=classes, fingerprint=digest.hexdigest()[:16], **found)


def _check_alike(
    first: dict[bytes, tuple[np.ndarray, ImageFile]], picture_CHW: np.ndarray, mask_HW: np.ndarray, file: ImageFile
) -> None:
    """Raises UserError where the same pixels came before with another mask; blank pictures may have any."""
    if np.ptp(picture_CHW) == 0:
        return
    mask, other = first.setdefault(hashlib.sha256(picture_CHW.tobytes()).digest(), (mask_HW, file))
    if not np.array_equal(mask, mask_HW):
        raise UserError(printable(f"The same picture has two masks: {other.row}, {other.path}; {file.row}, {file.path}. Remove the wrong row."))  # fmt: skip


def _resized(mask_HW: np.ndarray, size: int) -> np.ndarray:
    """The middle square, to the nearest pixel."""
    return np.asarray(ImageOps.fit(Image.fromarray(mask_HW), (size, size), Image.Resampling.NEAREST))


def _read(mask: ImageFile, picture: ImageFile, size: int, classes: Sequence[str]) -> np.ndarray:
    with named(mask):
        with opened(picture.path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # it is shown upright
            height_width = image.size if turned else image.size[::-1]
        with opened(mask.path) as image:
            if image.format != "PNG" or image.mode not in MODES:
                raise UserError(f"{mask.path} is {image.format} in mode {image.mode}: a mask is a PNG with a class number in each pixel, not colours.")  # fmt: skip
            own_HW = np.asarray(image).astype(np.int64)
        if own_HW.shape != height_width:
            told = [f"{shape[1]}x{shape[0]}" for shape in (own_HW.shape, height_width)]
            raise UserError(f"the mask {mask.path} has {told[0]} pixels, its picture {told[1]}: they must be the same.")
        strange = own_HW[((own_HW < 0) | (own_HW >= len(classes))) & (own_HW != IGNORED)]
        if strange.size:
            raise UserError(f"the mask {mask.path} has the number {strange[0]}: classes are 0 to {len(classes) - 1} (--mask-classes), {IGNORED} is ignored.")  # fmt: skip
        fitted = _resized(own_HW.astype(np.uint8), size)
        if (fitted == IGNORED).all():
            raise UserError(f"the mask {mask.path} ignores every pixel of the middle square: leave that row out.")
        return fitted
