"""From the facts to what each page shows: words, tables and pictures. All of it is in the facts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from supernet.report import charts, plots, words
from supernet.report.advice import advice
from supernet.report.classes import class_view, other_class_words, positive_words
from supernet.report.compared import compare_view
from supernet.report.comparisons import adjusted_view, baseline_view, teacher_view
from supernet.report.evaluation import evaluate_view
from supernet.report.groups import attribute_view
from supernet.report.int8 import int8_view
from supernet.report.squares import closer_view

Content = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
MOST_CANDIDATES, MOST_POINTS = 30, 200


def page_view(content: Content) -> Content:
    """What both commands show: what was asked, data, latency, layers, and how to get the same again."""
    asked, command, layers = content["asked"], content["command"], content.get("layers")
    found = content["derived"] if command == "search" else content["arch"]
    return {
        "command": command,
        "name": content["name"],
        "date": content["date"].replace("T", " ").replace("+00:00", " UTC"),
        "took": words.duration(content["seconds"]),
        "notes": content["notes"],
        "asked": words.asked_words(command, asked, found["budget_ms"])
        | ({"positive class": positive} if (positive := positive_words(content["data"])) else {}),
        "options": asked,
        "changed": words.changed_options(command, asked, content["data"]["images"]["train"]),
        "data": content["data"],
        "data_counts": [_data_counts(content["data"], attribute) for attribute in content["data"]["groups"]],
        "class_counts": _class_counts(content["data"]),
        "latency": _latency(content, found),
        "layers": layers,
        "op_label": charts.op_label,
        "blocks": charts.architecture(layers) if layers else None,
        "staircase": charts.latency_by_layer(content["base_ms"], layers, found["budget_ms"]) if layers else None,
        "again": words.command_line(command, asked, content["data"]["images"]["train"]),
        "where": {
            "seed": asked["seed"],
            "data fingerprint": content["data"]["fingerprint"],
            "table hash": (content.get("table") or {}).get("hash"),
            "commit": content.get("commit"),
            "machine": content.get("machine"),
            "versions": ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items()),
        },
    }


def search_view(content: Content) -> Content:
    """The search's own part: probabilities, the course of the search, the candidates, the next command."""
    layers, derived, number = content["layers"], content["derived"], words.number_name(content["asked"]["fairness"])
    evaluations, from_teacher = content.get("evaluations"), bool(content["asked"].get("teacher"))
    by_latency = sorted(content["candidates"], key=lambda candidate: candidate["costs"]["latency"])
    numbered = [
        {"cross_entropy": None, **candidate, "number": number} for number, candidate in enumerate(by_latency, 1)
    ]
    p_LK = [layer["probabilities"] for layer in layers]
    return {
        "facts": words.model_facts(derived),
        "number": number,
        "evaluations": words.evaluation_facts(evaluations) if evaluations else None,
        "scored_by": content["asked"].get("score") if content["asked"]["strategy"] == "score" else None,
        "from_teacher": from_teacher,
        "capped": content["asked"]["max_gap"] is not None,
        "distilled": words.counted(content["asked"].get("distil_steps", 0), "step"),
        "by_hand": any(candidate.get("by_hand") for candidate in numbered),
        "shared_weights": not from_teacher and (not evaluations or evaluations["evaluator"] == "supernet"),
        "probabilities": charts.probabilities(layers, list(p_LK[0])) if all(p_LK) else None,
        "curves": list(_search_curves(content["history"], derived["budget_ms"], number)),
        "candidates": [c for c in numbered if c["derived"] or c["number"] <= MOST_CANDIDATES],
        "candidates_all": len(numbered),
        "entropies": any(c.get("cross_entropy") is not None for c in numbered),
        "front": [
            _front(numbered, derived["budget_ms"], "Error, %", lambda c: 100 * (1 - c["mean_group_accuracy"])),
            *(
                [_front(numbered, derived["budget_ms"], f"{words.capital(number)}, points", lambda c: 100 * c["gap"])]
                if all(candidate["gap"] is not None for candidate in numbered)
                else []
            ),
        ],
        "next": shlex.join(["supernet", "train", "--arch", words.run_folder(content) + "/derived.json"]),
    }


