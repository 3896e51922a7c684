"""derived.json: the architecture that a search found, with all that is needed to train it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from supernet.errors import UserError
from supernet.preprocessing import JSON_SCHEMA as INPUT_SCHEMA
from supernet.preprocessing import Preprocessing
from supernet.schema import read_json, write_json

SCHEMA_VERSION = 1

_POSITIVE = {"type": "integer", "minimum": 1, "maximum": 100_000}
_STRING = {"type": "string", "maxLength": 500}
_NAMES = {"type": "array", "items": _STRING}
_MS = {"type": ["number", "null"], "exclusiveMinimum": 0}
# what blocks/ops.py writes, and no more: numbers so small that a wrong file cannot ask for a huge network in one block
_ARCH_STRING = r"^(ir|cn|ds|er)(_(r[1-4]|k[1357]|s[12]|e[1-9](\.\d{1,2})?|c[1-9]\d{0,3}|se0\.\d{1,3}))+$"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "space": _STRING,
        "ops": {**_NAMES, "minItems": 1, "maxItems": 1000},
        "arch_def": {
            "type": "array",
            "minItems": 1,
            "maxItems": 32,
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": 32,
                "items": {"type": "string", "pattern": _ARCH_STRING, "maxLength": 60},
            },
        },
        "stem_channels": _POSITIVE,
        "stem_stride": {"enum": [1, 2]},
        "head_channels": _POSITIVE,
        "input": INPUT_SCHEMA,
        "classes": {**_NAMES, "minItems": 2},
        "groups": {"type": "object", "additionalProperties": _NAMES},
        "device": {"type": ["string", "null"]},
        "budget_ms": _MS,
        "predicted_ms": _MS,
        "predicted_error": {"type": ["number", "null"], "minimum": 0},
        "table": {"type": ["object", "null"]},
        "data": {"type": "object"},
        "config": {"type": "object"},
        "seed": {"type": "integer"},
        "versions": {"type": "object", "additionalProperties": _STRING},
        "commit": {"type": ["string", "null"]},
    },
}
_SCHEMA["required"] = list(_SCHEMA["properties"])


@dataclass(frozen=True)
class Architecture:
    """One architecture of a search space, and what it was searched for.

    `ops` names the operation of each layer, `arch_def` is the same as timm architecture strings by stage.
    `predicted_ms` is the table's sum, `predicted_error` its relative error (MAPE on held-out networks) where the
    table tells one. `table` and `data` say which table and which data were used (hash, provenance, fingerprint).
    """

    space: str
    ops: tuple[str, ...]
    arch_def: tuple[tuple[str, ...], ...]
    stem_channels: int
    stem_stride: int
    head_channels: int
    input: Preprocessing
    classes: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    device: str | None = None
    budget_ms: float | None = None
    predicted_ms: float | None = None
    predicted_error: float | None = None
    table: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def load(cls, path: Path | str) -> Architecture:
        """Reads and checks a derived.json. Raises UserError that names the field."""
        path = Path(path)
        if path.is_dir():
            path = path / "derived.json"
        content = read_json(path, "architecture", _SCHEMA)
        try:
            content["input"] = Preprocessing.from_json(content["input"])
        except ValueError as error:
            raise UserError(f"architecture {path}: input: {error}.") from error
        content["arch_def"] = tuple(tuple(stage) for stage in content["arch_def"])
        content["groups"] = {name: tuple(values) for name, values in content["groups"].items()}
        content["ops"], content["classes"] = tuple(content["ops"]), tuple(content["classes"])
        return cls(**content)

    def save(self, path: Path | str) -> None:
        """Writes the file whole or not at all."""
        write_json(Path(path), asdict(self))
