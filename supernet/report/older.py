"""Files of before in today's names: the mean accuracy over groups was once called balanced accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLD, NEW = "balanced_accuracy", "mean_group_accuracy"


def renamed(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A row of front.json, or with the prefix `val_` of metrics.jsonl; one of today is left as it is."""
    return {(prefix + NEW if key == prefix + OLD else key): value for key, value in row.items()}


def as_today(content: Mapping[str, Any]) -> dict[str, Any]:
    """report.json of any version; the facts given are not changed.

    Only where the mean over groups stood: today scikit-learn's balanced accuracy has that name, overall and of each group.
    """
    found = dict(content)
    for name, prefix in (("candidates", ""), ("history", "val_")):
        if name in found:
            found[name] = [renamed(row, prefix) for row in found[name]]
    if "metrics" in found:
        attributes = {name: renamed(own) for name, own in found["metrics"]["attributes"].items()}
        found["metrics"] = {**found["metrics"], "attributes": attributes}
    if found.get("adjusted"):
        found["adjusted"] = {name: _adjusted(own) for name, own in found["adjusted"].items()}
    if found.get("baseline"):
        against = {
            key: {name: renamed(own) for name, own in found["baseline"][key].items()}
            for key in ("as_trained", "adjusted")
        }
        found["baseline"] = {**found["baseline"], **against}
    return found


def _adjusted(found: Mapping[str, Any]) -> dict[str, Any]:
    told = renamed(found) | {"against_as_trained": renamed(found["against_as_trained"])}
    if "others" in found:
        told["others"] = {name: _adjusted(other) for name, other in found["others"].items()}
    return told
