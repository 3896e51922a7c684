"""A report as its tests read it: the page parsed and checked, facts, words."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from report_content import WRITERS, train_content

from supernet.commands import trained
from supernet.metrics import evaluate_predictions
from supernet.report import advice as advices
from supernet.report import card as cards
from supernet.report import words
from supernet.report.asked import asked_words
from supernet.report.facts import Figure, Table, TrainFacts, facts_of, read


def trained_facts(content: dict[str, Any]) -> TrainFacts:
    facts = facts_of(content)
    assert isinstance(facts, TrainFacts)
    return facts


def model_card(content: dict[str, Any]) -> str:
    return cards.model_card(trained_facts(content))


def advice(content: dict[str, Any]) -> list[str]:
    return advices.advice(trained_facts(content))


def closing_words(content: dict[str, Any], folder: Path) -> str:
    return trained.closing_words(trained_facts(content), folder)


def interval(figure: dict[str, Any], **how: Any) -> str:
    return words.interval(read(Figure, figure), **how)


def estimate(figure: dict[str, Any], **how: Any) -> str:
    return words.estimate(read(Figure, figure), **how)


HOSTILE = '<script>alert("1")</script>'


VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags nest; gathers sections, tags, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sections: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.sections.append(found["id"] or "")
        self.addresses += [v or "" for k, v in found.items() if k in ("href", "src", "data", "action", "xlink:href")]
        self.handlers += [k for k in found if k.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check(html: str) -> Page:
    """What holds for every page."""
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "foreignobject"} & set(page.tags)
    assert page.addresses == [] and page.handlers == []
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    assert "nan" not in re.findall(r"[a-z]+", " ".join(re.findall(r'(?:x|y|width|cx|cy|d)="([^"]*)"', html)))
    assert page.tags.count("title") > page.tags.count("desc") > 0
    assert len(html.encode()) < 200_000
    return page


SEARCH = ["asked", "latency", "architecture", "layers", "course", "front", "data", "next", "again"]


TRAIN = [
    "asked",
    "groups",
    "classes",
    "confusions",
    "adjusted",
    "latency",
    "architecture",
    "course",
    "data",
    "next",
    "again",
]


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Where the second lacks something of the first, or has another value."""
    if isinstance(before, dict):
        if not isinstance(after, dict):
            return [path]
        return [line for key in before for line in lost(before[key], after.get(key, "missing"), f"{path}/{key}")]
    if isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            return [path]
        return [line for n, pair in enumerate(zip(before, after, strict=True)) for line in lost(*pair, f"{path}/{n}")]
    return [] if before == after else [path]


def imbalanced(found: int, positive: str | None = None, **more: Any) -> dict[str, Any]:
    """A training whose network finds `found` of 48 defective among 528, and calls nothing sound defective."""
    content = train_content(classes=("defective", "sound") if positive is None else ("sound", "defective"), **more)
    at = content["data"]["classes"].index("defective")
    label = np.where(np.arange(528) < 48, at, 1 - at)
    taken = np.where(np.arange(528) < found, at, 1 - at)
    metrics = evaluate_predictions(
        np.where(np.eye(2)[taken] > 0, 0.8, 0.2), label, np.arange(528)[:, None] % 2, content["data"]["classes"],
        WRITERS, n_boot=100,
    )  # fmt: skip
    content["data"]["positive"] = positive
    return json.loads(json.dumps(content | {"metrics": metrics}))


def table(provenance: str) -> Table:
    return Table(device="board", provenance=provenance, source="", licence=None, validation=None, hash="", error=None)


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))


def random_accuracy() -> float:
    return train_content(classes=("a: b", '"', "- c"))["metrics"]["accuracy"]["value"]


def asked(content: dict[str, Any]) -> str:
    return asked_words("search", content["asked"], 9.0)["fairness is held by"]
