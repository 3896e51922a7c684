"""What suits a training that begins with a teacher's blocks and few images: moving average, length, learning rate, hidden features.

    python benchmarks/few_images.py --folder DIR     # DIR may be that of pretrained.py: its teachers and searches are taken
    python benchmarks/few_images.py --folder DIR --sets pad_ufes --settings base,features_10   # other rows stay as results/ has them
    python benchmarks/few_images.py --quick          # one tiny set, two settings, a smoke test; nothing written

The network that a blockwise search derives at 30% of the teacher's latency (64 px, 2,000 images) is trained by `train` with one option changed at a time; the
base is 10,000 images seen, as in pretrained.py, and without hidden features. Its runs are kept in DIR/few_images, and it goes on where it was. `summary`: points of test accuracy (and of
the gap) over the base, in pairs of seeds, with 95% t-intervals.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pretrained import SHARED, TEACHER, data_options, run, train_images, trained
from results_io import read_records, write_results
from t_interval import t_interval

from supernet.commands.main import main as supernet
from supernet.costs.latency import load_table
from supernet.spaces import get_space
from supernet.spaces.lite import uniform_sizes
from supernet.transfer.kernel_model import table_for

SIZE, SHARE = 64, 0.3
BASE = "base"
SETTINGS: dict[str, tuple[float, tuple[str, ...]]] = {
    BASE: (1, ()),
    "last_weights": (1, ("--ema-decay", "0")),
    "slow_average": (1, ("--ema-decay", "0.999")),
    "features_1": (1, ("--feature-weight", "1")),
    "features_10": (1, ("--feature-weight", "10")),
    "half_as_long": (0.5, ()),
    "twice_as_long": (2, ()),
    "twice_features_10": (2, ("--feature-weight", "10")),
    "lr_third": (1, ("--lr", "3e-4")),
    "lr_triple": (1, ("--lr", "3e-3")),
}
"""By name: how long beside the base, and further options."""


def derived(folder: Path, data: list[str], seed: int, options: argparse.Namespace) -> Path:
    """The search's folder; under pretrained.py's names, so that what it left is found."""
    device = options.folder / "this-machine.json"
    if not device.exists():
        supernet(["lut", "build", "--space", f"lite{SIZE}", "--device", "this-machine", "--rounds", "12", "--threads", "1", "--out", str(device)])  # fmt: skip
    common = [*data, "--seed", str(seed), "--threads", "1"]
    teacher, epochs = folder / f"teacher-{seed}", -(-options.images // train_images(folder, data, options.quick))
    run(teacher, "train", "--arch", TEACHER, "--pretrained", "--resolution", str(SIZE), *common, "--export", "none", "--bootstrap", "0", "--epochs", str(epochs))  # fmt: skip
    space = get_space(f"lite{SIZE}")
    latency = table_for(load_table(str(device)), space)[0].cost(space)
    budget = SHARE * latency.total(np.nanargmax(uniform_sizes(space), axis=1))
    found = folder / f"derived-{SHARE}-{seed}"
    accepted = ["--accept-poor-table"] if options.quick else []  # few rounds on a busy machine
    run(found, "search", "--device", str(device), "--teacher", str(teacher), "--budget-ms", f"{budget:.5f}", *common, "--strategy", "blockwise", *accepted)  # fmt: skip
    return found


def one(name: str, setting: str, seed: int, data: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """A training of a data set's derived network."""
    folder = options.folder / name
    arch = derived(folder, data, seed, options)
    length, more = SETTINGS[setting]
    more = more if "--feature-weight" in more else ("--feature-weight", "0", *more)
    epochs = -(-options.images // train_images(folder, data, options.quick))
    out = options.folder / "few_images" / f"{name}-{setting}-{seed}"
    found = trained(setting, SHARE, out, "--arch", str(arch), *data, "--seed", str(seed), "--threads", "1", "--export", "none",
                    "--bootstrap", "0", "--epochs", str(max(1, round(length * epochs))), *more)  # fmt: skip
    return {"set": name, "seed": seed, **{key: found[key] for key in ("network", "accuracy", "gap", "train_s")}}


def kept() -> list[dict[str, Any]]:
    """The last results' rows; those of sets and settings that are not asked for stay."""
    try:
        return read_records("few_images")
    except FileNotFoundError:
        return []


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences to the base, over all sets and for each."""
    by = {(row["set"], row["seed"], row["network"]): row for row in rows}
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        cells = [cell[:2] for cell in by if cell[2] == setting and (*cell[:2], BASE) in by]
        if setting == BASE or not cells:
            continue
        for figure in ("accuracy", "gap"):
            change = {cell: 100 * (by[(*cell, setting)][figure] - by[(*cell, BASE)][figure]) for cell in cells}
            mean, low, high = t_interval(list(change.values()))
            found |= {f"{setting}_{figure}": mean, f"{setting}_{figure}_low": low, f"{setting}_{figure}_high": high}
            for name in dict.fromkeys(cell[0] for cell in cells):
                found[f"{setting}_{figure}_{name}"] = float(
                    np.mean([change[cell] for cell in cells if cell[0] == name])
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on few pictures; nothing is written")
    parser.add_argument("--sets", default="cifar10,pad_ufes")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000, help="images that a training sees")
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    sets, settings = options.sets.split(","), options.settings.split(",")
    if options.quick:
        sets, settings, options.seeds, options.images = ["pad_ufes"], [BASE, "features_1"], 1, 60
    options.folder = (options.folder or Path(tempfile.mkdtemp(prefix="few-images-"))).absolute()
    (options.folder / "few_images").mkdir(parents=True, exist_ok=True)
    rows = (
        [row for row in kept() if row["set"] not in sets or row["network"] not in settings] if not options.quick else []
    )
    for seed in range(options.seeds):
        for name in sets:
            data = data_options(name, options.folder / name / "data", Path())
            data += ["--max-train", "60"] if options.quick else []
            rows += [one(name, setting, seed, data, options) for setting in settings]
            if not options.quick:
                seeds = {one_set: len({row["seed"] for row in rows if row["set"] == one_set}) for one_set in sorted({row["set"] for row in rows})}  # fmt: skip
                write_results("few_images", summary(rows) | {f"seeds_{one_set}": number for one_set, number in seeds.items()}, rows)  # fmt: skip
    print(summary(rows))


if __name__ == "__main__":
    main()
