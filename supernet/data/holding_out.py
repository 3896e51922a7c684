"""Splits that the user did not give: held out of train, in the same way whatever the seed of the run."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from supernet.data.drawing import apportion, take
from supernet.data.floors import cells_of, within_bounds
from supernet.data.grouped import UNKNOWN, Part
from supernet.errors import UserError


def hold_out(
    part: Part, share: float, seed: int, later: int = 0, copy_N: np.ndarray | None = None
) -> tuple[Part, Part]:
    """(what stays, what is held out): `share` of the images, stratified by class and groups.

    Two images of each class stay where there are two, and one of each group; one of each class and group is held out
    where there are more, and as many are left for the splits that are held out `later`. More than `share` is held out
    where that needs more. Images with equal copy_N are the same picture and stay together. Where clusters are known,
    whole clusters are held out, so that no person or writer is on both sides. Raises UserError where that cannot be.
    """
    if copy_N is None:
        copy_N = np.arange(len(part))
    if part.cluster_N is None:
        first = np.sort(np.unique(copy_N, return_index=True)[1])
        chosen = _held(part.take(first), share, seed, later)
        held = np.flatnonzero(np.isin(copy_N, copy_N[first[chosen]]))
    else:
        held = _held_clusters(part, _joined(part.cluster_N, copy_N), share, seed)
    stays = np.setdiff1d(np.arange(len(part)), held)
    return part.take(stays), part.take(held)


def _held(part: Part, share: float, seed: int, later: int) -> np.ndarray:
    cells = cells_of(part)
    is_class_F, images_F = cells.is_class_F, cells.image_F
    # What must be: train has each class, and every split each group. What should be: two of a class stay, one is held.
    must_least_F = np.where(is_class_F, 0, np.minimum(images_F, 1))
    must_most_F = np.maximum(images_F - np.where(is_class_F, 1, 1 + later), 0)
    least_F = np.where(is_class_F, images_F >= 3, must_least_F).astype(np.int64)
    most_F = np.where(is_class_F, np.maximum(images_F - 2 - later, least_F), must_most_F)
    usual = round(len(part) * share)
    enough = max(usual, int(least_F[is_class_F].sum()), 1)
    for count in (usual, enough, min(2 * enough, len(part) - 1)):
        quota_S, broken = within_bounds(apportion(cells.size_S, count), cells, must_least_F, must_most_F)
        quota_S, unmet = within_bounds(quota_S, cells, least_F, most_F)
        if not len(unmet):
            break
    if len(broken):
        raise UserError(
            f"Too few images to hold out a split of train: it takes {2 + later} images of each group, besides those of "
            'classes with a single image. Give the splits yourself, or write "unknown" for a rare group.'
        )
    return take(cells, quota_S, np.random.default_rng(seed))


def _joined(cluster_N: np.ndarray, copy_N: np.ndarray) -> np.ndarray:
    """(N,) codes: clusters that share a picture are one."""
    cluster_N, copy_N = np.unique(cluster_N, return_inverse=True)[1], np.unique(copy_N, return_inverse=True)[1]
    if copy_N.max() + 1 == len(copy_N):
        return cluster_N
    clusters = int(cluster_N.max()) + 1
    nodes = clusters + int(copy_N.max()) + 1
    links = coo_array((np.ones(len(cluster_N)), (cluster_N, clusters + copy_N)), shape=(nodes, nodes))
    return connected_components(links, directed=False)[1][cluster_N]


def _held_clusters(part: Part, cluster_N: np.ndarray, share: float, seed: int) -> np.ndarray:
    folds = StratifiedGroupKFold(round(1 / share), shuffle=True, random_state=seed)
    if len(np.unique(cluster_N)) < folds.get_n_splits():
        raise UserError(f"Too few clusters in train to hold out a split: {folds.get_n_splits()} are needed.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rare cells are as well spread as they can be
        strata = part.cell_N if np.bincount(part.cell_N).max() >= folds.get_n_splits() else np.zeros(len(part))
        held = min((held for _, held in folds.split(strata, strata, cluster_N)), key=lambda held: _missing(part, held))
    if _missing(part, held)[0]:
        raise UserError(
            "No split of whole clusters can be held out that leaves each class in train and each group on both sides: a class or a "
            'group has too few clusters. Give the splits yourself, or write "unknown" for a rare group.'
        )
    return held


def _missing(part: Part, held: np.ndarray) -> tuple[int, int]:
    """(classes that train would lack and groups that a side would lack, classes that the held-out split would lack)."""
    stays = np.setdiff1d(np.arange(len(part)), held)

    def lacking(values_N: np.ndarray, side: np.ndarray) -> int:
        return len(np.setdiff1d(values_N, [UNKNOWN, *values_N[side]]))

    groups = sum(lacking(column, side) for column in part.group_NA.T for side in (stays, held))
    return lacking(part.label_N, stays) + groups, lacking(part.label_N, held)
