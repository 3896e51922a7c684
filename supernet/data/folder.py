"""A user's own images: a folder or a CSV file.

Either DIR/{train,val,test}/metadata.csv as Hugging Face's imagefolder has it, or one CSV file (itself, or
DIR/metadata.csv) with a column that names the split. A row is an image: its file name (relative to the CSV file),
label, and groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from supernet.data.cells import check_name, in_order, is_missing, is_unknown
from supernet.data.grouped import Augment, Columns, Part, Source, group_codes
from supernet.data.tables import Row, read_table
from supernet.errors import UserError, nearest
from supernet.schema import printable

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def load(path: str, columns: Columns) -> Source:
    """The images of the folder or CSV file at `path`; raises UserError that names the file, row and column at fault."""
    root = Path(path).expanduser()
    rows = _rows_by_split(root, columns)
    if not rows:
        raise UserError(f"{path} has no train split, only empty tables.")
    label, groups = columns.label or "label", columns.groups or ("group",)
    everything = [row for split in rows.values() for row in split]
    for column in (label, columns.cluster):
        if column is not None:
            _check_filled(everything, column)
    for file, cells in everything:
        for name in (label, *groups):
            check_name(cells[name], file.row)
    classes = in_order(cells[label] for _, cells in everything)
    attributes = {
        name: in_order(cells[name] for _, cells in everything if not is_unknown(cells[name])) for name in groups
    }
    clusters = in_order(cells[columns.cluster] for _, cells in everything) if columns.cluster else ()
    parts = {}
    for split, own in rows.items():
        parts[split] = Part(
            [file for file, _ in own],
            group_codes([cells[label] for _, cells in own], classes),
            np.column_stack([group_codes([cells[name] for _, cells in own], attributes[name]) for name in groups]),
            group_codes([cells[columns.cluster] for _, cells in own], clusters) if columns.cluster else None,
        )
    name = printable(root.stem if root.is_file() else root.resolve().name)
    notes = (*_missing_notes(everything, groups), *_case_notes({label: classes, **attributes}))
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


def _case_notes(names: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for column, values in names.items():
        for folded, count in Counter(value.casefold() for value in values).items():
            if count > 1:
                same = " and ".join(f'"{value}"' for value in values if value.casefold() == folded)
                yield f'Column "{column}": {same} differ in capital letters only, and were kept apart.'


def _rows_by_split(root: Path, columns: Columns) -> dict[str, list[Row]]:
    """Rows by split name (train, val, test), empty splits left out."""
    tables = sorted(root.glob("*/metadata.csv")) if root.is_dir() else []
    by_folder = {SPLIT_NAMES[table.parent.name]: table for table in tables if table.parent.name in SPLIT_NAMES}
    rows: dict[str, list[Row]] = {}
    if by_folder:
        rows = {split: _read(by_folder[split], columns) for split in ("train", "val", "test") if split in by_folder}
        return {split: own for split, own in rows.items() if own}
    table = root / "metadata.csv" if root.is_dir() else root
    if not table.is_file():
        raise UserError(f"{root} has neither train/metadata.csv nor metadata.csv: give each image a row there.")
    for file, cells in _read(table, columns):
        # Without a column for it, everything is train, from which the other splits are then held out.
        split = cells.get(columns.split or "split", "train")
        if split.lower() not in SPLIT_NAMES:
            raise UserError(f'{file.row}: unknown split "{split}".{nearest(split, ("train", "val", "test"))}')
        rows.setdefault(SPLIT_NAMES[split.lower()], []).append((file, cells))
    return {split: rows[split] for split in ("train", "val", "test") if split in rows}


def _read(table: Path, columns: Columns) -> list[Row]:
    named = [columns.label or "label", *(columns.groups or ("group",))]
    return read_table(table, columns.file, [*named, *(name for name in (columns.cluster, columns.split) if name)])
