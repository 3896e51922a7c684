"""Pictures of the architecture and its latency. Every value is also text, beside its mark or on hover."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from supernet.blocks.ops import OPS, Label
from supernet.report.facts import Layer
from supernet.report.svg import (
    ROW,
    Scale,
    across_axis,
    after,
    beside,
    line,
    plot,
    rect,
    scale_of,
    short,
    tag,
    text,
    upright,
    whisker,
)
from supernet.report.words import milliseconds

BLOCK = 38  # pixels from one block to the next
MIDDLE = 48  # of the blocks, pixels from the top
MOST_LYING = 9  # operations whose names fit side by side on a phone
MOST_CELLS = 600  # beyond, the heat map leaves out what is improbable


def budget_bar(predicted_ms: float, error: float | None, budget_ms: float | None, base_ms: float | None) -> Markup:
    """Predicted latency as a bar from 0, its error as a whisker, the budget as a line across."""
    error_ms = predicted_ms * (error or 0.0)
    scale = Scale(0.0, 1.12 * max(predicted_ms + error_ms, budget_ms or 0.0))
    body = [rect("0", 26, scale.x(predicted_ms), 22, "bar", f"predicted: {milliseconds(predicted_ms)} ms")]
    description = f"Predicted latency {milliseconds(predicted_ms)} ms"
    if base_ms is not None:
        fixed = f"fixed part: {milliseconds(base_ms, predicted_ms)} ms"
        body += [rect("0", 26, scale.x(min(base_ms, predicted_ms)), 22, "bar base", fixed)]
        if scale.share(base_ms) > 0.25:
            body.append(text(6, 41, f"fixed {base_ms:.1f}"))
        description += f", of which {fixed}"
    if error_ms:
        body += whisker(scale, predicted_ms - error_ms, predicted_ms + error_ms, 37)
        description += f", plus or minus {milliseconds(error_ms, predicted_ms)} ms"
    if budget_ms is not None:
        body.append(upright(scale.x(budget_ms), 18, 56, "budget"))
        body.append(beside(scale, budget_ms, 12, f"budget {budget_ms:g} ms", "budget-text"))
        description += f"; budget {budget_ms:g} ms"
    body += [line("0", 56, "100%", 56, "axis"), *across_axis(scale, 56, 5, rules=False)]
    return plot("Predicted latency against the budget, ms", description + ".", 76, body, (4, 8, 0, 8))


def _label(layer: Layer) -> Label:
    if layer.op not in OPS:  # of another version's report
        return Label(layer.op, tuple(layer.op.split("_")), "low")
    return OPS[layer.op].label(layer.c_in, layer.c_out, layer.stride)


def op_label(layer: Layer) -> str:
    """The operation in a reader's words: a skip that must change the shape is a 1×1 convolution."""
    return _label(layer).words


def architecture(layers: Sequence[Layer]) -> Markup:
    """One picture a stage, laid in a row that wraps; a block's height grows with its channels, an identity is thin."""
    widest = max(layer.c_out for layer in layers)
    stages = []
    for stage, group in groupby(layers, key=lambda layer: layer.stage):
        members = list(group)
        last = members[-1]
        shape = f"{last.c_out} ch · {-(-last.resolution // last.stride)} px"
        body = [line("0", MIDDLE, "100%", MIDDLE, "rail")]
        for position, layer in enumerate(members):
            body += _block(layer, BLOCK * position + 3, widest)
        body += [text(3, 112, f"stage {stage}", "strong"), text(3, 126, shape, "muted")]
        told = f"{shape}: {', '.join(op_label(layer) for layer in members)}."
        svg = tag(
            "svg", tag("title", f"Stage {stage}"), tag("desc", told), *body,
            role="img", width=max(BLOCK * len(members), 92), height=130, xmlns="http://www.w3.org/2000/svg",
        )  # fmt: skip
        stages.append(svg)
    return tag("div", *stages, cls="stages")


def _block(layer: Layer, x: int, widest: int) -> list[Markup]:
    shape = f"{layer.c_in} → {layer.c_out} channels, stride {layer.stride}"
    cost = "" if layer.ms is None else f", {layer.ms:.3f} ms"
    hover = f"layer {layer.layer}: {op_label(layer)}, {shape}{cost}"
    label = _label(layer)
    if label.weight == "identity":
        return [
            rect(x, MIDDLE - 2, 32, 4, "identity", hover),
            text(x + 16, MIDDLE - 8, " ".join(label.lines), "muted", "middle"),
        ]
    half = 20 + 26 * (layer.c_out / widest) ** 0.5
    lines = [*label.lines, f"/{layer.stride}"] if layer.stride > 1 else label.lines
    first = MIDDLE + 4 - 6 * (len(lines) - 1)
    words = [text(x + 16, first + 12 * i, short(part, 5), None, "middle") for i, part in enumerate(lines)]
    return [rect(x, MIDDLE - half, 32, 2 * half, f"block {label.weight}", hover, rx=2), *words]


