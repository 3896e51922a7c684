"""The sheet of measured networks: `supernet lut sample` begins it, the device or a person fills it in, `… adapt` reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latency_luts.files import write_whole
from latency_luts.sheets import csv_text
from supernet.errors import UserError
from supernet.schema import read_text
from supernet.spaces import TABLE_SPACES, SearchSpace, get_space

FEWEST = 5  # networks
COLUMNS = ("name", "ops", "latency_ms", "space", "dtype", "runtime", "threads")  # as latency_luts/table.py writes them
LEAST_MS, MOST_MS = 1e-4, 1e6
APART = 30.0  # networks of one space take times that are closer to their median than this factor
MOST_BYTES = 5_000_000
DTYPES = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Sheet:
    """n measured networks: (n, L) operations, (n,) ms, and which ones `lut sample` only added as a check.

    `dtype`, `runtime` and `threads` say how they were measured; None where the sheet does not tell.

    space: whose columns `index_nL` are.  latency_ms_n: medians.  check_n: bool.
    """

    space: SearchSpace
    index_nL: np.ndarray
    latency_ms_n: np.ndarray
    check_n: np.ndarray
    dtype: str | None = None
    runtime: str | None = None
    threads: int | None = None


def begin_sheet(path: Path, space: SearchSpace, dtype: str, networks: Mapping[str, Sequence[str]]) -> None:
    """A CSV to fill in: a row for each network by name, latency_ms empty. Raises UserError where one is filled in already."""
    refuse_filled(path)
    rows = [[name, " ".join(ops), "", space.name, dtype, "", ""] for name, ops in networks.items()]
    write_whole(path, csv_text([COLUMNS, *rows]).encode())


def refuse_filled(path: Path) -> None:
    """Raises UserError if the sheet holds measurements: they are not to be blanked."""
    if path.exists() and any((row.get("latency_ms") or "").strip() for _, row in _rows(path)):
        raise UserError(f"{path} holds measurements. Give another --out, or move that file away first.")


def read_sheet(path: Path, space_name: str | None = None) -> Sheet:
    """The filled-in sheet. Rows of one network are several runs: their median counts; rows without latency are left out.

    `space_name` is needed where the sheet has no column `space`. Raises UserError, with the line, for what cannot be right.
    """
    rows = [(line, row) for line, row in _rows(path) if (row["latency_ms"] or "").strip()]
    stated = _stated(path, rows, "space")
    if stated is None and space_name is None:
        raise UserError(f"{path} does not say which search space it is of: give --space.")
    if stated is not None and space_name is not None and stated != space_name:
        raise UserError(f"{path} was measured in {stated}, not in {space_name}: leave out --space, or measure again.")
    space = get_space(stated or space_name or "")
    if space.name not in TABLE_SPACES:
        raise UserError(f"{path}: {space.name} has no tables of its own; measure networks of {space.table_space}.")
    runs: dict[tuple[int, ...], list[float]] = {}
    first: dict[tuple[int, ...], tuple[int, bool]] = {}
    for line, row in rows:
        try:
            index = tuple(space.index_L((row["ops"] or "").split()).tolist())
            latency = float(row["latency_ms"])
        except ValueError as error:  # UserError of the space is one, too
            raise UserError(f"{path}, line {line}: {str(error)[:300]}") from error
        if not LEAST_MS <= latency <= MOST_MS:
            raise UserError(f"{path}, line {line}: {row['latency_ms'][:40]} is not a latency in ms "
                            f"({LEAST_MS:g} to {MOST_MS:g}).")  # fmt: skip
        runs.setdefault(index, []).append(latency)
        first.setdefault(index, (line, (row.get("name") or "").startswith("check_")))
    if len(runs) < FEWEST:
        raise UserError(
            f"{path} has {len(runs)} measured networks; at least {FEWEST} are needed, 20 are a good number."
        )
    latency_ms_n = np.array([float(np.median(times)) for times in runs.values()])
    _check_times(path, latency_ms_n, [line for line, _ in first.values()])
    threads, dtype = _stated(path, rows, "threads"), _stated(path, rows, "dtype")
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"{path}: dtype {dtype[:40]} is not one of {', '.join(DTYPES)}.")
    if threads is not None and not (threads.isdecimal() and 1 <= int(threads[:9]) <= 1024):
        raise UserError(f"{path}: threads {threads[:40]} is not a number from 1 to 1024.")
    return Sheet(space, np.array(list(runs)), latency_ms_n, np.array([check for _, check in first.values()]), dtype,
                 _stated(path, rows, "runtime"), None if threads is None else int(threads))  # fmt: skip


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) of the CSV. Raises UserError for what is none, a column that is missing or stands twice."""
    reader = csv.DictReader(io.StringIO(read_text(path, "measurements", MOST_BYTES), newline=""), restval="")
    try:
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if missing := [name for name in ("ops", "latency_ms") if name not in names]:
            raise UserError(f"{path}: the column {', '.join(missing)} is missing. "
                            "`supernet lut sample` writes such a file, to be filled in.")  # fmt: skip
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"{path}: the column {twice[0][:40]} stands twice.")
        rows = []
        for row in reader:
            if row.pop(None, None) is not None:
                raise UserError(f"{path}, line {reader.line_num}: more fields than the header has.")
            rows.append((reader.line_num, row))
        return rows
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num + 1}: {error}.") from error


def _stated(path: Path, rows: list[tuple[int, dict[str, str]]], column: str) -> str | None:
    """What all measured rows say in a column; None where they are silent. Raises UserError where they differ."""
    said = {(row.get(column) or "").strip() for _, row in rows} - {""}
    if len(said) > 1:
        raise UserError(f"{path}: rows of different {column} ({', '.join(sorted(said))[:80]}) make no one table.")
    return said.pop() if said else None


def _check_times(path: Path, latency_ms_n: np.ndarray, lines: Sequence[int]) -> None:
    """Raises UserError for times that no device can have taken: one in another unit, all of them equal."""
    middle = float(np.median(latency_ms_n))
    for line, ms in zip(lines, latency_ms_n, strict=True):
        if not middle / APART <= ms <= middle * APART:
            raise UserError(
                f"{path}, line {line}: {ms:g} ms beside a median of {middle:g} ms: seconds or microseconds? "
                "All times are in milliseconds."
            )
    if np.ptp(latency_ms_n) == 0:
        raise UserError(
            f"{path}: all networks took exactly {middle:g} ms, which says nothing. Measure with a finer clock."
        )
