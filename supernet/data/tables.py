"""A CSV file, whatever its separator, or a JSON Lines file as rows of cells."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from supernet.data.cells import check_name, meaning
from supernet.data.grouped import ImageFile, named_column
from supernet.errors import UserError
from supernet.schema import parse_json

SEPARATORS = (",", ";", "\t", "|")
SAID_BY_EXCEL = re.compile(r"sep=(.)\s*", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"([+-]?[0-9]+),([0-9]+)")  # where no comma separates

Row = tuple[ImageFile, dict[str, str]]


def read_table(table: Path, file: str, needed: Sequence[str]) -> list[Row]:
    """Each row as its image and its cells by column, read as `cells.meaning` says. Rows without any text are left out.

    The separator is the one of SEPARATORS with which the header has the columns `file` and `needed`. Raises UserError that
    names the table, row and column at fault.
    """
    rows = []
    names, cells_by_row = (_json_rows if table.suffix.lower() == ".jsonl" else _csv_rows)(table, (file, *needed))
    _check_header(names, (file, *needed), str(table))
    for where, named in cells_by_row:
        if not named[file].strip():
            raise UserError(f'{where}: column "{file}" is empty.')
        image = ImageFile(str(find_file(table.parent, named[file].strip())), where)
        rows.append((image, {name: meaning(cell) for name, cell in named.items()}))
    return rows


def header_of(table: Path, wanted: Sequence[str]) -> list[str]:
    """The table's columns; the separator is the one with which it has those that are wanted, as far as it has them."""
    return (_json_rows if table.suffix.lower() == ".jsonl" else _csv_rows)(table, wanted)[0]


def _csv_rows(table: Path, wanted: Sequence[str]) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """(the header, where and cells of each row that is not empty)."""
    rows = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            said = SAID_BY_EXCEL.fullmatch(first)
            header = stream.readline() if said else first
            stream.seek(0)
            if said:
                stream.readline()
            separator = said[1] if said else _separator(header, wanted)
            reader = csv.reader(stream, strict=True, delimiter=separator)
            names = [name.strip() for name in next(reader, [])]
            for cells in reader:
                where = f"{table}, row {reader.line_num + bool(said)}"
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(names):
                    raise UserError(f"{where}: the number of cells is not that of the header.")
                if separator != ",":
                    cells = [
                        DECIMAL_COMMA.sub(r"\1.\2", cell) if DECIMAL_COMMA.fullmatch(cell.strip()) else cell
                        for cell in cells
                    ]
                rows.append((where, dict(zip(names, cells, strict=True))))
    except (csv.Error, UnicodeError, OSError) as error:
        raise UserError(f"{table} is not a readable CSV file: {error}. Save it as CSV in UTF-8.") from error
    return names, rows


def _json_rows(table: Path, wanted: Sequence[str]) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """As _csv_rows: an object a line, as Hugging Face's metadata.jsonl; a column that a line lacks is empty there."""
    rows: list[tuple[str, dict[str, str]]] = []
    names: dict[str, None] = {}
    try:
        with table.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                where = f"{table}, row {number}"
                if not line.strip():
                    continue
                found = parse_json(line, where)
                if not isinstance(found, dict):
                    raise UserError(f"{where}: not an object of columns.")
                cells = {name: _cell(value) for name, value in found.items() if not isinstance(value, (list, dict))}
                names |= dict.fromkeys(cells)
                rows.append((where, cells))
    except (UnicodeError, OSError) as error:
        raise UserError(f"{table} is not a readable JSON Lines file: {error}. Save it in UTF-8.") from error
    return list(names), [(where, {name: cells.get(name, "") for name in names}) for where, cells in rows]


def _cell(value: object) -> str:
    """What the same value would be in a CSV file."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _separator(header: str, needed: Sequence[str]) -> str:
    """The first with which the header has all columns, else the one that makes the most of it."""
    columns = {sign: [name.strip() for name in next(csv.reader([header], delimiter=sign), [])] for sign in SEPARATORS}
    fitting = [sign for sign in SEPARATORS if set(needed) <= set(columns[sign])]
    return fitting[0] if fitting else max(SEPARATORS, key=lambda sign: len(columns[sign]))


def _check_header(names: Sequence[str], needed: Sequence[str], table: str) -> None:
    for name in needed:
        try:
            named_column(name, [own for own in names if own], table)
        except UserError as error:
            folders = " Where each class has a folder of its own: --label-col folder." if name == "label" else ""
            raise UserError(
                f"{error} --file-col, --label-col, --group-cols and --cluster-col name the columns.{folders}"
            ) from None
        check_name(name, table)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UserError(f'{table}: the header has the column "{twice[0]}" twice: rename or remove one.')


def find_file(folder: Path, name: str) -> Path:
    """The file of that name; as Windows and as macOS would write the name, too, where it is not there otherwise."""
    spellings = [name, name.replace("\\", "/"), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    for spelling in dict.fromkeys(spellings):
        try:
            if (folder / spelling).exists():
                return folder / spelling
        except ValueError:  # a NUL: said where the file is opened
            break
    return folder / name
