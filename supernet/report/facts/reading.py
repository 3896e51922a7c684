"""Between JSON and dataclasses: a field has the key's name, a field's type says what is made of the value."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
KEY = "key"  # in a field's metadata: its key in the file, where that is no Python name
OPTIONAL = {"optional": True}  # a field's metadata: None is left out of the file, where other fields write null


def read(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass from its JSON; keys that it has no field for are passed over.

    Raises KeyError, which names a missing key, and TypeError, which names a field whose value is not of its type.
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"{kind.__name__}: not an object")
    given = {}
    for name, key, hint, has_default in _plan(cast(Hashable, kind)):
        if key in content:
            try:
                given[name] = _value(hint, content[key])
            except _Misfit as error:
                raise TypeError(f"{kind.__name__}: {key}: {error}") from None
        elif not has_default:
            raise KeyError(f"{kind.__name__}: {key}")
    return kind(**given)


class _Misfit(Exception):
    """A value that is not of its field's type."""


@lru_cache
def _plan(kind: Any) -> list[tuple[str, str, Any, bool]]:
    """(field, key, type, whether it has a default) of each field."""
    hints = get_type_hints(kind)
    return [
        (item.name, item.metadata.get(KEY, item.name), hints[item.name],
         item.default is not MISSING or item.default_factory is not MISSING)
        for item in fields(kind)
    ]  # fmt: skip


def _value(hint: Any, value: Any) -> Any:
    """What is made of the value. Raises _Misfit where it is not of the hint's type; a whole number is a float, too."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (UnionType, Union):
        kinds = [kind for kind in arguments if kind is not NoneType]
        is_one = (value is None and NoneType in arguments) or (isinstance(value, str) and str in kinds)
        return value if is_one else _value(kinds[0], value)
    if origin is tuple and isinstance(value, Sequence) and len(value) == len(arguments):
        return tuple(_value(own, item) for own, item in zip(arguments, value, strict=True))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _value(arguments[1], own) for key, own in value.items()}
    if origin is Sequence and isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(arguments[0], own) for own in value]
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, Mapping):
        return read(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum) and value in [one.value for one in hint]:
        return hint(value)
    if hint in (int, float, str, bool):
        if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
            return value
        if hint is float and type(value) is int:
            return value
    raise _Misfit(f"{str(value)[:60]} is not of type {getattr(hint, '__name__', hint)}")


def to_json(facts: Any) -> Any:
    """What `read` takes: plain dicts, lists, numbers and texts."""
    if is_dataclass(facts):
        return {
            item.metadata.get(KEY, item.name): to_json(value)
            for item in fields(facts)
            for value in [getattr(facts, item.name)]
            if value is not None or not item.metadata.get("optional")
        }
    if isinstance(facts, Mapping):
        return {key: to_json(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [to_json(value) for value in facts]
    return facts.value if isinstance(facts, Enum) else facts
