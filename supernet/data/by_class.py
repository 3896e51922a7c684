"""Data without groups: each class stands for a group, so that the same figures tell how evenly the classes are served."""

from __future__ import annotations

from dataclasses import replace

from supernet.data.grouped import Source

ATTRIBUTE = "class"
NOTE = (
    "No groups are known: each class stands for one. The gap is between classes; nothing is said of groups of people."
)


def with_class_groups(source: Source) -> Source:
    """The same, with the classes as its attribute's groups where it has no attribute.

    After the draws: a class that a split lacks is said, where a group that it lacks is refused.
    """
    if source.attributes:
        return source
    parts = {split: replace(part, group_NA=part.label_N[:, None].copy()) for split, part in source.parts.items()}
    return replace(
        source, parts=parts, attributes={ATTRIBUTE: source.classes}, notes=(*source.notes, NOTE), by_class=True
    )
