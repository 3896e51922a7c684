"""How far a table's sum is from whole networks measured in the same rounds, told on networks left out of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

WORST_SPEARMAN, WORST_MAPE = 0.9, 0.10  # a table that did worse on held-out networks needs the user's consent


def is_poor(validation: dict[str, Any]) -> bool:
    """The one gate: whether a table's `validation` is too bad to be used without the user's consent."""
    return bool(validation["spearman"] < WORST_SPEARMAN or validation["mape"] > WORST_MAPE)


def fit(sum_n: np.ndarray, measured_n: np.ndarray, base_ms: float = np.inf) -> tuple[float, float]:
    """(scale, offset_ms) with the least squared relative error of scale · sum + offset_ms.

    The offset is 0 where it would be fitted to fewer than 4 networks, would make the scale negative, or would predict no
    time at all for `base_ms`, which every network's sum contains.
    """
    if len(sum_n) >= 4:
        design = np.stack([sum_n, np.ones_like(sum_n)], axis=1) / measured_n[:, None]
        (scale, offset_ms), *_ = np.linalg.lstsq(design, np.ones_like(sum_n), rcond=None)
        if scale > 0 and scale * base_ms + offset_ms > 0:
            return float(scale), float(offset_ms)
    ratio_n = sum_n / measured_n
    return float(ratio_n.sum() / (ratio_n**2).sum()), 0.0


def errors(predicted_n: np.ndarray, measured_n: np.ndarray) -> dict[str, float]:
    """Mean and largest relative error, and Spearman's rank correlation (0 where it is undefined)."""
    relative_n = np.abs(predicted_n / measured_n - 1)
    return {
        "mape": float(relative_n.mean()),
        "max_error": float(relative_n.max()),
        "spearman": _spearman(predicted_n, measured_n),
    }


def validate(sums_ms: Sequence[float], measured_ms: Sequence[float], base_ms: float = np.inf) -> dict[str, Any] | None:
    """The table's `validation`: each network is predicted by the fit to all others. None for fewer than 3 networks.

    `scale` and `offset_ms` are those of the fit to all; `pairs` holds [predicted, measured] for a plot.
    """
    sum_n, measured_n = np.asarray(sums_ms, float), np.asarray(measured_ms, float)
    if len(sum_n) < 3:
        return None
    predicted_n = np.empty_like(sum_n)
    for left_out in range(len(sum_n)):
        others = np.arange(len(sum_n)) != left_out
        scale, offset_ms = fit(sum_n[others], measured_n[others], base_ms)
        predicted_n[left_out] = scale * sum_n[left_out] + offset_ms
    scale, offset_ms = fit(sum_n, measured_n, base_ms)
    pairs = [[round(float(p), 6), round(float(m), 6)] for p, m in zip(predicted_n, measured_n, strict=True)]
    return {"n": len(sum_n), "scale": scale, "offset_ms": offset_ms, **errors(predicted_n, measured_n), "pairs": pairs}


def _spearman(a_n: np.ndarray, b_n: np.ndarray) -> float:
    ranks = [np.unique(x, return_inverse=True)[1] for x in (a_n, b_n)]
    if any(rank.max() == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef([_mean_ranks(x) for x in (a_n, b_n)])[0, 1])


def _mean_ranks(x_n: np.ndarray) -> np.ndarray:
    return (x_n[:, None] > x_n).sum(axis=1) + (x_n[:, None] == x_n).sum(axis=1) / 2
