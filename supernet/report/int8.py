"""The int8 file beside float32: the figures of both on the test images."""

from __future__ import annotations

from typing import Any

from supernet.report import words
from supernet.report.facts import Int8


def int8_view(int8: Int8, number: str) -> dict[str, Any]:
    """What the page shows."""
    return {"told": int8_words(int8), "rows": int8_rows(int8, number), "warnings": int8.warnings}


def int8_rows(int8: Int8, number: str) -> list[tuple[str, str, str]]:
    """(figure, float32, int8): accuracy, of each group too, and the gap of each attribute; `number`: what the gap is called."""
    both = [int8.test.float32, int8.test.int8]

    def row(label: str, float32: float | None, int8: float | None) -> tuple[str, str, str]:
        return label, _share(float32), _share(int8)

    rows = [row("accuracy", *(found.accuracy for found in both))]
    for attribute, first in both[0].attributes.items():
        own = [found.attributes[attribute] for found in both]
        rows += [row(f"accuracy, {attribute} {group}", *(x.groups[group] for x in own)) for group in first.groups]
        rows.append(row(f"{number} by {attribute}", *(x.gap for x in own)))
    return rows


def int8_words(int8: Int8) -> str:
    """How often it agrees with float32, and how it was made."""
    val, test = int8.val, int8.test
    tried = f", the best of {len(int8.tried)} settings" if len(int8.tried) > 1 else ""
    return (
        f"The same class as float32 on {words.percent(test.agreement, 1)} of {test.images:,} test images, and on "
        f"{words.percent(val.agreement, 1)} of {val.images:,} of search-val. {int8.setting}{tried}."
    )


def _share(value: float | None) -> str:
    return "unknown" if value is None else words.percent(value, 1)
