"""Pictures of what was measured: curves, fronts, intervals, confusions. Values are also text, or shown on hover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from supernet.report.svg import (
    ROW,
    Scale,
    across_axis,
    after,
    beside,
    clear_places,
    dot,
    line,
    plot,
    polyline,
    rect,
    scale_of,
    short,
    spread,
    text,
    up_axis,
    upright,
    whisker,
)

INTERVAL_ROW = 36
NARROW = 300  # pixels that a plot has on a telephone
MOST_DOTS = 40
Points = Sequence[tuple[float, float]]
Reference = tuple[str, float]


def curves(
    title: str,
    series: Mapping[str, Points],
    shade: tuple[float, str] | None = None,
    reference: Reference | None = None,
    zero: bool = False,
    height: int = 150,
) -> Markup:
    """Lines over steps, each named at its end; `shade` marks the steps up to a value, `reference` a level."""
    steps = [x for points in series.values() for x, _ in points]
    values = [y for points in series.values() for _, y in points]
    across = Scale(0.0, max(*steps, 1.0))
    up = scale_of(values + ([reference[1]] if reference else []), zero)
    body = []
    if shade:
        body += [rect("0", 0, across.width(shade[0]), height, "shade"), text(0, -6, shade[1], "muted")]
    body += [*up_axis(up, height), *across_axis(across, height, rules=False, word="step ")]
    if reference:
        y = up.y(reference[1], height)
        body += [line("0", y, "100%", y, "budget"), text(4, y - 5, reference[0], "budget-text halo")]
    ends = spread([up.y(points[-1][1], height) for points in series.values()], 13)
    for index, ((name, points), end) in enumerate(zip(series.items(), ends, strict=True)):
        cls = f"series s{index % 4}"
        body.append(polyline([(100 * across.share(x), up.y(y, height)) for x, y in points], height, cls))
        if len(points) <= MOST_DOTS:
            for x, y in points:
                body.append(dot(across.x(x), up.y(y, height), 3, f"dot {cls}", f"{name}, step {x:g}: {y:.4g}"))
        if len(series) > 1:
            body.append(after("100%", 8, end + 4, short(name, 14), f"name s{index % 4}"))
    told = [f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in series.items()]
    return plot(title, f"{'; '.join(told)}.", height, body, (20, 88 if len(series) > 1 else 12, 22, 46))


def scatter(title: str, marks: Sequence[Mapping[str, Any]], limit: Reference | None, height: int = 200) -> Markup:
    """Marks (x, y, label, told, kind); `kind` holds "front" or "dominated", and "derived". `limit` is an x."""
    across = scale_of([m["x"] for m in marks] + ([limit[1]] if limit else []))
    up = scale_of([m["y"] for m in marks])
    body = [*up_axis(up, height), *across_axis(across, height, rules=False)]
    if limit:
        body.append(upright(across.x(limit[1]), 0, height, "budget"))
        body.append(beside(across, limit[1], -7, limit[0], "budget-text"))
    places = clear_places([(NARROW * across.share(m["x"]), up.y(m["y"], height)) for m in marks])
    for mark, (dx, dy) in zip(marks, places, strict=True):
        x, y = across.x(mark["x"]), up.y(mark["y"], height)
        if "derived" in mark["kind"]:
            body.append(dot(x, y, 9, "ring"))
        body.append(dot(x, y, 5, f"mark {mark['kind']}", mark["told"]))
        body.append(after(x, dx, y + dy, mark["label"], "halo"))
    told = "; ".join(mark["told"] for mark in marks)
    return plot(title, f"{told}.", height, body, (20, 20, 22, 46))


def intervals(
    title: str, rows: Sequence[Mapping[str, Any]], reference: Reference | None = None, zero: bool = False
) -> Markup:
    """A row each: label and value as text, below them a dot (`value`) and its whisker (`low` to `high`)."""
    ends = [x for row in rows for x in (row["value"], row["low"], row["high"]) if x is not None]
    scale = scale_of(ends + ([reference[1]] if reference else []), zero)
    height = INTERVAL_ROW * len(rows)
    body = across_axis(scale, height)
    if reference:
        body += [upright(scale.x(reference[1]), 0, height, "reference")]
        body += [beside(scale, reference[1], -6, reference[0], "muted")]
    for position, row in enumerate(rows):
        y = INTERVAL_ROW * position + 26
        body.append(text("0", y - 11, short(row["label"], 32), f"halo {row['weight']}"))
        body.append(text("100%", y - 11, row["told"], "halo", "end"))
        if row["low"] is not None:
            body += whisker(scale, row["low"], row["high"], y)
        if row["value"] is not None:
            body.append(dot(scale.x(row["value"]), y, 4.5, f"mark {row['kind']}"))
    told = "; ".join(f"{row['label']}: {row['told']}" for row in rows)
    return plot(title, f"{told}.", height, body, (20, 12, 22, 12))


def confusion(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Rows are true classes, columns what they were taken for; mistakes are tinted by their share of the row."""
    share = [[n / max(1, sum(row)) if i != j else 0.0 for j, n in enumerate(row)] for i, row in enumerate(counts)]
    most = max(map(max, share)) or 1.0
    step, height = 100 / len(classes), ROW * len(classes)
    middle = [f"{step * (k + 0.5):.2f}%" for k in range(len(classes))]
    letters = max(4, 40 // len(classes))  # of a column's head, on a phone
    body = [text(middle[k], -6, short(name, letters), "muted", "middle") for k, name in enumerate(classes)]
    for i, name in enumerate(classes):
        y = ROW * i
        body.append(text(-6, y + ROW - 6, short(name, 9), "muted", "end"))
        for j, n in enumerate(counts[i]):
            if i != j and n:
                box = (f"{step * j:.2f}%", y + 1, f"{step:.2f}%", ROW - 2)
                body.append(rect(*box, "wrong", fill_opacity=f"{0.7 * share[i][j] / most:.2f}"))
            if n:
                body.append(text(middle[j], y + ROW - 6, n, "muted" if i == j else None, "middle"))
    wrong = sum(n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j)
    told = f"{wrong} of {sum(map(sum, counts))} images are taken for another class."
    return plot(title, told, height, body, (24, 4, 6, 62))
