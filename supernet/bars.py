"""How far a loop is: a bar's line on a terminal, and a line now and then where the output goes into a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LINE = "{desc} {percentage:3.0f}% {n_fmt}/{total_fmt}, {remaining} left{postfix}"  # within 80 columns
SECONDS = 60.0  # between two lines of a file


class _Lines(io.TextIOBase):
    """tqdm returns to the line's start each time; in a file each state is a line of its own."""

    def write(self, text: str) -> int:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)
        return len(text)


def bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """tqdm with our line; `options` are tqdm's."""
    shown: dict[str, Any] = {"dynamic_ncols": True, "mininterval": 1.0}
    if not sys.stderr.isatty():
        shown = {"file": _Lines(), "mininterval": SECONDS, "leave": True}
    return tqdm(iterable, bar_format=LINE, **{**options, **shown})
