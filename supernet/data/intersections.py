"""Intersections of sensitive attributes (Kearns et al., ICML 2018, on gaps that show only there) as one more attribute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np

from supernet.data.grouped import UNKNOWN, GroupedData, Split
from supernet.errors import UserError

JOIN = " × "


def with_intersections(data: GroupedData) -> GroupedData:
    """The data with the combinations of all its attributes as one more attribute, the last.

    Combinations that no image has are left out; a sample with any attribute unknown is unknown there too. Notes say which
    combinations a split has nobody of. Raises UserError where there is a single attribute.
    """
    if len(data.attributes) < 2:
        raise UserError("--intersections needs two attributes or more: name them with --group-cols.")
    name = JOIN.join(data.attributes)
    combinations = [JOIN.join(groups) for groups in product(*data.attributes.values())]
    splits = {split: getattr(data, split) for split in ("train", "val", "test")}
    codes = {
        split: _codes(part, [len(groups) for groups in data.attributes.values()]) for split, part in splits.items()
    }
    present = np.unique(np.concatenate(list(codes.values())))
    present = present[present != UNKNOWN]
    if len(present) < 2:
        raise UserError(f"--intersections: the data has fewer than two combinations of {name}.")
    renumbered = np.full(len(combinations) + 1, UNKNOWN)  # the last place is that of −1
    renumbered[present] = np.arange(len(present))
    joined = {
        split: replace(part, group_NA=np.column_stack([part.group_NA, renumbered[codes[split]]]))
        for split, part in splits.items()
    }
    names = tuple(combinations[code] for code in present)
    notes = _notes(name, names, {split: part.group_NA[:, -1] for split, part in joined.items()})
    return replace(data, **joined, attributes={**data.attributes, name: names}, notes=(*data.notes, *notes))


def _codes(part: Split, num_groups_A: list[int]) -> np.ndarray:
    """(N,) place of each sample's combination in itertools.product over the attributes; −1 where one is unknown."""
    code_N = np.ravel_multi_index(tuple(part.group_NA.clip(0).T), tuple(num_groups_A))
    return np.where((part.group_NA == UNKNOWN).any(1), UNKNOWN, code_N)


def _notes(name: str, names: tuple[str, ...], code_N: dict[str, np.ndarray]) -> Iterable[str]:
    for split, own_N in code_N.items():
        empty = sorted(set(range(len(names))) - set(own_N.tolist()))
        if empty:
            yield f"No image of {split} is {', '.join(names[code] for code in empty)} ({name}): left out there."
