"""Images with sensitive groups: `load_data` reads a data set, `Batches` serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from supernet.data.batches import Batches
from supernet.data.by_class import with_class_groups
from supernet.data.cells import meaning
from supernet.data.checks import check, check_enough, check_names, with_positive
from supernet.data.decode import Decoded, decode_digits, decode_files
from supernet.data.drawing import draw, draw_mix, parse_mix
from supernet.data.grouped import (
    UNKNOWN,
    Augment,
    Batch,
    Columns,
    GroupedData,
    ImageFile,
    Repeats,
    Source,
    Split,
    channel_statistics,
    fingerprint,
)
from supernet.data.holding_out import hold_out
from supernet.data.intersections import with_intersections
from supernet.data.long_tail import draw_long_tail, long_tail_note, parse_long_tail
from supernet.data.masks import Masks, class_names, is_masked, on_textures, with_masks
from supernet.data.notes import blank_notes, class_notes, cluster_notes, group_notes, picture_notes, unknown_notes
from supernet.data.repeats import content_keys, find_repeats, name_keys, path_keys, pixel_keys
from supernet.data.sources import DATASETS, read_source
from supernet.errors import UserError
from supernet.preprocessing import Preprocessing

__all__ = [
    "DATASETS",
    "UNKNOWN",
    "Augment",
    "Batch",
    "Batches",
    "GroupedData",
    "Masks",
    "Split",
    "load_data",
    "with_intersections",
]

HELD_OUT = 0.2
MASK_COLUMN = "mask_file"  # --mask-col by default


def load_data(
    spec: str = "writers",
    *,
    resolution: int = 32,
    group_mix: str | None = None,
    class_mix: str | None = None,
    max_train: int | None = None,
    max_eval: int | None = None,
    seed: int = 0,
    label_col: str | None = None,
    group_cols: Sequence[str] | None = None,
    file_col: str = "file_name",
    split_col: str | None = None,
    cluster_col: str | None = None,
    positive: str | None = None,
    channels: int | None = None,
    pool_val: bool = False,
    masks: Masks | None = None,
    progress: bool = True,
) -> GroupedData:
    """Reads a data set: `writers`, `fashion`, `writers:FILE`, `mnist:ROOT`, `qmnist:ROOT`, `celeba:ROOT`, a folder or a CSV file.

    `group_mix` ("student=0.05") draws the largest training subset with these shares, `class_mix` ("longtail=100") one whose classes fall off
    exponentially (only one of the two), `max_train` caps it, `max_eval`
    caps val and test each; all three are drawn by `seed`, stratified by class and groups. A missing val or test split
    is held out from train, always in the same way whatever the seed, and said so in the notes. `pool_val`: train is
    search-train and search-val together (as drawn), val stays what it is. `positive` names the positive one of two
    classes. `channels` is 1 or 3; None: 1 if every picture is grey. Pictures in two splits or with two labels are
    told in `notes` and in `repeats`. `group_cols`: () is none, None a table's column `group`. `masks`: what is true of a picture is the class of each pixel (masks.py).
    Raises UserError, in one line, for everything that the user can mend.
    """
    columns = Columns(
        label_col, None if group_cols is None else tuple(name.strip() for name in group_cols), file_col, split_col, cluster_col,
        None if masks is None else masks.column or MASK_COLUMN,
    )  # fmt: skip
    for name, value in (("resolution", resolution), ("max_train", max_train), ("max_eval", max_eval)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    if channels not in (None, 1, 3):
        raise UserError(f"channels must be 1 (grey) or 3 (colour), not {channels}.")
    source = read_source(spec, columns)
    if "train" not in source.parts:
        raise UserError(f"{spec} has no train split, only {', '.join(source.parts) or 'empty tables'}.")
    if masks is not None:
        names = class_names(masks, source)
        source = source if is_masked(source) else on_textures(source)
    if positive is not None:
        source = with_positive(source, meaning(positive))
    check_names(source)
    same_files = find_repeats(source, path_keys(source))[0]  # of all rows, drawn or not
    source = _with_all_splits(source)
    check(source)
    source = _drawn(source, (group_mix, class_mix), max_train, max_eval, seed)
    check(source)
    source = source if masks is not None else with_class_groups(source)
    data = _decoded(source, resolution, channels, pool_val, progress, same_files)
    if masks is not None:
        return with_masks(data, source, names)
    return data if positive is None else replace(data, positive=data.classes[1])


def _with_all_splits(source: Source) -> Source:
    missing = [split for split in ("test", "val") if split not in source.parts]
    if missing:
        check_enough(source, 1 + len(missing))
    for number, split in enumerate(missing, 1):
        train = source.parts["train"]
        stays, held = hold_out(train, HELD_OUT, 0, len(missing) - number, content_keys(train))
        note = f"No {split} split: {len(held)} images ({len(held) / len(train):.0%} of train) were held out for it."
        source = source.with_part("train", stays).with_part(split, held, note)
    return source


def _drawn(
    source: Source, mixes: tuple[str | None, str | None], max_train: int | None, max_eval: int | None, seed: int
) -> Source:
    train, (group_mix, class_mix) = source.parts["train"], mixes
    if group_mix and class_mix:
        raise UserError("A group mix and a class mix cannot both be drawn: leave one of the two out.")
    if class_mix:
        part = train.take(draw_long_tail(train, parse_long_tail(class_mix), max_train, seed))
        source = source.with_part("train", part, long_tail_note(class_mix, part.label_N, tuple(source.classes), len(train)))  # fmt: skip
    elif group_mix:
        index = draw_mix(train, parse_mix(group_mix, source.attributes), max_train, seed)
        note = f"Group mix {group_mix}: {len(index)} of {len(train)} training images drawn."
        source = source.with_part("train", train.take(index), note)
    elif max_train and max_train < len(train):
        index = draw(train, max_train, np.random.default_rng(seed), "--max-train")
        source = source.with_part("train", train.take(index), f"{max_train} of {len(train)} training images drawn.")
    for split in ("val", "test"):
        part = source.parts[split]
        if max_eval and max_eval < len(part):
            index = draw(part, max_eval, np.random.default_rng(seed), "max_eval")
            source = source.with_part(split, part.take(index), f"{max_eval} of {len(part)} {split} images drawn.")
    return source


def _pictures(source: Source, resolution: int, channels: int | None, progress: bool) -> tuple[Decoded, tuple[str, ...]]:
    """(the pictures of all parts, in the parts' order; what is to be said of them)."""
    parts = source.parts.values()
    files = [image for part in parts for image in part.images if isinstance(image, ImageFile)]
    if not files:
        digits_NHW = np.concatenate([np.asarray(part.images) for part in parts])
        return decode_digits(digits_NHW, resolution, channels), ()
    decoded = decode_files(files, resolution, channels, progress)
    return decoded, tuple(picture_notes(files, decoded, channels))


def _decoded(
    source: Source, resolution: int, channels: int | None, pool_val: bool, progress: bool, same_files: Repeats
) -> GroupedData:
    source = replace(source, parts={split: source.parts[split] for split in ("train", "val", "test")})
    decoded, picture_notes = _pictures(source, resolution, channels, progress)
    same_pixels, repeat_notes = find_repeats(source, pixel_keys(decoded.mark_N, path_keys(source)))
    repeats = Repeats(
        same_files.across_splits or same_pixels.across_splits, same_files.contradiction or same_pixels.contradiction
    )
    train, val, test = _splits(source, decoded.images_NCHW)
    notes = (
        *source.notes, *unknown_notes(source), *cluster_notes(source), *class_notes(source), *([] if source.by_class else group_notes(source)), *repeat_notes,
        *blank_notes(source, decoded.mark_N), *picture_notes,
    )  # fmt: skip
    if pool_val:
        train = _pooled(train, val, decoded.images_NCHW[: len(train) + len(val)])
        notes += (
            f"Training on search-train and search-val together, {len(train):,} images. Only test is held out: scores on search-val, and "
            f"what is fitted on it (outputs adjusted by group), are of images that were trained on.",
        )
    mean, std = channel_statistics(train.images_NCHW)
    images = [image for part in source.parts.values() for image in part.images]
    are_files = isinstance(images[0], ImageFile)
    colour = np.flatnonzero(decoded.colour_N)
    return GroupedData(
        name=source.name,
        train=train,
        val=val,
        test=test,
        classes=source.classes,
        attributes=source.attributes,
        preprocessing=Preprocessing(
            resolution,
            decoded.images_NCHW.shape[1],
            mean,
            std,
            fit="square" if are_files else "digit",
            white=(decoded.white.whole, decoded.white.real),
        ),
        fingerprint=fingerprint(source, decoded.digest),
        augment=source.augment,
        notes=notes,
        repeats=repeats if source.mendable else Repeats(),
        first_colour=images[colour[0]].row if len(colour) else None,
        by_class=source.by_class,
        seen_N=decoded.mark_N[: len(decoded.mark_N) - len(test)] if are_files else None,
        test_name_N=name_keys(source.parts["test"]) if are_files else None,
    )


def _splits(source: Source, images_NCHW: np.ndarray) -> tuple[Split, ...]:
    ends = np.cumsum([0, *(len(part) for part in source.parts.values())])
    return tuple(
        Split(images_NCHW[start:end], part.label_N, part.group_NA, part.cluster_N)
        for part, start, end in zip(source.parts.values(), ends[:-1], ends[1:], strict=True)
    )


def _pooled(train: Split, val: Split, images_NCHW: np.ndarray) -> Split:
    """Both as one; their images stand side by side, so that nothing is copied."""
    clusters = [split.cluster_N for split in (train, val) if split.cluster_N is not None]
    return Split(
        images_NCHW,
        np.concatenate([train.label_N, val.label_N]),
        np.concatenate([train.group_NA, val.group_NA]),
        np.concatenate(clusters) if clusters else None,
    )
