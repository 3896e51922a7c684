"""What a data set must have, and which of two classes is the positive one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from supernet.data.grouped import Source
from supernet.data.masks import is_masked
from supernet.errors import UserError


def with_positive(source: Source, positive: str) -> Source:
    """The same with the class `positive` as the second of two. Raises UserError where there is none of that name."""
    if len(source.classes) != 2 or positive not in source.classes:
        raise UserError(
            f'--positive names one of two classes; "{positive}" of these does not: {", ".join(source.classes)}.'
            if len(source.classes) == 2
            else f"--positive is for two classes, and {source.name} has {len(source.classes)}: {', '.join(source.classes)}."
        )
    if source.classes[1] == positive:
        return source
    parts = {split: replace(part, label_N=1 - part.label_N) for split, part in source.parts.items()}
    return replace(source, classes=source.classes[::-1], parts=parts)


def check_names(source: Source) -> None:
    """Raises UserError where there is nothing to classify, or no two groups to compare."""
    if len(source.classes) < 2 and not is_masked(source):
        raise UserError(f"{source.name} has a single class ({', '.join(source.classes)}): nothing to classify.")
    for attribute, names in source.attributes.items():
        if len(names) < 2:
            known = names[0] if names else "none"
            raise UserError(
                f'Attribute "{attribute}" needs two known groups or more, but has {known}: there is no gap.'
            )


def check(source: Source) -> None:
    """Raises UserError where a split misses a group, or train a class, so that no gap could be computed."""
    absent = set(range(len(source.classes))) - set(source.parts["train"].label_N.tolist())
    if absent:
        missing = ", ".join(source.classes[code] for code in sorted(absent))
        raise UserError(f"The train split has no image of class {missing}: add some, or leave that class out.")
    for split, part in source.parts.items():
        for position, (attribute, names) in enumerate(source.attributes.items()):
            present = set(part.group_NA[:, position].tolist())
            for code, name in enumerate(names):
                if code not in present:
                    raise UserError(
                        f'The {split} split has no image of group "{name}" of attribute "{attribute}": add some, or '
                        f'write "unknown" for that group.'
                    )


def check_enough(source: Source, splits: int) -> None:
    """Raises UserError for a group of which train has too few images to give one to each of so many splits."""
    for position, (attribute, names) in enumerate(source.attributes.items()):
        count_G = np.bincount(source.parts["train"].group_NA[:, position] + 1, minlength=len(names) + 1)[1:]
        for name, count in zip(names, count_G, strict=True):
            if 0 < count < splits:
                raise UserError(
                    f'{count} image{"s" * int(count > 1)} of group "{name}" of attribute "{attribute}": to hold out the splits that are '
                    f'missing takes {splits}. Add some, give the splits yourself, or write "unknown" for that group.'
                )
