"""The network beside others: its own outputs adjusted by group, and an earlier run; differences with their intervals."""

from __future__ import annotations

from typing import Any

from supernet.report import words
from supernet.report.facts import Adjusted, Comparison, Difference, OtherAttribute, TeacherComparison, Verdict

FIGURES = {
    "accuracy": "accuracy",
    "mean_group_accuracy": "mean group accuracy",
    "worst_group_accuracy": "worst group",
}  # and "gap", by its notion's name


def adjusted_view(attribute: str, found: Adjusted, number: str) -> dict[str, Any]:
    """One attribute's row block: what adjusting the outputs by this attribute's groups gives, beside the network itself.

    `number`: what the gap is called. Of the other attributes, whose groups it did not look at, worst group and gap.
    """
    labels = FIGURES | {"gap": number}
    told: list[tuple[str, OtherAttribute, str]] = [(label, found, key) for key, label in labels.items()]
    told += [
        (f"by {name}: {labels[key]}", other, key)
        for name, other in found.others.items()
        for key in ("worst_group_accuracy", "gap")
    ]
    return {
        "attribute": attribute,
        "method": words.capital(found.method),
        "rows": [
            {
                "label": label,
                "adjusted": words.estimate(getattr(figures, key)),
                **_difference(getattr(figures.against_as_trained, key), "adjusted", "as trained"),
            }
            for label, figures, key in told
        ],
        "warnings": found.warnings,
        "groups": {name: words.interval(accuracy) for name, accuracy in found.groups.items()},
    }


def teacher_view(found: TeacherComparison, notion: str) -> dict[str, Any]:
    """The teacher's own figures, and differences to it for each attribute."""
    return baseline_view(found, words.number_name(notion), "the teacher") | {"itself": teacher_words(found, notion)}


def baseline_view(found: Comparison, number: str, than: str = "the baseline") -> dict[str, Any]:
    """Differences to another run, as trained and with its outputs adjusted by group, for each attribute."""
    attributes = []
    for attribute, as_trained in found.as_trained.items():
        adjusted = found.adjusted.get(attribute)
        rows = [
            {
                "label": label,
                "as_trained": _difference(getattr(as_trained, key), "this run", than),
                "adjusted": None if adjusted is None else _difference(getattr(adjusted, key), "this run", than),
            }
            for key, label in (FIGURES | {"gap": number}).items()
        ]
        attributes.append({"attribute": attribute, "rows": rows})
    return {"folder": found.folder, "attributes": attributes, "warnings": found.warnings}


def _difference(found: Difference, first: str, second: str) -> dict[str, str]:
    verdict = {
        Verdict.FIRST: f"{first} is better",
        Verdict.SECOND: f"{second} is better",
        Verdict.OPEN: words.NOT_SHOWN,
    }[found.verdict]
    told = ", ".join(filter(None, (verdict, words.not_worse(found))))
    return {"difference": words.estimate(found, "+"), "verdict": told}


def teacher_words(found: TeacherComparison, notion: str) -> str:
    """The teacher's own accuracy, gaps by the notion and predicted latency, for the terminal and the report."""
    told = [f"accuracy {words.interval(found.accuracy_of_teacher)}"]
    told += [
        f"{words.number_name(notion)} by {attribute} {words.gap(own, notion)}"
        for attribute, own in found.gaps_of_teacher.items()
    ]
    if found.predicted_ms is not None:
        told.append(f"{found.predicted_ms:.4g} ms on the same device")
    return f"The teacher itself: {', '.join(told)}."
