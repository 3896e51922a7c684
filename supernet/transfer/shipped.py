"""The source devices that come with the package: 27 public tables of fbnet32, for any layered space."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from supernet.choices import draw
from supernet.errors import UserError
from supernet.schema import read_json
from supernet.spaces import SearchSpace, get_space
from supernet.transfer.encoding import space_encoder
from supernet.transfer.source import Source, from_other_space, from_tables

MEASURED_SPACE = "fbnet32"
_TIMES = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_SCHEMA = {
    "type": "object",
    "required": ["schema_version", "space", "unit", "ops", "block_types", "devices"],
    "properties": {
        "schema_version": {"const": 1},
        "space": {"const": MEASURED_SPACE},
        "unit": {"const": "ms"},
        "ops": {"type": "array", "items": {"type": "string"}},
        "block_types": {"type": "array", "items": {"type": "string"}},
        "devices": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["base_ms", "delta_ms"],
                "properties": {"base_ms": {"type": "number"}, "delta_ms": _TIMES},
            },
        },
    },
}


def random_architectures(space: SearchSpace, count: int, seed: int = 0) -> np.ndarray:
    """(count, L) operation indices, each layer's drawn evenly from what it allows."""
    return draw(space.valid_LK, count, np.random.default_rng(seed))


def shipped_source(space: SearchSpace, path: Path | None = None) -> Source:
    """The shipped devices as sources for `space`; `path` reads another file of that form.

    In a space that they were not measured in, they enter by what a multiply-add, an element moved, a parameter and a
    launched kernel cost on them. Raises UserError for a file that does not fit.
    """
    path = path or Path(str(resources.files("latency_luts") / "sources" / f"{MEASURED_SPACE}.json"))
    content = read_json(path, "source devices", _SCHEMA)
    home = get_space(MEASURED_SPACE)
    row_of = {block_type: row for row, block_type in enumerate(content["block_types"])}
    devices = list(content["devices"])
    table_SLK = np.zeros((len(devices), *home.valid_LK.shape))
    for s, device in enumerate(content["devices"].values()):
        delta = np.array(device["delta_ms"])
        if delta.shape != (len(row_of), len(content["ops"])):
            raise UserError(f"source devices {path}: devices.{devices[s]}.delta_ms: expected "
                            f"{len(row_of)} block types × {len(content['ops'])} operations.")  # fmt: skip
        for row, spec in enumerate(home.layers):
            if spec.block_type not in row_of:
                raise UserError(f"source devices {path}: block_types: {spec.block_type} is missing.")
            table_SLK[s, row] = delta[row_of[spec.block_type]][[content["ops"].index(op) for op in home.ops]]
    base_ms_S = np.array([device["base_ms"] for device in content["devices"].values()])
    index_NL = random_architectures(home, 2000)
    source = from_tables(space_encoder(home), devices, base_ms_S, table_SLK, index_NL)
    if space.name == MEASURED_SPACE:
        return source
    known_ms = source.latency_ms(index_NL)
    reference_NL = random_architectures(space, 2000)
    return from_other_space(space_encoder(space), reference_NL, devices, source.encoder, index_NL, known_ms)
