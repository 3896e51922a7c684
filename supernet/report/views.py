"""From the facts to what each page shows: words, tables and pictures. All of it is in the facts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from supernet.report import charts, plots, words
from supernet.report.advice import advice
from supernet.report.answered import answered_pictures
from supernet.report.anytime import anytime_view
from supernet.report.asked import asked_words, changed_options, command_line, distilled
from supernet.report.classes import class_view, positive_words, shot_lines
from supernet.report.compared import compare_view
from supernet.report.comparisons import adjusted_view, baseline_view, teacher_view
from supernet.report.corruptions import corruptions_view
from supernet.report.courses import search_curves, train_curves
from supernet.report.evaluation import evaluate_view
from supernet.report.evaluations import evaluation_facts
from supernet.report.facts import Candidate, CompareFacts, Data, EvaluateFacts, Facts, SearchFacts, TrainFacts
from supernet.report.groups import attribute_views
from supernet.report.int8 import int8_files, int8_view
from supernet.report.script import SCRIPT, SCRIPT_POLICY
from supernet.report.squares import closer_view
from supernet.spaces import BITS, FLEX, SENSOR

Content = dict[str, Any]
Numbered = Sequence[tuple[int, Candidate]]
MOST_CANDIDATES = 30


def page_view(facts: SearchFacts | TrainFacts) -> Content:
    """What both commands show: what was asked, data, latency, layers, and how to get the same again."""
    asked, command, data, budget_ms = facts.asked, facts.command, facts.data, facts.network.budget_ms
    latency, images = facts.latency, facts.data.images["train"]
    layers = latency.layers if latency else facts.layers
    return {
        "command": command,
        "name": facts.name,
        "date": facts.date.replace("T", " ").replace("+00:00", " UTC"),
        "took": words.duration(facts.seconds),
        "notes": facts.notes,
        "asked": asked_words(command, asked, budget_ms, facts.network.limits)
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
    notion, evaluations, from_teacher = asked["fairness"], facts.evaluations, bool(asked.get("teacher"))
    gap = words.number_name(notion)
    sized = "bops" if facts.table is None else "latency"
    numbered = list(enumerate(sorted(facts.candidates, key=lambda candidate: candidate.costs[sized]), 1))
    p_LK = [layer.probabilities for layer in layers]
    ops = list(dict.fromkeys(op for p_K in p_LK for op in p_K or ()))  # layers may differ in what they offer
    fronts = [_front(numbered, sized, budget_ms, "Error, %", lambda one: 100 * (1 - one.mean_group_accuracy))]
    if all(candidate.gap is not None for candidate in facts.candidates):
        unit, times = (", points", 100) if notion in words.POINTS else ("", 1)
        fronts.append(
            _front(numbered, sized, budget_ms, f"{words.capital(gap)}{unit}", lambda one: times * (one.gap or 0.0))
        )
    return {
        "facts": words.model_facts(facts.derived),
        "counted": words.bops_words(facts.derived.bops or 0.0, asked.get("max_bops")),
        "sized_name": words.COSTS[sized],
        "number": gap,
        "gap_value": partial(words.gap_value, notion=notion),
        "evaluations": evaluation_facts(evaluations) if evaluations else None,
        "scored_by": asked.get("score") if asked["strategy"] == "score" else None,
        "one_shot": facts.one_shot,
        "alone": "all" if asked["strategy"] == "halving" else min(asked.get("finalists") or 0, len(facts.candidates)),
        "answers": facts.answers,
        "answered": answered_pictures(facts.answers or []),
        **({"script": Markup(SCRIPT), "policy": SCRIPT_POLICY} if facts.answers else {}),
        "from_teacher": from_teacher,
        "capped": asked["max_gap"] is not None,
        "distilled": words.counted(asked.get("distil_steps", 0), "step"),
        "built_by_hand": _by_hand(asked["space"]),
        "by_hand": any(candidate.by_hand for candidate in facts.candidates),
        "shared_weights": not from_teacher and (not evaluations or evaluations["evaluator"] == "supernet"),
        "probabilities": charts.probabilities(layers, ops) if all(p_LK) else None,
        "curves": list(search_curves(facts.history, budget_ms, gap, from_teacher)),
        "candidates": [(number, c) for number, c in numbered if c.derived or number <= MOST_CANDIDATES],
        "candidates_all": len(numbered),
        "entropies": any(candidate.cross_entropy is not None for candidate in facts.candidates),
        "front": fronts,
        "next": shlex.join(["supernet", "train", "--arch", facts.folder + "/derived.json"]),
    }


def _by_hand(space: str) -> str:
    """What the network is that one would build without a search (derive.hand_made)."""
    if space in BITS:
        return "the most bits that the budget holds, the same in every layer"
    if space in {*FLEX, *SENSOR}:
        return "MobileNetV2's block in each layer that is there, as large as the budget holds"
    return "the layers' middle operation in as many layers as the budget holds"


def train_view(facts: TrainFacts) -> Content:
    """The training's own part: groups, gaps, confusions, the course of the training, how to load the model."""
    metrics, notion, number = facts.metrics, facts.asked["fairness"], words.number_name(facts.asked["fairness"])
    return {
        "metrics": metrics,
        "facts": {
            **words.model_facts(facts.arch),
            "calibration error (ECE)": words.interval(metrics.ece),
            "cross-entropy": words.estimate(metrics.cross_entropy, digits=3),
        },
        "classes": class_view(metrics),
        "shots": shot_lines(facts.shots),
        "corruptions": corruptions_view(facts.corruptions, notion),
        "advice": advice(facts),
        "attributes": attribute_views(metrics, facts.data, notion),
        "curves": list(train_curves(facts.history, number, distilled(facts.asked))),
        "arch": facts.arch,
        "model_json": facts.folder + "/model.json",
        "files": facts.files or {},
        "preprocessing": (facts.preprocessing or {}).get("words"),
        "int8": [int8_view(title, found, notion) for title, _, found in int8_files(facts)],
        "adjusted": [adjusted_view(name, found, number) for name, found in (facts.adjusted or {}).items()],
        "baseline": baseline_view(facts.baseline, number) if facts.baseline else None,
        "teacher": teacher_view(facts.teacher, notion) if facts.teacher else None,
        "anytime": anytime_view(facts.anytime, number) if facts.anytime else None,
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


def _front(
    candidates: Numbered, sized: str, budget_ms: float | None, title: str, value: Callable[[Candidate], float]
) -> Content:
    """One objective against predicted latency, or bit operations in millions."""
    marks = []
    for number, candidate in candidates:
        derived = ", derived" if candidate.derived else ""
        cost = candidate.costs[sized] / (1 if sized == "latency" else 1e6)
        told = f"{words.milliseconds(cost)} ms" if sized == "latency" else f"{cost:.4g} M bit operations"
        marks.append(
            {
                "x": cost,
                "y": value(candidate),
                "label": number if len(candidates) <= MOST_CANDIDATES or derived else "",
                "told": f"candidate {number}{derived}: {told}, {value(candidate):.1f}",
                "kind": ("front" if candidate.non_dominated else "dominated") + (" derived" if derived else ""),
            }
        )
    limit = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    note = "Against predicted latency, ms." if sized == "latency" else "Against bit operations, millions."
    return {"title": title, "note": note, "chart": plots.scatter(title, marks, limit)}
