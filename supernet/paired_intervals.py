"""95% intervals of a difference between two networks on the same samples.

Shapes: N samples, U units (samples or clusters).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from supernet.intervals import LEVEL, Array


def paired_rate_interval(a_N: Array, b_N: Array, unit_N: Array, level: float = LEVEL) -> tuple[float, float]:
    """Of mean(a) − mean(b), two 0/1 scores of the same samples: adjusted Wald (Bonett & Price 2012), by design effect in clusters."""
    size = len(a_N)
    ids, unit_N = np.unique(unit_N, return_inverse=True)
    won, lost = float((a_N > b_N).sum()), float((a_N < b_N).sum())
    up, down = (won + 1) / (size + 2), (lost + 1) / (size + 2)
    variance = (up + down - (up - down) ** 2) / (size + 2)
    quantile = float(stats.norm.ppf((1 + level) / 2))
    if len(ids) < size:
        if len(ids) < 2:
            return -1.0, 1.0
        each_N = a_N.astype(float) - b_N
        per_U = np.bincount(unit_N, each_N - each_N.mean())
        plain = each_N.var() / size
        clustered = len(ids) / (len(ids) - 1) * (per_U**2).sum() / size**2
        variance *= max(1.0, clustered / plain) if plain > 0 else size / len(ids)
        quantile = float(stats.t.ppf((1 + level) / 2, len(ids) - 1))
    half = quantile * float(np.sqrt(variance))
    return max(up - down - half, -1.0), min(up - down + half, 1.0)


Estimate = tuple[float, float, float]  # value, low, high


def paired_interval(a: Estimate, b: Estimate, correlation: float) -> tuple[float, float]:
    """Of a − b, each with its own interval, on the same samples (MOVER for correlated estimates: Zou & Donner 2008, eq. 4)."""
    correlation = min(max(correlation if np.isfinite(correlation) else 0.0, -1.0), 0.95)  # 1 would leave no width
    ends = []
    for sign, (near, far) in ((-1, (a[0] - a[1], b[2] - b[0])), (1, (a[2] - a[0], b[0] - b[1]))):
        ends.append(a[0] - b[0] + sign * np.sqrt(max(near**2 + far**2 - 2 * correlation * near * far, 0.0)))
    return float(ends[0]), float(ends[1])
