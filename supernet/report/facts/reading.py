"""Between JSON and dataclasses: a field has the key's name, a field's type says what is made of the value."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
KEY = "key"  # in a field's metadata: its key in the file, where that is no Python name
OPTIONAL = {"optional": True}  # a field's metadata: None is left out of the file, where other fields write null


def read(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass from its JSON; keys that it has no field for are passed over. Raises KeyError, which names a missing key."""
    given = {}
    for name, key, hint, has_default in _plan(cast(Hashable, kind)):
        if key in content:
            given[name] = _value(hint, content[key])
        elif not has_default:
            raise KeyError(f"{kind.__name__}: {key}")
    return kind(**given)


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
    if value is None:
        return None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return tuple(_value(own, item) for own, item in zip(arguments, value, strict=True))
    if isinstance(value, str) and str in arguments:
        return value
    if origin in (UnionType, Union):
        return _value(next(kind for kind in arguments if kind is not type(None)), value)
    if origin is Mapping:
        return {key: _value(arguments[1], own) for key, own in value.items()}
    if origin is Sequence:
        return [_value(arguments[0], own) for own in value]
    if isinstance(hint, type) and is_dataclass(hint):
        return read(hint, value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value


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
