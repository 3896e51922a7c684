"""What can be told about a latency table without the device: coverage, plausibility, validation figures."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from latency_luts.manifest import NAME_IS, is_name
from supernet.blocks.ops import OPS
from supernet.costs.latency import EntryKey, LatencyTable
from supernet.errors import UserError
from supernet.spaces import SearchSpace


def table_place(device: str, out: Path | None) -> Path:
    """Where a new table goes: `out`, or DEVICE.json. Raises UserError for a name that no table can have, and for a file that is there."""
    if not is_name(device):
        raise UserError(f"--device must be {NAME_IS}.")
    place = out or Path(f"{device}.json")
    if not place.name or place.exists():
        raise UserError(
            f"--out {place} is there already: choose another file." if place.name else "--out must be a file's name."
        )
    return place


def entry_macs(key: EntryKey) -> int:
    """Multiply-accumulates of one entry's operation at batch 1; 0 for an identity or an operation not of ours. Nothing is built."""
    op, c_in, c_out, stride, resolution = key
    if op not in OPS:
        return 0
    return sum(primitive.macs for primitive in OPS[op].primitives(c_in, c_out, stride, resolution))


def missing_entries(table: LatencyTable, space: SearchSpace) -> list[str]:
    """The (operation, block type) that the space needs and the table lacks."""
    needed = {layer.key(op) for op, layer in space.places()}
    return [f"{op} {c_in}x{c_out}s{stride}@{hw}" for op, c_in, c_out, stride, hw in sorted(needed - set(table.entries))]


def doubts(table: LatencyTable) -> list[str]:
    """What looks wrong in a table that fits the schema; an empty list is what one hopes for."""
    macs = {key: entry_macs(key) for key in table.entries}
    found = []
    free = [key for key, time in table.entries.items() if time == 0 and macs[key] > 0]
    if free:
        found.append(
            f"{len(free)} operations that compute take 0 ms (expected only where entries are relative to skip)"
        )
    timed = [key for key in table.entries if macs[key] > 0 and table.entries[key] > 0]
    if len(timed) > 10:
        rank = float(spearmanr([macs[key] for key in timed], [table.entries[key] for key in timed])[0])
        if rank < 0.5:
            found.append(
                f"time hardly grows with multiply-accumulates (Spearman {rank:.2f}; below .5 is unusual on a CPU)"
            )
        speed = float(np.median([macs[key] / (table.entries[key] * 1e6) for key in timed]))
        if not 0.01 < speed < 1e5:
            found.append(f"{speed:.3g} GMAC/s: is the whole table in another unit than milliseconds?")
    return found + _inversions(table)


def _inversions(table: LatencyTable) -> list[str]:
    """A larger operation of the same family at the same shape, yet clearly faster."""
    shapes: dict[tuple[Any, ...], list[tuple[float, str, float]]] = defaultdict(list)
    for (op, *shape), time in table.entries.items():
        if op in OPS and OPS[op].family:
            shapes[(OPS[op].family, *shape)].append((OPS[op].size, op, time))
    found = []
    for (_, c_in, c_out, stride, hw), times in shapes.items():
        for (_, low, low_ms), (_, high, high_ms) in pairwise(sorted(times)):
            if high_ms < 0.8 * low_ms:
                found.append(
                    f"{high} {c_in}x{c_out}s{stride}@{hw} takes {high_ms:.4g} ms, less than {low} with {low_ms:.4g} ms"
                )
    return found


def validation_line(table: LatencyTable) -> str:
    """How far the table's predictions were from whole networks, in one line."""
    validation = table.content["validation"]
    if validation is None and table.error is not None:
        return f"validation: none of this space; estimated, with a mean error of {table.error:.1%} on other networks, each left out of the fit"
    if validation is None:
        return "validation: none; the error of its predictions is unknown"
    parts = [f"mean error {validation['mape']:.1%}"]
    if "max_error" in validation:
        parts.append(f"largest {validation['max_error']:.1%}")
    parts.append(f"Spearman {validation['spearman']:.3f}")
    if "scale" in validation:
        parts.append(f"sum × {validation['scale']:.3f} {validation.get('offset_ms', 0.0):+.3f} ms")
    whose = " as the estimator has them; none was measured" if table.provenance == "estimated" else ""
    return f"validation on {validation['n']} whole networks{whose}, each left out of its fit: {', '.join(parts)}"


def machine_line(table: LatencyTable) -> str | None:
    """What the runner saw of the machine while it measured; None for a table that it did not make."""
    protocol = table.content.get("protocol") or {}
    before, after = protocol.get("before"), protocol.get("after")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return None
    seen = [f"{what} {before[key]} → {after.get(key)}" for what, key in
            (("governor", "governor"), ("MHz", "clock_mhz"), ("°C", "celsius"), ("load", "load")) if before.get(key)]  # fmt: skip
    visits = f"{protocol.get('dropped_visits')} of {protocol.get('visits')} visits dropped"
    return f"machine: {', '.join([str(before.get('processor')), *seen, visits])}"
