"""Does `--max-sram-kb` hold on the exported file? Random networks inside a limit, each exported as int8 .tflite, whose RAM tflite-micro plans.

    python benchmarks/small_memory.py --folder DIR [--networks 200]   # some 20 minutes of one core; goes on where it was
    python benchmarks/small_memory.py --quick                         # one network; nothing written

Half of the networks are of micro32, half of sensor32. The limit of each is a quarter, half or three quarters of the way from the least to the largest peak of
its space, in turn. Weights are random, batch norms too, so that no block can be folded away. `memory_violations`: files whose activations and kernels'
scratch take more than the limit; `memory_over_predicted`: more than the table says of the network. `arena_over_predicted_max`: the most that one takes by what the
table says; the runtime's own records are in neither. `own_plan_…`: the same file without the places that it tells, as tflite-micro's planner packs it.
`records_kib_max`: of these. `file_over_weights_max`: size of the file by what `--max-flash-kb` counts, the weights. Needs the extras litert and tflite-micro.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_io import write_results
from torch import nn

from supernet.arena import memory
from supernet.costs.analytic import params_table, weights_table
from supernet.costs.memory import KIB, peak_table
from supernet.derive import drawn_inside
from supernet.export import to_litert
from supernet.litert import laid_out, quantise, with_places
from supernet.network import build_path
from supernet.spaces import get_space

SPACES = {"micro32": 1, "sensor32": 3}  # channels of a picture
CLASSES, SHARES, IMAGES = 10, (0.25, 0.5, 0.75), 4


def one(number: int) -> dict[str, Any]:
    """The network of this number: its limit, what the table says, and what its file takes, in bytes."""
    name = list(SPACES)[number % len(SPACES)]
    space, channels, rng = get_space(name), SPACES[name], np.random.default_rng(number)
    peak = peak_table(space, channels, CLASSES, "int8")
    least, most = peak.bounds(space.valid_LK)
    limit = least + SHARES[number // len(SPACES) % len(SHARES)] * (most - least)
    index_L = drawn_inside(space.valid_LK, [peak], {peak.name: limit}, rng)
    torch.manual_seed(number)
    network = build_path(space, space.names(index_L), CLASSES, channels).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    float32 = laid_out(to_litert(network, (1, channels, space.resolution, space.resolution)), {})
    images = rng.standard_normal((IMAGES, channels, space.resolution, space.resolution)).astype(np.float32)
    planned = quantise(float32, images)
    found = memory(with_places(planned))
    weights = weights_table(params_table(space, channels, CLASSES), "int8").total(index_L)
    return {"space": name, "ops": space.names(index_L), "limit": limit * KIB, "predicted": peak.total(index_L) * KIB, "weights": weights * KIB, "own_plan": memory(planned)["activation_bytes"], **found}  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    known = [row for row in rows if row["activation_bytes"] is not None]
    return {
        "memory_networks": len(rows), "memory_unmeasured": len(rows) - len(known), "memory_distinct": len({(row["space"], *row["ops"]) for row in rows}),
        "memory_violations": sum(row["activation_bytes"] > row["limit"] for row in known),
        "arena_over_predicted_min": min(row["activation_bytes"] / row["predicted"] for row in known),
        "arena_over_predicted_max": max(row["activation_bytes"] / row["predicted"] for row in known),
        "memory_over_predicted": sum(row["activation_bytes"] > row["predicted"] for row in known),
        "own_plan_over_predicted": sum(row["own_plan"] > row["predicted"] for row in known),
        "own_plan_over_predicted_max": max(row["own_plan"] / row["predicted"] for row in known),
        "records_kib_max": max(row["arena_bytes"] - row["activation_bytes"] for row in known) / KIB,
        "file_over_weights_min": min(row["file_bytes"] / row["weights"] for row in rows),
        "file_over_weights_max": max(row["file_bytes"] / row["weights"] for row in rows),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one network; nothing is written")
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    missing = [name for name in ("litert_torch", "ai_edge_quantizer", "tflite_micro") if find_spec(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed (pip install 'supernet[litert,tflite-micro]')")
        return
    torch.set_num_threads(1)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="small-memory-"))
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "runs.jsonl"
    rows = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    for number in range(len(rows), 1 if options.quick else options.networks):
        rows.append(one(number))
        with place.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        if number % 10 == 9:
            print(json.dumps(summary(rows)), flush=True)
    print(json.dumps(summary(rows), indent=1))
    if not options.quick:
        write_results("small_memory", summary(rows), rows)


if __name__ == "__main__":
    main()
