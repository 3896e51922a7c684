"""Classes on the test images: how many of each, how many were found, and whether that is more than naming the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supernet.report import words
from supernet.report.facts import UNKNOWN, Data, Evaluated, Gap, Group, Majority, Metrics, Shots
from supernet.shots import FEW, MANY

MOST_ROWS, MOST_LINES, MOST_GROUPS = 12, 6, 6


def majority_words(metrics: Metrics) -> str:
    """`No better than always "sound", the class of 90.9% of these images`; "" where it is better, or the file is of before."""
    found = metrics.majority
    if found is None or found.exceeded:
        return ""
    start = "As far as these images show, no" if (metrics.accuracy.value or 0.0) > found.share else "No"
    return f'{start} better than always "{found.name}", the class of {words.percent(found.share)} of these images.'


def always(majority: Majority | None, accuracy: float | None) -> str:
    """Where a network is no better than always naming the largest class, or not shown to be; "" elsewhere."""
    if majority is None or majority.exceeded:
        return ""
    shown = "not shown to be" if (accuracy or 0.0) > majority.share else "no"
    return f'{shown} better than always "{majority.name}"'


def overall_words(metrics: Metrics) -> str:
    """Balanced accuracy, and of two classes the figures that no threshold is behind; "" of a file of before."""
    if metrics.balanced_accuracy is None:
        return ""
    found = metrics.by_class or {}
    there = sum(own.images > 0 for own in found.values())
    whose = "the classes" if there == len(found) else f"the {there} of {len(found)} classes that are here"
    told = f"Balanced accuracy, the mean recall of {whose}: {words.interval(metrics.balanced_accuracy)}."
    if metrics.auc is not None and metrics.average_precision is not None and metrics.positive and metrics.by_class:
        chance = metrics.by_class[metrics.positive].images / metrics.samples
        told += (
            f' Finding "{metrics.positive}": AUC {words.estimate(metrics.auc, digits=3)} (0.5 by chance), average precision '
            f"{words.estimate(metrics.average_precision, digits=3)} ({chance:.3f} by chance)."
        )
    return told


def class_rows(metrics: Metrics, most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """A row a class, those of lowest recall where there are more than `most`; none of a file of before."""
    found = metrics.by_class or {}
    names = list(found)
    if len(names) > most:
        known = [name for name in names if found[name].recall.value is not None]
        names = sorted(known, key=lambda name: found[name].recall.value or 0.0)[:most]
    return [
        {
            "name": name,
            "images": found[name].images,
            "share": words.percent(found[name].images / metrics.samples),
            "predicted": found[name].predicted,
            "recall": words.interval(found[name].recall),
            "precision": words.interval(found[name].precision),
        }
        for name in names
    ]


def class_lines(metrics: Metrics) -> list[str]:
    """For the terminal."""
    rows, number = class_rows(metrics, MOST_LINES), len(metrics.by_class or ())
    lines = [
        f"  class {row['name']}: {row['images']:,} images ({row['share']}), recall {row['recall']}, precision {row['precision']}"
        for row in rows
    ]
    if number > len(rows):
        lines.append(f"  (of {number} classes, those of lowest recall; all are in the report)")
    return [line for line in (majority_words(metrics), *lines, overall_words(metrics)) if line]


def shot_lines(found: Sequence[Shots] | None) -> list[str]:
    """`Classes with few training images (fewer than 20; 3 of them): mean recall …`."""
    meaning = {"many": f"more than {MANY}", "medium": f"{FEW} to {MANY}", "few": f"fewer than {FEW}"}
    return [
        f"Classes with {own.name} training images ({meaning[own.name]}; {len(own.classes)} of them): mean recall {words.interval(own.recall)}."
        for own in found or ()
    ]


def class_view(metrics: Metrics) -> dict[str, Any] | None:
    """The page's part; None of a file of before."""
    if metrics.by_class is None:
        return None
    rows = class_rows(metrics)
    return {
        "rows": rows,
        "number": len(metrics.by_class),
        "majority": majority_words(metrics),
        "overall": overall_words(metrics),
        "by_group": [
            _by_group(name, found.groups, [row["name"] for row in rows], metrics.positive is not None)
            for name, found in metrics.attributes.items()
            if tuple(found.groups) != tuple(metrics.classes)  # classes that stand for groups
        ],
    }


def _by_group(attribute: str, groups: Mapping[str, Group], classes: Sequence[str], binary: bool) -> dict[str, Any]:
    """Columns: groups. Recall and precision of each class, then what sums them up."""
    shown = [name for name, own in groups.items() if own.count][:MOST_GROUPS]
    members = [groups[name] for name in shown]
    rows = [(f"recall of {name}", [words.interval(own.recall[name]) for own in members]) for name in classes]
    rows += [
        (f"precision of {name}", [words.interval((own.precision or {})[name]) for own in members]) for name in classes
    ]
    rows.append(("balanced accuracy", [words.interval(own.balanced_accuracy or UNKNOWN) for own in members]))
    if binary:
        rows.append(("AUC", [words.estimate(own.auc or UNKNOWN, digits=3) for own in members]))
        precisions = [words.estimate(own.average_precision or UNKNOWN, digits=3) for own in members]
        rows.append(("average precision", precisions))
    return {"attribute": attribute, "groups": shown, "hidden": len(groups) - len(shown), "rows": rows}


def positive_words(data: Data | Evaluated) -> str:
    """Which class is the positive one, and whose choice that was; "" where there are not two classes."""
    if len(data.classes) != 2:
        return ""
    positive = data.classes[1]
    return f"{positive}, as asked" if data.positive else f"{positive}, the second of two (--positive chooses)"


def other_class_words(gap: Gap, data: Data | Evaluated, key: str) -> str:
    """` (of "defective"; of "sound" 0.12 (…), not shown)`: whose a gap of one class is, of both where nobody chose; "" else."""
    other = gap.other_class
    if other is None:
        return ""
    told = f'of "{data.classes[1]}"'
    if not data.positive:
        told += f'; of "{other.name}" {words.estimate_and_verdict(key, other)}'
    return f" ({told})"
