"""What report.json holds, as dataclasses: pages, card and terminal read fields; `to_json` gives the file's content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.report.facts.differences import Adjusted, Compared, Comparison, Int8, OtherAttribute, TeacherComparison
from supernet.report.facts.measured import (
    UNKNOWN,
    Attribute,
    Difference,
    Figure,
    Gap,
    GapFigure,
    Group,
    Metrics,
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

__all__ = [
    "UNKNOWN",
    "Adjusted",
    "AgainstFirst",
    "Answered",
    "Attribute",
    "Candidate",
    "CompareFacts",
    "Compared",
    "ComparedRun",
    "Comparison",
    "Data",
    "Derived",
    "Difference",
    "EvaluateFacts",
    "Evaluated",
    "Facts",
    "Figure",
    "Gap",
    "GapFigure",
    "Group",
    "Int8",
    "Latency",
    "Layer",
    "Metrics",
    "OtherAttribute",
    "SearchFacts",
    "Table",
    "TeacherComparison",
    "TrainFacts",
    "Trained",
    "Verdict",
    "facts_of",
    "read",
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
