"""What starting from a trained network is worth: derived, uniform and from-scratch networks of equal predicted latency.

For each data set and seed: EfficientNet-Lite0 is fine-tuned from its ImageNet weights (the teacher), `search --teacher` derives a network
at a share of the teacher's latency, and is trained with the inherited weights and the teacher. Beside it: the uniform network of the same
budget, from the same teacher with the same steps; the derived one from scratch; `mobilenetv3_small_050` from scratch. Latency is
the estimate for the Raspberry Pi 4 (supernet lut predict). Everything goes through the commands that a user has.

    python benchmarks/pretrained.py                       # resumable: finished runs are read from the folder
    python benchmarks/pretrained.py --sets cifar10 --seeds 1 --shares 0.3
    python benchmarks/pretrained.py --quick               # one tiny set, a smoke test; nothing written

Data: ../shared/data (cifar10, pad_ufes), 2,000 training images at most. `summary`: means and 95% t-intervals over sets × seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from results_io import write_results
from scipy import stats

from supernet.commands.main import main as supernet
from supernet.costs.latency import load_table
from supernet.spaces import get_space
from supernet.spaces.lite import uniform_sizes
from supernet.transfer.kernel_model import table_for

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TEACHER, SCRATCH = "tf_efficientnet_lite0", "mobilenetv3_small_050"


def cifar10(folder: Path, train: int, held_out: int) -> None:
    """A table of CIFAR-10's pictures, equally many of each class; groups follow from the label (animal, vehicle)."""
    with tarfile.open(next((SHARED / "cifar10").glob("*.tar.xz"))) as archive:
        archive.extractall(folder, filter="data")
    rows = []
    for split, source, first, number in (
        ("train", "train", 0, train),
        ("val", "train", train, held_out),
        ("test", "test", 0, 2 * held_out),
    ):
        for place in sorted(path for path in folder.rglob(f"{source}/*") if path.is_dir()):
            files = sorted(place.iterdir())[first // 10 : (first + number) // 10]
            group = "animal" if place.name in {"bird", "cat", "deer", "dog", "frog", "horse"} else "vehicle"
            rows += [[str(file.relative_to(folder)), place.name, group, split] for file in files]
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "label", "group", "split"], *rows])


