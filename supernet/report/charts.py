"""The report's pictures: short functions from facts to SVG. Every mark has its value as text, beside it or on hover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from supernet.report.svg import Scale, line, number, plot, polyline, rect, scale_of, short, spread, tag, text

ROW = 20  # height of a layer's row, the same in the latency and the probability chart
Layer = Mapping[str, Any]
Points = Sequence[tuple[float, float]]


def budget_bar(predicted_ms: float, error: float | None, budget_ms: float | None, base_ms: float | None) -> Markup:
    """Predicted latency as a bar from 0, its error as a whisker, the budget as a line across."""
    spread_ms = predicted_ms * (error or 0.0)
    scale = Scale(0.0, 1.12 * max(predicted_ms + spread_ms, budget_ms or 0.0))
    body = [rect("0", 26, scale.percent(predicted_ms), 22, "bar")]
    description = f"Predicted latency {predicted_ms:.2f} ms"
    if base_ms is not None:
        body.append(
            rect(
                "0",
                26,
                scale.percent(min(base_ms, predicted_ms)),
                22,
                "bar base",
                tag("title", f"fixed stem and head: {base_ms:.2f} ms"),
            )
        )
        body.append(text("6", 41, f"fixed {base_ms:.1f} ms", "small on-base"))
    if spread_ms:
        body += _whisker(scale, predicted_ms - spread_ms, predicted_ms + spread_ms, 37)
        description += f", plus or minus {spread_ms:.2f} ms"
    if budget_ms is not None:
        body.append(line(scale.percent(budget_ms), 16, scale.percent(budget_ms), 56, "budget"))
        body.append(_beside(scale, budget_ms, 12, f"budget {budget_ms:g} ms", "budget-text"))
        description += f"; budget {budget_ms:g} ms"
    body.append(line("0", 56, "100%", 56, "axis"))
    body += [text(scale.percent(tick), 71, number(tick), "small muted", "middle") for tick in scale.ticks(5)]
    return plot("Predicted latency against the budget", description + ".", 76, body, (4, 8, 0, 8))


def _beside(scale: Scale, value: float, y: float, label: str, cls: str) -> Markup:
    """A label at a value, turned inwards where it would leave the plot."""
    share = scale.share(value)
    return text(scale.percent(value), y, label, cls, "start" if share < 0.2 else "end" if share > 0.8 else "middle")


def _whisker(scale: Scale, low: float, high: float, y: float) -> list[Markup]:
    ends = [line(scale.percent(x), y - 5, scale.percent(x), y + 5, "whisker") for x in (low, high)]
    return [line(scale.percent(low), y, scale.percent(high), y, "whisker"), *ends]


def is_identity(layer: Layer) -> bool:
    """Whether the layer hands its input on as it is."""
    return layer["op"] == "skip" and layer["c_in"] == layer["c_out"] and layer["stride"] == 1


def op_label(layer: Layer) -> str:
    """The operation in a reader's words: a skip that must change the shape is a 1×1 convolution."""
    if layer["op"] != "skip":
        return str(layer["op"])
    return "identity" if is_identity(layer) else "1×1 conv"


def architecture(layers: Sequence[Layer]) -> Markup:
    """One picture a stage, laid in a row that wraps: a block's height grows with its channels, an identity is a thin line."""
    widest = max(layer["c_out"] for layer in layers)
    stages = []
    for stage, group in groupby(layers, key=lambda layer: layer["stage"]):
        members = list(group)
        width, last = max(38 * len(members), 62), members[-1]
        body = [line("0", 48, "100%", 48, "rail")]
        for position, layer in enumerate(members):
            body += _block(layer, 38 * position + 3, widest)
        resolution = last["resolution"] // last["stride"]
        body += [
            text("3", 110, f"stage {stage}", "small strong"),
            text("3", 123, f"{last['c_out']} ch · {resolution} px", "small muted"),
        ]
        names = ", ".join(op_label(layer) for layer in members)
        svg = tag(
            "svg", tag("title", f"Stage {stage}"), tag("desc", f"{last['c_out']} channels, {resolution} pixels: {names}."),
            *body, role="img", width=width, height=128, xmlns="http://www.w3.org/2000/svg",
        )  # fmt: skip
        stages.append(svg)
    return tag("div", *stages, cls="stages")


