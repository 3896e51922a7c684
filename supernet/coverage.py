"""Which classes and group × class held-out images have, of those that search-train has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from supernet.data import GroupedData, Split
from supernet.errors import UserError

RARE, NAMED = 0.25, 5


class Cell(NamedTuple):
    """A class, or a group × class: its images in the split (clusters, where these are known), positions in search-train."""

    name: str
    owners: int
    train_M: np.ndarray


def coverage(data: GroupedData, split: Split) -> Iterator[Cell]:
    """Each class, and each group × class of a class that the split has."""
    owner_N = np.arange(len(split)) if split.cluster_N is None else split.cluster_N
    for label, name in enumerate(data.classes):
        here_N, there_N = (part.label_N == label for part in (split, data.train))
        yield Cell(f'"{name}"', len(np.unique(owner_N[here_N])), np.flatnonzero(there_N))
        for column, groups in enumerate(data.attributes.values()) if here_N.any() else ():
            for group, told in enumerate(groups):
                own_N = here_N & (split.group_NA[:, column] == group)
                positions_M = np.flatnonzero(there_N & (data.train.group_NA[:, column] == group))
                yield Cell(f'"{name}" with group "{told}"', len(np.unique(owner_N[own_N])), positions_M)


def check_coverage(data: GroupedData, split: Split) -> None:
    """Raises UserError that names the classes and group × class which search-train has and the split lacks."""
    lacking = [cell.name for cell in coverage(data, split) if cell.train_M.size and not cell.owners]
    if lacking:
        raise UserError(
            f"--refit-classifier: search-val has no image of {named(lacking)}, which the fit would unlearn. Put some into val, or leave the "
            f"option out."
        )


def advice(data: GroupedData) -> list[str]:
    """A line for each group that is rare in search-train and at least twice as frequent in search-val."""
    lines = []
    for column, (attribute, groups) in enumerate(data.attributes.items()):
        for code, group in enumerate(groups):
            train, val = (float((split.group_NA[:, column] == code).mean()) for split in (data.train, data.val))
            if 0 < train < RARE and val >= 2 * train:
                lines.append(
                    f'"{group}" ({attribute}) is {train:.0%} of search-train and {val:.0%} of search-val: --refit-classifier or '
                    f"--train-on-val would let the network learn from these images, too (docs/fairness.md)."
                )
    return lines


def named(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
