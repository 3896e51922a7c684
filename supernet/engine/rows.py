"""JSON lines that grow while a run goes on: metrics.jsonl and evaluations.jsonl."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latency_luts.files import naming, write_whole
from supernet.schema import check_schema, parse_json, read_text

Row = dict[str, Any]


def append_row(path: Path, row: Row) -> None:
    """One more row, synced. A kill or a full disk may cut it short: `read_rows` leaves a cut row out."""
    try:
        with path.open("ab") as file:
            file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise naming(error, path) from error


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """The file with these rows alone; it is not touched where it holds them already."""
    content = b"".join(map(_line, rows))
    if content != (path.read_bytes() if path.exists() else b""):
        write_whole(path, content)


def read_rows(path: Path, what: str, schema: dict[str, Any]) -> list[Row]:
    """The rows, none where there is no file; a last one without its line's end was cut off and is left out.

    Raises UserError that names the file, the row and the field.
    """
    if not path.exists():
        return []
    whole, _, _ = read_text(path, what).rpartition("\n")
    rows = []
    for number, line in enumerate(whole.split("\n") if whole else (), 1):
        where = f"{what} {path}: row {number}"
        rows.append(parse_json(line, where))
        check_schema(rows[-1], schema, where)
    return rows


def _line(row: Row) -> bytes:
    """What is not finite is unknown: null."""
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return (json.dumps(plain, allow_nan=False) + "\n").encode()
