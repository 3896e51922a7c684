"""Draws docs/quality.svg: regret by cost on `micro32`, and by queries on NAS-Bench-201.

python benchmarks/plot_quality.py
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nb201_regret import RIVALS
from results_io import read_records
from search_quality import curve
from truth_table import Truth

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, MARGIN = 420, 300, 48
Line = list[tuple[float, float]]


def axes(title: str, left: int, x: tuple[float, float], top: float, x_ticks: list[float], labels: tuple[str, str]) -> Iterator[str]:  # fmt: skip
    """A frame with a logarithmic axis to the right and a linear one from 0 upwards."""
    x0, y0, x1, y1 = left + MARGIN, HEIGHT - MARGIN, left + WIDTH - 16, 32
    yield f'<path d="M{x0} {y1}V{y0}H{x1}" class="axis"/><text x="{x0}" y="20" class="title">{title}</text>'
    for tick in x_ticks:
        yield f'<text x="{place(tick, 0, left, x, top)[0]:.0f}" y="{y0 + 15}" text-anchor="middle">{tick:g}</text>'
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10) if top / s <= 6)
    for n in range(int(top / step) + 1):
        yield f'<text x="{x0 - 6}" y="{place(x[0], n * step, left, x, top)[1] + 4:.0f}" text-anchor="end">{n * step:.3g}</text>'
    yield f'<text x="{(x0 + x1) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{labels[0]}</text>'
    yield f'<text transform="translate({left + 14} {(y0 + y1) / 2:.0f}) rotate(-90)" text-anchor="middle">{labels[1]}</text>'


def place(x: float, y: float, left: int, span: tuple[float, float], top: float) -> tuple[float, float]:
    share = (math.log(x) - math.log(span[0])) / (math.log(span[1]) - math.log(span[0]))
    return left + MARGIN + share * (WIDTH - MARGIN - 16), HEIGHT - MARGIN - min(y / top, 1) * (HEIGHT - MARGIN - 32)


def drawn(number: int, name: str, line: Line, left: int, span: tuple[float, float], top: float) -> Iterator[str]:
    points = " ".join("{:.1f},{:.1f}".format(*place(x, y, left, span, top)) for x, y in line)
    yield f'<polyline points="{points}" class="c{number}"/>'
    yield f'<text x="{left + WIDTH - 120}" y="{44 + 15 * number}" class="l{number}">{name}</text>'


def micro(records: list[dict[str, Any]]) -> Iterator[str]:
    """Mean regret of error + gap by the CPU seconds that were paid."""
    name, truth = "regret_total_without_luck", Truth.load()
    ours = [r for r in records if r["strategy"] == "differentiable"]
    lines: list[Line] = []
    for strategy in RIVALS:
        rows = [r for r in records if r["strategy"] == strategy and "picks" in r]
        lines.append([(after["seconds"], after[name]) for after in curve(truth, rows, strategy).values()])
    values = np.array([r[name] for r in ours])
    seconds, error = float(np.mean([r["seconds"] for r in ours])), 2 * values.std(ddof=1) / math.sqrt(len(values))
    span, top = (7.0, 1000.0), 8.0
    yield from axes("micro32: regret by cost", 0, span, top, [10, 30, 100, 300, 1000], ("CPU seconds", "error + gap above the oracle's, points"))  # fmt: skip
    for number, (strategy, line) in enumerate(zip(RIVALS, lines, strict=True)):
        yield from drawn(number, strategy, line, 0, span, top)
    (x, y), (_, low), (_, high) = (place(seconds, v, 0, span, top) for v in (values.mean(), values.mean() - error, values.mean() + error))  # fmt: skip
    yield f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" class="ours"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    yield f'<text x="{WIDTH - 120}" y="{44 + 15 * len(RIVALS)}" class="title">● differentiable</text>'


def nb201(records: list[dict[str, Any]]) -> Iterator[str]:
    """Mean regret in CIFAR-100 test accuracy by queries."""
    rows = [r for r in records if r.get("space") == "nb201"]
    if not rows:
        return
    span, top = (10.0, 100.0), 5.0
    yield from axes("NAS-Bench-201, CIFAR-100: regret by queries", WIDTH, span, top, [10, 25, 50, 100], ("queries", "accuracy below the oracle's, points"))  # fmt: skip
    for number, strategy in enumerate(RIVALS):
        own = [r["regret"] for r in rows if r["strategy"] == strategy]
        line = [(int(n), float(np.mean([r[n] for r in own]))) for n in own[0]]
        yield from drawn(number, strategy, line, WIDTH, span, top)


def main() -> None:
    records = read_records("search_quality")
    colours = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")
    style = (
        "text{font:11px sans-serif;fill:#666}.title{font-size:12px;font-weight:600}.axis{fill:none;stroke:#888}"
        "polyline{fill:none;stroke-width:1.5}.ours{stroke:#888;stroke-width:2}circle{fill:#888}"
        + "".join(f".c{n}{{stroke:{c}}}.l{n}{{fill:{c}}}" for n, c in enumerate(colours))
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}"><style>{style}</style>'
    out = HERE.parent / "docs" / "quality.svg"
    out.write_text("\n".join([head, *micro(records), *nb201(records), "</svg>"]) + "\n")
    print(out)


if __name__ == "__main__":
    main()
