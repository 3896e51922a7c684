"""Latency tables: latency_luts/<device>.json → milliseconds of each operation at each layer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts.validation import WORST_MAPE, WORST_SPEARMAN, is_poor
from supernet.costs.factors import Cost
from supernet.costs.tabulate import tabulate
from supernet.errors import UserError, nearest
from supernet.schema import read_json
from supernet.spaces import LayerSpec, SearchSpace

EntryKey = tuple[str, int, int, int, int]  # op, c_in, c_out, stride, resolution


@dataclass(frozen=True)
class LatencyTable:
    """One device's table. All times in milliseconds; `content` is the file as it was read.

    `scale` and `offset_ms` come from the table's validation: whole networks measured on the device against the
    table's sum (1 and 0 where none were measured). `error` is the relative error (MAPE) on held-out networks.
    """

    content: dict[str, Any]
    entries: dict[EntryKey, float]
    hash: str

    @property
    def device(self) -> str:
        return str(self.content["device"])

    @property
    def provenance(self) -> str:
        return str(self.content["provenance"])

    @property
    def dtype(self) -> str:
        """Number format of the networks that were timed; published tables do not tell, and are of float32."""
        return str(self.content["dtype"] or "float32")

    @property
    def _validation(self) -> dict[str, Any]:
        return self.content["validation"] or {}

    @property
    def error(self) -> float | None:
        return self._validation.get("mape", self.content.get("estimated_error"))

    def cost(self, space: SearchSpace) -> Cost:
        """Latency of `space` in ms: an (L, K) table, and pairs where a layer's channels are another's choice.

        Raises UserError if the table is of another space, or lacks an entry (all missing ones are named, with the
        command that measures them).
        """
        if self.content["space"] != space.table_space:
            raise UserError(
                f"The latency table of {self.device} was made for {self.content['space']} and does not hold for "
                f"{space.name}. Build one on the device: supernet lut build --device {self.device} --space {space.table_space}"
            )
        scale, offset_ms = self._validation.get("scale", 1.0), self._validation.get("offset_ms", 0.0)
        missing: list[str] = []

        def price(op: str, layer: LayerSpec) -> float:
            if (key := layer.key(op)) not in self.entries:
                missing.append(f"{op} {layer.block_type}")
            return scale * self.entries.get(key, 0.0)

        cost = tabulate(space, "latency", "ms", offset_ms + scale * self.content["base_ms"], price)
        if missing:
            raise UserError(
                f"The latency table of {self.device} lacks {', '.join(dict.fromkeys(missing))}. "
                f"Measure them on the device: supernet lut build --device {self.device} --space {space.table_space}"
            )
        return cost

    def predict_ms(self, space: SearchSpace, ops: Sequence[str]) -> float:
        """Predicted latency of one architecture, ms."""
        return self.cost(space).total(space.index_L(ops))


def require_good(table: LatencyTable, accept_poor: bool) -> None:
    """Raises UserError where the table's own validation was poor, unless the user accepts that.

    A table that was never validated passes: its error is unknown, and reports say so.
    """
    validation = table.content["validation"]
    if accept_poor or validation is None:
        return
    if is_poor(validation):
        raise UserError(
            f"The latency table of {table.device} predicts poorly: on held-out networks Spearman "
            f"{validation['spearman']:.2f} (at least {WORST_SPEARMAN} is asked), mean error {validation['mape']:.1%} "
            f"(at most {WORST_MAPE:.0%}). Measure again on a quiet device, or accept it by --accept-poor-table."
        )


def shipped_devices() -> list[str]:
    """Names of the devices whose tables come with the package."""
    files = resources.files("latency_luts").iterdir()
    return sorted(f.name.removesuffix(".json") for f in files if f.name.endswith(".json") and f.name != "schema.json")


def table_path(device: str) -> Path:
    """The file of a shipped device's table, or the path itself. Raises UserError for an unknown device (with the nearest names)."""
    if device in shipped_devices():
        return Path(str(resources.files("latency_luts") / f"{device}.json"))
    if device.endswith(".json") or "/" in device:
        return Path(device)
    raise UserError(
        f'Unknown device "{device}".{nearest(device, shipped_devices())} '
        "A table of your own is given by its path: --device ./my-board.json"
    )


def load_table(device: str) -> LatencyTable:
    """The table of a shipped device, or of a JSON file's path.

    Raises UserError for an unknown device (with the nearest names) and for a file that does not fit the schema
    (with the field's path), or holds an entry twice.
    """
    path = table_path(device)
    schema = json.loads((resources.files("latency_luts") / "schema.json").read_text(encoding="utf-8"))
    content = read_json(path, "latency table", schema)
    entries: dict[EntryKey, float] = {}
    for number, entry in enumerate(content["entries"]):
        key = (entry["op"], entry["c_in"], entry["c_out"], entry["stride"], entry["resolution"])
        if key in entries:
            raise UserError(f"latency table {path}: entries[{number}]: {' '.join(map(str, key))} stands twice.")
        entries[key] = entry["median_ms"]
    _check_unit(path, list(entries.values()))
    validation = content["validation"] or {}
    if validation.get("scale", 1.0) * content["base_ms"] + validation.get("offset_ms", 0.0) < 0:
        raise UserError(
            f"latency table {path}: validation.offset_ms: {validation['offset_ms']:g} makes the stem and the head "
            "take less than no time."
        )
    return LatencyTable(content, entries, hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def _check_unit(path: Path, times_ms: list[float]) -> None:
    """Raises UserError for a time that is so far from the others that it must be in another unit."""
    typical = float(np.median([time for time in times_ms if time > 0] or [1.0]))
    for number, time in enumerate(times_ms):
        if time > 100 * typical or 0 < time < typical / 500:
            raise UserError(
                f"latency table {path}: entries[{number}].median_ms: {time:g} beside a median of {typical:g}: "
                "mixed units? All times are in milliseconds."
            )