def _block(layer: Layer, x: int, widest: int) -> list[Markup]:
    hover = tag(
        "title",
        f"layer {layer['layer']}: {op_label(layer)}, {layer['c_in']} → {layer['c_out']} channels, {layer['ms']:.2f} ms",
    )
    if is_identity(layer):
        return [rect(x, 46, 32, 4, "identity", hover), text(x + 16, 39, "id", "small muted", "middle")]
    height = 34 + 60 * (layer["c_out"] / widest) ** 0.5
    expansion = {"e1": "low", "e3": "middle", "e6": "high"}.get(str(layer["op"]).rpartition("_")[2], "low")
    lines = ["1×1"] if layer["op"] == "skip" else str(layer["op"]).split("_")
    body = [rect(x, 48 - height / 2, 32, height, f"block {expansion}", hover, rx=2)]
    top = 52 - 6.5 * (len(lines) - 1)
    body += [text(x + 16, top + 13 * i, short(part, 5), "small block-text", "middle") for i, part in enumerate(lines)]
    if layer["stride"] > 1:
        body.append(text(x + 16, 48 + height / 2 - 4, f"/{layer['stride']}", "tiny block-text", "middle"))
    return body


def latency_by_layer(base_ms: float, layers: Sequence[Layer], budget_ms: float | None) -> Markup:
    """A staircase: each layer's bar starts where the one before ended, so the last end is the whole latency."""
    total = base_ms + sum(layer["ms"] for layer in layers)
    scale, height = scale_of([0, total, budget_ms or total], zero=True), ROW * (len(layers) + 2)
    body = [line(scale.percent(t), 0, scale.percent(t), height, "rule") for t in scale.ticks()]
    body += [text(scale.percent(t), height + 14, number(t), "small muted", "middle") for t in scale.ticks()]
    rows = [("stem, head", base_ms, "bar base"), *((f"{x['layer']}  {op_label(x)}", x["ms"], "bar") for x in layers)]
    start = 0.0
    for position, (label, ms, cls) in enumerate(rows):
        y = ROW * position
        body += _row_labels(label, f"{ms:.2f}", y)
        body.append(
            rect(
                scale.percent(start),
                y + 4,
                scale.width(max(ms, 0.0)),
                ROW - 8,
                cls,
                tag("title", f"{label}: {ms:.3f} ms"),
            )
        )
        start += ms
        if position < len(rows) - 1:
            body.append(line(scale.percent(start), y + 4, scale.percent(start), y + ROW + 4, "step"))
    y = ROW * len(rows)
    body += [
        *_row_labels("sum", f"{total:.2f}", y, "strong"),
        rect("0", y + 4, scale.percent(total), ROW - 8, "bar total"),
    ]
    description = f"Fixed part {base_ms:.2f} ms; " + "; ".join(f"{label}: {ms:.2f}" for label, ms, _ in rows[1:])
    if budget_ms is not None:
        body.append(line(scale.percent(budget_ms), -4, scale.percent(budget_ms), height, "budget"))
        body.append(_beside(scale, budget_ms, -8, f"budget {budget_ms:g} ms", "budget-text"))
    return plot(
        "Latency by layer, milliseconds", description + f"; sum {total:.2f} ms.", height, body, (24, 44, 22, 84)
    )


def _row_labels(label: str, value: str, y: float, cls: str = "") -> list[Markup]:
    return [
        text("-6", y + ROW - 6, short(label, 14), f"small {cls}", "end"),
        tag("svg", text(44, y + ROW - 6, value, f"small num {cls}", "end"), x="100%", overflow="visible"),
    ]


