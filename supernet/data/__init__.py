"""Images with sensitive groups: `load_data` reads a data set, `Batches` serves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from supernet.data import celeba, folder, mnist, writers
from supernet.data.batches import Batches
from supernet.data.decode import decode_files, fit_digits
from supernet.data.drawing import draw_mix, hold_out, parse_mix, stratified
from supernet.data.grouped import (
    UNKNOWN,
    Augment,
    Batch,
    Columns,
    GroupedData,
    ImageFile,
    Source,
    Split,
    channel_statistics,
    check,
    cluster_notes,
    fingerprint,
    unknown_notes,
)
from supernet.data.intersections import with_intersections
from supernet.errors import UserError, nearest
from supernet.preprocessing import Preprocessing

__all__ = [
    "DATASETS",
    "UNKNOWN",
    "Augment",
    "Batch",
    "Batches",
    "GroupedData",
    "Split",
    "load_data",
    "with_intersections",
]

DATASETS: dict[str, Callable[[str, Columns], Source]] = {
    "writers": writers.load,
    "mnist": mnist.load_mnist,
    "qmnist": mnist.load_qmnist,
    "celeba": celeba.load,
}
HELD_OUT = 0.2


def load_data(
    spec: str = "writers",
    *,
    resolution: int = 32,
    group_mix: str | None = None,
    max_train: int | None = None,
    max_eval: int | None = None,
    seed: int = 0,
    label_col: str | None = None,
    group_cols: Sequence[str] | None = None,
    file_col: str = "file_name",
    split_col: str | None = None,
    cluster_col: str | None = None,
    pool_val: bool = False,
    progress: bool = True,
) -> GroupedData:
    """Reads a data set: `writers`, `writers:FILE`, `mnist:ROOT`, `qmnist:ROOT`, `celeba:ROOT`, a folder or a CSV file.

    `group_mix` ("student=0.05") draws the largest training subset with these shares, `max_train` caps it, `max_eval`
    caps val and test each; all three are drawn by `seed`, stratified by class and groups. A missing val or test split
    is held out from train, always in the same way whatever the seed, and said so in the notes. `pool_val`: train is
    search-train and search-val together (as drawn), val stays what it is.
    Raises UserError, in one line, for everything that the user can mend.
    """
    columns = Columns(label_col, tuple(group_cols) if group_cols else None, file_col, split_col, cluster_col)
    for name, value in (("resolution", resolution), ("max_train", max_train), ("max_eval", max_eval)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    source = _with_all_splits(_read(spec, columns))
    check(source)
    source = _drawn(source, group_mix, max_train, max_eval, seed)
    check(source)
    return _decoded(source, resolution, pool_val, progress)


def _read(spec: str, columns: Columns) -> Source:
    name, _, path = spec.partition(":")
    if name in DATASETS:
        return DATASETS[name](path, columns)
    if Path(spec).expanduser().exists():
        return folder.load(spec, columns)
    raise UserError(f'No data set and no path "{spec}".{nearest(name, DATASETS)} Or give a folder or a CSV file.')


def _with_all_splits(source: Source) -> Source:
    for split in ("test", "val"):
        if split not in source.parts:
            stays, held = hold_out(source.parts["train"], HELD_OUT, seed=0)
            note = f"No {split} split: {len(held)} images ({HELD_OUT:.0%} of train) were held out for it."
            source = source.with_part("train", stays).with_part(split, held, note)
    return source


def _drawn(source: Source, group_mix: str | None, max_train: int | None, max_eval: int | None, seed: int) -> Source:
    train = source.parts["train"]
    if group_mix:
        index = draw_mix(train, parse_mix(group_mix, source.attributes), max_train, seed)
        note = f"Group mix {group_mix}: {len(index)} of {len(train)} training images drawn."
        source = source.with_part("train", train.take(index), note)
    elif max_train and max_train < len(train):
        index = stratified(train.cell_N, max_train, np.random.default_rng(seed))
        source = source.with_part("train", train.take(index), f"{max_train} of {len(train)} training images drawn.")
    for split in ("val", "test"):
        part = source.parts[split]
        if max_eval and max_eval < len(part):
            index = stratified(part.cell_N, max_eval, np.random.default_rng(seed))
            source = source.with_part(split, part.take(index), f"{max_eval} of {len(part)} {split} images drawn.")
    return source


def _decoded(source: Source, resolution: int, pool_val: bool, progress: bool) -> GroupedData:
    parts = [source.parts[split] for split in ("train", "val", "test")]
    files = [image for part in parts for image in part.images if isinstance(image, ImageFile)]
    if files:
        decoded = decode_files(files, resolution, None, progress)
        images, digest = decoded.images_NCHW, decoded.digest
    else:
        images = fit_digits(np.concatenate([np.asarray(part.images) for part in parts]), resolution)
        digest = hashlib.sha256(images.data).hexdigest()
    ends = np.cumsum([0, *(len(part) for part in parts)])
    train, val, test = (
        Split(images[start:end], part.label_N, part.group_NA, part.cluster_N)
        for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True)
    )
    notes = source.notes + unknown_notes(source) + cluster_notes(source)
    if pool_val:  # the two stand side by side in `images`: nothing is copied
        clusters = [split.cluster_N for split in (train, val) if split.cluster_N is not None]
        train = Split(
            images[: ends[2]],
            np.concatenate([train.label_N, val.label_N]),
            np.concatenate([train.group_NA, val.group_NA]),
            np.concatenate(clusters) if clusters else None,
        )
        notes += (
            f"Training on search-train and search-val together, {len(train):,} images. Only test is held out: scores on search-val, and "
            f"what is fitted on it (outputs adjusted by group), are of images that were trained on.",
        )
    mean, std = channel_statistics(train.images_NCHW)
    return GroupedData(
        name=source.name,
        train=train,
        val=val,
        test=test,
        classes=source.classes,
        attributes=source.attributes,
        preprocessing=Preprocessing(resolution, images.shape[1], mean, std, fit="square" if files else "digit"),
        fingerprint=fingerprint(source, digest),
        augment=source.augment,
        notes=notes,
    )
