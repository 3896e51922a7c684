"""derived.json: the architecture that a search found, with all that is needed to train it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from supernet.errors import UserError
from supernet.preprocessing import JSON_SCHEMA as INPUT_SCHEMA
from supernet.preprocessing import Preprocessing
from supernet.schema import is_plain, read_json, write_json
from supernet.spaces import get_space

SCHEMA_VERSION = 1

_POSITIVE = {"type": "integer", "minimum": 1, "maximum": 100_000}
LONGEST_NAME = 500  # characters, of a class, a group …
_STRING = {"type": "string", "maxLength": LONGEST_NAME}
_NAMES = {"type": "array", "items": _STRING, "maxItems": 100_000, "uniqueItems": True}
_MS = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1e6}
_PREDICTED_MS = {
    "type": ["number", "null"],
    "minimum": 0,
    "maximum": 1e6,
}  # 0 where a table has no time for what is fixed
_TEXT = {"type": ["string", "null"], "maxLength": 2000}
# what blocks/ops.py writes, and no more: numbers so small that a wrong file cannot ask for a huge network in one block
_COMMON = r"r[1-4]|s[12]|e[1-9](\.\d{1,2})?|c[1-9]\d{0,3}|se0\.\d{1,3}"
_ARCH_STRING = rf"^((ir|cn|ds|er)(_(k[1357]|p3|{_COMMON}))+|uir(_(a[35]|k[035]|{_COMMON}))+)$"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "space": _STRING,
        "ops": {"type": "array", "items": _STRING, "minItems": 1, "maxItems": 1000},
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
        "head_channels": {**_POSITIVE, "minimum": 0},  # 0: no convolution after the blocks
        "input": INPUT_SCHEMA,
        "classes": {**_NAMES, "minItems": 2},
        "groups": {"type": "object", "additionalProperties": _NAMES, "propertyNames": {"maxLength": LONGEST_NAME}},
        "device": _TEXT,
        "budget_ms": _MS,
        "predicted_ms": _PREDICTED_MS,
        "predicted_error": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
        "table": {"type": ["object", "null"], "properties": {"hash": _TEXT, "provenance": _TEXT, "source": _TEXT}},
        "data": {"type": "object", "properties": {"name": _TEXT, "fingerprint": _TEXT}},
        "config": {"type": "object"},
        "seed": {"type": "integer", "minimum": 0},
        "versions": {"type": "object", "additionalProperties": _STRING},
        "commit": _TEXT,
    },
}
_SCHEMA["required"] = list(_SCHEMA["properties"])
_SCHEMA["properties"]["weights_sha256"] = {
    "type": ["string", "null"],
    "pattern": "^[0-9a-f]{64}$",
}  # files of before have none
_SCHEMA["properties"]["training"] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "lr": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
        "weight_decay": {"type": "number", "minimum": 0, "maximum": 10},
        "augment": {"type": "boolean"},
    },
}  # nor this
_SCHEMA["properties"]["peak_activation_bytes"] = {"type": ["number", "null"], "minimum": 0, "maximum": 1e15}  # nor this
_SCHEMA["properties"]["sensor"] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "required": ["pixels", "channels", "crop", "kib"],
    "properties": {
        "pixels": _POSITIVE,
        "channels": {"enum": [1, 3]},
        "crop": {"type": "boolean"},
        "kib": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9},
    },
}  # nor this
_SCHEMA["properties"]["answer"] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "required": ["also", "gap_weight", "max_gap_nats", "worst_group"],
    "properties": {
        "also": {
            "type": "array",
            "maxItems": 1000,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["device", "budget_ms", "predicted_ms", "table"],
                "properties": {
                    "device": _STRING,
                    "budget_ms": {**_MS, "type": "number"},
                    "predicted_ms": {**_PREDICTED_MS, "type": "number"},
                    "table": _STRING,
                },
            },
        },
        "gap_weight": {"type": "number", "minimum": 0, "maximum": 1e6},
        "max_gap_nats": {"type": ["number", "null"], "minimum": 0, "maximum": 1000},
        "worst_group": {"type": "boolean"},
    },
}  # nor this


@dataclass(frozen=True)
class Architecture:
    """One architecture of a search space, and what it was searched for.

    `ops` names the operation of each layer, `arch_def` is the same as timm architecture strings by stage.
    `predicted_ms` is the table's sum, `predicted_error` its relative error (MAPE on held-out networks) where the
    table tells one. `weights_sha256` is of the weights that a search from a teacher left beside it.
    `peak_activation_bytes`: the most that is alive at one moment, for one image in the number format of the table (costs/memory.py). `table` and `data` say which table and which data were used (hash, provenance, fingerprint).
    `sensor`: where that was decided, what the network takes of a picture (pixels a side, channels, whether the centre alone), and its KiB.
    `answer`: where a finished search answered it later, what else it was asked: the goal, and the budgets of other devices that it keeps, too.
    `training` has the options that the search chose for its training, if any; `train` takes them.
    `stem_channels`, `stem_stride` and `head_channels` are the fixed ends, `input` what is done to a picture. `classes` and `groups` are names.
    `device` and `budget_ms` are what was asked for, `config` and `seed` the search's. `versions` and `commit` say what it was made with,
    `schema_version` how the file is written.
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
    weights_sha256: str | None = None
    peak_activation_bytes: float | None = None
    training: dict[str, float | bool] = field(default_factory=dict)
    sensor: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def load(cls, path: Path | str) -> Architecture:
        """Reads and checks a derived.json. Raises UserError that names the field, also where two fields contradict each other."""
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
        arch = cls(**content)
        arch._check(f"architecture {path}")
        return arch

    def _check(self, where: str) -> None:
        """Raises UserError for a field that is not what the space, the search's options or another field say it is."""
        try:
            space = get_space(self.space)
            space.index_L(self.ops)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        for name in (*self.classes, *self.groups, *(group for groups in self.groups.values() for group in groups)):
            if not is_plain(name):
                raise UserError(f"{where}: a class or group name is not one line: {name[:60]!r}.")
        stated = {name: getattr(self, name) for name in ("stem_channels", "stem_stride", "head_channels")}
        expected = {name: getattr(space, name) for name in stated}
        stated["input.size"], expected["input.size"] = self.input.size, space.resolution
        for name in ("space", "seed", "budget_ms"):  # what the search was asked for
            if self.config.get(name) is not None:
                stated[name], expected[name] = getattr(self, name), self.config[name]
        for name, value in stated.items():
            if value != expected[name]:
                raise UserError(
                    f"{where}: {name}: {value}, but its space or its search says {expected[name]}: one was changed."
                )
        if (
            self.predicted_ms is not None
            and self.budget_ms is not None
            and self.predicted_ms > self.budget_ms * (1 + 1e-9)
        ):
            raise UserError(f"{where}: predicted_ms: {self.predicted_ms:g} is over budget_ms, {self.budget_ms:g}.")
        for one in (self.answer or {}).get("also", ()):
            if one["predicted_ms"] > one["budget_ms"] * (1 + 1e-9):
                told = f"{one['predicted_ms']:g} is over budget_ms, {one['budget_ms']:g}"
                raise UserError(f"{where}: answer.also: predicted_ms on {one['device']}: {told}.")
        view = space.inputs.get(self.ops[0])
        if view is not None and self.sensor not in (None, view.told):
            raise UserError(f"{where}: sensor: it is not that of {self.ops[0]}, {view.words}: one was changed.")
        if view is not None and view.channels > self.input.channels:
            raise UserError(f"{where}: input: {self.ops[0]} takes colours, but the pictures have one channel.")
        limit = self.config.get("max_input_kb")
        if view is not None and isinstance(limit, int | float) and view.kib > limit:
            raise UserError(f"{where}: ops: {self.ops[0]} delivers {view.kib:g} KiB, over max_input_kb, {limit:g}.")
        limit, peak = self.config.get("max_sram_kb"), self.peak_activation_bytes
        if isinstance(limit, int | float) and peak is not None and peak > 1024 * limit:
            raise UserError(f"{where}: peak_activation_bytes: {peak:g} is over max_sram_kb, {limit:g} KiB.")

    def save(self, path: Path | str) -> None:
        """Writes the file whole or not at all."""
        write_json(Path(path), asdict(self))
