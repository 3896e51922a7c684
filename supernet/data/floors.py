"""A draw that keeps rare classes and groups: quotas of cells, repaired by as few moves as it takes.

S cells (combinations of class and groups), M = 1 + A owners of a cell (its class, its group in each attribute), F owners
in all. A bound is on the images drawn of one owner.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from supernet.data.grouped import UNKNOWN, Part


class Cells(NamedTuple):
    """cell_N (N,) of each image; size_S; owner_SM (index into F, the last of them for an unknown group); image_F, the
    images of each owner; num_classes (the first owners). The last owner has no bounds."""

    cell_N: np.ndarray
    size_S: np.ndarray
    owner_SM: np.ndarray
    image_F: np.ndarray
    num_classes: int

    @property
    def is_class_F(self) -> np.ndarray:
        """(F,) bool: the owner is a class, not a group."""
        return np.arange(len(self.image_F)) < self.num_classes


def cells_of(part: Part) -> Cells:
    """The cells of a split and their owners; classes and groups that the split does not have get no owner's images."""
    rows_SM, cell_N, size_S = np.unique(
        np.column_stack([part.label_N, part.group_NA]), axis=0, return_inverse=True, return_counts=True
    )
    cell_N = cell_N.reshape(-1)
    start, owner_SM = 0, np.empty_like(rows_SM)
    for column, codes_S in enumerate(rows_SM.T):
        owner_SM[:, column] = np.where(codes_S == UNKNOWN, UNKNOWN, codes_S + start)
        start += int(codes_S.max(initial=0)) + 1
    owner_SM[owner_SM == UNKNOWN] = start
    image_F = _per_owner(size_S, owner_SM, start + 1)
    return Cells(cell_N, size_S, owner_SM, image_F, int(rows_SM[:, 0].max()) + 1)


def within_bounds(
    quota_S: np.ndarray, cells: Cells, least_F: np.ndarray, most_F: np.ndarray, pool_S: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(quotas of the same sum with least_F ≤ images drawn of each owner ≤ most_F, the owners whose bounds do not hold).

    One image at a time goes from one cell to another of the same pool (None: all are one), as long as no bound that
    holds is broken: from the cell with most drawn to that with most left. Quotas within all bounds stay as they are.
    """
    quota_S, pool_S = quota_S.copy(), np.zeros(len(quota_S), int) if pool_S is None else pool_S
    least_F, most_F = least_F.copy(), most_F.copy()
    least_F[-1], most_F[-1] = 0, np.iinfo(np.int64).max  # unknown groups
    drawn_F = _per_owner(quota_S, cells.owner_SM, len(least_F))
    for owner in np.flatnonzero((drawn_F < least_F) | (drawn_F > most_F)):
        own_S = (cells.owner_SM == owner).any(axis=1)
        while not least_F[owner] <= drawn_F[owner] <= most_F[owner]:
            gains_S = own_S if drawn_F[owner] < least_F[owner] else ~own_S
            move = _move(quota_S, cells, drawn_F, least_F, most_F, pool_S, gains_S)
            if move is None:
                break
            quota_S[list(move)] += (1, -1)
            drawn_F = _per_owner(quota_S, cells.owner_SM, len(least_F))
    return quota_S, np.flatnonzero((drawn_F < least_F) | (drawn_F > most_F))


def _move(
    quota_S: np.ndarray, cells: Cells, drawn_F: np.ndarray, least_F: np.ndarray, most_F: np.ndarray,
    pool_S: np.ndarray, gains_S: np.ndarray,
) -> tuple[int, int] | None:  # fmt: skip
    """(cell of gains_S that gets one more, other cell that gets one less), or None where there is no such pair."""
    owner_SM, room_S = cells.owner_SM, cells.size_S - quota_S
    spare_SM = drawn_F[owner_SM] - 1 >= least_F[owner_SM]
    for taker in np.argsort(-room_S, kind="stable"):
        if not gains_S[taker] or not room_S[taker]:
            continue
        same_SM = owner_SM == owner_SM[taker]
        allowed_M = drawn_F[owner_SM[taker]] + 1 <= most_F[owner_SM[taker]]
        may_S = ~gains_S & (quota_S > 0) & (pool_S == pool_S[taker])
        may_S &= (same_SM | (spare_SM & allowed_M)).all(axis=1)
        if may_S.any():
            return int(taker), int(np.argmax(np.where(may_S, quota_S, -1)))
    return None


def _per_owner(count_S: np.ndarray, owner_SM: np.ndarray, owners: int) -> np.ndarray:
    """(F,) sums of the cells' counts."""
    repeated_SM = np.repeat(count_S[:, None], owner_SM.shape[1], axis=1)
    return np.bincount(owner_SM.reshape(-1), repeated_SM.reshape(-1), owners).astype(np.int64)
