"""Drawing subsets: stratified, and with chosen group shares. Every draw is a function of its seed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint

from supernet.data.floors import Cells, cells_of, within_bounds
from supernet.data.grouped import Part, rows_to_codes
from supernet.errors import UserError, nearest
from supernet.solver import solve

EDGE = 4e-6  # images: above HiGHS' tolerances of 1e-6, so that "half an image" is inside


class Share(NamedTuple):
    """`share` (0 to 1) of the training images whose attribute `attribute` (a position) is group `group`."""

    attribute: int
    group: int
    share: float


def apportion(weight_M: np.ndarray, total: int) -> np.ndarray:
    """(M,) int64 that sum to `total` in proportion to `weight_M`: the largest remainders get the last places."""
    exact_M = weight_M / weight_M.sum() * total
    count_M = np.floor(exact_M).astype(np.int64)
    rest = total - int(count_M.sum())
    count_M[np.argsort(count_M - exact_M, kind="stable")[:rest]] += 1
    return count_M


def stratified(stratum_N: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted positions of `count` of N items with the proportions of the strata kept to rounding."""
    strata, size_S = np.unique(stratum_N, return_counts=True)
    if count >= len(stratum_N):
        return np.arange(len(stratum_N))
    drawn = [
        rng.permutation(np.flatnonzero(stratum_N == stratum))[:quota]
        for stratum, quota in zip(strata, apportion(size_S, count), strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def draw(part: Part, count: int, rng: np.random.Generator, option: str) -> np.ndarray:
    """Sorted positions of `count` images, stratified by class and groups, at least one of each class and each group.

    Two of each class where there are two and room for them. Raises UserError, which names the option that asked for
    `count`, where that is too few.
    """
    if count >= len(part):
        return np.arange(len(part))
    cells = cells_of(part)

    def complete(total: int) -> bool:
        return not len(_one_each(apportion(cells.size_S, total), cells)[1])

    if not complete(count):
        totals = range(count + 1, len(part) + 1)
        enough = totals[bisect_left(totals, True, key=complete)]
        raise UserError(
            f"{option} {count} is too few for a draw with an image of each class and each group of the data: it takes {enough}."
        )
    return take(cells, _two_each(apportion(cells.size_S, count), cells)[0], rng)


def _one_each(quota_S: np.ndarray, cells: Cells, pool_S: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(the quotas with one image of each class and group, the classes and groups that have none)."""
    return within_bounds(quota_S, cells, np.minimum(cells.image_F, 1), cells.image_F, pool_S)


def _two_each(quota_S: np.ndarray, cells: Cells, pool_S: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The same, and two images of each class where possible."""
    quota_S, unmet = _one_each(quota_S, cells, pool_S)
    two_F = np.minimum(cells.image_F, np.where(cells.is_class_F, 2, 1))
    return within_bounds(quota_S, cells, two_F, cells.image_F, pool_S)[0], unmet


def take(cells: Cells, quota_S: np.ndarray, rng: np.random.Generator, pool_S: np.ndarray | None = None) -> np.ndarray:
    """Sorted positions: so many images of each cell, at random, pool by pool."""
    pool_S = np.zeros(len(quota_S), dtype=np.int64) if pool_S is None else pool_S
    drawn = [np.zeros(0, dtype=np.int64)]
    for pool in np.unique(pool_S):
        own = np.flatnonzero(pool_S == pool)
        whole = (quota_S == cells.size_S)[own].all()  # nothing random then
        for cell in own:
            members = np.flatnonzero(cells.cell_N == cell)
            drawn.append(members if whole else rng.permutation(members)[: quota_S[cell]])
    return np.sort(np.concatenate(drawn))


def parse_mix(text: str, attributes: dict[str, tuple[str, ...]]) -> tuple[Share, ...]:
    """`student=0.05` or, with several attributes, `sex:female=0.3,age:young=50%`. Raises UserError if it is neither."""
    names, shares = list(attributes), []
    for item in text.split(","):
        left, equals, right = (piece.strip() for piece in item.rpartition("="))
        if not equals or not left:
            raise UserError(f'Group mix "{item.strip()}" is not of the form group=share, such as student=0.05.')
        share = _share(right, item)
        attribute, colon, group = left.partition(":")
        if not colon:
            attribute, group = "", left
        owners = [name for name in names if group in attributes[name]] if not attribute else [attribute]
        if attribute and attribute not in attributes:
            raise UserError(f'Unknown attribute "{attribute}" in the group mix.{nearest(attribute, names)}')
        if len(owners) > 1:
            raise UserError(f'Group "{group}" belongs to {" and ".join(owners)}: write {owners[0]}:{group}={right}.')
        known = attributes[owners[0]] if owners else [group for name in names for group in attributes[name]]
        if group not in known:
            raise UserError(f'Unknown group "{group}" in the group mix.{nearest(group, known)}')
        shares.append(Share(names.index(owners[0]), attributes[owners[0]].index(group), share))
    _check_sums(shares, attributes)
    return tuple(shares)


def _share(text: str, item: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise UserError(f'Group mix "{item.strip()}": the share must be above 0 and below 1.')
    return share


def _check_sums(shares: Sequence[Share], attributes: dict[str, tuple[str, ...]]) -> None:
    for position, (attribute, groups) in enumerate(attributes.items()):
        own = [share for share in shares if share.attribute == position]
        if len({share.group for share in own}) < len(own):
            raise UserError(f'The group mix names a group of "{attribute}" twice.')
        total, all_named = sum(share.share for share in own), len(own) == len(groups)
        if (all_named and abs(total - 1) > 1e-6) or (own and not all_named and total >= 1 - 1e-6):
            must = "must be 1" if all_named else "must stay below 1, something is due to the other groups"
            raise UserError(f'The shares of "{attribute}" sum to {total:g}: the sum {must}.')


def draw_mix(part: Part, shares: Sequence[Share], most: int | None, seed: int) -> np.ndarray:
    """Sorted positions of the largest subset (of at most `most`) in which every share holds to rounding.

    |count(group) − share · size| ≤ ½ for each share: an integer programme over the combinations of the named
    attributes. Of the largest subsets it takes the one nearest to the part's own proportions otherwise; inside a
    combination the draw is stratified by class and by the other groups, and keeps at least one image of each. Images whose group is unknown in a named
    attribute are left out. Raises UserError where no subset has these shares.
    """
    rng = np.random.default_rng(seed)
    named = sorted({share.attribute for share in shares})
    known = np.flatnonzero((part.group_NA[:, named] >= 0).all(axis=1))
    if not len(known):
        raise UserError("No training image has a known group in every attribute of the group mix.")
    cell_N, group_XA = rows_to_codes(part.group_NA[known][:, named]), np.unique(part.group_NA[known][:, named], axis=0)
    inside = np.array([group_XA[:, named.index(share.attribute)] == share.group for share in shares], dtype=float)
    groups_TX = np.concatenate([inside, *(group_X == np.unique(group_X)[:, None] for group_X in group_XA.T)])
    count_X = _counts(np.bincount(cell_N), inside, np.array([share.share for share in shares]), groups_TX, most)
    cells = cells_of(part.take(known))
    pool_S = np.zeros(len(cells.size_S), dtype=np.int64)  # a cell lies in one combination
    pool_S[cells.cell_N] = cell_N
    quota_S = np.zeros_like(cells.size_S)
    for pool, count in enumerate(count_X):
        quota_S[pool_S == pool] = apportion(cells.size_S[pool_S == pool], int(count))
    quota_S, unmet = _two_each(quota_S, cells, pool_S)
    if len(unmet) or len(np.setdiff1d(part.label_N, part.label_N[known])):
        raise UserError(
            "The group mix leaves no image of some class or group: it draws only images with known groups, so many of each as "
            "the shares allow. Ask for less extreme shares or a larger --max-train."
        )
    return known[take(cells, quota_S, rng, pool_S)]


def _counts(
    size_X: np.ndarray, inside_MX: np.ndarray, share_M: np.ndarray, groups_TX: np.ndarray, most: int | None
) -> np.ndarray:
    """(X,) images to draw of each of X combinations: largest sum first, then nearest to proportional.

    inside_MX: the combinations that each of M shares is of; groups_TX: those of each group, none of which may become empty.
    """
    X, M = len(size_X), len(share_M)
    limit = int(size_X.sum()) if most is None else min(most, int(size_X.sum()))
    # Variables: X counts, the size, X distances from the wanted count.
    eye, zero = np.eye(X), np.zeros((X, 1))
    some = LinearConstraint(np.block([groups_TX, np.zeros((len(groups_TX), 1 + X))]), 1, np.inf)
    rules = [
        some,
        LinearConstraint(np.block([np.ones((1, X)), -np.ones((1, 1)), np.zeros((1, X))]), 0, 0),
        LinearConstraint(np.block([inside_MX, -share_M[:, None], np.zeros((M, X))]), -0.5 - EDGE / 2, 0.5 + EDGE / 2),
    ]
    upper = np.concatenate([size_X, [limit], np.full(X, np.inf)])
    integral = np.concatenate([np.ones(X + 1), np.zeros(X)])
    goal = np.concatenate([np.zeros(X), [-1.0], np.zeros(X)])
    best = solve(goal, rules, Bounds(0, upper), integral)
    if best is None:
        raise UserError("No subset of the training images has the shares of the group mix: ask for less extreme ones.")
    total = round(best[X])
    wanted_X = total * _proportions(size_X, inside_MX, share_M)
    # With the size known the bounds are whole numbers, so a count on its edge is not a question of the solver's tolerance.
    least_M, most_M = np.ceil(share_M * total - 0.5 - EDGE), np.floor(share_M * total + 0.5 + EDGE)
    rules = [
        some,
        LinearConstraint(np.block([np.ones((1, X)), np.zeros((1, 1 + X))]), total, total),
        LinearConstraint(np.block([inside_MX, np.zeros((M, 1 + X))]), least_M, most_M),
        LinearConstraint(np.block([eye, zero, -eye]), -np.inf, wanted_X),
        LinearConstraint(np.block([-eye, zero, -eye]), -np.inf, -wanted_X),
    ]
    lower = np.concatenate([np.zeros(X), [total], np.zeros(X)])
    goal = np.concatenate([np.zeros(X + 1), np.ones(X)])
    near = solve(goal, rules, Bounds(lower, upper), integral)
    assert near is not None, "the first programme's solution satisfies the second"
    return np.rint(near[:X]).astype(np.int64)


def _proportions(size_X: np.ndarray, inside_MX: np.ndarray, share_M: np.ndarray, rounds: int = 50) -> np.ndarray:
    """(X,) proportions with the wanted shares that keep the combinations' odds (raking: Deming & Stephan, 1940)."""
    weight_X = size_X / size_X.sum()
    for _ in range(rounds):
        for inside_X, share in zip(inside_MX.astype(bool), share_M, strict=True):
            now = weight_X[inside_X].sum()
            if 0 < now < 1:
                weight_X = weight_X * np.where(inside_X, share / now, (1 - share) / (1 - now))
    return weight_X