def probabilities(layers: Sequence[Layer], ops: Sequence[str]) -> Markup:
    """(L, K) heat map with the percentages written in; the operation that was chosen is framed."""
    step, height = 100 / len(ops), ROW * len(layers)
    body = [text(f"{step * (k + 0.5):.2f}%", -8, short(op, 6), "small muted", "middle") for k, op in enumerate(ops)]
    for position, layer in enumerate(layers):
        y = ROW * position
        body.append(text("-6", y + ROW - 6, layer["layer"], "small num", "end"))
        for k, op in enumerate(ops):
            p = layer["probabilities"].get(op)
            box = (f"{step * k:.2f}%", y + 1, f"{step:.2f}%", ROW - 2)
            middle = f"{step * (k + 0.5):.2f}%"
            if p is None:
                body.append(text(middle, y + ROW - 6, "·", "small muted", "middle"))
                continue
            chosen = " chosen" if op == layer["op"] else ""
            hover = tag("title", f"layer {layer['layer']}, {op}: {100 * p:.1f} %")
            body.append(rect(*box, f"heat{chosen}", hover, fill_opacity=f"{p:.3f}"))
            body.append(
                text(middle, y + ROW - 6, f"{100 * p:.0f}", f"small num{' strong' if chosen else ' soft'}", "middle")
            )
    best = "; ".join(f"layer {x['layer']}: {x['op']}, {100 * x['probabilities'].get(x['op'], 0):.0f} %" for x in layers)
    return plot(
        "Probability of each operation at each layer, percent", f"Chosen: {best}.", height, body, (24, 4, 22, 28)
    )


def curves(
    title: str,
    series: Mapping[str, Points],
    shade: tuple[float, float, str] | None = None,
    reference: tuple[str, float] | None = None,
    zero: bool = False,
    height: int = 150,
) -> Markup:
    """Lines over steps with a dot a value, each named at its end; `shade` is a span of steps, `reference` a level."""
    values = [y for points in series.values() for _, y in points] + ([reference[1]] if reference else [])
    steps = [x for points in series.values() for x, _ in points]
    across, up = Scale(0.0, max(max(steps), 1.0)), scale_of(values, zero)
    body = []
    if shade:
        body.append(rect(across.percent(shade[0]), 0, across.width(shade[1] - shade[0]), height, "shade"))
        body.append(text(across.percent(shade[0]), -6, shade[2], "small muted"))
    for tick in up.ticks():
        y = up.y(tick, height)
        body += [line("0", y, "100%", y, "rule"), text("-6", y + 4, number(tick), "small muted num", "end")]
    body += [text(across.percent(t), height + 16, number(t), "small muted num", "middle") for t in across.ticks(3)]
    if reference:
        y = up.y(reference[1], height)
        body += [line("0", y, "100%", y, "budget"), text("100%", y - 5, reference[0], "budget-text", "end")]
    ends = spread([up.y(points[-1][1], height) for points in series.values()], 13)
    for index, ((name, points), end) in enumerate(zip(series.items(), ends, strict=True)):
        cls = f"series s{index % 4}"
        body.append(polyline([(100 * across.share(x), up.y(y, height)) for x, y in points], height, cls))
        body += [
            tag("circle", tag("title", f"{name}, step {x:g}: {y:.4g}"), cx=across.percent(x), cy=f"{up.y(y, height):.1f}", r=3, cls=f"dot {cls}")
            for x, y in points
        ]  # fmt: skip
        if len(series) > 1:
            body.append(
                tag("svg", text(7, end + 4, short(name, 14), f"small name s{index % 4}"), x="100%", overflow="visible")
            )
    told = "; ".join(f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in series.items())
    return plot(title, told + ".", height, body, (20, 88 if len(series) > 1 else 12, 22, 46))


