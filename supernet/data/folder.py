"""A user's own images.

Either DIR/{train,val,test}/metadata.csv as Hugging Face's imagefolder has it, or one table (itself, or DIR/metadata.csv) with a column
that names the split; or a folder of pictures for each class, below folders of the splits or not. A table's row is an image: its file
name (relative to the table), label, and groups. metadata.jsonl is read like metadata.csv; a .zip and parquet files are unpacked first.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from supernet.data.cells import check_name, in_order, is_missing, is_unknown, nearly
from supernet.data.grouped import Augment, Columns, ImageFile, Part, Source, group_codes
from supernet.data.masks import MaskedPart
from supernet.data.splits import SPLIT_NAMES
from supernet.data.tables import Row, find_file, header_of, read_table
from supernet.data.trees import holds_pictures, read_trees, split_folders
from supernet.data.unpack import unpacked
from supernet.errors import UserError, nearest
from supernet.schema import printable

METADATA = ("metadata.csv", "metadata.jsonl")
SPLIT = "split"
FILE = "file_name"  # --file-col by default
FOLDER = "folder"  # --label-col folder: the class is the name of the folder, where no column is called so


class _Read(NamedTuple):
    """Rows by split (train, val, test), the columns of the groups (none: no groups are known), and lines about it."""

    rows: dict[str, list[Row]]
    groups: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load(path: str, columns: Columns) -> Source:
    """The images of the folder, table, .zip or parquet data set at `path`.

    Raises UserError that names the file, row and column at fault.
    """
    given = Path(path).expanduser()
    label = columns.mask or columns.label or "label"  # pictures with masks have no label of their own
    rows, groups, notes = _read(unpacked(given), columns, label)
    if not rows:
        raise UserError(f"{path} has no row: its tables are empty.")
    everything = [row for split in rows.values() for row in split]
    for column in (label, columns.cluster):
        if column:
            _check_filled(everything, column)
    for file, cells in everything:
        for name in (label, *groups):
            check_name(cells[name], file.row)
    classes = ("picture",) if columns.mask else in_order(cells[label] for _, cells in everything)
    attributes = {
        name: in_order(cells[name] for _, cells in everything if not is_unknown(cells[name])) for name in groups
    }
    clusters = in_order(cells[columns.cluster] for _, cells in everything) if columns.cluster else ()
    parts = {}
    for split, own in rows.items():
        codes = [group_codes([cells[name] for _, cells in own], attributes[name]) for name in groups]
        parts[split] = Part(
            [file for file, _ in own],
            np.zeros(len(own), np.int64) if columns.mask else group_codes([cells[label] for _, cells in own], classes),
            np.column_stack(codes) if codes else np.zeros((len(own), 0), np.int64),
            group_codes([cells[columns.cluster] for _, cells in own], clusters) if columns.cluster else None,
        )
        if columns.mask:
            masks = [ImageFile(cells[columns.mask], file.row) for file, cells in own]
            parts[split] = MaskedPart(**vars(parts[split]), masks=masks)
    name = printable(given.stem if given.is_file() else given.resolve().name)
    notes = (*notes, *_missing_notes(everything, groups), *_spelling_notes({label: classes, **attributes}))
    return Source(name, parts, classes, attributes, Augment(flip=True), notes, mendable=True)


def _check_filled(rows: Sequence[Row], column: str) -> None:
    missing = [(file.row, cells[column]) for file, cells in rows if is_missing(cells[column])]
    if missing:
        (where, value), count = missing[0], len(missing)
        rename = f' If "{value}" is a name, write it differently.' if value else ""
        raise UserError(
            f'{count} row{"s have" if count > 1 else " has"} no value in column "{column}" (the first: {where}, "{value}"): '
            f"fill {'them' if count > 1 else 'it'} in, or remove the row{'s' * (count > 1)}.{rename}"
        )


def _missing_notes(rows: Sequence[Row], groups: Sequence[str]) -> Iterator[str]:
    for name in groups:
        words = Counter(cells[name] for _, cells in rows if cells[name] and is_missing(cells[name]))
        if words:
            said = ", ".join(f'"{word}" ({count})' for word, count in words.most_common())
            yield f'Column "{name}": {words.total()} cells that say {said} were read as unknown.'


def _spelling_notes(names: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for column, values in names.items():
        for plain, count in Counter(map(nearly, values)).items():
            if count > 1:
                same = " and ".join(f'"{value}"' for value in values if nearly(value) == plain)
                yield f'Column "{column}": {same} differ only in {_spelling(values, plain)}, and were kept apart.'


def _spelling(values: Sequence[str], plain: str) -> str:
    """What values that are nearly the same differ in."""
    folded = {value.casefold() for value in values if nearly(value) == plain}
    return (
        "capital letters"
        if len(folded) == 1
        else "spelling (capitals, blanks, quotes, invisible signs, form of a number)"
    )


def _read(root: Path, columns: Columns, label: str) -> _Read:
    """Whichever layout is there: tables of the splits, one table, or folders of the classes."""
    folders = split_folders(root) if root.is_dir() else {}
    by_split = {split: table for split, folder in folders.items() if (table := _table_of(folder)) is not None}
    table = _table_of(root) if root.is_dir() else root
    if by_split:
        for split, folder in folders.items():
            if split not in by_split and holds_pictures(folder):
                has = next(iter(by_split.values())).parent
                raise UserError(f"{folder} has pictures and no metadata.csv, which {has} has: add one.")
        return _of_tables(by_split, columns, label)
    if table is not None:
        return _of_tables({"": table}, columns, label)
    if columns.mask is not None:
        raise UserError(
            f'{root} has no metadata.csv: a table names the mask of each picture, in a column "{columns.mask}".'
        )
    rows, left_out = read_trees(root, label)
    if not rows:
        raise UserError(
            f"{root} has neither train/metadata.csv nor metadata.csv, nor a folder of pictures for each class: give each image a row, or sort "
            "them into folders."
        )
    if columns.groups or columns.cluster or columns.file != FILE or columns.label not in (None, FOLDER):
        raise UserError(
            f"{root} has no metadata.csv: --file-col, --label-col, --group-cols and --cluster-col name columns of a table of the pictures (file_name, …)."
        )
    notes = [f"Left out, since no split is called so: {', '.join(map(printable, left_out))}."] if left_out else []
    return _Read(_by_column(rows, SPLIT), (), tuple(notes))


def _table_of(folder: Path) -> Path | None:
    """Raises UserError where there are two."""
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{folder} has metadata.csv and metadata.jsonl: remove one.")
    return found[0] if found else None


def _of_tables(tables: Mapping[str, Path], columns: Columns, label: str) -> _Read:
    """By split; under "" one table of all splits, whose column `split` says which."""
    wanted = [
        columns.file,
        label,
        *(columns.groups or ("group",)),
        *(name for name in (columns.cluster, columns.split) if name),
    ]
    headers = {split: header_of(table, wanted) for split, table in tables.items()}
    has_group = any("group" in names for names in headers.values())
    groups = (("group",) if has_group else ()) if columns.groups is None else columns.groups
    needed = [*groups, *(name for name in (columns.cluster, columns.split) if name)]
    rows, notes = {}, []
    for split, table in tables.items():
        if label == FOLDER and label not in headers[split]:
            tree, _ = read_trees(table.parent, label)
            rows[split], told = _beside_tree(tree, read_table(table, columns.file, needed), needed, table)
            notes += told
        else:
            rows[split] = read_table(table, columns.file, [label, *needed])
        for _, cells in rows[split] if columns.mask else ():
            if not is_missing(cells[label]):
                cells[label] = str(find_file(table.parent, cells[label].strip()))
    if not groups and columns.groups is None:
        others = [
            n for n in dict.fromkeys(n for names in headers.values() for n in names) if n not in (*wanted, SPLIT, "")
        ]
        hint = f"; other columns: {', '.join(others[:8])}" if others else ""
        notes.append(f'No column "group", and no --group-cols{hint}.')
    if "" in rows:
        rows = _by_column(rows[""], columns.split or SPLIT)
    return _Read({split: rows[split] for split in ("train", "val", "test") if rows.get(split)}, groups, tuple(notes))


def _beside_tree(tree: list[Row], table: list[Row], needed: Sequence[str], path: Path) -> tuple[list[Row], list[str]]:
    """The pictures in folders of the classes with the other columns of the table. Raises UserError for a row that is none of them."""
    side = {os.path.normpath(image.path): (image, cells) for image, cells in table}
    strange = side.keys() - {os.path.normpath(image.path) for image, _ in tree}
    if strange:
        first = next(image for key, (image, _) in side.items() if key in strange)
        raise UserError(
            f"{first.row}: {first.path} is no picture in a folder of a class. Correct the row, or add a column for the label."
        )
    if len(side) < len(table):
        raise UserError(f"{path} has {len(table) - len(side)} rows of pictures that have a row already: remove them.")
    rows, missing = [], 0
    for image, cells in tree:
        _, more = side.get(os.path.normpath(image.path), (image, None))
        missing += more is None
        if more is None and SPLIT in next(iter(side.values()), (image, {}))[1]:
            raise UserError(f"{image.path} has no row in {path}, which names the splits: add one.")
        rows.append((image, {**dict.fromkeys(needed, ""), **(more or {}), **cells}))
    told = (
        [f"{missing:,} of {len(tree):,} pictures have no row in {printable(str(path))}: their groups are unknown."]
        if missing
        else []
    )
    return rows, told


def _by_column(rows: list[Row], column: str) -> dict[str, list[Row]]:
    """Without a column for it, everything is train, from which the other splits are then held out."""
    found: dict[str, list[Row]] = {}
    for file, cells in rows:
        split = cells.get(column, "train")
        if split.lower() not in SPLIT_NAMES:
            raise UserError(f'{file.row}: unknown split "{split}".{nearest(split, ("train", "val", "test"))}')
        found.setdefault(SPLIT_NAMES[split.lower()], []).append((file, cells))
    return found
