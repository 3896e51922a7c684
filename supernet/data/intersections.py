"""Intersections of sensitive attributes (Kearns et al., ICML 2018, on gaps that show only there) as one more attribute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from supernet.data.grouped import UNKNOWN, GroupedData
from supernet.errors import UserError

JOIN = " × "


def with_intersections(data: GroupedData) -> GroupedData:
    """The data with the combinations of all its attributes as one more attribute, the last, as `joined` says."""
    splits = {split: getattr(data, split) for split in ("train", "val", "test")}
    attributes, group_NA, notes = joined(data.attributes, {split: part.group_NA for split, part in splits.items()})
    parts = {split: replace(part, group_NA=group_NA[split]) for split, part in splits.items()}
    return replace(data, **parts, attributes=attributes, notes=(*data.notes, *notes))


def joined(
    attributes: Mapping[str, tuple[str, ...]], group_NA: Mapping[str, np.ndarray]
) -> tuple[dict[str, tuple[str, ...]], dict[str, np.ndarray], tuple[str, ...]]:
    """(attributes, (N, A + 1) groups by split, notes), with the combinations of all attributes as one more.

    Combinations that no image has are left out; a sample with any attribute unknown is unknown there too. Notes say which
    combinations a split has nobody of. Raises UserError where there is a single attribute.
    """
    if len(attributes) < 2:
        raise UserError("--intersections needs two attributes or more: name them with --group-cols.")
    name = JOIN.join(attributes)
    combinations = [JOIN.join(groups) for groups in product(*attributes.values())]
    codes = {split: _codes(own, [len(groups) for groups in attributes.values()]) for split, own in group_NA.items()}
    present = np.unique(np.concatenate(list(codes.values())))
    present = present[present != UNKNOWN]
    if len(present) < 2:
        raise UserError(f"--intersections: the data has fewer than two combinations of {name}.")
    renumbered = np.full(len(combinations) + 1, UNKNOWN)  # the last place is that of −1
    renumbered[present] = np.arange(len(present))
    names = tuple(combinations[code] for code in present)
    notes = _notes(name, names, {split: renumbered[code_N] for split, code_N in codes.items()})
    both = {split: np.column_stack([own, renumbered[codes[split]]]) for split, own in group_NA.items()}
    return {**attributes, name: names}, both, tuple(notes)


def _codes(group_NA: np.ndarray, num_groups_A: list[int]) -> np.ndarray:
    """(N,) place of each sample's combination in itertools.product over the attributes; −1 where one is unknown."""
    code_N = np.ravel_multi_index(tuple(group_NA.clip(0).T), tuple(num_groups_A))
    return np.where((group_NA == UNKNOWN).any(1), UNKNOWN, code_N)


def _notes(name: str, names: tuple[str, ...], code_N: dict[str, np.ndarray]) -> Iterable[str]:
    for split, own_N in code_N.items():
        empty = sorted(set(range(len(names))) - set(own_N.tolist()))
        if empty:
            yield f"No image of {split} is {', '.join(names[code] for code in empty)} ({name}): left out there."
