"""A long-tailed training set: the exponential profile of CIFAR10-LT (Cui et al., "Class-Balanced Loss", CVPR 2019)."""

from __future__ import annotations

import math

import numpy as np

from supernet.data.drawing import stratified
from supernet.data.grouped import Part, rows_to_codes
from supernet.errors import UserError

MOST = 10_000


def parse_long_tail(text: str) -> float:
    """The imbalance factor that e.g. `longtail=100` asks for: images of the first class over those of the last. Raises UserError."""
    name, _, value = (piece.strip() for piece in text.partition("="))
    try:
        factor = float(value)
    except ValueError:
        factor = math.nan
    if name != "longtail" or not 1 < factor <= MOST:
        raise UserError(f'Class mix "{text[:40]}" is not longtail=F with a factor F above 1, at most {MOST:,}, such as longtail=100.')  # fmt: skip
    return factor


def profile(size_C: np.ndarray, factor: float, most: int | None) -> np.ndarray:
    """(C,) images of each class: ⌊n · factor^(−c / (C − 1))⌋ for class c, in the order of the labels, with the largest n that the classes'
    sizes, and `most` images in all, allow. Raises UserError where a class would have none, or there is one class."""
    if len(size_C) < 2:
        raise UserError("--class-mix needs two classes at least.")
    share_C = factor ** (-np.arange(len(size_C)) / (len(size_C) - 1))
    first = float((size_C / share_C).min())
    if most is not None:
        first = min(first, most / float(share_C.sum()))
    count_C = np.floor(first * share_C + 1e-9).astype(np.int64)
    if not count_C.all():
        raise UserError(f"--class-mix longtail={factor:g} leaves no image of the rarest class: take a smaller factor, or more training images.")  # fmt: skip
    return count_C


def draw_long_tail(part: Part, factor: float, most: int | None, seed: int) -> np.ndarray:
    """Sorted positions of the training images of that profile; inside a class stratified by groups. Raises UserError as `profile`, and
    where a group would have no image."""
    rng, size_C = np.random.default_rng(seed), np.bincount(part.label_N)
    chosen = []
    for label, count in enumerate(profile(size_C, factor, most)):
        own = np.flatnonzero(part.label_N == label)
        chosen.append(own[stratified(rows_to_codes(part.group_NA[own]), int(count), rng)])
    drawn = np.sort(np.concatenate(chosen))
    for column_N, kept_N in zip(part.group_NA.T, part.group_NA[drawn].T, strict=True):
        if len(np.setdiff1d(column_N, kept_N)):
            raise UserError(
                "--class-mix leaves no image of some group: take a smaller factor, or more training images."
            )
    return drawn


def long_tail_note(mix: str, label_N: np.ndarray, classes: tuple[str, ...], before: int) -> str:
    """What was drawn, for a person."""
    count_C = np.bincount(label_N, minlength=len(classes))
    return (
        f'Class mix {mix}: {len(label_N):,} of {before:,} training images drawn, from {count_C[0]:,} of "{classes[0]}" to '
        f'{count_C[-1]:,} of "{classes[-1]}". search-val and test stay as they are.'
    )
