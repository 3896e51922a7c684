"""English that a stranger reads once: no long sentence in README, help and docs; help lines fit a terminal."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from supernet.commands.main import build_parser
from supernet.commands.search import EPILOG
from supernet.config import SearchConfig, TrainConfig
from supernet.spaces import BITS, DENSE, SENSOR, SPACES
from supernet.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parent.parent
MOST_WORDS, MOST_CHARACTERS = 25, 80
COMMAND = r"  (?:supernet|python|torchrun) "  # a line to copy
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


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command's, by its words."""
    found = {}

    def walk(words: str, parser: argparse.ArgumentParser) -> None:
        found[words] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, one in action.choices.items():
                    walk(f"{words} {name}", one)

    walk("supernet", build_parser())
    return found


PARSERS = parsers()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_of_the_docs_is_long(page: Path) -> None:
    assert not long_sentences(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", PARSERS)
def test_help_is_read_once_and_fits_eighty_characters(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option's text has 80 characters at most; so has each line of the help, but for a command to copy."""
    monkeypatch.setenv("COLUMNS", str(MOST_CHARACTERS))
    parser = PARSERS[command]
    for action in parser._actions:
        text = re.sub(r" \((in|default).*\)$", "", action.help or "")
        assert len(text) <= MOST_CHARACTERS, f"{action.option_strings}: {text}"
    lines = parser.format_help().splitlines()
    assert not [line for line in lines if len(line) > MOST_CHARACTERS and not re.match(COMMAND, line)]
    told = re.sub(
        rf"^(?:{COMMAND}.*|  .*  # .*|  \w+: \[.*)$",
        "\n",
        f"{parser.description}\n\n{parser.epilog or ''}",
        flags=re.MULTILINE,
    )
    assert not long_sentences(re.sub(r"^(--|      )|(?<=:)$", r"\n\n\1", told, flags=re.MULTILINE))


@pytest.mark.parametrize("config", (SearchConfig, TrainConfig))
def test_texts_of_options_are_short(config: type) -> None:
    for item in fields(config):
        assert len(item.metadata["help"]) <= MOST_CHARACTERS, item.name


def test_the_help_of_search_names_every_strategy_and_kind_of_space() -> None:
    for name in STRATEGIES:
        assert re.search(rf"\b{name}\b", EPILOG), name
    for name in (*SPACES, *BITS, *DENSE, *SENSOR):
        if name != "sensor64" and not re.fullmatch(r"sensor(64|96)-grey", name):
            assert re.search(rf"\b{name}\b", EPILOG), name
