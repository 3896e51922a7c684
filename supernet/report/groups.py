"""Groups on the test images: accuracy and gaps with their intervals, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supernet.fairness import NOTIONS, get_notion
from supernet.report import plots, words
from supernet.report.svg import short

POINTS = ("accuracy_parity", "demographic_parity", "equal_opportunity", "equalized_odds")  # gaps in points of a rate
MOST_GROUPS, MOST_MATRICES, MOST_CLASSES, MOST_CONFUSIONS = 24, 4, 12, 8
SHOWN, NOT_SHOWN = "shown", "not shown"
Figure = Mapping[str, Any]


def attribute_view(name: str, metrics: Mapping[str, Any], notion: str) -> dict[str, Any]:
    """One sensitive attribute's part of the page."""
    found, classes = metrics["attributes"][name], metrics["classes"]
    groups = found["groups"]
    order = sorted((g for g in groups if groups[g]["count"]), key=lambda g: groups[g]["accuracy"]["value"])
    drawn = order[:MOST_GROUPS]
    overall = metrics["accuracy"]["value"]
    gaps = [_gap_row(key, figure, classes, notion) for key, figure in found["gaps"].items()]
    matrices = drawn if len(classes) <= MOST_CLASSES and len(order) <= MOST_MATRICES else []
    return {
        "name": name,
        "groups": {g: groups[g] for g in [*order, *found["empty_groups"]]},
        "hidden": len(order) - len(drawn),
        "unknown": found["unknown"],
        "empty": found["empty_groups"],
        "accuracy": plots.intervals(
            f"Accuracy by {name}, percent",
            [_interval_row(f"{short(g, 18)}, {groups[g]['count']:,} images", groups[g]["accuracy"]) for g in drawn],
            (f"everybody {words.percent(overall)}", 100 * overall),
        ),
        "gaps": gaps,
        "gap_chart": plots.intervals(
            f"Gaps by {name}, points", [row["row"] for row in gaps if row["key"] in POINTS], None, zero=True
        ),
        "asked_gap": next((row for row in gaps if row["asked"]), None),
        "worst": found["worst_group_accuracy"],
        "worst_group": found["worst_group"],
        "confusions": _confusions(groups, drawn[:6], classes),
        "confusion_groups": drawn[:6],
        "matrices": [(g, plots.confusion(f"{name}: {g}", classes, groups[g]["confusion"])) for g in matrices],
    }


def _interval_row(
    label: str, figure: Figure, verdict: str = "", strong: bool = False, open_mark: bool = False
) -> dict[str, Any]:
    return {
        "label": label,
        "told": words.interval(figure, unit="") + verdict,
        "weight": "strong" if strong else "",
        "kind": "dominated" if open_mark else "front",
        **{key: None if figure[key] is None else 100 * figure[key] for key in ("value", "low", "high")},
    }


def _gap_row(key: str, figure: Figure, classes: Sequence[str], notion: str) -> dict[str, Any]:
    verdict = _verdict(key, figure)
    label = f"asked for: {words.plain(key)}" if key == notion else words.plain(key)
    plain = "unknown" if figure["value"] is None else f"{figure['value']:.4f}"
    if figure["value"] is not None and figure["low"] is not None:
        plain += f" ({figure['low']:.4f} to {figure['high']:.4f})"
    return {
        "key": key,
        "label": words.plain(key),
        "asked": key == notion,
        "meaning": words.notion_meaning(key),
        "plain": plain,
        "told": words.interval(figure, unit=" points") if key in POINTS else plain,
        "worst": words.event_words(figure.get("worst_event"), classes),
        "empty_cells": figure.get("empty_cells", 0),
        "verdict": verdict,
        "row": _interval_row(label, figure, f" {verdict}", strong=key == notion, open_mark=verdict == NOT_SHOWN),
    }  # fmt: skip


def _verdict(key: str, figure: Figure) -> str:
    """Whether there is any gap: its 95% interval is cut at 0, so one that reaches 0 shows none."""
    if figure["low"] is None or (key.split(":")[0] in NOTIONS and get_notion(key).groups == "worst"):
        return ""
    return SHOWN if figure["low"] > 0 else NOT_SHOWN


def _confusions(groups: Mapping[str, Any], shown: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The mistakes made most often over all groups; in each group the count, and the share of the true class."""
    cells = []
    for true, name in enumerate(classes):
        for predicted, taken in enumerate(classes):
            total = sum(group["confusion"][true][predicted] for group in groups.values())
            if true != predicted and total:
                cells.append((total, name, taken, true, predicted))
    cells.sort(key=lambda cell: (-cell[0], cell[3], cell[4]))
    rows = []
    for total, name, taken, true, predicted in cells[:MOST_CONFUSIONS]:
        counts = []
        for group in shown:
            row = groups[group]["confusion"][true]
            counts.append((row[predicted], words.percent(row[predicted] / sum(row)) if sum(row) else "–"))
        rows.append({"true": name, "predicted": taken, "total": total, "counts": counts})
    return rows
