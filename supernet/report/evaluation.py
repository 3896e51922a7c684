"""What the page of an evaluation shows: a finished model on pictures with labels and groups."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from supernet.report import words
from supernet.report.advice import advice_on
from supernet.report.classes import class_view
from supernet.report.corruptions import corruptions_view
from supernet.report.facts import EvaluateFacts
from supernet.report.groups import attribute_views


def evaluate_view(facts: EvaluateFacts) -> dict[str, Any]:
    """Every variable of evaluate.html, from the facts of report.json."""
    metrics, asked, data = facts.metrics, facts.asked, facts.data
    notion = asked["fairness"]
    return {
        "command": "evaluate",
        "name": facts.name,
        "date": facts.date.replace("T", " ").replace("+00:00", " UTC"),
        "took": "",
        "notes": facts.notes,
        "asked": {
            "model": asked["model"],
            "data": f"{data.name}, {'all of it' if data.split == 'all' else 'its ' + data.split + ' split'}",
            "images": f"{metrics.samples:,}",
            "classes": ", ".join(data.classes),
            "fairness": words.label(notion),
            "prepared": facts.preprocessing["words"],
        },
        "metrics": metrics,
        "advice": advice_on(metrics, notion),
        "classes": class_view(metrics),
        "shots": [],
        "corruptions": corruptions_view(facts.corruptions, notion),
        "attributes": attribute_views(metrics, data, notion),
        "again": command_line(asked),
        "where": {
            "commit": facts.commit,
            "machine": facts.machine,
            "versions": facts.versions_told,
        },
    }


def command_line(asked: Mapping[str, Any]) -> str:
    """The command that evaluates the same again, into a new folder."""
    told = ["supernet", "evaluate"]
    for name, value in asked.items():
        if name == "out":
            told += ["--out", f"{value}-again"]
        elif value is True:
            told.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            told += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(told)
