"""The figures of a finished run that a tracking program shows beside its rows."""

from __future__ import annotations

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
