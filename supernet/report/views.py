"""From the facts to what each page shows: words, tables and pictures. Nothing is computed that the facts do not hold."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from supernet.fairness import NOTIONS
from supernet.report import charts, words

Content = dict[str, Any]
MOST_CANDIDATES, MOST_POINTS = 30, 200


def page_view(content: Content) -> Content:
    """What both commands show: notes, data, latency, layers, and how to get the same again."""
    asked, command = content["asked"], content["command"]
    found = content.get("derived") or content["arch"]
    return {
        "command": command,
        "name": content["name"],
        "date": content["date"],
        "took": words.duration(content["seconds"]),
        "notes": content["notes"],
        "asked": _asked(command, asked),
        "changed": set(words.changed_options(command, asked)),
        "options": {name.replace("_", "-"): value for name, value in asked.items()},
        "data": content["data"],
        "data_counts": _data_counts(content["data"]),
        "facts": _facts(found),
        "latency": _latency(content, found),
        "layers": content.get("layers") or [],
        "blocks": charts.architecture(content["layers"]) if content.get("layers") else None,
        "staircase": charts.latency_by_layer(content["base_ms"], content["layers"], found["budget_ms"]) if content.get("layers") else None,
        "op_label": charts.op_label,
        "again": words.command_line(command, asked),
        "where": {
            "seed": asked.get("seed"),
            "data fingerprint": content["data"]["fingerprint"],
            "table hash": (content.get("table") or {}).get("hash"),
            "commit": content.get("commit"),
            "machine": content.get("machine"),
            "versions": ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items()),
        },
    }  # fmt: skip


def search_view(content: Content) -> Content:
    """The search's own part: probabilities, the course of the search, the front, the next command."""
    layers, asked = content["layers"], content["asked"]
    p_LK = [layer["probabilities"] for layer in layers]
    candidates = sorted(content["candidates"], key=lambda c: c["costs"]["latency"])
    for number, candidate in enumerate(candidates, 1):
        candidate["number"] = number
    return {
        "probabilities": charts.probabilities(layers, list(p_LK[0])) if layers and all(p_LK) else None,
        "curves": list(_search_curves(content)),
        "candidates": [c for c in candidates if c["derived"] or c["number"] <= MOST_CANDIDATES],
        "candidates_all": len(candidates),
        "front": _front(candidates, content["derived"]["budget_ms"], asked.get("fairness", "")),
        "next": shlex.join(["python", "train.py", "--arch", words.folder_of(content) + "/derived.json"]),
    }


def train_view(content: Content) -> Content:
    """The training's own part; see fairness.py for the groups."""
    from supernet.report.groups import attribute_view

    metrics, notion = content["metrics"], content["asked"]["fairness"]
    return {
        "metrics": metrics,
        "accuracy": words.interval(metrics["accuracy"]),
        "ece": words.interval(metrics["ece"]),
        "notion": notion,
        "attributes": [attribute_view(name, metrics, notion) for name in metrics["attributes"]],
        "curves": list(_train_curves(content)),
        "model_json": words.folder_of(content) + "/model.json",
        "baseline": content["arch"]["ops"] is None,
        "arch_name": content["arch"]["name"],
        "files": content.get("files") or {},
    }


SECTIONS: dict[str, Callable[[Content], Content]] = {"search": search_view, "train": train_view}


def _asked(command: str, asked: Mapping[str, Any]) -> dict[str, str]:
    """What was asked, in a reader's words."""
    cap, weight = asked.get("max_gap"), asked.get("fairness_weight")
    notion = NOTIONS.get(asked.get("fairness", ""))
    fair = f"{asked.get('fairness')}: {notion.meaning}" if notion else str(asked.get("fairness"))
    budget = asked.get("budget_ms")
    told = {
        "device": asked.get("device"),
        "budget": f"{budget:g} ms" if budget is not None else "none given",
        "data": str(asked.get("data")) + (f", training mix {asked['group_mix']}" if asked.get("group_mix") else ""),
        "fairness": fair,
        "fairness is held by": f"a cap of {cap:g} on the soft gap" if cap is not None else f"a weight of {weight:g}" if weight else "nothing: the term is off",
        "effort": f"{asked.get('epochs')} epochs" + (f" after {asked['warmup_epochs']} of warm-up" if "warmup_epochs" in asked else "") + f", batches of {asked.get('batch_size')}",
    }  # fmt: skip
    if command == "search":
        told["how"] = f"{asked.get('strategy')}, {asked.get('relaxation')} relaxation, space {asked.get('space')}"
    else:
        told = {"architecture": asked.get("arch"), **told}
    return {name: str(value) for name, value in told.items()}


def _facts(found: Mapping[str, Any]) -> dict[str, str]:
    told = {"multiply-accumulates": words.amount(found["macs"]), "parameters": words.amount(found["params"])}
    if found.get("peak_activation_bytes") is not None:
        told["peak activations"] = words.amount(found["peak_activation_bytes"], "B")
    if found.get("log_probability") is not None:
        told["log probability under p"] = f"{found['log_probability']:.2f}"
    return told


