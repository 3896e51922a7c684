"""Options on the command line and in files: parsers made from a command's dataclass, and what was given read back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from supernet.errors import UserError, nearest
from supernet.options import check_values, fault, flag, has_effect, interval, kinds, short
from supernet.schema import read_yaml

Config = TypeVar("Config")
FILE_ONLY = ("config",)  # options that are no field: how the fields are given
NOT_IN_FILE = ("resume",)


def ranged(kind: type[int] | type[float], within: str) -> Callable[[str], Any]:
    """The `type` of an argparse option that is no field: a number of an interval."""
    inside = interval(within)

    def convert(text: str) -> Any:
        value = _converted(kind, text)
        problem = inside.fault(value)
        if problem is not None:
            raise argparse.ArgumentTypeError(f"{problem}, not {short(text)}")
        return value

    return convert


def _converted(kind: type, text: str) -> Any:
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        word = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"must be a {word}, not {short(text)}") from None


def _type_of(config: type, name: str) -> Callable[[str], Any]:
    kind = kinds(config)[name][0]

    def convert(text: str) -> Any:
        value = _converted(kind, text)
        problem = fault(config, name, value)
        if problem is not None:
            raise argparse.ArgumentTypeError(problem)
        return value

    return convert


def add_options(parser: argparse.ArgumentParser, config: type, words: Mapping[str, str] | None = None) -> None:
    """One option a field, under its group's heading. What the user does not give stays out of the namespace.

    words: help texts that take the place of an option's own, by its name; argparse.SUPPRESS hides it.
    """
    words = words or {}
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
        text = words.get(item.name) or described(config, item.name)
        action = groups[meta["group"]].add_argument(
            flag(item.name), default=argparse.SUPPRESS, help=argparse.SUPPRESS if meta["more"] else text, **extra
        )
        if meta["more"]:
            later[action] = text
    run = groups["run"]
    run.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE.YAML",
                     help=words.get("config", "options from a file, e.g. an earlier run's run.yaml; the command line wins"))  # fmt: skip
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
            close = nearest(short(name), known).partition(" Known:")[0]
            raise UserError(f'options {path}: "{short(name)}" is no option.{close} See --help-all.')
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
