"""Draws docs/latency_fidelity.svg: predicted against measured latency of the held-out networks.

python benchmarks/plot_latency_fidelity.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results_io import read_records

HERE = Path(__file__).resolve().parent
SIZE, MARGIN = 300, 48
NAMES = {"ort_fp32": "onnxruntime, float32", "ort_int8": "onnxruntime, int8", "litert": "LiteRT, float32",
         "openvino": "OpenVINO, float32", "executorch": "ExecuTorch, float32"}  # fmt: skip


def panel(title: str, records: list[dict[str, Any]], left: int) -> Iterator[str]:
    """One runtime's points with the diagonal: measured to the right, predicted upwards, both in ms from 0."""
    end = 1.08 * max(max(r["measured_ms"], r["table_ms"]) for r in records)
    span = SIZE - MARGIN - 32

    def at(measured: float, predicted: float) -> tuple[float, float]:
        return left + MARGIN + span * measured / end, SIZE - MARGIN - span * predicted / end

    (x0, y0), (x1, y1) = at(0, 0), at(end, end)
    yield f'<path d="M{x0:.0f} {y1:.0f}V{y0:.0f}H{x1:.0f}" class="axis"/><path d="M{x0:.0f} {y0:.0f}L{x1:.0f} {y1:.0f}" class="diagonal"/>'
    error = sum(abs(r["table_ms"] / r["measured_ms"] - 1) for r in records) / len(records)
    yield f'<text x="{left + MARGIN}" y="20" class="title">{title}: mean error {error:.1%}</text>'
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if end / s <= 6)
    tick = step
    while tick < end:
        x, y = at(tick, tick)
        yield f'<text x="{x:.0f}" y="{y0 + 15:.0f}" text-anchor="middle">{tick:.3g}</text>'
        yield f'<text x="{x0 - 6:.0f}" y="{y + 4:.0f}" text-anchor="end">{tick:.3g}</text>'
        tick += step
    for r in records:
        x, y = at(r["measured_ms"], r["table_ms"])
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    yield f'<text x="{left + MARGIN + span / 2:.0f}" y="{SIZE - 12}" text-anchor="middle">measured, ms</text>'
    y = MARGIN + span / 2
    yield f'<text transform="translate({left + 14} {y:.0f}) rotate(-90)" text-anchor="middle">predicted, ms</text>'


def main() -> None:
    records = read_records("latency_fidelity")
    parts = [part for part in NAMES if any(r["part"] == part for r in records)]
    body = [
        line
        for n, part in enumerate(parts)
        for line in panel(NAMES[part], [r for r in records if r["part"] == part], n * SIZE)
    ]
    style = (
        "text{font:11px sans-serif;fill:#444}.title{font-size:12px;font-weight:600}.axis{fill:none;stroke:#888}"
        ".diagonal{stroke:#888;stroke-dasharray:4 3}circle{fill:#2563eb;fill-opacity:.6}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}circle{fill:#7aa7ff}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE * len(parts)} {SIZE}"><style>{style}</style>'
    out = HERE.parent / "docs" / "latency_fidelity.svg"
    out.write_text("\n".join([head, *body, "</svg>", ""]), encoding="utf-8")
    print(out.name)


if __name__ == "__main__":
    main()
