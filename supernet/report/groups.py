"""Groups on the test images: accuracy and gaps with their intervals, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supernet.fairness import NOTIONS
from supernet.report import charts, words

POINTS = ("accuracy_parity", "demographic_parity", "equal_opportunity", "equalized_odds")  # gaps in points of a rate
RATES = {"demographic_parity": "selection_rate", "equal_opportunity": "recall", "equalized_odds": "recall"}
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
    gaps = [_gap_row(key, figure, found, classes, notion) for key, figure in found["gaps"].items()]
    asked = next((row for row in gaps if row["asked"]), None)
    matrices = drawn if len(classes) <= MOST_CLASSES and len(order) <= MOST_MATRICES else []
    return {
        "name": name,
        "groups": {g: groups[g] for g in [*order, *found["empty_groups"]]},
        "interval": words.interval,
        "hidden": len(order) - len(drawn),
        "unknown": found["unknown"],
        "empty": found["empty_groups"],
        "accuracy": charts.whiskers(
            f"Accuracy by {name}, percent",
            [_dot(f"{g}, {groups[g]['count']:,} images", groups[g]["accuracy"]) for g in drawn],
            (f"everybody {words.percent(overall)}", 100 * overall),
        ),
        "gaps": gaps,
        "gap_chart": charts.whiskers(
            f"Gaps by {name}, points", [row["dot"] for row in gaps if row["key"] in POINTS], None, zero=True
        ),
        "asked_gap": asked,
        "worst": found["worst_group_accuracy"],
        "confusions": _confusions(groups, drawn[:6], classes),
        "confusion_groups": drawn[:6],
        "matrices": [(g, charts.confusion(f"{name}: {g}", classes, groups[g]["confusion"])) for g in matrices],
    }


def _dot(label: str, figure: Figure, unit: str = "%", kind: str = "front", cls: str = "") -> dict[str, Any]:
    ends = {k: None if figure[k] is None else 100 * figure[k] for k in ("value", "low", "high")}
    return {"label": label, "text": words.interval(figure, unit=unit), "kind": kind, "cls": cls, **ends}


def _gap_row(key: str, figure: Figure, found: Mapping[str, Any], classes: Sequence[str], notion: str) -> dict[str, Any]:
    verdict = _verdict(key, figure, found["groups"])
    known = NOTIONS.get(key)
    label = key.replace("_", " ") + (" (asked for)" if key == notion else "")
    plain = "unknown" if figure["value"] is None else f"{figure['value']:.4f}"
    if figure["value"] is not None and figure["low"] is not None:
        plain += f" ({figure['low']:.4f} to {figure['high']:.4f})"
    return {
        "key": key,
        "label": key.replace("_", " "),
        "asked": key == notion,
        "meaning": known.meaning if known else "",
        "plain": plain,
        "points": words.interval(figure, unit=" points"),
        "worst": words.event_words(figure.get("worst_event"), classes),
        "empty_cells": figure.get("empty_cells", 0),
        "verdict": verdict,
        "dot": _dot(
            f"{label}{f': {verdict}' if verdict else ''}", figure, " pts",
            "dominated" if verdict == NOT_SHOWN else "front", "strong" if key == notion else "",
        ),
    }  # fmt: skip


def _verdict(key: str, figure: Figure, groups: Mapping[str, Any]) -> str:
    """Whether the groups differ at all. A gap is never negative, so its own interval hardly ever reaches 0; two groups
    whose 95% intervals do not overlap are taken as different, which is stricter than a test of their difference."""
    if key not in POINTS or figure["low"] is None:
        return ""
    present = [group for group in groups.values() if group["count"]]
    if key == "accuracy_parity":
        rates = [[group["accuracy"] for group in present]]
    else:
        rates = [[group[RATES[key]][name] for group in present] for name in present[0][RATES[key]]]
    if figure["low"] > 0 and any(_apart(figures) for figures in rates):
        return SHOWN
    return "" if key == "equalized_odds" else NOT_SHOWN  # its false-positive rates have no intervals here


def _apart(figures: Sequence[Figure]) -> bool:
    known = [f for f in figures if f["low"] is not None and f["high"] is not None]
    return len(known) > 1 and max(f["low"] for f in known) > min(f["high"] for f in known)


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
            counts.append((row[predicted], sum(row), words.percent(row[predicted] / sum(row)) if sum(row) else "–"))
        rows.append({"true": name, "predicted": taken, "total": total, "counts": counts})
    return rows
