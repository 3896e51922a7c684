"""The searches of a sweep as one front, and a table of their means over seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts.files import write_whole
from supernet.config import SearchConfig
from supernet.front import non_dominated
from supernet.report.older import renamed
from supernet.schema import read_json, write_json

_RATE = {"type": "number", "minimum": 0, "maximum": 1}
FRONT: dict[str, Any] = {  # of a trial's front.json, what the joined one needs
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["ops", "costs", "accuracy", "gap"],
        "anyOf": [{"required": [name]} for name in ("mean_group_accuracy", "balanced_accuracy")],  # the latter: of before
        "properties": {
            "ops": {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": 1000},
            "costs": {"type": "object", "required": ["latency"], "properties": {"latency": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9}}},
            "accuracy": _RATE,
            "mean_group_accuracy": _RATE,
            "balanced_accuracy": _RATE,
            "gap": {"type": ["number", "null"], "minimum": -1000, "maximum": 1000},
        },
    },
}  # fmt: skip


def join(trials: list[tuple[Path, SearchConfig]], out: Path) -> str:
    """Writes front.json and report.md of finished trials (folder, options); the report's text.

    A trial is on the front if no other *of its device* is as good in error, gap and latency and better in one.
    """
    rows = []
    for folder, config in trials:
        best = renamed(read_json(folder / "front.json", "front", FRONT)[0])
        names = ("ops", "accuracy", "mean_group_accuracy", "gap")
        asked = {name: getattr(config, name) for name in ("device", "budget_ms", "fairness_weight", "seed")}
        rows.append({"trial": folder.name, **asked, "predicted_ms": best["costs"]["latency"], **{n: best[n] for n in names}})  # fmt: skip
    for device in dict.fromkeys(row["device"] for row in rows):
        own = [row for row in rows if row["device"] == device]
        unknown = any(row["gap"] is None for row in own)  # then nothing is ranked by it
        front_N = non_dominated(np.array([[1 - r["mean_group_accuracy"], 0 if unknown else r["gap"], r["predicted_ms"]] for r in own]))  # fmt: skip
        for row, on_front in zip(own, front_N, strict=True):
            row["non_dominated"] = bool(on_front)
    write_json(out / "front.json", rows)
    lines = ["| device | budget ms | λ_fair | seeds | predicted ms | mean group accuracy | gap | on the front |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    keys = ("device", "budget_ms", "fairness_weight")
    for key in dict.fromkeys(tuple(row[k] for k in keys) for row in rows):
        same = [row for row in rows if tuple(row[k] for k in keys) == key]
        figures = [spread([row[name] for row in same], form) for name, form in (("predicted_ms", ".2f"), ("mean_group_accuracy", ".3f"), ("gap", ".3f"))]  # fmt: skip
        device, budget_ms, weight = key
        budget = "default" if budget_ms is None else f"{budget_ms:g}"
        on_front = sum(row["non_dominated"] for row in same)
        lines.append(f"| {device} | {budget} | {weight:g} | {len(same)} | {' | '.join(figures)} | {on_front} |")
    text = "\n".join([*lines, "", "Accuracy and gap on search-val with the supernets' weights (mean ± sd over seeds): retrain to know the true numbers."])  # fmt: skip
    write_whole(out / "report.md", (text + "\n").encode())
    return text


def spread(values: list[float | None], form: str) -> str:
    """Mean, and standard deviation where there are several; unknown if one is."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "unknown"
    mean = format(statistics.fmean(known), form)
    return mean if len(known) == 1 else f"{mean} ± {format(statistics.stdev(known), form)}"
