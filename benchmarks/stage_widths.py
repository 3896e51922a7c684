"""Do widths of stages help a search from a teacher? `slim64` beside `lite64` and the uniform network, at one budget of one table.

    python benchmarks/stage_widths.py --folder DIR   # DIR may be that of pretrained.py (its teachers are taken); goes on where it was
    python benchmarks/stage_widths.py --quick        # one tiny cell, a smoke test; nothing written

As pretrained.py: 2,000 training images, 10,000 seen by each training, every network measured in turn with onnxruntime on one thread. The table is one of `slim64`,
measured here; that of `lite64` has the entries that both have. Runs are kept in DIR/stage_widths. `summary`: points of test accuracy over `lite64`'s derived network and over
the better uniform one, in pairs of set and seed, with 95% t-intervals; the ratio of measured times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pretrained import SHARED, TEACHER, data_options, run, train_images, trained, with_times
from results_io import write_results
from t_interval import t_interval

from supernet.commands.main import main as supernet
from supernet.costs.latency import load_table
from supernet.models import read_model
from supernet.spaces import get_space
from supernet.spaces.lite import uniform_sizes

SIZE = 64
OUTPUTS_ALONE = ("--feature-weight", "0")  # the default of the day of its results: hidden features came later
VARIANTS = {"lite": ("lite", "blockwise"), "slim": ("slim", "blockwise"), "uniform": ("lite", "uniform")}


def tables(folder: Path) -> dict[str, Path]:
    """By space."""
    found = {name: folder / f"{name}-machine.json" for name in ("slim", "lite")}
    if not found["slim"].exists():
        supernet(["lut", "build", "--space", f"slim{SIZE}", "--device", "this-machine", "--threads", "1", "--out", str(found["slim"])])  # fmt: skip
    table, lite = json.loads(found["slim"].read_text()), get_space(f"lite{SIZE}")
    keys = {layer.key(op) for op, layer in lite.places()}
    entries = [one for one in table["entries"] if (one["op"], *(one[k] for k in ("c_in", "c_out", "stride", "resolution"))) in keys]  # fmt: skip
    found["lite"].write_text(json.dumps(table | {"space": lite.name, "entries": entries}))
    return found


def one(name: str, seed: int, share: float, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The networks of one set and seed."""
    folder, own, device = options.folder / name, options.folder / "stage_widths", options.tables
    data = data_options(name, folder / "data", options.fashion) + (["--max-train", "60"] if options.quick else [])
    common = [*data, "--seed", str(seed), "--threads", "1"]
    training = [*common, "--export", "none", "--bootstrap", "0", "--epochs", str(-(-options.images // train_images(folder, data, options.quick)))]  # fmt: skip
    teacher = folder / f"teacher-{seed}"
    run(teacher, "train", "--arch", TEACHER, "--pretrained", "--resolution", str(SIZE), *training)
    lite = get_space(f"lite{SIZE}")
    whole_ms = load_table(str(device["lite"])).cost(lite).total(np.nanargmax(uniform_sizes(lite), axis=1))
    rows = []
    accepted = ["--accept-poor-table"] if options.quick else []  # few rounds on a busy machine
    for variant, (space, strategy) in VARIANTS.items():
        found = own / f"{name}-{variant}-{share:g}-{seed}"
        search = run(found, "search", "--device", str(device[space]), "--teacher", str(teacher), "--space", f"{space}{SIZE}",
                     "--budget-ms", f"{share * whole_ms:.5f}", "--strategy", strategy, *common, *accepted)  # fmt: skip
        row = trained(variant, share, own / f"{found.name}-trained", "--arch", str(found), *training, *OUTPUTS_ALONE)
        rows.append(row | {"search_s": search["wall_s"], "predicted_ms": search["derived"]["predicted_ms"], "ops": search["derived"]["ops"]})  # fmt: skip
        if strategy == "uniform" and (found / "control").exists():
            rows.append(trained("uniform_other", share, own / f"{found.name}-other", "--arch", str(found / "control"), *training, *OUTPUTS_ALONE))  # fmt: skip
    timed = with_times(own / f"times-{name}-{share:g}-{seed}.json", rows, read_model(teacher / "model.json").spec)
    return [{"set": name, "seed": seed, **row} for row in timed]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences between networks of one set and seed; of the two uniform ones the better on test."""
    by: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cell = by.setdefault((row["set"], row["seed"]), {})
        name = "uniform" if row["network"] == "uniform_other" else row["network"]
        if name not in cell or row["accuracy"] > cell[name]["accuracy"]:
            cell[name] = row
    found: dict[str, Any] = {"cells": len(by), "share": rows[0]["share"]}
    for a, b in (("slim", "lite"), ("slim", "uniform"), ("lite", "uniform")):
        for figure in ("accuracy", "gap"):
            mean, low, high = t_interval([100 * (cell[a][figure] - cell[b][figure]) for cell in by.values()])
            name = f"{a}_over_{b}" if figure == "accuracy" else f"{a}_gap_over_{b}"
            found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        for one_set in dict.fromkeys(name for name, _ in by):
            own = [cell for (name, _), cell in by.items() if name == one_set]
            found[f"{a}_over_{b}_{one_set}"] = float(np.mean([100 * (cell[a]["accuracy"] - cell[b]["accuracy"]) for cell in own]))  # fmt: skip
        found[f"{a}_ms_over_{b}"] = float(np.mean([cell[a]["ms"] / cell[b]["ms"] for cell in by.values()]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on few pictures; nothing is written")
    parser.add_argument("--sets", default="cifar10,pad_ufes,fashion")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.3, help="of the teacher's latency")
    parser.add_argument("--images", type=int, default=10_000, help="images that each training sees")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    sets = ["pad_ufes"] if options.quick else options.sets.split(",")
    if options.quick:
        options.images, options.seeds, options.share = 60, 1, 0.5
    options.folder = (options.folder or Path(tempfile.mkdtemp(prefix="stage-widths-"))).absolute()
    (options.folder / "stage_widths").mkdir(parents=True, exist_ok=True)
    options.tables = tables(options.folder / "stage_widths")
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for name in sets:
            rows += one(name, seed, options.share, options)
            found = summary(rows)
            print(json.dumps(found, indent=1), flush=True)
            if not options.quick:
                write_results("stage_widths", found, rows)


if __name__ == "__main__":
    main()
