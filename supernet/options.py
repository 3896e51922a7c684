"""Options: a field of a dataclass with its text, its range and where it has an effect; all else is made from that.

Help, command line, the checks of config.json, derived.json's config, sweep.yaml and `--config` files, and the tests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

from supernet.errors import UserError, nearest
from supernet.schema import is_plain

LONGEST = 4096  # characters of a text: a path's limit


class Range(NamedTuple):
    """An interval, written as in mathematics: "[0, 1)" has 0 and not 1."""

    text: str
    least: float
    most: float

    def fault(self, value: float) -> str | None:
        """What a number must be and is not; None if it is inside. NaN and infinity never are."""
        if isinstance(value, float) and not math.isfinite(value):
            return "must be a finite number"
        if value < self.least or (value == self.least and self.text[0] == "("):
            return f"must be {'above' if self.text[0] == '(' else 'at least'} {self.least:.10g}"
        if value > self.most or (value == self.most and self.text[-1] == ")"):
            return f"must be {'below' if self.text[-1] == ')' else 'at most'} {self.most:.10g}"
        return None


def interval(text: str) -> Range:
    """The range that e.g. "(0, 1e6]" says."""
    found = re.fullmatch(r"[\[(](\S+), (\S+)[\])]", text)
    assert found is not None, f"no interval: {text}"
    return Range(text, float(found[1]), float(found[2]))


def numbers(text: str, name: str, within: str) -> list[float]:
    """The different numbers of an option that holds several, the least first. Raises UserError for what is none of the interval."""
    inside = interval(within)
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            raise UserError(f"{flag(name)}: numbers joined by commas, not {short(text)}.") from None
        if (problem := inside.fault(found[-1])) is not None:
            raise UserError(f"{flag(name)} {problem}, not {short(part)}.")
    return sorted(set(found))


class Needs(NamedTuple):
    """An option has an effect only where `holds` is true of the value of another one; `advice` is what to do else."""

    option: str
    holds: Callable[[Any], bool]
    advice: str


def needs(option: str, *values: str) -> Needs:
    """Any of these values (or one of several values that are joined by commas)."""
    return Needs(option, lambda value: bool(_parts(value) & set(values)), f"it needs {flag(option)} {' or '.join(values)}")  # fmt: skip


def needs_other(option: str, *values: str) -> Needs:
    """Any value but these."""
    return Needs(option, lambda value: not _parts(value) & set(values), "leave it out")


def needs_none(option: str) -> Needs:
    """No value at all."""
    return Needs(option, lambda value: value is None, "leave one of the two out")


def _parts(value: Any) -> set[str]:
    return {part.strip().partition(":")[0] for part in str(value).split(",")}


def option(
    default: Any, help: str, quick: Any = None, *, within: str | None = None, choices: Iterable[str] | None = None, several: bool = False,
    pattern: str | None = None, where: Iterable[Needs] = (), group: str = "training", more: bool = False, alone: Any = None,
) -> Any:  # fmt: skip
    """A field of a command's options.

    quick:   its value under --quick
    within:  the interval of a number, e.g. "[0, 1)"; every number needs one
    choices: the values of a text
    several: whether it may be several of them, joined by commas
    pattern: else the regular expression of a text
    where:   all must hold for it to have an effect; elsewhere giving it is an error
    group:   its heading in the help text
    more:    shown by --help-all alone
    alone:   its value where it is given without one
    """
    known = None if choices is None else tuple(choices)
    return field(
        default=default,
        metadata={"help": help, "quick": quick, "within": None if within is None else interval(within),
                  "choices": known, "several": several, "pattern": pattern, "where": tuple(where), "group": group, "more": more, "alone": alone},
    )  # fmt: skip


def flag(name: str) -> str:
    """The option of a field on the command line."""
    return f"--{name.replace('_', '-')}"


@cache
def kinds(config: type) -> dict[str, tuple[type, bool]]:
    """Of each field: its type, and whether it may be None."""
    hints = get_type_hints(config)
    found = {}
    for item in fields(config):
        hint = hints[item.name]
        found[item.name] = (get_args(hint)[0], True) if isinstance(hint, UnionType) else (hint, False)
    return found


def fault(config: type, name: str, value: Any) -> str | None:
    """What is wrong with the value of a field, as the end of "NAME …"; None if nothing is.

    A whole number is a float, too; a bool is no number.
    """
    kind, optional = kinds(config)[name]
    if value is None and optional:
        return None
    if type(value) is not kind and not (kind is float and type(value) is int):
        return f"{short(value, quoted=True)} is not of type {kind.__name__}"
    meta = config.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    if isinstance(value, str):
        return _text_fault(value, meta)
    if isinstance(value, bool):
        return None
    problem = meta["within"].fault(value)
    return problem and f"{problem}, not {short(value)}"


def _text_fault(value: str, meta: Mapping[str, Any]) -> str | None:
    if len(value) > LONGEST or not is_plain(value):
        return f"must be a text of at most {LONGEST} characters, none of them a control character"
    if meta["choices"] is not None:
        for part in [part.strip() for part in value.split(",")] if meta["several"] else [value]:
            if part not in meta["choices"]:
                return f'"{short(part)}" is not known.{nearest(part[:100], meta["choices"]).rstrip(".")}'
    if meta["pattern"] is not None and not re.fullmatch(meta["pattern"], value):
        return f'"{short(value)}" is not known ({meta["help"]})'
    return None


def short(value: Any, quoted: bool = False) -> str:
    """A value as it fits into a message; a text as it is, or `quoted`."""
    try:
        text = value if isinstance(value, str) and not quoted else repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return "so large a number"
    return text if len(text) <= 60 else f"{text[:50]}…"


def check_values(config: type, values: Mapping[str, Any], where: str) -> None:
    """Raises UserError for a value that is not of its option's type or not in its range. Unknown names are the caller's."""
    for name, value in values.items():
        problem = fault(config, name, value)
        if problem is not None:
            raise UserError(f"{where}: {name}: {problem}.")


def has_effect(config: Any, name: str) -> Needs | None:
    """None if the field has an effect beside the others, else what it lacks."""
    for need in config.__dataclass_fields__[name].metadata["where"]:
        if not need.holds(getattr(config, need.option)):
            return need
    return None


def check_effect(config: Any, given: Iterable[str]) -> None:
    """Raises UserError for an option that was given and has no effect beside the others."""
    for name in sorted(set(given) & set(config.__dataclass_fields__)):
        need = has_effect(config, name)
        if need is not None:
            beside = getattr(config, need.option)
            raise UserError(f"{flag(name)} has no effect with {flag(need.option)} {short(beside)}: {need.advice}.")
