"""The figures of a finished run that a tracking program shows beside its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.report.facts import SearchFacts, TrainFacts


def figures(facts: SearchFacts | TrainFacts) -> dict[str, float]:
    """By name; what is unknown is left out. The test split's have no interval here: report.html is sent with them."""
    found, notion = facts.network, facts.asked["fairness"]
    told = {"predicted_ms": found.predicted_ms, "macs": found.macs, "params": found.params, "bops": found.bops}
    if isinstance(facts, TrainFacts):
        told["test_accuracy"] = facts.metrics.accuracy.value
        told |= {f"test_{notion}_{name}": own.gaps[notion].value for name, own in facts.metrics.attributes.items()}
        told["test_accuracy_int8"] = None if facts.int8 is None else facts.int8.test.int8.accuracy
    return {name: float(value) for name, value in told.items() if value is not None}


def dense_figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """As `figures`, of the facts of a task whose network gives pictures: on search-val of a search's best network, on test of a training."""
    if facts["command"] == "search":
        best = facts["candidates"][0]
        names = set(best) - {"ops", "ms", "by_hand"}
        return {"predicted_ms": best["ms"], **{f"val_{name}": best[name] for name in names}}
    metrics = facts["metrics"]
    told = {name: facts[name] for name in ("predicted_ms", "macs", "params")}
    told |= {f"test_{name}": metrics[name]["value"] for name in set(metrics) - {"images", "iou", "attributes"}}
    for attribute, own in metrics["attributes"].items():
        gaps = {name: found["value"] for name, found in own.items() if name.endswith("gap")}
        told |= {f"test_{name}_{attribute}": value for name, value in gaps.items()}
    return {name: float(value) for name, value in told.items() if value is not None}
