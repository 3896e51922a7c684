"""Converts the public per-operation tables of 27 devices into latency_luts/sources/fbnet32.json.

    python benchmarks/make_transfer_sources.py ../shared/data/latency/lut

Four tables are exact (HW-NAS-Bench), 23 are least-squares fits to whole-network times (HELP); both MIT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from supernet.schema import write_json
from supernet.spaces import get_space

ROOT = Path(__file__).parent.parent


def main(folder: Path) -> None:
    space = get_space("fbnet32")
    first = {stage: min(row for row, spec in enumerate(space.layers) if spec.stage == stage) for stage in range(7)}
    names = {spec.block_type: f"s{spec.stage}_{'first' if row == first[spec.stage] else 'rest'}"
             for row, spec in enumerate(space.layers)}  # fmt: skip
    devices = {}
    for kind in ("exact", "fitted"):
        content = json.loads((folder / f"fbnet_c100_{kind}.json").read_text(encoding="utf-8"))
        columns = [content["search_space"]["ops"].index(op) for op in space.ops]
        for device, table in content["devices"].items():
            devices[device] = {
                "kind": kind,
                "base_ms": round(table["base_ms"], 5),
                "delta_ms": [[round(table["delta_ms"][name][k], 5) for k in columns] for name in names.values()],
            }
    write_json(
        ROOT / "latency_luts" / "sources" / "fbnet32.json",
        {
            "schema_version": 1,
            "space": "fbnet32",
            "unit": "ms",
            "licence": "MIT",
            "source": "exact: HW-NAS-Bench v1.0 (Li et al., ICLR 2021); fitted: least squares on the whole-network "
            "times of HELP (Lee et al., NeurIPS 2021)",
            "notes": "Milliseconds relative to skip, by block type. What `supernet lut adapt` knows of other devices.",
            "ops": list(space.ops),
            "block_types": list(names),
            "devices": dict(sorted(devices.items())),
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
