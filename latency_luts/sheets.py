"""The one way to write a CSV: no cell of it is executed by a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # what a cell that a spreadsheet calculates begins with (OWASP, "CSV injection")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as CSV (RFC 4180). A text that a spreadsheet would calculate gets an apostrophe in front; numbers stay numbers."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value: Any) -> Any:
    """The value, or a text that is no formula."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