def _latency(content: Content, found: Mapping[str, Any]) -> Content | None:
    """The verdict on the budget, or None where nothing predicts the latency (a baseline)."""
    if found["predicted_ms"] is None:
        return None
    table, predicted_ms, error = content.get("table"), found["predicted_ms"], found["predicted_error"]
    device = (table or found).get("device") or "the device"
    return {
        "ms": f"{predicted_ms:.2f}",
        "error": f"± {predicted_ms * error:.2f} ms" if error is not None else "± unknown",
        "verdict": words.latency_verdict(predicted_ms, error, found["budget_ms"], device),
        "bar": charts.budget_bar(predicted_ms, error, found["budget_ms"], content.get("base_ms")),
        "trust": words.table_words(table) if table else "",
        "table": table,
        "fits": found["budget_ms"] is None or predicted_ms <= found["budget_ms"],
    }


def _data_counts(data: Mapping[str, Any]) -> list[Content]:
    """A table an attribute: images of each group in each split, and their share."""
    tables = []
    for attribute, groups in data["groups"].items():
        rows = []
        for group in groups:
            cells = []
            for split in ("train", "val", "test"):
                counts = data["counts"][split][attribute]
                cells.append(
                    (counts.get(group, 0), words.percent(counts.get(group, 0) / max(1, sum(counts.values())), 0))
                )
            rows.append((group, cells))
        tables.append({"attribute": attribute, "rows": rows})
    return tables


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    found = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    return found[:: -(-len(found) // MOST_POINTS)] if len(found) > MOST_POINTS else found


def _lines(rows: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, list[tuple[float, float]]]:
    return {name: points for name, key in keys.items() if (points := _series(rows, key))}


def _gap_keys(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {key.removeprefix("gap_"): key for row in rows for key in row if key.startswith("gap_")}


def _search_curves(content: Content) -> Iterable[Content]:
    rows = content["history"]
    warm = max((row["step"] for row in rows if row.get("phase") == "warm-up"), default=0)
    shade = (0.0, warm, "warm-up") if warm else None
    budget_ms = content["derived"]["budget_ms"]
    budget = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    yield from _figures(
        [
            ("Cross-entropy", _lines(rows, {"search-train": "cross_entropy", "search-val": "val_cross_entropy"}),
             "Of sampled paths: the weights learn on search-train, α on search-val.", None, False),
            ("Expected latency, ms", _lines(rows, {"expected": "expected_latency"}),
             "Under the operation probabilities; α moves after the warm-up only.", budget, False),
            (f"Soft gap, {content['asked'].get('fairness', '')}", _lines(rows, _gap_keys(rows)),
             "Running estimate; warm-up on search-train, then search-val.", None, True),
            ("Undecidedness of p", _lines(rows, {"entropy": "entropy"}),
             "Mean entropy over layers: 1 is uniform, 0 is decided.", None, True),
        ],
        shade,
    )  # fmt: skip


def _train_curves(content: Content) -> Iterable[Content]:
    rows = content["history"]
    yield from _figures(
        [
            ("Cross-entropy, training", _lines(rows, {"cross-entropy": "cross_entropy"}), "Mean over each epoch.", None, False),
            ("Accuracy, search-val", _lines(rows, {"accuracy": "val_accuracy", "balanced": "val_balanced_accuracy"}),
             "Of the averaged weights after each epoch; balanced: mean over groups.", None, False),
            ("Gap, search-val", _lines(rows, {"gap": "val_gap"}), "Hard gap of the notion that was asked for.", None, True),
            ("Soft gap, training", _lines(rows, _gap_keys(rows)), "Running estimate.", None, True),
        ],
        None,
    )  # fmt: skip


def _figures(
    wanted: Iterable[tuple[str, dict[str, Any], str, tuple[str, float] | None, bool]],
    shade: tuple[float, float, str] | None,
) -> Iterable[Content]:
    for title, series, note, reference, zero in wanted:
        if series:
            yield {"title": title, "note": note, "chart": charts.curves(title, series, shade, reference, zero)}


def _front(candidates: Sequence[Mapping[str, Any]], budget_ms: float | None, notion: str) -> list[Content]:
    """Error and gap against latency: the same candidates in both, so that a trade-off shows."""
    limit = (f"budget {budget_ms:g} ms", budget_ms) if budget_ms is not None else None
    figures = []
    for title, value in (
        ("Error on search-val, %", lambda c: 100 * (1 - c["balanced_accuracy"])),
        (f"Gap ({notion}), points", lambda c: 100 * c["gap"]),
    ):
        marks = [
            {
                "x": c["costs"]["latency"],
                "y": value(c),
                "label": str(c["number"]) if len(candidates) <= MOST_CANDIDATES or c["derived"] else "",
                "title": f"candidate {c['number']}{', derived' if c['derived'] else ''}: {c['costs']['latency']:.2f} ms, {value(c):.1f}",
                "kind": ("front" if c["non_dominated"] else "dominated") + (" derived" if c["derived"] else ""),
            }
            for c in candidates
        ]
        figures.append(
            {"title": f"{title}, against predicted latency, ms", "chart": charts.scatter(title, marks, limit)}
        )
    return figures
