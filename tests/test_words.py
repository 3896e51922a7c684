"""English that a stranger reads once: no long sentence in README and docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_WORDS = 25
PAGES = [path for path in sorted(ROOT.glob("docs/*.md")) if path.name != "log.md"]  # a log is notes
PAGES += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "latency_luts" / "README.md"]
_SHORT = re.compile(r"\b(e\.g|i\.e|et al|vs|cf|p|fig|eq|no)\.", re.IGNORECASE)


def paragraphs(markdown: str) -> Iterator[str]:
    """Running text: paragraphs, items of lists, headings and the cells of tables; no code."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE) if "\n    " in text else text
    text = re.sub(r"^(\s*)(?:[-*+]|\d+\.|#+|>)\s", r"\n\1", text, flags=re.MULTILINE)  # each item is its own
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith("|"):
            yield from (cell for row in block.splitlines() for cell in row.strip("| ").split(" | "))
        else:
            yield block


def sentences(paragraph: str) -> Iterator[str]:
    """Cut at full stops, question and exclamation marks; a span of code is one word, and a link its text."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "Code", paragraph))
    text = _SHORT.sub(lambda found: found[0].replace(".", ""), " ".join(text.replace("*", "").split()))
    yield from re.split(r" · |(?<=[.!?])[)\"”]?\s+(?=[^a-z])", text)


def long_sentences(text: str) -> list[str]:
    found = []
    for paragraph in paragraphs(text):
        for sentence in sentences(paragraph):
            words = [word for word in sentence.split() if re.search(r"\w", word)]
            if len(words) > MOST_WORDS:
                found.append(f"{len(words)}: {sentence}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_of_the_docs_is_long(page: Path) -> None:
    assert not long_sentences(page.read_text(encoding="utf-8"))
