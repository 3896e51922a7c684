"""The course of a search or a training, as curves over its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supernet.report import plots, words

Content = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
MOST_POINTS = 200


def search_curves(rows: Rows, budget_ms: float | None, number: str, from_teacher: bool) -> Iterable[Content]:
    """Loss, expected cost, soft gap and indecision of a search."""
    warm = max((row["step"] for row in rows if row.get("phase") == "warm-up"), default=0)
    shade = (warm, "warm-up") if warm else None
    budget = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    yield from _curve(
        "Distance to the teacher's outputs" if from_teacher else "Cross-entropy",
        "Of sampled paths: the weights learn on search-train, α on search-val.",
        _lines(rows, {"search-train": "cross_entropy", "search-val": "val_cross_entropy"}),
        shade=shade,
    )
    timed = any("expected_latency" in row for row in rows)
    yield from _curve(
        "Expected latency, ms" if timed else "Expected bit operations",
        "Under the operation probabilities; α moves after the warm-up only.",
        _lines(rows, {"expected": "expected_latency" if timed else "expected_bops"}),
        shade=shade,
        reference=budget,
    )
    note = "Running estimate without batch bias, so it can fall below 0. Warm-up on search-train, then search-val."
    yield from _curve(f"Soft {number}", note, _lines(rows, _gaps(rows)), shade=shade, zero=True)
    note = "Mean entropy of p over the layers: 1 is uniform, 0 is decided."
    yield from _curve("Indecision", note, _lines(rows, {"entropy": "entropy"}), shade=shade, zero=True)


def train_curves(rows: Rows, number: str, distilled: bool) -> Iterable[Content]:
    """Loss, and what search-val says."""
    title = "Distance to the teacher's outputs, training" if distilled else "Cross-entropy, training"
    yield from _curve(title, "Mean of each epoch.", _lines(rows, {"loss": "cross_entropy"}))
    yield from _curve(
        "Accuracy, search-val",
        "Of the averaged weights after each epoch. Of the groups: the mean of their accuracies.",
        _lines(rows, {"accuracy": "val_accuracy", "mean of groups": "val_mean_group_accuracy"}),
    )
    yield from _curve(
        f"{words.capital(number)}, search-val", "After each epoch.", _lines(rows, {"gap": "val_gap"}), zero=True
    )
    note = "Running estimate without batch bias, so it can fall below 0."
    yield from _curve(f"Soft {number}, training", note, _lines(rows, _gaps(rows)), zero=True)


def dense_curves(rows: Rows, names: Mapping[str, str]) -> Iterable[Content]:
    """Loss of a task whose network gives pictures, and the score of search-val that `names` has a name for."""
    yield from _curve("Loss, training", "Mean of each epoch.", _lines(rows, {"loss": "cross_entropy"}))
    for key, name in names.items():
        yield from _curve(f"{words.capital(name)}, search-val", "After each epoch.", _lines(rows, {name: f"val_{key}"}))


def _curve(title: str, note: str, series: Mapping[str, plots.Points], **more: Any) -> Iterable[Content]:
    if series:
        yield {"title": title, "note": note, "chart": plots.curves(title, series, **more)}


def _lines(rows: Rows, keys: Mapping[str, str]) -> dict[str, plots.Points]:
    """Name → (step, value) of a key's rows, where it has any; thinned out where there are very many."""
    found = {name: [(row["step"], row[key]) for row in rows if row.get(key) is not None] for name, key in keys.items()}
    return {name: points[:: 1 + len(points) // MOST_POINTS] for name, points in found.items() if points}


def _gaps(rows: Rows) -> dict[str, str]:
    return {key.removeprefix("gap_"): key for row in rows for key in row if key.startswith("gap_")}
