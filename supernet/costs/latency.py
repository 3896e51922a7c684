"""Latency tables: latency_luts/<device>.json → milliseconds of each operation at each layer."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts.validation import WORST_MAPE, WORST_SPEARMAN, is_poor
from supernet.costs.factors import Cost
from supernet.costs.systolic import Array, EntryKey, Utilisation, base_ms, entry_ms, modelled, utilisation
from supernet.costs.tabulate import tabulate
from supernet.errors import UserError, nearest
from supernet.schema import read_json
from supernet.spaces import LayerSpec, SearchSpace, get_space

CLOSE = 1e-9  # relative: milliseconds as JSON has them


@dataclass(frozen=True)
class LatencyTable:
    """One device's table. All times in milliseconds; `content` is the file as it was read.

    `scale` and `offset_ms` come from the table's validation: whole networks measured on the device against the
    table's sum (1 and 0 where none were measured).
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
        """Relative error against the device. An estimated table's validation is against the estimator, so it does not count here."""
        measured = {} if self.provenance == "estimated" else self._validation
        return measured.get("mape", self.content.get("estimated_error"))

    @property
    def accelerator(self) -> str | None:
        """The Ethos-U NPU whose compiler estimated the table (`supernet lut vela`); None of any other."""
        return self.content.get("protocol", {}).get("accelerator")

    def way(self, space: SearchSpace) -> str:
        """How to have such a table for a space."""
        if self.accelerator is not None:
            return f"Let its compiler estimate one: supernet lut vela --accelerator {self.accelerator} --space {space.table_space}"
        return f"Build one on the device: supernet lut build --device {self.device} --space {space.table_space}"

    @property
    def array(self) -> Array | None:
        """The array whose cycles the table holds; None of a table that is of no such model."""
        model = self.content.get("model")
        return None if model is None else Array(**{name: value for name, value in model.items() if name != "kind"})

    def utilisation(self, space: SearchSpace, ops: Sequence[str]) -> Utilisation | None:
        """How much of the array an architecture uses; None where the device is no modelled array."""
        return None if self.array is None else utilisation(self.array, space, ops)

    def remodelled(self, space: SearchSpace) -> LatencyTable:
        """The same array's table for another space; it has the hash of this one, whose function it is."""
        assert self.array is not None
        content = modelled(self.array, space, self.device, self.dtype)
        content |= {name: self.content[name] for name in ("power_watts",) if name in self.content}
        return LatencyTable(content, {_key(entry): entry["median_ms"] for entry in content["entries"]}, self.hash)

    def cost(self, space: SearchSpace) -> Cost:
        """Latency of `space` in ms: an (L, K) table, and pairs where a layer's channels are another's choice.

        Raises UserError if the table is of another space, or lacks an entry (all missing ones are named, with the
        command that measures them).
        """
        if self.content["space"] != space.table_space:
            raise UserError(
                f"The latency table of {self.device} was made for {self.content['space']} and does not hold for "
                f"{space.name}. {self.way(space)}"
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
                f"The latency table of {self.device} lacks {', '.join(dict.fromkeys(missing))}. {self.way(space)}"
            )
        return cost

    @property
    def power_watts(self) -> float:
        """What the device draws while it computes. Raises UserError where the table does not say."""
        power = self.content.get("power_watts")
        if power is None:
            raise UserError(
                f"The table of {self.device} states no power, so energy is unknown: leave --max-mj out, or copy the table and add "
                f'"power_watts" (W while it computes, as you measured them).'
            )
        return float(power)

    def energy(self, space: SearchSpace) -> Cost:
        """mJ of an image, power × time. Raises UserError as `power_watts` and `cost`."""
        power, latency = self.power_watts, self.cost(space)
        pairs = {edge: power * table for edge, table in latency.pairs.items()}
        return Cost("energy", "mJ", power * latency.base, power * latency.unary_DK, pairs)

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
        if (key := _key(entry)) in entries:
            raise UserError(f"latency table {path}: entries[{number}]: {' '.join(map(str, key))} stands twice.")
        entries[key] = entry["median_ms"]
    validation = content["validation"] or {}
    if validation.get("scale", 1.0) * content["base_ms"] + validation.get("offset_ms", 0.0) < 0:
        raise UserError(
            f"latency table {path}: validation.offset_ms: {validation['offset_ms']:g} makes the stem and the head "
            "take less than no time."
        )
    table = LatencyTable(content, entries, hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    if table.array is None:
        call_ms = content.get("protocol", {}).get("call_ms")
        _check_unit(path, list(entries.values()), call_ms if isinstance(call_ms, int | float) else 0.0)
    else:
        _check_model(path, table, table.array)
    return table


def _key(entry: dict[str, Any]) -> EntryKey:
    return entry["op"], entry["c_in"], entry["c_out"], entry["stride"], entry["resolution"]


def _check_model(path: Path, table: LatencyTable, array: Array) -> None:
    """Raises UserError for a time that is not what the array's own numbers give: utilisation is told from these."""
    told = {"base_ms": (table.content["base_ms"], base_ms(array, get_space(table.content["space"])))}
    for number, (key, ms) in enumerate(table.entries.items()):
        told[f"entries[{number}].median_ms"] = ms, entry_ms(array, key)
    for field, (stated, right) in told.items():
        if not math.isclose(stated, right, rel_tol=CLOSE):
            raise UserError(
                f"latency table {path}: {field}: {stated:g}, but its model ({array.rows} × {array.columns} cells, "
                f"{array.clock_mhz:g} MHz) gives {right:g}: one was changed."
            )
    if table.content["validation"] is not None:
        raise UserError(f"latency table {path}: validation: a modelled table has none; nothing was measured.")


def _check_unit(path: Path, times_ms: list[float], call_ms: float) -> None:
    """Raises UserError for a time that is so far from the others that it must be in another unit.

    call_ms: what was taken off each; a difference that is less than that may be as small as it likes.
    """
    typical = float(np.median([time for time in times_ms if time > 0] or [1.0]))
    for number, time in enumerate(times_ms):
        if time > 100 * typical or call_ms < time < typical / 500:
            raise UserError(
                f"latency table {path}: entries[{number}].median_ms: {time:g} beside a median of {typical:g}: "
                "mixed units? All times are in milliseconds."
            )
