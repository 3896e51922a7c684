"""Converts the public fbnet tables into latency_luts/*.json.

    python benchmarks/make_tables.py ../shared/data/latency/lut

`fbnet_c100_exact.json` (HW-NAS-Bench, sums of isolated operations) → rpi4, pixel3, eyeriss, fpga;
`fbnet_c100_fitted.json` (least squares on HELP's whole-network times) → gold_6226, silver_4210r, titan_rtx_1, titanxp_64.
The `_g2` operations are left out: timm has no block for them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from latency_luts.validation import errors
from supernet.schema import write_json
from supernet.spaces import get_space

ROOT = Path(__file__).parent.parent
EXACT_NOTES = (
    "A sum of isolated per-operation costs: that it reproduces the published whole-network values exactly says nothing "
    "about end-to-end additivity. Entries are relative to skip (0 ms); base_ms holds stem, head and the skips."
)
FPGA_POWER = {
    "power_watts": 7.0,
    "notes": f"{EXACT_NOTES} power_watts: HW-NAS-Bench (Li et al., ICLR 2021) gives its FPGA energies as 7.0 W × its latencies, in every "
    "published sample.",
}
EXACT = {
    "rpi4": ("raspi4", "published", "Raspberry Pi 4"),
    "pixel3": ("pixel3", "published", "Google Pixel 3"),
    "eyeriss": ("eyeriss", "estimated", "Eyeriss accelerator, simulated"),
    "fpga": ("fpga", "estimated", "FPGA, estimated by its performance model"),
}
FITTED = {
    "gold_6226": (1, "Intel Xeon Gold 6226"),
    "silver_4210r": (1, "Intel Xeon Silver 4210R"),
    "titan_rtx_1": (1, "NVIDIA Titan RTX"),
    "titanxp_64": (64, "NVIDIA Titan Xp"),
}


def convert(device: str, deltas: dict[str, Any], op_names: list[str], **fields: Any) -> None:
    space = get_space("fbnet32")
    entries = []
    for layer in dict.fromkeys(space.layers):
        first = next(other for other in space.layers if other.stage == layer.stage)
        delta_ms = deltas["delta_ms"][f"s{layer.stage}_{'first' if layer == first else 'rest'}"]
        for op in space.ops:
            entry = {"op": op, "c_in": layer.c_in, "c_out": layer.c_out, "stride": layer.stride,
                     "resolution": layer.resolution}  # fmt: skip
            ms = delta_ms[op_names.index(op)]
            assert ms >= 0, f"{device} {entry}: {ms} ms"
            entries.append({**entry, "median_ms": ms, "iqr_ms": None, "n": None})
    write_json(
        ROOT / "latency_luts" / f"{device}.json",
        {"schema_version": 1, "device": device, "space": "fbnet32", "runtime": {"name": None, "version": None},
         "dtype": None, "threads": None, "resolution": 32, "unit": "ms", "licence": "MIT",
         "base_ms": deltas["base_ms"], "entries": entries, **fields},
    )  # fmt: skip


def refit(name: str, bench: Path) -> dict[str, Any]:
    """The least-squares fit without negative times: to 4,000 of HELP's 5,000 networks, judged on the others."""
    with np.load(bench, allow_pickle=False) as file:
        index_NL, ops = file["arch"], [str(op) for op in file["ops"]]
        ms_N = file["latency_ms"][:, [str(device) for device in file["devices"]].index(name)]
    space, skip = get_space("fbnet32"), ops.index("skip")
    places = [f"s{layer.stage}_{'first' if row == 0 or space.layers[row - 1].stage != layer.stage else 'rest'}"
              for row, layer in enumerate(space.layers)]  # fmt: skip
    names = list(dict.fromkeys(places))
    counts = np.zeros((len(index_NL), len(names), len(ops)))
    for row, place in enumerate(places):
        np.add.at(counts, (np.arange(len(index_NL)), names.index(place), index_NL[:, row]), 1)
    counts[:, :, skip] = 0  # entries are relative to skip
    X = np.column_stack([np.ones(len(index_NL)), counts.reshape(len(index_NL), -1)])
    order = np.random.default_rng(0).permutation(len(index_NL))
    seen, held = order[:4000], order[4000:]
    times, _ = nnls(X[seen], ms_N[seen])
    found = errors(X[held] @ times, ms_N[held])
    delta_ms = times[1:].reshape(len(names), len(ops)).tolist()
    return {"base_ms": float(times[0]), "delta_ms": dict(zip(names, delta_ms, strict=True)), "ops": ops,
            "validation": {"n": len(held), "mape": found["mape"], "spearman": found["spearman"]}}  # fmt: skip


def main(folder: Path) -> None:
    exact = json.loads((folder / "fbnet_c100_exact.json").read_text())
    ops = exact["search_space"]["ops"]
    for device, (name, provenance, what) in EXACT.items():
        source = exact["devices"][name]
        convert(device, source, ops, batch=1, provenance=provenance, source=f"{what}: {source['source']}",
                **{"validation": None, "notes": EXACT_NOTES, **(FPGA_POWER if device == "fpga" else {})})  # fmt: skip
    fitted = json.loads((folder / "fbnet_c100_fitted.json").read_text())["devices"]
    for device, (batch, what) in FITTED.items():
        holdout = fitted[device]["holdout"]
        validation = {"n": holdout["n_test"], "mape": holdout["mape_pct"] / 100, "spearman": holdout["spearman"]}
        deltas, names, how = fitted[device], ops, ""
        if min(min(times) for times in deltas["delta_ms"].values()) < 0:
            deltas = refit(device, folder.parent / "bench" / "fbnet_c100_latency.npz")
            names, validation, how = deltas["ops"], deltas["validation"], " without times below 0,"
        convert(device, deltas, names, batch=batch, provenance="fitted", validation=validation,
                source=f"{what}: least squares{how} on HELP's whole-network times (Lee et al., NeurIPS 2021)",
                notes="Fitted to 4,000 networks, validated on 1,000 others. Entries are relative to skip.")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
