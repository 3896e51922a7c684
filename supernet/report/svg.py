"""SVG that keeps its text size at any width: x in percent of the plot, y in pixels, labels in the padding around it.

Colours are classes of style.css, so that light, dark and print are the page's matter. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element; `cls` is class, `_` in an attribute's name is `-`, None leaves it out. Children are escaped."""
    shown = Markup("").join(
        Markup(' {}="{}"').format({"cls": "class"}.get(key, key.replace("_", "-")), value)
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), shown, Markup("").join(escape(c) for c in children))


def text(x: str | float, y: float, content: object, cls: str = "", anchor: str | None = None) -> Markup:
    """A label; its baseline is at y."""
    return tag("text", content, x=x, y=f"{y:g}", cls=cls or None, text_anchor=anchor)


def line(x1: str, y1: float, x2: str, y2: float, cls: str) -> Markup:
    return tag("line", x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", cls=cls)


def rect(
    x: str | float, y: float, width: str | float, height: float, cls: str, *children: object, **more: object
) -> Markup:
    return tag("rect", *children, x=x, y=f"{y:g}", width=width, height=f"{height:g}", cls=cls, **more)


def plot(
    title: str, description: str, height: float, body: Iterable[Markup], padding: tuple[int, int, int, int]
) -> Markup:
    """The picture, as wide as the page lets it be; padding (top, right, bottom, left) in pixels holds the labels."""
    svg = tag(
        "svg", tag("title", title), tag("desc", description), *body,
        role="img", width="100%", height=f"{height:g}", xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip
    return tag("div", svg, cls="plot", style="padding:" + " ".join(f"{side}px" for side in padding))


def polyline(points: list[tuple[float, float]], height: float, cls: str) -> Markup:
    """A line through (x in percent, y in pixels); nested so that it stretches and its stroke does not."""
    path = tag("path", d="M" + "L".join(f"{x:.2f} {y:.1f}" for x, y in points), cls=cls)
    box = {"viewBox": f"0 0 100 {height:g}", "preserveAspectRatio": "none"}
    return tag("svg", path, width="100%", height=f"{height:g}", overflow="visible", **box)


@dataclass(frozen=True)
class Scale:
    """Linear: `low` is drawn at 0 %, `high` at 100 %."""

    low: float
    high: float

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def percent(self, value: float) -> str:
        return f"{100 * self.share(value):.2f}%"

    def width(self, value: float) -> str:
        """How wide a bar of this value is."""
        return f"{100 * value / (self.high - self.low):.2f}%"

    def y(self, value: float, height: float) -> float:
        return height * (1 - self.share(value))

    def ticks(self, number: int = 4) -> list[float]:
        """Round values inside the scale, about `number` of them."""
        step = _round_step((self.high - self.low) / number)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + i) * step, 12) for i in range(count)]


def scale_of(values: Iterable[float], zero: bool = False, number: int = 4) -> Scale:
    """A scale that holds the values and ends on round ones; `zero` makes it start at 0 (or end there)."""
    found = list(values)
    low, high = min(found), max(found)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        low, high = (low, high + 1) if low == 0 else (low - abs(low) * 0.1, high + abs(high) * 0.1)
    step = _round_step((high - low) / number)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def number(value: float) -> str:
    """A tick's label, without more digits than it needs."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.10g}".replace("-", "−")


def short(name: object, limit: int = 16) -> str:
    """A name that fits beside a line."""
    word = str(name)
    return word if len(word) <= limit else word[: limit - 1] + "…"


def spread(wanted: list[float], gap: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart: labels of lines that end close together."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = list(wanted)
    for before, this in zip(order, order[1:], strict=False):
        placed[this] = max(placed[this], placed[before] + gap)
    shift = sum(p - w for p, w in zip(placed, wanted, strict=True)) / max(1, len(wanted))
    return [p - shift for p in placed]
