"""Two shares against each other: how far confidence can be trusted, and what each threshold does, a line a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from supernet.report import words
from supernet.report.facts import EvaluateFacts, TrainFacts
from supernet.report.svg import Scale, across_axis, after, dot, plot, polyline, short, spread, up_axis

MOST_LINES, HEIGHT = 4, 200  # style.css has four kinds of line
UNIT = Scale(0.0, 100.0)


def closer_view(facts: TrainFacts | EvaluateFacts) -> dict[str, Any]:
    """The variables of closer.html; empty of a report of before."""
    found = facts.closer or {}
    charts = []
    for attribute, groups in found.get("reliability", {}).items():
        lines = {name: [(row["confidence"], row["accuracy"]) for row in rows] for name, rows in groups.items()}
        if lines:
            charts.append((f"Accuracy against confidence by {attribute}, %", square("Reliability", lines),
                           "On the diagonal a probability means what it says; below it the network is too sure. Ten images a dot at least."))  # fmt: skip
    for attribute, groups in found.get("roc", {}).items():
        lines = {name: [tuple(point) for point in own["points"]] for name, own in groups.items()}
        if lines:
            marks = {name: tuple(own["at_half"]) for name, own in groups.items()}
            charts.append((f"Found against falsely called, by {attribute}, %", square("ROC", lines, marks),
                           f"Of \"{facts.data.classes[1]}\", at every threshold on its probability; dots: at 0.5."))  # fmt: skip
    shown = [
        {**own, "images": [{**image, "sure": words.percent(image["probability"], 0)} for image in own["images"]]}
        for own in found.get("mistakes", [])
    ]
    return {"closer": charts, "mistakes": shown, "thresholds": list(_thresholds(found.get("roc", {})))}


def square(title: str, lines: Mapping[str, Sequence[Any]], marks: Mapping[str, Any] | None = None) -> Markup:
    """Lines through (x, y) shares, the diagonal, and a dot at each `marks`; without marks a dot at each point."""
    body = [*up_axis(UNIT, HEIGHT), *across_axis(UNIT, HEIGHT, rules=False)]
    body.append(polyline([(0.0, float(HEIGHT)), (100.0, 0.0)], HEIGHT, "reference"))
    drawn = list(lines.items())[:MOST_LINES]
    ends = spread([UNIT.y(100 * points[-1][1], HEIGHT) for _, points in drawn], 13)
    for index, ((name, points), end) in enumerate(zip(drawn, ends, strict=True)):
        cls = f"series s{index}"
        body.append(polyline([(100 * x, UNIT.y(100 * y, HEIGHT)) for x, y in points], HEIGHT, cls))
        for x, y in points if marks is None else [marks[name]]:
            body.append(dot(UNIT.x(100 * x), UNIT.y(100 * y, HEIGHT), 3, f"dot {cls}", f"{name}: {100 * x:.1f}, {100 * y:.1f}"))  # fmt: skip
        body.append(after("100%", 8, end + 4, short(name, 14), f"name s{index}"))
    told = [f"{name} from {100 * points[0][1]:.0f}% at {100 * points[0][0]:.0f}% to {100 * points[-1][1]:.0f}% at {100 * points[-1][0]:.0f}%" for name, points in drawn]  # fmt: skip
    return plot(title, f"{'; '.join(told)}.", HEIGHT, body, (12, 88, 22, 46))


def _thresholds(found: Mapping[str, Any]) -> Any:
    """A row a group: what the threshold 0.5 does."""
    for attribute, groups in found.items():
        rows = [(name, own["positive"], words.percent(own["at_half"][1]), own["negative"], words.percent(own["at_half"][0])) for name, own in groups.items()]  # fmt: skip
        if rows:
            yield {"attribute": attribute, "rows": rows, "more": max(0, len(rows) - MOST_LINES)}
