"""From the facts to what each page shows: words, tables and pictures. All of it is in the facts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from supernet.report import charts, plots, words
from supernet.report.advice import advice
from supernet.report.asked import asked_words, changed_options, command_line, distilled
from supernet.report.classes import class_view, other_class_words, positive_words
from supernet.report.compared import compare_view
from supernet.report.comparisons import adjusted_view, baseline_view, teacher_view
from supernet.report.evaluation import evaluate_view
from supernet.report.evaluations import evaluation_facts
from supernet.report.facts import Candidate, CompareFacts, Data, EvaluateFacts, Facts, SearchFacts, TrainFacts
from supernet.report.groups import attribute_view
from supernet.report.int8 import int8_view
from supernet.report.squares import closer_view

Content = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
Numbered = Sequence[tuple[int, Candidate]]
MOST_CANDIDATES, MOST_POINTS = 30, 200


def page_view(facts: SearchFacts | TrainFacts) -> Content:
    """What both commands show: what was asked, data, latency, layers, and how to get the same again."""
    asked, command, data, budget_ms = facts.asked, facts.command, facts.data, facts.network.budget_ms
    latency, images = facts.latency, facts.data.images["train"]
    layers = latency.layers if latency else None
    return {
        "command": command,
        "name": facts.name,
        "date": facts.date.replace("T", " ").replace("+00:00", " UTC"),
        "took": words.duration(facts.seconds),
        "notes": facts.notes,
        "asked": asked_words(command, asked, budget_ms)
        | ({"positive class": positive} if (positive := positive_words(data)) else {}),
        "options": asked,
        "changed": changed_options(command, asked, images),
        "data": data,
        "data_counts": [_data_counts(data, attribute) for attribute in data.groups],
        "class_counts": _class_counts(data),
        "latency": _latency(facts),
        "layers": layers,
        "op_label": charts.op_label,
        "blocks": charts.architecture(layers) if layers else None,
        "staircase": charts.latency_by_layer(latency.base_ms, latency.layers, budget_ms) if latency else None,
        "again": command_line(command, asked, images),
        "where": {
            "seed": asked["seed"],
            "data fingerprint": data.fingerprint,
            "table hash": facts.table.hash if facts.table else None,
            "commit": facts.commit,
            "machine": facts.machine,
            "versions": facts.versions_told,
        },
    }


def search_view(facts: SearchFacts) -> Content:
    """The search's own part: probabilities, the course of the search, the candidates, the next command."""
    asked, layers, budget_ms = facts.asked, facts.layers, facts.derived.budget_ms
    gap, evaluations, from_teacher = words.number_name(asked["fairness"]), facts.evaluations, bool(asked.get("teacher"))
    numbered = list(enumerate(sorted(facts.candidates, key=lambda candidate: candidate.costs["latency"]), 1))
    p_LK = [layer.probabilities for layer in layers]
    ops = list(dict.fromkeys(op for p_K in p_LK for op in p_K or ()))  # layers may differ in what they offer
    fronts = [_front(numbered, budget_ms, "Error, %", lambda one: 100 * (1 - one.mean_group_accuracy))]
    if all(candidate.gap is not None for candidate in facts.candidates):
        fronts.append(_front(numbered, budget_ms, f"{words.capital(gap)}, points", lambda one: 100 * (one.gap or 0.0)))
    return {
        "facts": words.model_facts(facts.derived),
        "number": gap,
        "evaluations": evaluation_facts(evaluations) if evaluations else None,
        "scored_by": asked.get("score") if asked["strategy"] == "score" else None,
        "one_shot": facts.one_shot,
        "answers": facts.answers,
        "from_teacher": from_teacher,
        "capped": asked["max_gap"] is not None,
        "distilled": words.counted(asked.get("distil_steps", 0), "step"),
        "by_hand": any(candidate.by_hand for candidate in facts.candidates),
        "shared_weights": not from_teacher and (not evaluations or evaluations["evaluator"] == "supernet"),
        "probabilities": charts.probabilities(layers, ops) if all(p_LK) else None,
        "curves": list(_search_curves(facts.history, budget_ms, gap, from_teacher)),
        "candidates": [(number, c) for number, c in numbered if c.derived or number <= MOST_CANDIDATES],
        "candidates_all": len(numbered),
        "entropies": any(candidate.cross_entropy is not None for candidate in facts.candidates),
        "front": fronts,
        "next": shlex.join(["supernet", "train", "--arch", facts.folder + "/derived.json"]),
    }


def train_view(facts: TrainFacts) -> Content:
    """The training's own part: groups, gaps, confusions, the course of the training, how to load the model."""
    metrics, notion = facts.metrics, facts.asked["fairness"]
    number = words.number_name(notion)
    return {
        "metrics": metrics,
        "facts": {
            **words.model_facts(facts.arch),
            "calibration error (ECE)": words.interval(metrics.ece),
            "cross-entropy": words.estimate(metrics.cross_entropy, digits=3),
        },
        "classes": class_view(metrics),
        "advice": advice(facts),
        "attributes": [
            attribute_view(name, metrics, notion)
            | {"other_class": other_class_words(found.gaps[notion], facts.data, notion)}
            for name, found in metrics.attributes.items()
        ],
        "curves": list(_train_curves(facts.history, number, distilled(facts.asked))),
        "arch": facts.arch,
        "model_json": facts.folder + "/model.json",
        "files": facts.files or {},
        "preprocessing": (facts.preprocessing or {}).get("words"),
        "int8": int8_view(facts.int8, number) if facts.int8 else None,
        "adjusted": [adjusted_view(name, found, number) for name, found in (facts.adjusted or {}).items()],
        "baseline": baseline_view(facts.baseline, number) if facts.baseline else None,
        "teacher": teacher_view(facts.teacher, number) if facts.teacher else None,
    }


