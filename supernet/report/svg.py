"""SVG that keeps its text size at any width: x in percent of the plot, y in pixels, labels in the padding around it.

Colours are classes of style.css, so that light, dark and print are the page's matter. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

ROW = 20  # pixels of a row; the same wherever rows of two pictures stand side by side


@dataclass(frozen=True)
class Scale:
    """Linear: `low` is drawn at 0 %, `high` at 100 %."""

    low: float
    high: float

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def x(self, value: float) -> str:
        return f"{100 * self.share(value):.2f}%"

    def width(self, value: float) -> str:
        """How wide a bar of this value is."""
        return f"{100 * max(value, 0.0) / (self.high - self.low):.2f}%"

    def y(self, value: float, height: float) -> float:
        """Pixels from the top of a plot of this height."""
        return height * (1 - self.share(value))

    def ticks(self, number: int = 4) -> list[float]:
        """Round values inside the scale, about `number` of them."""
        step = _round_step((self.high - self.low) / number)
        first, last = math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6)
        return [round(i * step, 12) for i in range(first, last + 1)]


def scale_of(values: Iterable[float], zero: bool = False) -> Scale:
    """A scale that holds the values and ends on round ones; with `zero` it holds 0 too."""
    found = [*values, 0.0] if zero else list(values)
    low, high = min(found), max(found)
    if high - low < 1e-9 * max(abs(high), 1e-6):
        low, high = low - (abs(low) * 0.1 if low else 0.0), high + (abs(high) * 0.1 or 1.0)
    step = _round_step((high - low) / 4)
    return Scale(math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def number(value: float) -> str:
    """A tick's label, without more digits than it needs."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.10g}".replace("-", "−")


def short(name: object, limit: int) -> str:
    """A name that fits where it stands."""
    word = str(name)
    return word if len(word) <= limit else word[: limit - 1] + "…"


def spread(wanted: list[float], gap: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart: labels of lines that end close together."""
    placed = list(wanted)
    for before, this in pairwise(sorted(range(len(wanted)), key=wanted.__getitem__)):
        placed[this] = max(placed[this], placed[before] + gap)
    shift = sum(p - w for p, w in zip(placed, wanted, strict=True)) / max(1, len(wanted))
    return [p - shift for p in placed]


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element; `cls` is class, `_` in an attribute's name is `-`, None leaves it out. Children are escaped."""
    shown = Markup("").join(
        Markup(' {}="{}"').format({"cls": "class"}.get(key, key.replace("_", "-")), value)
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), shown, Markup("").join(escape(c) for c in children))


def text(x: object, y: float, content: object, cls: str | None = None, anchor: str | None = None) -> Markup:
    """A label; its baseline is at y."""
    return tag("text", content, x=x, y=f"{y:g}", cls=cls, text_anchor=anchor)


def clear_places(marks: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Offsets in pixels of the labels of marks (x, y in pixels), such that labels rarely cover marks or one another."""
    offsets: list[tuple[float, float]] = []
    taken = [(x + 3, y + 4) for x, y in marks]
    for x, y in marks:
        tries = [(dx, dy) for dy in (-7, 15, -19, 27) for dx in (10, -17)]
        free = [t for t in tries if all(abs(x + t[0] - a) > 13 or abs(y + t[1] - b) > 10 for a, b in taken)]
        offsets.append((free or tries)[0])
        taken.append((x + offsets[-1][0], y + offsets[-1][1]))
    return offsets


def after(x: str, dx: float, y: float, content: object, cls: str, anchor: str | None = None) -> Markup:
    """A label `dx` pixels right of a place that is given in percent."""
    return tag("svg", text(dx, y, content, cls, anchor), x=x, overflow="visible")


def line(x1: str, y1: float, x2: str, y2: float, cls: str) -> Markup:
    return tag("line", x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", cls=cls)


def upright(x: str, top: float, bottom: float, cls: str) -> Markup:
    return line(x, top, x, bottom, cls)


def rect(
    x: object, y: float, width: object, height: float, cls: str, hover: str | None = None, **more: object
) -> Markup:
    children = () if hover is None else (tag("title", hover),)
    return tag("rect", *children, x=x, y=f"{y:g}", width=width, height=f"{height:g}", cls=cls, **more)


def dot(x: str, y: float, radius: float, cls: str, hover: str | None = None) -> Markup:
    children = () if hover is None else (tag("title", hover),)
    return tag("circle", *children, cx=x, cy=f"{y:.1f}", r=f"{radius:g}", cls=cls)


def polyline(points: list[tuple[float, float]], height: float, cls: str) -> Markup:
    """A line through (x in percent, y in pixels); nested so that it stretches and its stroke does not."""
    path = tag("path", d="M" + "L".join(f"{x:.2f} {y:.1f}" for x, y in points), cls=cls)
    box = {"viewBox": f"0 0 100 {height:g}", "preserveAspectRatio": "none"}
    return tag("svg", path, width="100%", height=f"{height:g}", overflow="visible", **box)


def beside(scale: Scale, value: float, y: float, label: str, cls: str) -> Markup:
    """A label at a value, turned inwards where it would leave the plot."""
    share = scale.share(value)
    return text(scale.x(value), y, label, cls, "start" if share < 0.2 else "end" if share > 0.8 else "middle")


def whisker(scale: Scale, low: float, high: float, y: float) -> list[Markup]:
    """An interval with its ends."""
    ends = [upright(scale.x(value), y - 5, y + 5, "whisker") for value in (low, high)]
    return [line(scale.x(low), y, scale.x(high), y, "whisker"), *ends]


def across_axis(scale: Scale, height: float, wanted: int = 4, rules: bool = True, word: str = "") -> list[Markup]:
    """Values along the bottom, `word` before the first, with rules up from them."""
    ticks = scale.ticks(wanted)
    marks = [upright(scale.x(tick), 0, height, "rule") for tick in ticks] if rules else []
    labels = [f"{word if i == 0 else ''}{number(tick)}" for i, tick in enumerate(ticks)]
    return marks + [
        text(scale.x(t), height + 15, told, "muted", "middle") for t, told in zip(ticks, labels, strict=True)
    ]


def up_axis(scale: Scale, height: float) -> list[Markup]:
    """Values along the left, with rules across from them."""
    found: list[Markup] = []
    for tick in scale.ticks():
        y = scale.y(tick, height)
        found += [line("0", y, "100%", y, "rule"), text("-6", y + 4, number(tick), "muted", "end")]
    return found


def plot(
    title: str, description: str, height: float, body: Iterable[Markup], padding: tuple[int, int, int, int]
) -> Markup:
    """The picture, as wide as the page lets it be; padding (top, right, bottom, left) in pixels holds the labels."""
    svg = tag(
        "svg", tag("title", title), tag("desc", description), *body,
        role="img", width="100%", height=f"{height:g}", xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip
    return tag("div", svg, cls="plot", style="padding:" + " ".join(f"{side}px" for side in padding))