def data_options(name: str, folder: Path, quick: bool) -> list[str]:
    """The options that name a data set; made in `folder` where it has to be."""
    if name == "cifar10":
        if not (folder / "metadata.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            cifar10(folder, 100 if quick else 2000, 50 if quick else 500)
        return ["--data", str(folder)]
    return ["--data", str(SHARED / "pad_ufes"), "--group-cols", "sex", "--cluster-col", "patient"]


def run(out: Path, *arguments: str) -> dict[str, Any]:
    """The report of a command's run; one that is there already is read."""
    if not (out / "report.json").exists():
        started = time.monotonic()
        supernet([*arguments, "--out", str(out)])
        (out / "seconds.json").write_text(json.dumps(time.monotonic() - started))
    report = json.loads((out / "report.json").read_text())
    return report | {"wall_s": json.loads((out / "seconds.json").read_text())}


def measured(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a training."""
    metrics = report["metrics"]
    (found,) = metrics["attributes"].values()
    return {
        "accuracy": metrics["accuracy"]["value"],
        "gap": found["gaps"]["accuracy_parity"]["value"],
        "macs": report["arch"]["macs"],
        "wall_s": report["wall_s"],
    }


def one(folder: Path, data: list[str], seed: int, size: int, shares: list[float], epochs: int) -> list[dict[str, Any]]:
    """All networks of one data set and seed."""
    common = [*data, "--seed", str(seed), "--threads", "1"]
    training = [*common, "--export", "none", "--bootstrap", "0", "--epochs", str(epochs)]
    teacher = folder / f"teacher-{seed}"
    rows = [
        {
            "network": "teacher",
            "share": 1.0,
            **measured(run(teacher, "train", "--arch", TEACHER, "--pretrained", "--resolution", str(size), *training)),
        }
    ]
    rows.append(
        {
            "network": "mobilenet_scratch",
            "share": 0.0,
            **measured(
                run(folder / f"mobilenet-{seed}", "train", "--arch", SCRATCH, "--resolution", str(size), *training)
            ),
        }
    )
    space = get_space(f"lite{size}")
    latency = table_for(load_table("rpi4"), space)[0].cost(space)
    whole_ms = latency.total(np.nanargmax(uniform_sizes(space), axis=1))
    for share in shares:
        budget = ["--device", "rpi4", "--teacher", str(teacher), "--budget-ms", f"{share * whole_ms:.4f}", *common]
        for name, strategy in (("derived", "blockwise"), ("uniform", "uniform")):
            found = folder / f"{name}-{share}-{seed}"
            search = run(found, "search", *budget, "--strategy", strategy)
            row = measured(run(folder / f"{name}-{share}-{seed}-trained", "train", "--arch", str(found), *training))
            rows.append({"network": name, "share": share, **row, "search_s": search["wall_s"],
                         "predicted_ms": search["derived"]["predicted_ms"], "ops": search["derived"]["ops"]})  # fmt: skip
        scratch = measured(
            run(
                folder / f"scratch-{share}-{seed}",
                "train",
                "--arch",
                str(folder / f"derived-{share}-{seed}"),
                "--from-scratch",
                *training,
            )
        )
        rows.append({"network": "derived_scratch", "share": share, **scratch})
    return [{**row, "seed": seed} for row in rows]


def interval(values: list[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95% t-interval; no interval of one value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


def summary(rows: list[dict[str, Any]], shares: list[float]) -> dict[str, Any]:
    """Points of accuracy between networks of one set and seed."""
    by = {(row["set"], row["seed"], row["network"], row["share"]): row for row in rows}
    cells = sorted({(row["set"], row["seed"]) for row in rows})
    found: dict[str, Any] = {"sets": len({name for name, _ in cells}), "cells": len(cells)}

    def points(name: str, a: tuple[str, float], b: tuple[str, float], figure: str = "accuracy") -> None:
        values = [
            100 * (by[(*cell, *a)][figure] - by[(*cell, *b)][figure])
            for cell in cells
            if {(*cell, *a), (*cell, *b)} <= by.keys()
        ]
        if values:
            mean, low, high = interval(values)
            found.update({name: mean, f"{name}_low": low, f"{name}_high": high})

    for share in shares:
        tag = f"{100 * share:.0f}"
        points(f"over_uniform_{tag}", ("derived", share), ("uniform", share))
        points(f"over_scratch_{tag}", ("derived", share), ("derived_scratch", share))
        points(f"over_mobilenet_{tag}", ("derived", share), ("mobilenet_scratch", 0.0))
        points(f"against_teacher_{tag}", ("derived", share), ("teacher", 1.0))
        points(f"added_gap_{tag}", ("derived", share), ("teacher", 1.0), "gap")
    searches = [row["search_s"] / 60 for row in rows if row["network"] == "derived"]
    found["search_minutes_max"] = max(searches) if searches else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on few pictures; nothing is written")
    parser.add_argument("--sets", default="cifar10,pad_ufes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shares", default="0.5,0.3")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    shares = [float(text) for text in options.shares.split(",")]
    size, epochs, seeds, sets = options.size, options.epochs, options.seeds, options.sets.split(",")
    if options.quick:
        size, epochs, seeds, sets, shares = 64, 1, 1, ["cifar10"], [0.5]
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pretrained-"))
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        for name in sets:
            own = folder / name
            rows += [
                {**row, "set": name}
                for row in one(own, data_options(name, own / "data", options.quick), seed, size, shares, epochs)
            ]
            found = summary(rows, shares) | {"seeds": seed + 1, "size": size, "epochs": epochs}
            print(json.dumps(found, indent=1), flush=True)
            if not options.quick:
                write_results("pretrained", found, rows)


if __name__ == "__main__":
    main()
