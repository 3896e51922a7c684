"""What a person reads of a run: report.json holds the facts, report.html shows nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from latency_luts.files import write_whole
from supernet.report import words
from supernet.report.card import model_card
from supernet.report.dense import dense_view, is_dense
from supernet.report.facts import Facts, TrainFacts, facts_of
from supernet.report.script import POLICY
from supernet.report.views import view
from supernet.schema import write_json

_PAGES = Environment(
    loader=PackageLoader("supernet", "report"),
    autoescape=True,  # class and group names come from users' files
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals |= {
    function.__name__: function
    for function in (words.amount, words.counted, words.estimate, words.interval, words.milliseconds, words.percent)
}


def write_report(folder: Path, content: dict[str, Any]) -> None:
    """Writes report.json, report.html and of a training model_card.md, each whole or not at all; see docs/formats.md.

    Raises ValueError for a number that is not finite: what is unknown is None.
    """
    facts = facts_of(json.loads(json.dumps(content, allow_nan=False)))  # before a picture is drawn of it
    pages = {"report.html": page(facts)}
    if isinstance(facts, TrainFacts):
        pages["model_card.md"] = model_card(facts)
    for name, text in pages.items():
        write_whole(folder / name, text.encode())
    write_json(folder / "report.json", content)  # the last file of a run: it is there, so the run is finished


def write_dense_report(folder: Path, content: dict[str, Any]) -> None:
    """Writes report.html and report.json of a task whose network gives pictures. Raises as `write_report` does."""
    text = _dense_page(json.loads(json.dumps(content, allow_nan=False)))
    write_whole(folder / "report.html", text.encode())
    write_json(folder / "report.json", content)


def render(content: dict[str, Any]) -> str:
    """The page of a report.json, of any version and task."""
    return _dense_page(content) if is_dense(content) else page(facts_of(content))


def _dense_page(content: dict[str, Any]) -> str:
    return _PAGES.get_template("dense.html").render({"policy": POLICY, **dense_view(content)})


def page(facts: Facts) -> str:
    """One self-contained page: nothing fetched, light and dark, any width, fit to print; no script but for tables of several answers."""
    return _PAGES.get_template(f"{facts.command}.html").render({"policy": POLICY, **view(facts)})
