"""Pictures with labels and groups that a trained model is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from supernet.data.by_class import ATTRIBUTE, with_class_groups
from supernet.data.grouped import UNKNOWN, Columns, Part, Source
from supernet.data.sources import read_source
from supernet.errors import UserError


@dataclass(frozen=True, eq=False)
class Labelled:
    """`part`: not yet decoded, labels by the model's classes. `split`: its name, "all" where the data has no splits.
    `attributes`: names of the groups of part.group_NA. `source` is the data of that part alone, with its own classes."""

    source: Source
    split: str
    part: Part
    attributes: dict[str, tuple[str, ...]]


def read_labelled(spec: str, columns: Columns, classes: Sequence[str], split: str | None = None) -> Labelled:
    """The split of that name; without one the test split, or all rows of data without splits.

    An attribute without two groups to compare is left out. Raises UserError where the data has no such split, or a label that is none of `classes`, the model's.
    """
    source = read_source(spec, columns)
    chosen = _chosen(source, split)
    source = with_class_groups(_with_groups_to_compare(source, chosen))
    part = source.parts[chosen]
    own = sorted(set(part.label_N.tolist()))
    strange = [source.classes[code] for code in own if source.classes[code] not in classes]
    if strange:
        raise UserError(
            f'{source.name} has the class "{strange[0]}", which the model does not know: its classes are {", ".join(classes)}.'
        )
    code_C = np.array([classes.index(name) if name in classes else -1 for name in source.classes])
    told = chosen if len(source.parts) > 1 else "all"
    by_model = replace(part, label_N=code_C[part.label_N].astype(np.int64))
    if source.by_class:
        by_model = replace(by_model, group_NA=by_model.label_N[:, None].copy())
    attributes = {ATTRIBUTE: tuple(classes)} if source.by_class else source.attributes
    return Labelled(replace(source, parts={told: part}), told, by_model, attributes)


def _with_groups_to_compare(source: Source, chosen: str) -> Source:
    """Without the attributes of which the chosen split knows fewer than two groups: they have no gap, and a note says so."""
    group_NA, kept, notes = source.parts[chosen].group_NA, [], []
    for column, (attribute, names) in enumerate(source.attributes.items()):
        known = sorted(set(group_NA[:, column].tolist()) - {UNKNOWN})
        if len(known) >= 2:
            kept.append(column)
        else:
            told = f'only the group "{names[known[0]]}"' if known else "no known group"
            notes.append(f'Attribute "{attribute}" has {told} here: there is no gap by it.')
    attributes = {name: names for c, (name, names) in enumerate(source.attributes.items()) if c in kept}
    parts = {name: replace(part, group_NA=part.group_NA[:, kept]) for name, part in source.parts.items()}
    return replace(source, attributes=attributes, parts=parts, notes=(*source.notes, *notes))


def _chosen(source: Source, split: str | None) -> str:
    if split is not None and split not in source.parts:
        raise UserError(f"{source.name} has no {split} split, only {', '.join(source.parts)}.")
    if split is not None or "test" in source.parts:
        return split or "test"
    if len(source.parts) > 1:
        raise UserError(
            f"{source.name} has no test split: --split says which is evaluated, {' or '.join(source.parts)}."
        )
    return next(iter(source.parts))
