"""Pictures that come more than once: in two splits, or with two labels.

A key is equal for rows of the same picture: the file's path, or a hash of its pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from supernet.data.decode import BLANK, mark, named
from supernet.data.grouped import UNKNOWN, ImageFile, Part, Repeats, Source
from supernet.data.pictures import check_file, open_picture
from supernet.schema import printable

SPLIT_PAIRS = (("train", "test"), ("val", "test"), ("train", "val"))


def path_keys(source: Source) -> np.ndarray:
    """(N,) int64 of all parts: equal for rows that name the same file; all different where the images are no files."""
    paths = [
        os.path.normpath(Path(image.path).absolute()) if isinstance(image, ImageFile) else f"{split} {position}"
        for split, part in source.parts.items()
        for position, image in enumerate(part.images)
    ]
    return np.unique(paths, return_inverse=True)[1]


def name_keys(part: Part) -> np.ndarray:
    """(N,) uint64: a hash of each file's name, without its folder; by it two runs know whether their images are the same."""
    names = [
        Path(image.path).name.encode("utf-8", "surrogateescape")
        for image in part.images
        if isinstance(image, ImageFile)
    ]
    return np.array([int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") for name in names], np.uint64)


def content_keys(part: Part) -> np.ndarray:
    """(N,) int64: equal for rows of one label whose files have the same bytes; blank pictures are all different.

    Only files of equal size are read. Raises UserError for a missing one.
    """
    files = [image for image in part.images if isinstance(image, ImageFile)]
    by_size, by_content = defaultdict(list), defaultdict(list)
    for position, file in enumerate(files):
        with named(file):
            by_size[check_file(file.path).st_size].append(position)
    for positions in by_size.values():
        for position in positions if len(positions) > 1 else ():
            with named(files[position]):
                content = hashlib.sha256(Path(files[position].path).read_bytes()).digest()
            by_content[part.label_N[position], content].append(position)
    key_N = np.arange(len(part))
    for positions in by_content.values():
        with named(files[positions[0]]):
            if len(positions) > 1 and mark(open_picture(files[positions[0]].path)) != BLANK:
                key_N[positions] = positions[0]
    return key_N


def pixel_keys(mark_N: np.ndarray, path_N: np.ndarray) -> np.ndarray:
    """(N,) int64: equal for equal pixels (`decode.Decoded.mark_N`). Blank pictures are equal as files alone."""
    blank_N = mark_N == BLANK
    return np.unique(np.column_stack([mark_N, np.where(blank_N, path_N + 1, 0)]), axis=0, return_inverse=True)[
        1
    ].reshape(-1)


def find_repeats(source: Source, key_N: np.ndarray) -> tuple[Repeats, tuple[str, ...]]:
    """(what is wrong, the notes on it); key_N is of the images of all parts, in the parts' order."""
    splits = list(source.parts)
    split_N = np.repeat(np.arange(len(splits)), [len(part) for part in source.parts.values()])
    again = np.flatnonzero(np.bincount(key_N)[key_N] > 1)
    rows = again[np.argsort(key_N[again], kind="stable")]
    pictures = np.split(rows, np.flatnonzero(np.diff(key_N[rows])) + 1) if len(rows) else []
    contradiction, across = _contradictions(source, pictures), _across_splits(source, pictures, split_N)
    notes = [f"{line} Figures of the later split are better than they would be for new pictures." for line in across]
    for number, split in enumerate(splits):
        doubled = [own for members in pictures if len(own := members[split_N[members] == number]) > 1]
        if doubled:
            count, first = (
                sum(len(own) - 1 for own in doubled),
                " and ".join(_row(source, row) for row in doubled[0][:2]),
            )
            notes.append(
                f"{count} of {len(source.parts[split])} images of {split} repeat another of its images ({first})."
            )
    if contradiction is not None:
        notes.append(contradiction)
        contradiction += " Remove the wrong rows."
    refusal = (
        f"{across[0]} Remove them from one of the two, or accept them with --allow-duplicates." if across else None
    )
    return Repeats(refusal, contradiction), tuple(notes)


def _across_splits(source: Source, pictures: Sequence[np.ndarray], split_N: np.ndarray) -> list[str]:
    """A line for each two splits that share pictures, the worst first."""
    lines, splits = [], list(source.parts)
    for a, b in SPLIT_PAIRS:
        if a not in splits or b not in splits:
            continue
        in_a, in_b = ([members[split_N[members] == splits.index(split)] for members in pictures] for split in (a, b))
        shared = [(own_a, own_b) for own_a, own_b in zip(in_a, in_b, strict=True) if len(own_a) and len(own_b)]
        if shared:
            count, first = sum(len(own_b) for _, own_b in shared), shared[0]
            lines.append(
                f"Pictures are in both {a} and {b}: {count} of {len(source.parts[b])} images of {b} are in {a} too "
                f"({_row(source, first[0][0])}; {_row(source, first[1][0])})."
            )
    return lines


def _contradictions(source: Source, pictures: Sequence[np.ndarray]) -> str | None:
    """The first picture of which two rows say different things, and how many there are."""
    label_N = np.concatenate([part.label_N for part in source.parts.values()])
    group_NA = np.concatenate([part.group_NA for part in source.parts.values()])
    columns = {"labels": (label_N, source.classes)}
    for position, (attribute, names) in enumerate(source.attributes.items()):
        columns[f"groups of {attribute}"] = (group_NA[:, position], names)
    for what, (code_N, names) in columns.items():
        pairs = []
        for members in pictures:
            known = members[code_N[members] != UNKNOWN]
            other = known[code_N[known] != code_N[known[0]]] if len(known) else known
            if len(other):
                pairs.append((known[0], other[0]))
        if pairs:
            said = ", ".join(f'{_row(source, row)} says "{names[code_N[row]]}"' for row in pairs[0])
            more = f" ({len(pairs)} such pictures)" if len(pairs) > 1 else ""
            return f"The same picture has two {what}: {said}{more}."
    return None


def _row(source: Source, position: int) -> str:
    """The table's row, and the file's name."""
    for split, part in source.parts.items():
        if position < len(part):
            image = part.images[position]
            return (
                printable(f"{image.row}, {Path(image.path).name}")
                if isinstance(image, ImageFile)
                else f"{split} {position}"
            )
        position -= len(part)
    raise AssertionError("a position is in some part")