def train_view(content: Content) -> Content:
    """The training's own part: groups, gaps, confusions, the course of the training, how to load the model."""
    metrics, notion = content["metrics"], content["asked"]["fairness"]
    number = words.number_name(notion)
    return {
        "metrics": metrics,
        "facts": {
            **words.model_facts(content["arch"]),
            "calibration error (ECE)": words.interval(metrics["ece"]),
            "cross-entropy": words.estimate(metrics["cross_entropy"], digits=3),
        },
        "classes": class_view(metrics),
        "advice": advice(content),
        "attributes": [
            attribute_view(name, metrics, notion)
            | {"other_class": other_class_words(found["gaps"][notion], content["data"], notion)}
            for name, found in metrics["attributes"].items()
        ],
        "curves": list(_train_curves(content["history"], number, words.distilled(content["asked"]))),
        "arch": content["arch"],
        "model_json": words.run_folder(content) + "/model.json",
        "files": content.get("files") or {},
        "preprocessing": (content.get("preprocessing") or {}).get("words"),
        "int8": int8_view(content["int8"], number) if content.get("int8") else None,
        "adjusted": [adjusted_view(name, found, number) for name, found in (content.get("adjusted") or {}).items()],
        "baseline": baseline_view(content["baseline"], number) if content.get("baseline") else None,
        "teacher": teacher_view(content["teacher"], number) if content.get("teacher") else None,
    }


SECTIONS: dict[str, Callable[[Content], Content]] = {"search": search_view, "train": train_view}


def view(content: Content) -> Content:
    """Every variable of the command's page."""
    if content["command"] == "evaluate":
        return evaluate_view(content) | closer_view(content)
    if content["command"] == "compare":
        return compare_view(content)
    return page_view(content) | SECTIONS[content["command"]](content) | closer_view(content)


def _latency(content: Content, found: Mapping[str, Any]) -> Content | None:
    """The verdict on the budget, or None where nothing predicts the latency (a baseline)."""
    predicted_ms, error, budget_ms = found["predicted_ms"], found["predicted_error"], found["budget_ms"]
    if predicted_ms is None:
        return None
    table = content.get("table")
    device = (table or found).get("device") or "the device"
    spread = ", error unknown" if error is None else f" ± {predicted_ms * error:.2f} ms"
    return {
        "told": f"{predicted_ms:.2f} ms{spread}",
        "verdict": words.latency_verdict(predicted_ms, error, budget_ms, device),
        "bar": charts.budget_bar(predicted_ms, error, budget_ms, content.get("base_ms")),
        "trust": words.table_words(table) if table else (found.get("estimated") or ""),
        "table": table,
    }


def _data_counts(data: Mapping[str, Any], attribute: str) -> Content:
    """Images of each group in each split, and their share of it."""
    rows: dict[str, list[tuple[int, str]]] = {group: [] for group in data["groups"][attribute]}
    for split in ("train", "val", "test"):
        counts = data["counts"][split][attribute]
        for group, cells in rows.items():
            cells.append((counts[group], words.percent(counts[group] / max(1, sum(counts.values())), 0)))
    return {"attribute": attribute, "rows": rows}


def _class_counts(data: Mapping[str, Any]) -> dict[str, list[tuple[int, str]]]:
    """Images of each class in each split, and their share of it; nothing of a file of before."""
    counts = data.get("class_counts") or {}
    return {
        name: [(own[name], words.percent(own[name] / max(1, sum(own.values())), 0)) for own in counts.values()]
        for name in (data["classes"] if counts else ())
    }


def _search_curves(rows: Rows, budget_ms: float | None, number: str) -> Iterable[Content]:
    warm = max((row["step"] for row in rows if row.get("phase") == "warm-up"), default=0)
    shade = (warm, "warm-up") if warm else None
    budget = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    yield from _curve(
        "Cross-entropy",
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


def _front(candidates: Rows, budget_ms: float | None, title: str, value: Callable[[Any], float]) -> Content:
    """One objective against predicted latency."""
    marks = []
    for candidate in candidates:
        ms, derived = candidate["costs"]["latency"], ", derived" if candidate["derived"] else ""
        marks.append(
            {
                "x": ms,
                "y": value(candidate),
                "label": candidate["number"] if len(candidates) <= MOST_CANDIDATES or derived else "",
                "told": f"candidate {candidate['number']}{derived}: {ms:.2f} ms, {value(candidate):.1f}",
                "kind": ("front" if candidate["non_dominated"] else "dominated") + (" derived" if derived else ""),
            }
        )
    limit = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    return {"title": title, "note": "Against predicted latency, ms.", "chart": plots.scatter(title, marks, limit)}
