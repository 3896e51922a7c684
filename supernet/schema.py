"""Reading text files that may come from anywhere: JSON checked against a schema, YAML, and what is behind both.

Every error is one line that names the file and the field's path. Nothing is executed, and nothing large is allocated
before its size is known.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from itertools import islice
from pathlib import Path
from typing import Any

from latency_luts.files import write_whole
from supernet.errors import UserError

MAX_BYTES = 20_000_000
MAX_YAML_BYTES = 100_000  # parsed in pure Python
MAX_DEPTH = 50
# C0 and C1 control characters, lone surrogates, and what turns the reading direction: they would change the terminal
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BREAK = re.compile("[\t\n\r\u2028\u2029]")


def is_plain(text: str) -> bool:
    """Whether a name or an option is one line without control characters."""
    return not _CONTROL.search(text) and not _BREAK.search(text)


def printable(text: str) -> str:
    """The text in one line, control characters escaped: fit for a terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), " ".join(text.split()))


def read_text(path: Path, what: str, most: int = MAX_BYTES) -> str:
    """A file's text, decoded as UTF-8 (a byte order mark is dropped).

    Raises UserError (naming `what` and the path) if it is missing, no regular file, of more than `most` bytes, or no UTF-8.
    """
    if not path.is_file():
        problem = (
            "is a folder, not a file"
            if path.is_dir()
            else "is not a regular file"
            if path.exists()
            else "does not exist"
        )
        raise UserError(f"{what} {path} {problem}.")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(f"{what} {path} has {path.stat().st_size:,} bytes; more than {most:,} cannot be right.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not UTF-8 text (byte {error.start + 1}): save it as UTF-8.") from error


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f'"{key[:60]}" stands twice in one object')
        content[key] = value
    return content


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return float(text)


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"{text[:20]} is too large a number")
    return int(text)


def parse_json(text: str, where: str) -> Any:
    """JSON without NaN, keys that stand twice, deep nesting, control characters or huge numbers. Raises UserError."""
    try:
        content = json.loads(text, parse_constant=_reject_constant, parse_float=_finite, parse_int=_integer,
                             object_pairs_hook=_unique_keys)  # fmt: skip
        _check_plain(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON: {error}.") from error
    return content


def _check_plain(content: Any) -> None:
    """Raises ValueError for nesting deeper than MAX_DEPTH, and for control characters in a text or a key."""
    level, depth = [content], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        below: list[Any] = []
        for value in level:
            if isinstance(value, str) and _CONTROL.search(value):
                raise ValueError(f'control characters in "{value[:60]}"')
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
        level, depth = below, depth + 1


def check_schema(content: Any, schema: dict[str, Any], where: str) -> None:
    """Raises UserError with the path of a field that does not fit. A whole number with a decimal point is no integer."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend

    strict = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    errors = extend(Draft202012Validator, type_checker=strict)(schema).iter_errors(content)
    misfit = best_match(islice(errors, 100))
    if misfit is not None:
        field = misfit.json_path.removeprefix("$").lstrip(".") or "file"
        # the message quotes the value, which may be the whole file
        message = misfit.message if len(misfit.message) <= 300 else f"{misfit.message[:200]} … {misfit.message[-80:]}"
        raise UserError(f"{where}: {field}: {message}.")


def read_json(path: Path, what: str, schema: dict[str, Any] | None = None) -> Any:
    """The file's content, checked against `schema`. Raises UserError as `read_text`, `parse_json` and `check_schema` do."""
    content = parse_json(read_text(path, what), f"{what} {path}")
    if schema is not None:
        check_schema(content, schema, f"{what} {path}")
    return content


def read_yaml(path: Path, what: str) -> Any:
    """The file's content. Raises UserError for what is no YAML, an alias (it can explode), a key twice, a huge integer."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if not all(isinstance(key, Hashable) for key in keys) or len(set(keys)) < len(keys):
                raise ValueError("a key stands twice, or is no text")
            return super().construct_mapping(node, deep)

        def construct_yaml_int(self, node: Any) -> int:
            return _integer(self.construct_scalar(node)) and super().construct_yaml_int(node)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    try:
        content = yaml.load(read_text(path, what, MAX_YAML_BYTES), Loader)
        _check_plain(content)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # ValueError: no date, too large …
        raise UserError(f"{what} {path} is not valid YAML: {error}.") from error
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes the whole file or nothing: a full disk or a kill leaves the old file as it was."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(path, text.encode())
