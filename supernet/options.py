"""Options: a field of a dataclass with its text, its range and where it has an effect; all else is made from that.

Help, command line, the checks of config.json, derived.json's config, sweep.yaml and `--config` files, and the tests.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from supernet.errors import UserError, nearest
from supernet.schema import is_plain, read_yaml

Config = TypeVar("Config")
LONGEST = 4096  # characters of a text: a path's limit

FILE_ONLY = ("config",)  # options that are no field: how the fields are given
NOT_IN_FILE = ("resume",)


class Range(NamedTuple):
    """An interval, written as in mathematics: "[0, 1)" has 0 and not 1."""

    text: str
    least: float
    most: float

    def fault(self, value: float) -> str | None:
        """What a number must be and is not; None if it is inside. NaN and infinity never are."""
        if not math.isfinite(value):
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
    default: Any, help: str, quick: Any = None, *, within: str | None = None, choices: Iterable[str] | None = None,
    pattern: str | None = None, where: Iterable[Needs] = (), group: str = "training", more: bool = False, alone: Any = None,
) -> Any:  # fmt: skip
    """A field of a command's options.

    quick:   its value under --quick
    within:  the interval of a number, e.g. "[0, 1)"; every number needs one
    choices: the values of a text; several are joined by commas
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
                  "choices": known, "pattern": pattern, "where": tuple(where), "group": group, "more": more, "alone": alone},
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
        return f"{_short(value, quoted=True)} is not of type {kind.__name__}"
    meta = config.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    if isinstance(value, str):
        return _text_fault(value, meta)
    if isinstance(value, bool):
        return None
    problem = meta["within"].fault(value)
    return problem and f"{problem}, not {_short(value)}"


def _text_fault(value: str, meta: Mapping[str, Any]) -> str | None:
    if len(value) > LONGEST or not is_plain(value):
        return f"must be a text of at most {LONGEST} characters, none of them a control character"
    if meta["choices"] is not None:
        for part in value.split(","):
            if part.strip() not in meta["choices"]:
                return (
                    f'"{_short(part.strip())}" is not known.{nearest(part.strip()[:100], meta["choices"]).rstrip(".")}'
                )
    if meta["pattern"] is not None and not re.fullmatch(meta["pattern"], value):
        return f'"{_short(value)}" is not known ({meta["help"]})'
    return None


def _short(value: Any, quoted: bool = False) -> str:
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
            raise UserError(f"{flag(name)} has no effect with {flag(need.option)} {_short(beside)}: {need.advice}.")


def ranged(kind: type[int] | type[float], within: str) -> Callable[[str], Any]:
    """The `type` of an argparse option that is no field: a number of an interval."""
    inside = interval(within)

    def convert(text: str) -> Any:
        value = _converted(kind, text)
        problem = inside.fault(value)
        if problem is not None:
            raise argparse.ArgumentTypeError(f"{problem}, not {_short(text)}")
        return value

    return convert


def _converted(kind: type, text: str) -> Any:
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        word = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"must be a {word}, not {_short(text)}") from None


def _type_of(config: type, name: str) -> Callable[[str], Any]:
    kind = kinds(config)[name][0]

    def convert(text: str) -> Any:
        value = _converted(kind, text)
        problem = fault(config, name, value)
        if problem is not None:
            raise argparse.ArgumentTypeError(problem)
        return value

    return convert


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """One option a field, under its group's heading. What the user does not give stays out of the namespace."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    later: dict[argparse.Action, str] = {}
    parser.usage = "%(prog)s [options]"
    for item in fields(config):
        meta = item.metadata
        kind = kinds(config)[item.name][0]
        assert kind not in (int, float) or meta["within"] is not None, f"{item.name}: a number needs `within`"
        if meta["group"] not in groups:
            groups[meta["group"]] = parser.add_argument_group(meta["group"])
        extra: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": _type_of(config, item.name)}  # fmt: skip
        if kind is not bool:
            extra["metavar"] = {int: "N", float: "X"}.get(kind, item.name.split("_")[-1].upper())
        if meta["alone"] is not None:
            extra |= {"nargs": "?", "const": meta["alone"]}
        text = described(config, item.name)
        action = groups[meta["group"]].add_argument(
            flag(item.name), default=argparse.SUPPRESS, help=argparse.SUPPRESS if meta["more"] else text, **extra
        )
        if meta["more"]:
            later[action] = text
    run = groups["run"]
    run.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE.YAML",
                     help="options from a file, e.g. an earlier run's run.yaml; the command line wins")  # fmt: skip
    run.add_argument("--quick", action="store_true", help="the whole path in under a minute: a smoke test, no result")
    run.add_argument("--help-all", action=_HelpAll, nargs=0, later=later, default=argparse.SUPPRESS,
                     help="this help with every option, and exit")  # fmt: skip


class _HelpAll(argparse.Action):
    """Prints the help with the options that --help leaves out."""

    def __init__(self, *args: Any, later: Mapping[argparse.Action, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later = later

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        for action, text in self.later.items():
            action.help = text
        parser.print_help(sys.stdout)
        parser.exit()


def described(config: type, name: str) -> str:
    """An option's help text: what it is, its range or choices, its default."""
    item = config.__dataclass_fields__[name]  # type: ignore[attr-defined]
    meta = item.metadata
    parts = [] if meta["within"] is None else [f"in {meta['within'].text}"]
    told = item.default in (None, "", False) or "default" in meta["help"]
    parts += [] if told else [f"default: {item.default}"]
    return (meta["help"] + (f" ({'; '.join(parts)})" if parts else "")).replace("%", "%%")


def from_options(config: type[Config], options: argparse.Namespace) -> Config:
    """The config of what was given, the quick values (under --quick) and the defaults, in this order."""
    items = fields(config)  # type: ignore[arg-type]
    given = {i.name: getattr(options, i.name) for i in items if i.name in options}
    quick = {i.name: i.metadata["quick"] for i in items if options.quick and i.metadata["quick"] is not None}
    return config(**{**quick, **given})


def with_file(config: type, options: argparse.Namespace) -> argparse.Namespace:
    """The options with those of the --config file that the command line does not give. Raises UserError for a wrong file."""
    if "config" not in options:
        return options
    path = options.config
    content = read_yaml(path, "options")
    known = set(config.__dataclass_fields__) - set(NOT_IN_FILE)  # type: ignore[attr-defined]
    if not isinstance(content, dict):
        raise UserError(f"options {path}: file: not a list of NAME: VALUE.")
    for name in content:
        if name not in known:
            close = nearest(_short(name), known).partition(" Known:")[0]
            raise UserError(f'options {path}: "{_short(name)}" is no option.{close} See --help-all.')
    check_values(config, content, f"options {path}")
    given = {name: value for name, value in vars(options).items() if name not in FILE_ONLY}
    return argparse.Namespace(**{**content, **given})


def to_file(config: Any, leave_out: Iterable[str] = ()) -> str:
    """YAML that `with_file` reads: every option that has an effect and a value."""
    import yaml

    left = {*NOT_IN_FILE, "out", *leave_out}
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    kept = {n: v for n, v in values.items() if n not in left and v is not None and v != "" and has_effect(config, n) is None}  # fmt: skip
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