def scatter(
    title: str, marks: Sequence[Mapping[str, Any]], limit: tuple[str, float] | None, height: int = 200
) -> Markup:
    """Points (x, y, label, title, kind) with their labels; `kind` is classes: derived, front or dominated. `limit` is an x."""
    across = scale_of([m["x"] for m in marks] + ([limit[1]] if limit else []))
    up = scale_of([m["y"] for m in marks])
    body = []
    for tick in up.ticks():
        y = up.y(tick, height)
        body += [line("0", y, "100%", y, "rule"), text("-6", y + 4, number(tick), "small muted num", "end")]
    body += [text(across.percent(t), height + 16, number(t), "small muted num", "middle") for t in across.ticks(4)]
    if limit:
        body.append(line(across.percent(limit[1]), 0, across.percent(limit[1]), height, "budget"))
        body.append(_beside(across, limit[1], -6, limit[0], "budget-text"))
    for mark in marks:
        x, y = across.percent(mark["x"]), up.y(mark["y"], height)
        hover = tag("title", mark["title"])
        if "derived" in mark["kind"]:
            body.append(tag("circle", cx=x, cy=f"{y:.1f}", r=9, cls="ring"))
        body.append(tag("circle", hover, cx=x, cy=f"{y:.1f}", r=5, cls=f"mark {mark['kind']}"))
        if mark["label"]:
            body.append(tag("svg", text(11, y - 6, mark["label"], "small"), x=x, overflow="visible"))
    told = "; ".join(str(m["title"]) for m in marks[:40])
    return plot(title, told + ".", height, body, (20, 16, 22, 46))


def whiskers(
    title: str, rows: Sequence[Mapping[str, Any]], reference: tuple[str, float] | None = None, zero: bool = False
) -> Markup:
    """One row each: label and value as text, below them a dot with its interval (value, low, high in percent or None)."""
    ends = [x for r in rows for x in (r["value"], r["low"], r["high"]) if x is not None]
    scale = scale_of(ends + ([reference[1]] if reference else []), zero)
    height = 36 * len(rows)
    body = [line(scale.percent(t), 0, scale.percent(t), height, "rule") for t in scale.ticks()]
    body += [text(scale.percent(t), height + 15, number(t), "small muted num", "middle") for t in scale.ticks()]
    if reference:
        body += [
            line(scale.percent(reference[1]), 0, scale.percent(reference[1]), height, "reference"),
            _beside(scale, reference[1], -6, reference[0], "small muted"),
        ]
    for position, row in enumerate(rows):
        y = 36 * position + 25
        body += [
            text("0", y - 10, short(row["label"], 34), f"small halo {row.get('cls', '')}"),
            text("100%", y - 10, row["text"], "small num halo", "end"),
        ]
        if row["value"] is None:
            continue
        if row["low"] is not None:
            body += _whisker(scale, row["low"], row["high"], y)
        body.append(
            tag(
                "circle",
                tag("title", f"{row['label']}: {row['text']}"),
                cx=scale.percent(row["value"]),
                cy=y,
                r=4.5,
                cls=f"mark {row.get('kind', 'front')}",
            )
        )
    told = "; ".join(f"{row['label']}: {row['text']}" for row in rows)
    return plot(title, told + ".", height, body, (20, 12, 22, 12))


def confusion(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Rows are true classes, columns what they were taken for; mistakes are tinted by their share of the row."""
    share = [[n / max(1, sum(row)) if i != j else 0.0 for j, n in enumerate(row)] for i, row in enumerate(counts)]
    most = max(max(row) for row in share) or 1.0
    step, height = 100 / len(classes), ROW * len(classes)
    body = [
        text(f"{step * (k + 0.5):.2f}%", -6, short(name, 4), "small muted", "middle") for k, name in enumerate(classes)
    ]
    for i, name in enumerate(classes):
        body.append(text("-6", ROW * (i + 1) - 6, short(name, 9), "small muted", "end"))
        for j, n in enumerate(counts[i]):
            if not n:
                continue
            if i != j:
                hover = tag("title", f"{name} taken for {classes[j]}: {n}, {100 * share[i][j]:.1f} % of {name}")
                body.append(
                    rect(
                        f"{step * j:.2f}%",
                        ROW * i + 1,
                        f"{step:.2f}%",
                        ROW - 2,
                        "wrong",
                        hover,
                        fill_opacity=f"{share[i][j] / most:.2f}",
                    )
                )
            body.append(
                text(
                    f"{step * (j + 0.5):.2f}%", ROW * (i + 1) - 6, n, f"small num{' muted' if i == j else ''}", "middle"
                )
            )
    wrong = sum(n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j)
    return plot(
        title, f"{wrong} of {sum(map(sum, counts))} images are taken for another class.", height, body, (24, 4, 6, 62)
    )
