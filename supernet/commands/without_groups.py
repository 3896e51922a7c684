"""What may be asked of data without groups, whose classes stand for them: most notions compare groups inside a class."""

from __future__ import annotations

from collections.abc import Mapping

from supernet.errors import UserError
from supernet.fairness import NOTIONS, Notion, get_notion, parse_methods
from supernet.fairness.notions import speaks_of_all_samples

SENSELESS = ("reweigh",)  # makes class and group independent, which are one here


def check_notion(notion: str, by_class: bool) -> None:
    """Raises UserError for a notion that compares groups inside a class where the classes are the groups."""
    if by_class and not speaks_of_all_samples(notion):
        known = ", ".join(name for name in NOTIONS if speaks_of_all_samples(name))
        raise UserError(f"--fairness {notion} compares groups inside a class, and this data has no groups: name them with --group-cols, or take one of {known}.")  # fmt: skip


def check_methods(methods: str, by_class: bool) -> None:
    """Raises UserError for a method that has no meaning there."""
    wrong = [name for name in parse_methods(methods) if name in SENSELESS]
    if by_class and wrong:
        raise UserError(f"--fairness-method {wrong[0]} needs groups, and this data has none: name them with --group-cols, or take balance.")  # fmt: skip


def notions_of(asked: str, by_class: bool) -> Mapping[str, Notion]:
    """Those that are reported: all that have a meaning, and the one that was asked for."""
    found = {name: own for name, own in NOTIONS.items() if not by_class or speaks_of_all_samples(name)}
    return found | {asked: get_notion(asked)}
