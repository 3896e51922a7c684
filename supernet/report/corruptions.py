"""Under corruptions: the table of the page, and the lines that terminal and card have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supernet.report import words
from supernet.report.facts import Corruptions

MOST_GROUPS = 6


def corruption_rows(found: Corruptions, notion: str) -> list[list[str]]:
    """The header, the images as they are, then each corruption: accuracies in percent (mean of the severities, the mildest, the strongest),
    each group's mean, and the mean gap."""
    shown = [(attribute, group) for attribute, own in found.clean.groups.items() for group in list(own)[:MOST_GROUPS]]
    head = ["corruption", "accuracy", "severity 1", "severity 5", *(group for _, group in shown)]
    rows = [[*head, *(f"{words.number_name(notion)}, {attribute}" for attribute in found.clean.gaps)]]
    for name, each in (("none", [found.clean]), *((row.name, row.severities) for row in found.rows)):
        cells = [
            _percent(_mean([one.accuracy for one in each])),
            _percent(each[0].accuracy),
            _percent(each[-1].accuracy),
        ]
        for attribute, group in shown:
            value = _mean([one.groups[attribute][group] for one in each])
            few = f"too few images ({found.group_images[attribute][group]})"
            cells.append(few if value is None else _percent(value))
        cells += [_gap(_mean([one.gaps[attribute] for one in each]), notion) for attribute in found.clean.gaps]
        rows.append([name.replace("_", " "), *cells])
    for row, own in zip(rows[2:], found.rows, strict=True):
        row[0] += " *" if own.approximate else ""
    return rows


def corruption_words(found: Corruptions, notion: str) -> list[str]:
    """Mean corruption error beside the error without, and what becomes of each gap."""
    error = words.percent(found.mean_corruption_error)
    worst = max(found.rows, key=lambda row: 1 - (_mean([one.accuracy for one in row.severities]) or 0.0))
    lines = [
        f"Under 15 common corruptions, on {found.images:,} test images: mean error {error} (not normalised), without {words.percent(1 - found.clean.accuracy)}; "
        f"worst {worst.name.replace('_', ' ')}."
    ]
    for attribute, clean in found.clean.gaps.items():
        means = [_mean([one.gaps[attribute] for one in row.severities]) for row in found.rows]
        known = [mean for mean in means if mean is not None]
        mean = sum(known) / len(known) if len(known) == len(means) else None
        lines.append(
            f"By {attribute}, {words.number_name(notion)}: {_gap(mean, notion)} on average, without {_gap(clean, notion)}."
        )
    return lines


def corruptions_view(found: Corruptions | None, notion: str) -> dict[str, Any] | None:
    """The page's part; None where nobody asked."""
    if found is None:
        return None
    rows = corruption_rows(found, notion)
    hidden = {
        attribute: len(own) - MOST_GROUPS for attribute, own in found.clean.groups.items() if len(own) > MOST_GROUPS
    }
    return {
        "words": corruption_words(found, notion),
        "head": rows[0],
        "rows": rows[1:],
        "parameters": found.parameters,
        "hidden": ", ".join(f"{number} of {attribute}" for attribute, number in hidden.items()),
        "approximate": "; ".join(
            f"{row.name.replace('_', ' ')}: {row.approximate}" for row in found.rows if row.approximate
        ),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _percent(value: float | None) -> str:
    return "unknown" if value is None else words.percent(value)


def _gap(value: float | None, notion: str) -> str:
    if value is None:
        return "unknown"
    return f"{100 * value:.1f} points" if notion in words.POINTS else f"{value:.3f}"
