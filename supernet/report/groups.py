"""Groups on the test images: accuracy and gaps with their intervals, and which classes are taken for which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from supernet.fairness import get_notion
from supernet.report import plots, words
from supernet.report.classes import other_class_words
from supernet.report.facts import Data, Evaluated, Figure, Gap, Metrics
from supernet.report.svg import short

MOST_GROUPS, MOST_MATRICES, MOST_CLASSES, MOST_CONFUSIONS = 24, 4, 12, 8
LARGEST = "The largest of several differences looks larger than it is: whether there is one, the gap's interval tells."


def attribute_views(metrics: Metrics, data: Data | Evaluated, notion: str) -> list[dict[str, Any]]:
    """Each sensitive attribute's part of the page."""
    return [
        attribute_view(name, metrics, notion) | {"other_class": other_class_words(found.gaps[notion], data, notion)}
        for name, found in metrics.attributes.items()
    ]


def attribute_view(name: str, metrics: Metrics, notion: str) -> dict[str, Any]:
    """One sensitive attribute's part of the page."""
    found, classes = metrics.attributes[name], metrics.classes
    groups = found.groups
    order = sorted((g for g in groups if groups[g].count), key=lambda g: groups[g].accuracy.value or 0.0)
    drawn = order[:MOST_GROUPS]
    overall = metrics.accuracy.value or 0.0
    gaps = [_gap_row(key, figure, classes, notion) for key, figure in found.gaps.items()]
    what, rates, caution = worst_rates(metrics, name, notion)
    by_class = tuple(groups) == tuple(classes)  # data without groups
    matrices = drawn if not by_class and len(classes) <= MOST_CLASSES and len(order) <= MOST_MATRICES else []
    return {
        "name": name,
        "groups": {g: groups[g] for g in [*order, *found.empty_groups]},
        "hidden": len(order) - len(drawn),
        "unknown": found.unknown,
        "empty": found.empty_groups,
        "accuracy": plots.intervals(
            f"Accuracy by {name}, percent",
            [_interval_row(f"{short(g, 18)}, {groups[g].count:,} images", groups[g].accuracy) for g in drawn],
            (f"all images {words.percent(overall)}", 100 * overall),
        ),
        "gaps": gaps,
        "gap_chart": plots.intervals(
            f"Gaps by {name}, points", [row["row"] for row in gaps if row["key"] in words.POINTS], None, zero=True
        ),
        "worst_rates": (*_rates_chart(what, name, rates), caution) if what else None,
        "asked_gap": next((row for row in gaps if row["asked"]), None),
        "worst": groups[found.worst_group].accuracy,
        "worst_group": found.worst_group,
        "confusions": _confusions(metrics, name, drawn[:6]),
        "confusion_groups": drawn[:6],
        "matrices": [(g, plots.confusion(f"{name}: {g}", classes, groups[g].confusion or ())) for g in matrices],
    }


def _interval_row(
    label: str, figure: Figure, verdict: str = "", strong: bool = False, open_mark: bool = False
) -> dict[str, Any]:
    return {
        "label": label,
        "told": words.interval(figure, unit="") + verdict,
        "weight": "strong" if strong else "",
        "kind": "dominated" if open_mark else "front",
        **{key: None if end is None else 100 * end for key, end in _ends(figure).items()},
    }


def _ends(figure: Figure) -> dict[str, float | None]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def _gap_row(key: str, figure: Gap, classes: Sequence[str], notion: str) -> dict[str, Any]:
    verdict = ", ".join(filter(None, (words.verdict(key, figure), words.within(figure))))
    label = words.label(key)
    plain = words.estimate(figure)
    return {
        "key": key,
        "label": label,
        "number": words.number_name(key),
        "asked": key == notion,
        "meaning": words.notion_meaning(key),
        "plain": plain,
        "told": words.interval(figure, unit=" points") if key in words.POINTS else plain,
        "worst": words.event_words(figure.worst_event, classes),
        "empty_cells": figure.empty_cells,
        "verdict": verdict,
        "row": _interval_row(label, figure, f" {verdict}",
                             strong=key == notion, open_mark=words.shown(key, figure) is False),
    }  # fmt: skip


def worst_rates(metrics: Metrics, attribute: str, notion: str) -> tuple[str, dict[str, Figure], str]:
    """What a notion's rates are where its groups differ most, `recall of 3`, each group's, and how to take them.

    "", {} and "" where that is accuracy, which stands there anyway, or nothing that a group has a figure of.
    """
    found, rate, classes = metrics.attributes[attribute], get_notion(notion).rate, metrics.classes
    event = found.gaps[notion].worst_event
    if rate in ("", "accuracy") or event is None:
        return "", {}, ""
    caution = LARGEST if len(get_notion(notion).event_names(len(classes))) > 1 else ""
    at = re.search(r"class (\d+)$", event)
    if at is None:
        return words.plain(rate), {group: getattr(row, rate) for group, row in found.groups.items()}, caution
    name, label = "false_positive_rate" if event.startswith("not ") else rate, classes[int(at[1])]
    return (
        f"{words.plain(name)} of {label}",
        {group: getattr(row, name)[label] for group, row in found.groups.items()},
        caution,
    )


def _rates_chart(what: str, attribute: str, rates: Mapping[str, Figure]) -> tuple[str, Markup]:
    """Title and picture of the rates that the asked gap is between, lowest first, in percent; cross-entropies as they are."""
    known = sorted((g for g in rates if rates[g].value is not None), key=lambda g: rates[g].value or 0.0)
    rows = [_interval_row(short(group, 18), rates[group]) for group in known[:MOST_GROUPS]]
    title = f"{words.capital(what)} by {attribute}, %"
    if what == "cross entropy":
        title = title.removesuffix(", %")
        rows = [
            {**row, **_ends(rates[g]), "told": words.estimate(rates[g])} for row, g in zip(rows, known, strict=False)
        ]
    return title, plots.intervals(title, rows)


def _confusions(metrics: Metrics, attribute: str, shown: Sequence[str]) -> list[dict[str, Any]]:
    """The mistakes made most often over all groups; in each group the count, and the share of the true class."""
    cells = []
    for true, name in enumerate(metrics.classes):
        own = [_taken(metrics, attribute, group, true) for group in metrics.attributes[attribute].groups]
        for predicted, total in enumerate(map(sum, zip(*filter(None, own), strict=True))):
            if true != predicted and total:
                cells.append((total, name, metrics.classes[predicted], true, predicted))
    cells.sort(key=lambda cell: (-cell[0], cell[3], cell[4]))
    rows = []
    for total, name, taken, true, predicted in cells[:MOST_CONFUSIONS]:
        counts = []
        for group in shown:
            row = _taken(metrics, attribute, group, true)
            counts.append((row[predicted], words.percent(row[predicted] / sum(row))) if sum(row) else (0, "–"))
        rows.append({"true": name, "predicted": taken, "total": total, "counts": counts})
    return rows


def _taken(metrics: Metrics, attribute: str, group: str, true: int) -> Sequence[int]:
    """What a group's images of a class were taken for, counts; empty of another class than the one that stands for the group."""
    own = metrics.attributes[attribute].groups[group].confusion
    if own is not None:
        return own[true]
    return metrics.confusion[true] if metrics.confusion is not None and metrics.classes[true] == group else ()
