"""What the page of `supernet compare` shows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from supernet.report import plots, words

VERDICTS = {"A": "shown: better", "B": "shown: worse"}


def compare_view(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every variable of compare.html."""
    runs, number = content["runs"], words.number_name(content["fairness"])
    attributes = list(dict.fromkeys(name for run in runs for name in run["gaps"]))
    return {
        "command": "compare",
        "name": content["name"],
        "date": content["date"].replace("T", " ").replace("+00:00", " UTC"),
        "took": "",
        "number": number,
        "attributes": attributes,
        "rows": [_row(place, run, attributes) for place, run in enumerate(runs, 1)],
        "pairs": [_pair(run, attributes) for run in runs[1:]],
        "chart": _chart(runs),
        "again": shlex.join(["supernet", "compare", *(run["folder"] for run in runs)]),
        "where": {"commit": content["commit"], "machine": content["machine"]},
        "first": runs[0]["folder"],
    }


def _row(place: int, run: Mapping[str, Any], attributes: list[str]) -> dict[str, Any]:
    ms = "unknown" if run["predicted_ms"] is None else f"{run['predicted_ms']:.2f} ms"
    if run["predicted_ms"] is not None and run["predicted_error"] is not None:
        ms += f" ± {run['predicted_error']:.0%}"
    over = run["budget_ms"] is not None and run["predicted_ms"] is not None and run["predicted_ms"] > run["budget_ms"]
    return {
        "place": place,
        "folder": run["folder"],
        "arch": run["arch"] + (", searched" if run["searched"] else "") + (", pretrained" if run["pretrained"] else ""),
        "accuracy": words.interval(run["accuracy"]),
        "gaps": ["–" if run["gaps"].get(name) is None else words.estimate(run["gaps"][name]) for name in attributes],
        "worst": [
            "–" if name not in run["worst"] else f"{run['worst'][name][0]}: {words.interval(run['worst'][name][1])}"
            for name in attributes
        ],
        "latency": ms + (", over the budget" if over else ""),
        "device": run["device"] or "–",
        "macs": words.amount(run["macs"]),
        "params": words.amount(run["params"]),
        "int8": words.percent(run["int8_accuracy"]) if run["int8_accuracy"] is not None else "–",
    }


def _pair(run: Mapping[str, Any], attributes: list[str]) -> dict[str, Any]:
    against = run["against_first"]
    if isinstance(against, str):
        return {"folder": run["folder"], "why": against, "cells": []}
    told = [against["accuracy"], *(against["gaps"][name] for name in attributes if name in against["gaps"])]
    cells = [(words.estimate(d, "+"), VERDICTS.get(d["verdict"], words.NOT_SHOWN)) for d in told]
    return {"folder": run["folder"], "why": "", "cells": cells}


def _chart(runs: list[Mapping[str, Any]]) -> Any:
    """Error against latency, of the runs whose latency is for one device; None where these are fewer than two."""
    known = [(place, run) for place, run in enumerate(runs, 1) if run["predicted_ms"] is not None]
    if len(known) < 2 or len({run["device"] for _, run in known}) > 1:
        return None
    marks = []
    for place, run in known:
        error, ms = 100 * (1 - run["accuracy"]["value"]), run["predicted_ms"]
        better = any(other["predicted_ms"] <= ms and 100 * (1 - other["accuracy"]["value"]) <= error and other is not run for _, other in known)  # fmt: skip
        marks.append({"x": ms, "y": error, "label": place, "told": f"run {place}: {ms:.2f} ms, {error:.1f}% wrong", "kind": "dominated" if better else "front"})  # fmt: skip
    budgets = {run["budget_ms"] for _, run in known} - {None}
    limit = (f"budget {min(budgets):g} ms", min(budgets)) if len(budgets) == 1 else None
    return plots.scatter("Error, %", marks, limit)
