"""What every data set becomes: images, labels and sensitive groups in three splits.

Shapes: N images of a split, B of a batch, C channels, H = W pixels, A sensitive attributes. A group is an index into the names of its attribute; −1 is unknown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from supernet.errors import UserError, nearest
from supernet.preprocessing import Preprocessing

UNKNOWN = -1


class Batch(NamedTuple):
    """One batch on its device.

    image (B, C, H, W) float32, normalised, channels last; label (B,) int64; group (B, A) int64, −1 = unknown;
    weight (B,) float32: the task loss is the mean of `weight * cross_entropy_B`. The weight is 1, save where a rare group
    was raised to its floor (see `batches.Batches`): there it keeps the loss that of the data's own proportions.
    """

    image: torch.Tensor
    label: torch.Tensor
    group: torch.Tensor
    weight: torch.Tensor


class ImageFile(NamedTuple):
    """An image on disk, and the table row that names it (for error messages)."""

    path: str
    row: str


@dataclass(frozen=True)
class Augment:
    """Random change of the training images: one affine map a picture, drawn uniformly within these bounds.

    `shift` in pixels, whole ones (a random crop after padding with black), `rotate` in degrees, `scale` as a fraction,
    `flip` left-right with probability ½. `trivial`: before that one random operation of a random strength (TrivialAugment,
    Müller & Hutter, ICCV 2021).
    """

    shift: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    flip: bool = False
    trivial: bool = False


@dataclass(frozen=True, eq=False)
class Split:
    """images_NCHW uint8 (in memory, or np.memmap), label_N int64, group_NA int64, cluster_N int64 or None.

    A cluster is what makes images depend on each other, such as the writer or the person.
    """

    images_NCHW: np.ndarray
    label_N: np.ndarray
    group_NA: np.ndarray
    cluster_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label_N)


@dataclass(frozen=True)
class Repeats:
    """What is wrong with pictures that come more than once, each as a line that names two rows; None where nothing is.

    `across_splits`: the same picture in two splits; `contradiction`: the same picture with two labels or groups.
    """

    across_splits: str | None = None
    contradiction: str | None = None


@dataclass(frozen=True, eq=False)
class GroupedData:
    """A data set ready for use; train = search-train, val = search-val.

    `attributes` maps each sensitive attribute to its group names, `preprocessing` says what was done to the pictures and
    what is done to their pixels (mean and std are those of train), `fingerprint` is a hash of everything used, `augment` suits the kind of image, `notes` are the lines
    that a person should read. `positive` is the class that the user called positive (the second of two), `repeats` what is wrong with pictures that come
    more than once, `first_colour` the row of the first picture in colour. `seen_N` has the marks (`decode.Decoded.mark_N`) of train's and val's picture files, by which a later evaluation knows them; None of a built-in set. `test_name_N` has a hash of the names of test's files, likewise. `by_class`: no groups are known, each class stands for one. `name` is told in reports, `test` is the third split, `classes` are names in the order of the labels.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    preprocessing: Preprocessing
    fingerprint: str
    augment: Augment
    notes: tuple[str, ...]
    positive: str | None = None
    repeats: Repeats = Repeats()
    first_colour: str | None = None
    seen_N: np.ndarray | None = None
    test_name_N: np.ndarray | None = None
    by_class: bool = False

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel, of train, in 0 … 1."""
        return self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel, of train, in 0 … 1."""
        return self.preprocessing.std

    @property
    def resolution(self) -> int:
        """Pixels a side."""
        return self.preprocessing.size

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.preprocessing.channels


@dataclass(frozen=True, eq=False)
class Part:
    """A split before its images are decoded. images: (N, H, W) uint8 or N files.  label_N: class numbers.  group_NA: group of each of
    A attributes, −1 unknown.  cluster_N: what belongs together; None: each image alone."""

    images: np.ndarray | list[ImageFile]
    label_N: np.ndarray
    group_NA: np.ndarray
    cluster_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def cell_N(self) -> np.ndarray:
        """(N,) int: which combination of class and groups each image has."""
        return rows_to_codes(np.column_stack([self.label_N, self.group_NA]))

    def take(self, index: np.ndarray) -> Part:
        """The images at these positions, in this order."""
        images = self.images[index] if isinstance(self.images, np.ndarray) else [self.images[i] for i in index]
        cluster_N = None if self.cluster_N is None else self.cluster_N[index]
        return Part(images, self.label_N[index], self.group_NA[index], cluster_N)


