"""How a measured figure is told: its value and interval, JSON-ready; None where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np

from supernet.intervals import TOO_FEW, Cells, rate_interval

NONE = (np.nan, np.nan)  # the ends where no interval is known, or none was asked for
Figure = dict[str, Any]


def figure(value: float, low: float, high: float) -> Figure:
    """An interval holds its value, whatever rounding did."""
    ends = {"value": value, "low": min(low, value), "high": max(high, value)}
    return {key: float(x) if np.isfinite(x) else None for key, x in ends.items()}


def rates(found: Cells, intervals: bool) -> list[list[Figure]]:
    """A figure of each (G, E) cell; `too_few` where it rests on fewer than 10 images."""
    ends = rate_interval(found)
    rows = []
    for rate_E, size_E, low_E, high_E in zip(found.rate_GE, found.size_GE, *ends, strict=True):
        row = []
        for rate, size, low, high in zip(rate_E, size_E, low_E, high_E, strict=True):
            told = figure(rate, *((low, high) if intervals else NONE))
            row.append(told | ({"too_few": int(size)} if 0 < size < TOO_FEW else {}))
        rows.append(row)
    return rows
