"""Fronts and their hypervolume. Shapes: N points, M objectives, all to be minimised."""

from __future__ import annotations

import numpy as np


def non_dominated(objective_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: rows that no other row dominates (as good in every objective, better in one). Equal rows all stay."""
    keep_N = np.ones(len(objective_NM), dtype=bool)
    for n, row_M in enumerate(objective_NM):
        if keep_N[n]:
            keep_N &= ~((row_M <= objective_NM).all(axis=1) & (row_M < objective_NM).any(axis=1))
    return keep_N


def hypervolume(objective_NM: np.ndarray, reference_M: np.ndarray) -> float:
    """Volume between the points and the reference that is dominated by any of them (Zitzler & Thiele, 1998), exactly.

    By slicing along the last objective; meant for fronts of some hundred points in two or three objectives. Points
    that are not better than the reference in every objective add nothing.
    """
    point_NM = objective_NM[(objective_NM < reference_M).all(axis=1)]
    if not len(point_NM):
        return 0.0
    if point_NM.shape[1] == 1:
        return float(reference_M[0] - point_NM.min())
    point_NM = point_NM[non_dominated(point_NM)]
    point_NM = point_NM[point_NM[:, -1].argsort()]
    height_N = np.diff(np.append(point_NM[:, -1], reference_M[-1]))
    return sum(
        float(height) * hypervolume(point_NM[: n + 1, :-1], reference_M[:-1])
        for n, height in enumerate(height_N)
        if height > 0
    )