@dataclass(frozen=True, eq=False)
class Source:
    """What a data set's loader returns. `parts` has "train" and, where the data set has them, "val" and "test".

    `mendable`: the table is the user's own, so that what contradicts itself there can be asked to be put right. `by_class`: no groups are
    known, and each class stands for one.
    `name` of the data set, `classes` and `attributes` (each with its groups) by name, `augment` for its kind of image, `notes` for the person.
    """

    name: str
    parts: dict[str, Part]
    classes: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    augment: Augment
    notes: tuple[str, ...] = ()
    mendable: bool = False
    by_class: bool = False

    def with_part(self, split: str, part: Part, *notes: str) -> Source:
        """The same, with one split replaced."""
        return replace(self, parts={**self.parts, split: part}, notes=(*self.notes, *notes))


FIXED = {"label": "labels", "groups": "groups", "cluster": "clusters", "file": "files", "split": "splits"}


@dataclass(frozen=True)
class Columns:
    """The table's columns: label, file, split, cluster and mask one each, groups one an attribute; None = the data set's own default, () = no groups."""

    label: str | None = None
    groups: tuple[str, ...] | None = None
    file: str = "file_name"
    split: str | None = None
    cluster: str | None = None
    mask: str | None = None

    def refuse(self, name: str, *fixed: str) -> None:
        """Raises UserError where the user named a column that data set `name` does not choose by name."""
        for column in fixed:
            if getattr(self, column) is not None:
                raise UserError(
                    f"{name} has its own {FIXED[column]}: leave out --{column.removesuffix('s')}-col{'s' * (column == 'groups')}."
                )


def rows_to_codes(rows_NM: np.ndarray) -> np.ndarray:
    """(N,) int64: equal rows get equal codes, in the rows' sorted order."""
    return np.unique(rows_NM, axis=0, return_inverse=True)[1].reshape(-1)


def group_codes(values: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """(N,) int64 index into `names`; −1 where the value is none of them."""
    index = {name: code for code, name in enumerate(names)}
    return np.array([index.get(value, UNKNOWN) for value in values], dtype=np.int64)


def channel_statistics(images_NCHW: np.ndarray, most: int = 20_000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel on the scale [0, 1], exact for up to `most` images (else every k-th)."""
    every = images_NCHW[:: -(-len(images_NCHW) // most)]
    means, stds = [], []
    for channel in range(every.shape[1]):
        count_V = np.zeros(256, dtype=np.int64)
        for start in range(0, len(every), 1024):
            count_V += np.bincount(every[start : start + 1024, channel].reshape(-1), minlength=256)
        value_V = np.arange(256) / 255
        mean = float(count_V @ value_V / count_V.sum())
        means.append(mean)
        # A constant channel would divide by zero; 1/255 is the smallest step there is.
        stds.append(max(float(np.sqrt(count_V @ (value_V - mean) ** 2 / count_V.sum())), 1 / 255))
    return tuple(means), tuple(stds)


def fingerprint(source: Source, images_digest: str) -> str:
    """16 hex digits of the SHA-256 over images, labels, groups, clusters, and the names of classes and groups."""
    names = {"images": images_digest, "classes": source.classes, "attributes": source.attributes}
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode())
    for split in ("train", "val", "test"):
        part = source.parts[split]
        digest.update(f"{split} {len(part)}".encode())
        for array in (part.label_N, part.group_NA, part.cluster_N):
            if array is not None:
                digest.update(np.ascontiguousarray(array, dtype="<i8").data)
    return digest.hexdigest()[:16]


def named_column(name: str, columns: Sequence[str], where: str) -> str:
    """`name` if it is one of the columns; else raises UserError with the nearest."""
    if name not in columns:
        raise UserError(f'{where} has no column "{name}".{nearest(name, columns)}')
    return name