def latency_by_layer(base_ms: float, layers: Sequence[Layer], budget_ms: float | None) -> Markup:
    """A staircase: each layer's bar starts where the one before ended, so the last end is the whole latency."""
    rows = [("fixed part", base_ms, "bar base"), *((f"{x.layer} {op_label(x)}", x.ms or 0.0, "bar") for x in layers)]
    total = sum(ms for _, ms, _ in rows)
    scale, height = scale_of([total, budget_ms or total], zero=True), ROW * (len(rows) + 1)
    body, start = across_axis(scale, height), 0.0
    for position, (label, ms, cls) in enumerate(rows):
        y = ROW * position
        body += _row_words(label, milliseconds(ms, total), y)
        body.append(rect(scale.x(start), y + 4, scale.width(ms), ROW - 8, cls, f"{label}: {ms:.3f} ms"))
        start += ms
        body.append(upright(scale.x(start), y + 4, y + ROW + 4, "step"))
    y = ROW * len(rows)
    body += [
        *_row_words("sum", milliseconds(total), y, "strong"),
        rect("0", y + 4, scale.x(total), ROW - 8, "bar total"),
    ]
    told = "; ".join(f"{label}: {milliseconds(ms, total)}" for label, ms, _ in rows) + f"; sum: {milliseconds(total)}"
    if budget_ms is not None:
        body.append(upright(scale.x(budget_ms), -4, height, "budget"))
        body.append(beside(scale, budget_ms, -9, f"budget {budget_ms:g} ms", "budget-text"))
        told += f"; budget: {budget_ms:g}"
    return plot("Latency by layer, ms", told + ".", height, body, (24, 44, 22, 84))


def _row_words(label: str, ms: str, y: float, cls: str = "") -> list[Markup]:
    base = y + ROW - 6
    return [text(-6, base, short(label, 14), cls or None, "end"), after("100%", 44, base, ms, cls, "end")]


def probabilities(layers: Sequence[Layer], ops: Sequence[str]) -> Markup:
    """(L, K) heat map with the percentages written in; the derived operation is framed, a forbidden one left blank."""
    step, height = 100 / len(ops), ROW * len(layers)
    least = 0.0 if len(layers) * len(ops) <= MOST_CELLS else 0.05
    middle = [f"{step * (k + 0.5):.2f}%" for k in range(len(ops))]
    upright_heads = len(ops) > MOST_LYING
    if upright_heads:
        body = [
            tag("text", short(op, 12), x=middle[k], y="-6", cls="muted", text_anchor="end", writing_mode="vertical-rl")
            for k, op in enumerate(ops)
        ]
    else:
        body = [text(middle[k], -8, short(op, 6), "muted", "middle") for k, op in enumerate(ops)]
    for position, layer in enumerate(layers):
        y = ROW * position
        body.append(text(-6, y + ROW - 6, layer.layer, None, "end"))
        for k, op in enumerate(ops):
            p, chosen = (layer.probabilities or {}).get(op) or 0.0, op == layer.op
            if p <= least and not chosen:
                continue
            cls = "heat chosen" if chosen else "heat"
            weight = "strong" if chosen else "muted" if p < 0.3 else None
            hover = f"layer {layer.layer}, {op}: {100 * p:.1f}%"
            box = (f"{step * k + 0.2:.2f}%", y + 1, f"{step - 0.4:.2f}%", ROW - 2)
            body.append(rect(*box, cls, hover, fill_opacity=f"{p:.2f}"))
            body.append(text(middle[k], y + ROW - 6, f"{100 * p:.0f}", weight, "middle"))
    best = [f"layer {x.layer}: {x.op}, {100 * ((x.probabilities or {}).get(x.op) or 0):.0f}%" for x in layers]
    told = f"Derived: {'; '.join(best)}."
    return plot(
        "Probability of each operation at each layer, %", told, height, body, (90 if upright_heads else 24, 4, 4, 28)
    )