def view(facts: Facts) -> Content:
    """Every variable of the command's page."""
    if isinstance(facts, EvaluateFacts):
        return evaluate_view(facts) | closer_view(facts)
    if isinstance(facts, CompareFacts):
        return compare_view(facts)
    if isinstance(facts, SearchFacts):
        return page_view(facts) | search_view(facts)
    return page_view(facts) | train_view(facts) | closer_view(facts)


def _latency(facts: SearchFacts | TrainFacts) -> Content | None:
    """The verdict on the budget, or None where nothing predicts the latency (a baseline)."""
    found, table = facts.network, facts.table
    predicted_ms, error, budget_ms = found.predicted_ms, found.predicted_error, found.budget_ms
    if predicted_ms is None:
        return None
    trained = facts.arch if isinstance(facts, TrainFacts) else None
    device = table.device if table else (trained.device if trained else None) or "the device"
    estimated = (trained.estimated if trained else None) or ""
    spread = ", error unknown" if error is None else f" ± {words.milliseconds(predicted_ms * error, predicted_ms)} ms"
    return {
        "budget_ms": budget_ms,
        "told": f"{words.milliseconds(predicted_ms)} ms{spread}",
        "verdict": words.latency_verdict(predicted_ms, error, budget_ms, device),
        "bar": charts.budget_bar(predicted_ms, error, budget_ms, facts.base_ms),
        "trust": words.table_words(table) if table else words.capital(estimated) + ".",
        "table": table,
    }


def _data_counts(data: Data, attribute: str) -> Content:
    """Images of each group in each split, and their share of it."""
    rows: dict[str, list[tuple[int, str]]] = {group: [] for group in data.groups[attribute]}
    for split in ("train", "val", "test"):
        counts = data.counts[split][attribute]
        for group, cells in rows.items():
            cells.append((counts[group], words.percent(counts[group] / max(1, sum(counts.values())), 0)))
    return {"attribute": attribute, "rows": rows}


def _class_counts(data: Data) -> dict[str, list[tuple[int, str]]]:
    """Images of each class in each split, and their share of it; nothing of a file of before."""
    counts = data.class_counts or {}
    return {
        name: [(own[name], words.percent(own[name] / max(1, sum(own.values())), 0)) for own in counts.values()]
        for name in (data.classes if counts else ())
    }


def _search_curves(rows: Rows, budget_ms: float | None, number: str, from_teacher: bool) -> Iterable[Content]:
    warm = max((row["step"] for row in rows if row.get("phase") == "warm-up"), default=0)
    shade = (warm, "warm-up") if warm else None
    budget = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    yield from _curve(
        "Distance to the teacher's outputs" if from_teacher else "Cross-entropy",
        "Of sampled paths: the weights learn on search-train, α on search-val.",
        _lines(rows, {"search-train": "cross_entropy", "search-val": "val_cross_entropy"}),
        shade=shade,
    )
    yield from _curve(
        "Expected latency, ms",
        "Under the operation probabilities; α moves after the warm-up only.",
        _lines(rows, {"expected": "expected_latency"}),
        shade=shade,
        reference=budget,
    )
    note = "Running estimate without batch bias, so it can fall below 0. Warm-up on search-train, then search-val."
    yield from _curve(f"Soft {number}", note, _lines(rows, _gaps(rows)), shade=shade, zero=True)
    note = "Mean entropy of p over the layers: 1 is uniform, 0 is decided."
    yield from _curve("Indecision", note, _lines(rows, {"entropy": "entropy"}), shade=shade, zero=True)


def _train_curves(rows: Rows, number: str, distilled: bool) -> Iterable[Content]:
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


def _curve(title: str, note: str, series: Mapping[str, plots.Points], **more: Any) -> Iterable[Content]:
    if series:
        yield {"title": title, "note": note, "chart": plots.curves(title, series, **more)}


def _lines(rows: Rows, keys: Mapping[str, str]) -> dict[str, plots.Points]:
    """Name → (step, value) of a key's rows, where it has any; thinned out where there are very many."""
    found = {name: [(row["step"], row[key]) for row in rows if row.get(key) is not None] for name, key in keys.items()}
    return {name: points[:: 1 + len(points) // MOST_POINTS] for name, points in found.items() if points}


def _gaps(rows: Rows) -> dict[str, str]:
    return {key.removeprefix("gap_"): key for row in rows for key in row if key.startswith("gap_")}


def _front(candidates: Numbered, budget_ms: float | None, title: str, value: Callable[[Candidate], float]) -> Content:
    """One objective against predicted latency."""
    marks = []
    for number, candidate in candidates:
        ms, derived = candidate.costs["latency"], ", derived" if candidate.derived else ""
        marks.append(
            {
                "x": ms,
                "y": value(candidate),
                "label": number if len(candidates) <= MOST_CANDIDATES or derived else "",
                "told": f"candidate {number}{derived}: {words.milliseconds(ms)} ms, {value(candidate):.1f}",
                "kind": ("front" if candidate.non_dominated else "dominated") + (" derived" if derived else ""),
            }
        )
    limit = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    return {"title": title, "note": "Against predicted latency, ms.", "chart": plots.scatter(title, marks, limit)}
