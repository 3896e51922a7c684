"""From visits to a latency table: entries, base, validation, and what was seen of the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency_luts.errors import BundleError
from latency_luts.files import write_whole
from latency_luts.journal import Journal
from latency_luts.manifest import Item, Manifest
from latency_luts.protocol import Time, summarise
from latency_luts.sheets import csv_text
from latency_luts.validation import validate

Key = tuple[Any, ...]


def make_table(
    manifest: Manifest, journal: Journal, fields: dict[str, Any], protocol: dict[str, Any]
) -> dict[str, Any]:
    """The measured table's JSON content. `fields` are device, runtime, threads, provenance; `protocol` how it was measured."""
    times = {item.name: summarise(*journal.of(item.name)) for item in manifest.items}
    notes = "Medians over visits, less what a call of the runtime costs by itself (protocol.call_ms)."
    told = {"licence": "the measurer's own", "source": "measured by the runner of a supernet bundle", **fields, "notes": notes}  # fmt: skip
    dropped = sum(time.dropped for time in times.values())
    counted = {"visits": len(journal.visits), "dropped_visits": dropped, "moved_visits": len(journal.moved)}
    return assemble(manifest, times, told, {**protocol, **counted})


def assemble(
    manifest: Manifest, times: Mapping[str, Time], fields: dict[str, Any], protocol: dict[str, Any]
) -> dict[str, Any]:
    """A table's JSON content from each item's time by name; `fields` say where the times are from.

    A network is one call of the runtime, but each piece was one, too. So what a call costs by itself is taken off each operation, and
    of stem and head it stays once (of the head, where the stem is an operation). Bundles of before have no such piece: nothing is taken off.
    """
    call_ms = sum(times[item.name].median_ms for item in manifest.items if item.role == "call")
    entries = {_key(key): {**key, "median_ms": 0.0, "iqr_ms": None, "n": None} for key in manifest.identities}
    for item in manifest.items:
        if item.role == "op":
            time = times[item.name]
            own_ms = max(0.0, time.median_ms - call_ms)
            entries[_key(item.key)] = {**item.key, "median_ms": own_ms, "iqr_ms": time.iqr_ms, "n": time.n}
    ends_ms = [times[item.name].median_ms for item in manifest.items if item.role in ("stem", "head")]
    base_ms = max(0.0, sum(ends_ms) - call_ms * (len(ends_ms) - 1))
    networks = [item for item in manifest.items if item.role == "network"]
    sums_ms = [base_ms + _sum_ms(manifest, network, entries) for network in networks]
    extra = [
        {"name": item.name, "ops": item.ops, "median_ms": times[item.name].median_ms, "iqr_ms": times[item.name].iqr_ms}
        for item in manifest.items
        if item.role == "extra"
    ]
    return {
        "schema_version": 1,
        "space": manifest.space,
        "dtype": manifest.dtype,
        "batch": 1,
        "resolution": manifest.resolution,
        "unit": "ms",
        **fields,
        "base_ms": base_ms,
        "entries": list(entries.values()),
        "validation": validate(sums_ms, [times[network.name].median_ms for network in networks], base_ms),
        "protocol": {**protocol, "call_ms": call_ms, "made_with": manifest.made_with, "bundle": manifest.digest,
                     "extra_networks": extra},
        "notes": f"{fields['notes']} Predicted latency = validation.scale × (base + entries) + validation.offset_ms.",
    }  # fmt: skip


def write_sheet(path: Path, manifest: Manifest, journal: Journal, fields: dict[str, Any]) -> None:
    """The networks' times as the CSV that `supernet lut adapt --measured` reads, whole or not at all."""
    rows: list[list[Any]] = [["name", "ops", "latency_ms", "space", "dtype", "runtime", "threads"]]
    how = [manifest.space, manifest.dtype, fields["runtime"]["name"], fields["threads"]]
    for item in manifest.items:
        rows.append([item.name, " ".join(item.ops), summarise(*journal.of(item.name)).median_ms, *how])
    write_whole(path, csv_text(rows).encode())


def write(path: Path, content: dict[str, Any]) -> None:
    """The whole file or nothing."""
    write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _sum_ms(manifest: Manifest, network: Item, entries: dict[Key, dict[str, Any]]) -> float:
    total_ms = 0.0
    used = network.entries or [{"op": op, **layer} for op, layer in zip(network.ops, manifest.layers, strict=True)]
    for number, key in enumerate(used):
        entry = entries.get(_key(key))
        if entry is None:
            raise BundleError(
                f"manifest.json: {network.name}.ops[{number}]: {key['op']} is not among the bundle's pieces."
            )
        total_ms += entry["median_ms"]
    return total_ms


def _key(key: dict[str, Any]) -> Key:
    return tuple(key[field] for field in ("op", "c_in", "c_out", "stride", "resolution"))
