"""Reading JSON that may come from anywhere: size limit, no NaN, checked against a JSON Schema.

Every error names the file and the field's path.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from supernet.errors import UserError

MAX_BYTES = 20_000_000


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f'"{key}" stands twice in one object')
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


def read_json(path: Path, what: str, schema: dict[str, Any] | None = None) -> Any:
    """The file's content, checked against `schema`.

    Raises UserError (naming the file and the field) if it is missing, a folder, larger than 20 MB, not JSON, holds
    NaN or a key twice, or does not fit the schema.
    """
    if not path.is_file():
        problem = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise UserError(f"{what} {path} {problem}.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{what} {path} has {path.stat().st_size:,} bytes; more than {MAX_BYTES:,} cannot be right.")
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_reject_constant,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} {path} is not valid JSON: {error}.") from error
    if schema is not None:
        misfit = best_match(Draft202012Validator(schema).iter_errors(content))
        if misfit is not None:
            field = misfit.json_path.removeprefix("$").lstrip(".") or "file"
            # the message quotes the value, which may be the whole file
            message = (
                misfit.message if len(misfit.message) <= 300 else f"{misfit.message[:200]} … {misfit.message[-80:]}"
            )
            raise UserError(f"{what} {path}: {field}: {message}.")
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes the whole file or nothing: a full disk or a kill leaves the old file as it was."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
