"""A user's own images: a folder or a CSV file.

Either DIR/{train,val,test}/metadata.csv as Hugging Face's imagefolder has it, or one CSV file (itself, or
DIR/metadata.csv) with a column that names the split. A row is an image: its file name (relative to the CSV file),
label, and groups.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from supernet.data.grouped import Augment, Columns, ImageFile, Part, Source, group_codes, is_unknown, named_column
from supernet.errors import UserError, nearest

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

Row = tuple[ImageFile, dict[str, str]]


def load(path: str, columns: Columns) -> Source:
    """The images of the folder or CSV file at `path`; raises UserError that names the file, row and column at fault."""
    root = Path(path).expanduser()
    rows = _rows_by_split(root, columns)
    if "train" not in rows:
        raise UserError(f"{path} has no train split, only {', '.join(rows) or 'empty tables'}.")
    label, groups = columns.label or "label", columns.groups or ("group",)
    everything = [cells for split in rows.values() for _, cells in split]
    classes = tuple(sorted({cells[label] for cells in everything}, key=_natural))
    attributes = {
        name: tuple(sorted({cells[name] for cells in everything if not is_unknown(cells[name])}, key=_natural))
        for name in groups
    }
    clusters = sorted({cells[columns.cluster] for cells in everything}) if columns.cluster else []
    parts = {}
    for split, own in rows.items():
        parts[split] = Part(
            [file for file, _ in own],
            group_codes([cells[label] for _, cells in own], classes),
            np.column_stack([group_codes([cells[name] for _, cells in own], attributes[name]) for name in groups]),
            group_codes([cells[columns.cluster] for _, cells in own], clusters) if columns.cluster else None,
        )
    return Source(root.stem if root.is_file() else root.resolve().name, parts, classes, attributes, Augment(flip=True))


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
    """Each row as its image and its cells, blanks stripped."""
    filled = [columns.file, columns.label or "label", *(name for name in (columns.cluster, columns.split) if name)]
    rows = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            for name in (*filled, *(columns.groups or ("group",))):
                named_column(name, names, str(table))
            for cells in reader:
                where = f"{table}, row {reader.line_num}"
                if None in cells or None in cells.values():
                    raise UserError(f"{where}: the number of cells is not that of the header.")
                cells = {name: value.strip() for name, value in cells.items()}
                for name in filled:
                    if not cells[name]:
                        raise UserError(f'{where}: column "{name}" is empty.')
                rows.append((ImageFile(str(table.parent / cells[columns.file]), where), cells))
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{table} is not a readable CSV file in UTF-8: {error}") from error
    return rows


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by value before words by letter, so that class 10 comes after class 9."""
    return (True, 0.0, name) if not name.isdecimal() else (False, float(name), name)
