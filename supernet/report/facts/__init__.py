"""What report.json holds, as dataclasses: pages, card and terminal read fields; `to_json` gives the file's content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supernet.errors import UserError
from supernet.report.facts.anytime import Anytime, Exit, LeftEarly, OperatingPoint
from supernet.report.facts.corruptions import Corruption, Corruptions, Scores
from supernet.report.facts.differences import Adjusted, Compared, Comparison, Int8, OtherAttribute, TeacherComparison
from supernet.report.facts.measured import (
    UNKNOWN,
    Attribute,
    Difference,
    Figure,
    Gap,
    GapFigure,
    Group,
    Majority,
    Metrics,
    Shots,
    Verdict,
)
from supernet.report.facts.networks import Answered, Candidate, Derived, Layer, Trained
from supernet.report.facts.reading import read
from supernet.report.facts.runs import (
    Data,
    Evaluated,
    EvaluateFacts,
    Latency,
    SearchFacts,
    Table,
    TrainFacts,
)
from supernet.report.facts.side_by_side import AgainstFirst, ComparedRun, CompareFacts
from supernet.report.older import as_today
from supernet.schema import read_json

__all__ = [
    "UNKNOWN",
    "Adjusted",
    "AgainstFirst",
    "Answered",
    "Anytime",
    "Attribute",
    "Candidate",
    "CompareFacts",
    "Compared",
    "ComparedRun",
    "Comparison",
    "Corruption",
    "Corruptions",
    "Data",
    "Derived",
    "Difference",
    "EvaluateFacts",
    "Evaluated",
    "Exit",
    "Facts",
    "Figure",
    "Gap",
    "GapFigure",
    "Group",
    "Int8",
    "Latency",
    "Layer",
    "LeftEarly",
    "Majority",
    "Metrics",
    "OperatingPoint",
    "OtherAttribute",
    "Scores",
    "SearchFacts",
    "Shots",
    "Table",
    "TeacherComparison",
    "TrainFacts",
    "Trained",
    "Verdict",
    "facts_of",
    "read",
    "read_report",
]

Facts = SearchFacts | TrainFacts | EvaluateFacts | CompareFacts
_KINDS: dict[str, type[Facts]] = {
    "search": SearchFacts,
    "train": TrainFacts,
    "evaluate": EvaluateFacts,
    "compare": CompareFacts,
}


def facts_of(content: Mapping[str, Any]) -> Facts:
    """The facts of report.json, of any version. Raises KeyError for a field that is missing and has no default."""
    return read(_KINDS[content["command"]], as_today(content))


def read_report(folder: Path, command: str) -> Facts:
    """The facts of a finished run of that command. Raises UserError where there is no report, or it is damaged, by the field's name."""
    path = folder / "report.json"
    if not path.is_file():
        raise UserError(f"{folder} has no report.json: give the folder of a finished {command} run.")
    content = read_json(path, "report", {"type": "object"})
    if content.get("command") != command:
        raise UserError(f"{folder} is not a run of {command}.")
    if content.get("task", "classify") != "classify":
        raise UserError(f"{folder} is a run of --task {str(content['task'])[:20]}: this is for classifiers.")
    try:
        return facts_of(content)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"report {path} is damaged, or of a version that is not known ({str(error)[:200]}).") from error
