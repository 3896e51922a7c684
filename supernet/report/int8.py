"""The int8 files beside float32: the figures of both on the test images, and what a LiteRT file takes of a microcontroller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from supernet.report import words
from supernet.report.facts import Int8, TrainFacts


def int8_files(facts: TrainFacts) -> Iterator[tuple[str, str, Int8]]:
    """(title, the float32 file that it is made of, what is known of it) of each int8 file."""
    for title, source, int8 in (
        ("The int8 file", "model.onnx", facts.int8),
        ("The int8 file for microcontrollers", "model.tflite", facts.litert_int8),
    ):
        if int8 is not None:
            yield title, source, int8


def int8_view(title: str, int8: Int8, notion: str) -> dict[str, Any]:
    """What the page shows."""
    return {"title": title, "told": int8_words(int8), "rows": int8_rows(int8, notion), "warnings": int8.warnings}


def int8_rows(int8: Int8, notion: str) -> list[tuple[str, str, str]]:
    """(figure, float32, int8): accuracy, of each group too, and the notion's gap of each attribute."""
    both = [int8.test.float32, int8.test.int8]

    def row(label: str, float32: float | None, int8: float | None) -> tuple[str, str, str]:
        return label, _share(float32), _share(int8)

    rows = [row("accuracy", *(found.accuracy for found in both))]
    for attribute, first in both[0].attributes.items():
        own = [found.attributes[attribute] for found in both]
        rows += [row(f"accuracy, {attribute} {group}", *(x.groups[group] for x in own)) for group in first.groups]
        float32, quantised = (words.gap_value(x.gap, notion) for x in own)
        rows.append((f"{words.number_name(notion)} by {attribute}", float32, quantised))
    return rows


def int8_words(int8: Int8) -> str:
    """How often it agrees with float32, and how it was made."""
    val, test = int8.val, int8.test
    tried = f", the best of {len(int8.tried)} settings" if len(int8.tried) > 1 else ""
    return (
        f"The same class as float32 on {words.percent(test.agreement, 1)} of {test.images:,} test images, and on "
        f"{words.percent(val.agreement, 1)} of {val.images:,} of search-val. {int8.setting}{tried}.{memory_words(int8)}"
    )


def memory_words(int8: Int8) -> str:
    """What a LiteRT file takes of flash and RAM, as a sentence after others; nothing of an ONNX file."""
    memory = int8.memory
    if memory is None:
        return ""
    flash = f" The file takes {memory.file_bytes / 1024:,.1f} KiB of flash."
    if memory.arena_bytes is None or memory.activation_bytes is None:
        return f"{flash} Its RAM was not measured: {memory.unmeasured}."
    return (
        f"{flash} Under tflite-micro it takes {memory.arena_bytes / 1024:,.1f} KiB of RAM, "
        f"{memory.activation_bytes / 1024:,.1f} of them for activations and scratch."
    )


def _share(value: float | None) -> str:
    return "unknown" if value is None else words.percent(value, 1)
