"""Markdown in which a user's names cannot do anything but stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from supernet.schema import printable


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def fenced(language: str, code: str) -> Iterable[str]:
    """A code block of one line, whatever stands in it."""
    bar, line = fence(code), " ".join(printable(code).split("\n"))
    yield from (f"{bar}{language}", line, bar)


def fence(code: str) -> str:
    """Longer than any run of backticks in the code: it ends where it should (CommonMark 4.5)."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))


def text(value: str) -> str:
    """A user's name inside Markdown: on one line, and neither a table cell, a tag, a link nor emphasis of its own."""
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", " ".join(str(value).split()))
