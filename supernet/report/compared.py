"""What the page of `supernet compare` shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from supernet.report import plots, words
from supernet.report.classes import always
from supernet.report.facts import AgainstFirst, ComparedRun, CompareFacts, Verdict

VERDICTS = {Verdict.FIRST: "shown: better", Verdict.SECOND: "shown: worse", Verdict.OPEN: words.NOT_SHOWN}


def compare_view(facts: CompareFacts) -> dict[str, Any]:
    """Every variable of compare.html."""
    runs, number = facts.runs, words.number_name(facts.fairness)
    names = short_names([run.folder for run in runs])
    attributes = list(dict.fromkeys(name for run in runs for name in run.gaps))
    return {
        "command": "compare",
        "name": facts.name,
        "date": facts.date.replace("T", " ").replace("+00:00", " UTC"),
        "took": "",
        "number": number,
        "attributes": attributes,
        "rows": [_row(place, names[place - 1], run, attributes) for place, run in enumerate(runs, 1)],
        "pairs": [_pair(name, run, attributes) for name, run in zip(names[1:], runs[1:], strict=True)],
        "chart": _chart(runs),
        "again": shlex.join(["supernet", "compare", *(run.folder for run in runs)]),
        "where": {"commit": facts.commit, "machine": facts.machine},
        "first": names[0],
    }


def short_names(folders: Sequence[str]) -> list[str]:
    """The last part of each path, and as many before it as it takes to tell them apart."""
    for most in range(1, 1 + max(len(PurePath(folder).parts) for folder in folders)):
        names = ["/".join(PurePath(folder).parts[-most:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return list(folders)


def _row(place: int, name: str, run: ComparedRun, attributes: list[str]) -> dict[str, Any]:
    unknown = "unknown" if run.bops is None else f"none: {words.amount(run.bops)} bit operations"
    ms = unknown if run.predicted_ms is None else f"{words.milliseconds(run.predicted_ms)} ms"
    if run.predicted_ms is not None and run.predicted_error is not None:
        ms += f" ± {run.predicted_error:.0%}"
    over = run.budget_ms is not None and run.predicted_ms is not None and run.predicted_ms > run.budget_ms
    return {
        "place": place,
        "folder": name,
        "arch": run.arch + (", searched" if run.searched else "") + (", pretrained" if run.pretrained else ""),
        "accuracy": ", ".join(filter(None, (words.interval(run.accuracy), always(run.majority, run.accuracy.value)))),
        "gaps": ["–" if (gap := run.gaps.get(name)) is None else words.estimate(gap) for name in attributes],
        "worst": [
            "–" if name not in run.worst else f"{run.worst[name][0]}: {words.interval(run.worst[name][1])}"
            for name in attributes
        ],
        "latency": ms + (", over the budget" if over else ""),
        "device": run.device or "–",
        "macs": words.amount(run.macs),
        "params": words.amount(run.params),
        "int8": words.percent(run.int8_accuracy) if run.int8_accuracy is not None else "–",
    }


def _pair(name: str, run: ComparedRun, attributes: list[str]) -> dict[str, Any]:
    against = run.against_first
    if not isinstance(against, AgainstFirst):
        return {"folder": name, "why": against or "", "cells": []}
    told = [against.accuracy, *(against.gaps[attribute] for attribute in attributes if attribute in against.gaps)]
    cells = [(words.estimate(d, "+"), VERDICTS[d.verdict]) for d in told]
    return {"folder": name, "why": "", "cells": cells}


def _chart(runs: Sequence[ComparedRun]) -> Any:
    """Error against latency, of the runs whose latency is for one device; None where these are fewer than two."""
    known = [
        (place, run, ms, 100 * (1 - (run.accuracy.value or 0.0)))
        for place, run in enumerate(runs, 1)
        if (ms := run.predicted_ms) is not None
    ]
    if len(known) < 2 or len({run.device for _, run, _, _ in known}) > 1:
        return None
    marks = []
    for place, _, ms, error in known:
        better = any(
            their_ms <= ms and theirs <= error and (their_ms, theirs) != (ms, error) for _, _, their_ms, theirs in known
        )
        told = f"run {place}: {words.milliseconds(ms)} ms, {error:.1f}% wrong"
        marks.append({"x": ms, "y": error, "label": place, "told": told, "kind": "dominated" if better else "front"})
    budgets = {run.budget_ms for _, run, _, _ in known if run.budget_ms is not None}
    limit = (f"budget {min(budgets):g} ms", min(budgets)) if len(budgets) == 1 else None
    return plots.scatter("Error, %", marks, limit)
