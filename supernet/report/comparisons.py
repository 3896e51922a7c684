"""The network beside others: its own outputs adjusted by group, and an earlier run; differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.report import words

FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "mean over the groups",
    "worst_group_accuracy": "worst group",
    "gap": "gap",
}


def adjusted_view(attribute: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One attribute's row block: what adjusting the outputs by this attribute's groups gives, beside the network itself."""
    return {
        "attribute": attribute,
        "method": found["method"],
        "rows": [
            {
                "label": label,
                "adjusted": figure(found[key]),
                **_difference(found["against_as_trained"][key], "adjusted", "as trained"),
            }
            for key, label in FIGURES.items()
        ],
        "groups": {name: words.interval(accuracy) for name, accuracy in found["groups"].items()},
    }


def baseline_view(found: Mapping[str, Any]) -> dict[str, Any]:
    """Differences to the baseline, as trained and with its outputs adjusted by group, for each attribute."""
    attributes = []
    for attribute, as_trained in found["as_trained"].items():
        adjusted = found["adjusted"].get(attribute)
        rows = [
            {
                "label": label,
                "as_trained": _difference(as_trained[key], "this run", "the baseline"),
                "adjusted": None if adjusted is None else _difference(adjusted[key], "this run", "the baseline"),
            }
            for key, label in FIGURES.items()
        ]
        attributes.append({"attribute": attribute, "rows": rows})
    return {"folder": found["folder"], "attributes": attributes, "warnings": found["warnings"]}


def figure(found: Mapping[str, Any]) -> str:
    """A value with its interval, in its own unit."""
    return _told(found, "")


def _difference(found: Mapping[str, Any], a: str, b: str) -> dict[str, str]:
    verdict = {"A": f"{a} is better", "B": f"{b} is better"}.get(found["verdict"], "not shown")
    return {"difference": _told(found, "+"), "verdict": verdict}


def _told(found: Mapping[str, Any], sign: str) -> str:
    value, low, high = (found[name] for name in ("value", "low", "high"))
    if value is None:
        return "unknown"
    told = f"{value:{sign}.4f}"
    if low is not None and high is not None:
        told += f" ({low:{sign}.4f} to {high:{sign}.4f})"
    return told.replace("-", "−")
