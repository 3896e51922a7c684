"""What starting from a trained network is worth: derived, uniform and from-scratch networks of equal latency on this machine.

For each data set and seed EfficientNet-Lite0 is fine-tuned from its ImageNet weights: the teacher. `search --teacher` derives a network
at a share of the teacher's latency, and `train` goes on from its weights with the teacher's outputs. Beside it: the uniform network of
the same budget, same teacher, same steps (where there are two ways to make one, the better on test, over the seeds of a set); of the first seed also the derived one from scratch, and the known small network of the nearest
measured latency from scratch, both with four times the epochs. Budgets are held by a table built here (`lut build --space lite64`); every network
is then measured with onnxruntime, one thread, all of a cell in turn. Everything else goes through the commands that a user has.

    python benchmarks/pretrained.py --folder DIR            # some 10 minutes of one core a cell (set × seed); goes on where it was
    python benchmarks/pretrained.py --folder DIR --shares 0.3 --keep-scratch    # one share, some 6 minutes a cell: pretrained_30.json
    python benchmarks/pretrained.py --folder DIR --gumbel   # the Gumbel-softmax search, too
    python benchmarks/pretrained.py --folder DIR --kendall  # 40 random networks: predicted against short-distilled loss
    python benchmarks/pretrained.py --quick                 # one tiny cell, a smoke test; nothing written

Data: ../shared/data (cifar10, pad_ufes) and Debian's dataset-fashion-mnist (--fashion), 2,000 training images at most. Groups of the first and
the last follow from the class. `summary`: points of accuracy, means over sets × seeds with 95% t-intervals; `at_equal_ms`: less what the derived networks'
longer measured time is worth, by the slope between their two shares.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx_time import milliseconds
from public_sets import SHARED, cifar10, fashion, write_table
from results_io import read_records, write_results
from scipy import stats
from t_interval import t_interval
from torch.nn import functional as F

from supernet.commands.main import main as supernet
from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.costs.latency import load_table
from supernet.derive import best_first
from supernet.models import create_network, read_model
from supernet.quality import Quality
from supernet.spaces import get_space
from supernet.spaces.lite import uniform_sizes
from supernet.strategies.assembled import compared, material
from supernet.strategies.blockwise import depth_order
from supernet.transfer.kernel_model import table_for

TEACHER = "tf_efficientnet_lite0"
SMALL = ("mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv3_small_100", "lcnet_035", "lcnet_050", "lcnet_075", "lcnet_100")  # fmt: skip
SPLITS = (("train", 2000), ("val", 500), ("test", 1000))


def data_options(name: str, folder: Path, source: Path) -> list[str]:
    """The options that name a data set; made in `folder` where it has to be."""
    if name == "pad_ufes":
        return ["--data", str(SHARED / "pad_ufes"), "--group-cols", "sex", "--cluster-col", "patient"]
    if not (folder / "metadata.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder, cifar10(folder, SPLITS) if name == "cifar10" else fashion(folder, source, SPLITS))
    return ["--data", str(folder), "--channels", "3"]


def run(out: Path, *arguments: str) -> dict[str, Any]:
    """The report of a command's run, with its seconds; one that is there already is read, an unfinished one begins again."""
    if not (out / "seconds.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        supernet([*arguments, "--out", str(out)])
        (out / "seconds.json").write_text(json.dumps(time.monotonic() - started))
    report = json.loads((out / "report.json").read_text())
    return report | {"wall_s": json.loads((out / "seconds.json").read_text())}


def trained(name: str, share: float, out: Path, *arguments: str) -> dict[str, Any]:
    """What is kept of a training."""
    report = run(out, "train", *arguments)
    (found,) = report["metrics"]["attributes"].values()
    accuracy, gap = report["metrics"]["accuracy"]["value"], found["gaps"]["accuracy_parity"]["value"]
    return {"network": name, "share": share, "arch": report["arch"].get("name"), "accuracy": accuracy, "gap": gap, "train_s": report["wall_s"], "run": str(out)}  # fmt: skip


def train_images(folder: Path, data: list[str], quick: bool) -> int:
    """Training images of a data set: PAD-UFES holds out its own search-val."""
    return 60 if quick else 485 if folder.name == "pad_ufes" else dict(SPLITS)["train"]


def nearest_small(folder: Path, whole: Any, spec: Any, shares: list[float]) -> dict[float, str]:
    """Of the known small networks the one whose measured latency is nearest to each share of the teacher's."""
    place = folder / "small.json"
    if not place.exists():
        models = [create_network(name, whole.classes, spec).eval() for name in SMALL]
        whole_ms, *small_ms = milliseconds([whole.network.eval(), *models], (1, spec.channels, spec.size, spec.size))
        place.write_text(json.dumps({name: ms / whole_ms for name, ms in zip(SMALL, small_ms, strict=True)}))
    ratios = json.loads(place.read_text())
    return {share: min(SMALL, key=lambda name: abs(np.log(ratios[name] / share))) for share in shares}


def one(folder: Path, data: list[str], seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All networks of one data set and seed."""
    device = options.folder / "this-machine.json"
    common = [*data, "--seed", str(seed), "--threads", "1"]
    training = [*common, "--export", "none", "--bootstrap", "0"]
    epochs = -(-options.images // train_images(folder, data, options.quick))
    longer = [*training, "--epochs", str(4 * epochs)]
    teacher = folder / f"teacher-{seed}"
    rows = [trained("teacher", 1.0, teacher, "--arch", TEACHER, "--pretrained", "--resolution", str(options.size), *training, "--epochs", str(epochs))]  # fmt: skip
    whole = read_model(teacher / "model.json")
    space = get_space(f"lite{options.size}")
    latency = table_for(load_table(str(device)), space)[0].cost(space)
    whole_ms = latency.total(np.nanargmax(uniform_sizes(space), axis=1))
    small = nearest_small(folder, whole, whole.spec, options.shares)
    for share in options.shares:
        budget = ["--device", str(device), "--teacher", str(teacher), "--budget-ms", f"{share * whole_ms:.5f}", *common]
        strategies = {"derived": "blockwise", "uniform": "uniform"} | ({"gumbel": "differentiable"} if options.gumbel else {})  # fmt: skip
        for name, strategy in strategies.items():
            found = folder / f"{name}-{share}-{seed}"
            more = ["--epochs", "2", "--warmup-epochs", "2"] if strategy == "differentiable" else []
            if strategy == "blockwise" and share != options.shares[0]:  # one table answers every budget
                more = ["--quality", str(folder / f"derived-{options.shares[0]}-{seed}")]
            more += ["--accept-poor-table"] if options.quick else []  # few rounds on a busy machine
            search = run(found, "search", *budget, "--strategy", strategy, *more)
            row = trained(name, share, folder / f"{found.name}-trained", "--arch", str(found), *training, "--epochs", str(epochs))  # fmt: skip
            rows.append(row | {"search_s": search["wall_s"], "predicted_ms": search["derived"]["predicted_ms"], "ops": search["derived"]["ops"]})  # fmt: skip
            if strategy == "uniform" and (found / "control").exists():  # the other way to make one
                rows.append(trained("uniform_other", share, folder / f"{found.name}-other", "--arch", str(found / "control"), *training, "--epochs", str(epochs)))  # fmt: skip
        if seed == 0 and not options.keep_scratch:  # dear, and far below
            name = small[share]
            rows.append(trained("small_scratch", share, folder / f"{name}-{seed}", "--arch", name, "--resolution", str(options.size), *longer))  # fmt: skip
    share = min(options.shares)
    if seed == 0 and not options.keep_scratch:
        rows.append(trained("derived_scratch", share, folder / f"derived-scratch-{share}-{seed}", "--arch", str(folder / f"derived-{share}-{seed}"), "--from-scratch", *longer))  # fmt: skip
    return [{**row, "seed": seed} for row in with_times(folder / f"times-{seed}.json", rows, whole.spec)]


def with_times(place: Path, rows: list[dict[str, Any]], spec: Any) -> list[dict[str, Any]]:
    """The rows with the measured milliseconds of each network."""
    runs = [row["run"] for row in rows]
    if not place.exists() or json.loads(place.read_text())["runs"] != runs:
        models = [read_model(Path(run) / "model.json").network.eval() for run in runs]
        found = milliseconds(models, (1, spec.channels, spec.size, spec.size))
        place.write_text(json.dumps({"runs": runs, "ms": found}))
    times = json.loads(place.read_text())["ms"]
    return [{key: value for key, value in row.items() if key != "run"} | {"ms": ms} for row, ms in zip(rows, times, strict=True)]  # fmt: skip


def summary(rows: list[dict[str, Any]], shares: list[float]) -> dict[str, Any]:
    """Points of accuracy between networks of one set and seed."""
    by = {(row["set"], row["seed"], row["network"], row["share"]): row for row in rows}
    cells = sorted({(row["set"], row["seed"]) for row in rows})
    for name, share in {(name, share) for name, _, network, share in by if network == "uniform_other"}:
        both = [(by[name, seed, "uniform", share], by[name, seed, "uniform_other", share]) for own, seed in cells
                if own == name and (name, seed, "uniform_other", share) in by]  # fmt: skip
        if (
            np.mean([other["accuracy"] - one["accuracy"] for one, other in both]) > 0
        ):  # the control is the better one on test
            by |= {(name, row["seed"], "uniform", share): row | {"set": name} for _, row in both}
    sets = sorted({name for name, _ in cells})
    found: dict[str, Any] = {"sets": ", ".join(sets), "cells": len(cells)}

    def differences(a: tuple[str, float], b: tuple[str, float], figure: str = "accuracy") -> dict[str, list[float]]:
        """By set."""
        both = [cell for cell in cells if {(*cell, *a), (*cell, *b)} <= by.keys()]
        return {name: [100 * (by[(*cell, *a)][figure] - by[(*cell, *b)][figure]) for cell in both if cell[0] == name] for name in sets}  # fmt: skip

    def points(name: str, a: tuple[str, float], b: tuple[str, float], figure: str = "accuracy") -> None:
        values = differences(a, b, figure)
        if together := [value for own in values.values() for value in own]:
            mean, low, high = t_interval(together)
            found.update({name: mean, f"{name}_low": low, f"{name}_high": high})
            found.update({f"{name}_{one}": float(np.mean(own)) for one, own in values.items() if own})

    gains, gaps = [], []
    for share in shares:
        tag = f"{100 * share:.0f}"
        derived = ("derived", share)
        points(f"over_uniform_{tag}", derived, ("uniform", share))
        points(f"gumbel_over_uniform_{tag}", ("gumbel", share), ("uniform", share))
        points(f"over_scratch_{tag}", derived, ("derived_scratch", share))
        points(f"over_small_{tag}", derived, ("small_scratch", share))
        points(f"against_teacher_{tag}", derived, ("teacher", 1.0))
        points(f"added_gap_{tag}", derived, ("teacher", 1.0), "gap")
        gains += [float(np.mean(own)) for own in differences(derived, ("small_scratch", share)).values() if own]
        gaps += [float(np.mean(own)) for own in differences(derived, ("teacher", 1.0), "gap").values() if own]
        ratio = [by[(*cell, *derived)]["ms"] / by[(*cell, "uniform", share)]["ms"] for cell in cells if (*cell, *derived) in by]  # fmt: skip
        found[f"measured_ms_over_uniform_{tag}"] = float(np.mean(ratio))
        if f"over_uniform_{tag}" in found and len(shares) > 1:
            found[f"over_uniform_{tag}_at_equal_ms"] = found[f"over_uniform_{tag}"] - slope(by, cells, shares) * float(
                np.mean(np.log(ratio))
            )
    minutes = [(by[(*cell, "teacher", 1.0)]["train_s"] + row["search_s"] + row["train_s"]) / 60
               for cell in cells for share in shares if (row := by.get((*cell, "derived", share)))]  # fmt: skip
    return found | {"gain_over_scratch_min": min(gains), "added_gap_max": max(gaps), "minutes_total_max": max(minutes)}


def slope(by: dict[Any, dict[str, Any]], cells: list[tuple[str, int]], shares: list[float]) -> float:
    """Points of accuracy for each e-fold of measured latency, from the derived networks of the largest and the least share."""
    found = []
    for cell in cells:
        large, small = by[(*cell, "derived", max(shares))], by[(*cell, "derived", min(shares))]
        found.append(100 * (large["accuracy"] - small["accuracy"]) / np.log(large["ms"] / small["ms"]))
    return float(np.mean(found))


def kendall(folder: Path, data: list[str], device: Path, share: float, networks: int) -> tuple[dict[str, float], list[dict[str, Any]]]:  # fmt: skip
    """Rank correlations (Kendall) over random networks of one budget, each trained shortly: what foretells the test images' figures?

    kendall_blockwise: of the table's sums with the cross-entropy on test. The others: of what a search sees after the short training,
    the distance to the teacher, the cross-entropy of search-val or their sum (merit), with cross-entropy and error on test.
    """
    search = json.loads((folder / f"derived-{share}-0" / "report.json").read_text())["asked"]
    known = SearchConfig.__dataclass_fields__
    asked = {name: value for name, value in search.items() if name in known}
    config = SearchConfig(**{**asked, "device": str(device), "out": str(folder / "kendall"), "resume": None, "space": SearchConfig.space})  # fmt: skip
    problem = prepare(config)
    space, test = problem.space, problem.data.test
    added_LKG = Quality.load(folder / f"derived-{share}-0").added_LKG
    rng, drawn, order = np.random.default_rng(0), [], depth_order(space)
    costs, budgets = [*problem.costs.values(), order], {**problem.budgets, order.name: 0.0}
    while len(drawn) < networks:  # as a search draws them: inside the budget, depth cut from a stage's end
        index_L = next(best_first(rng.gumbel(size=space.valid_LK.shape), space.valid_LK, costs, budgets))
        drawn += [] if any(np.array_equal(index_L, other) for other in drawn) else [index_L]
    shown = torch.from_numpy(problem.data.preprocessing.normalised(np.asarray(test.images_NCHW)))
    label_N, records = torch.from_numpy(test.label_N), []
    for candidate, network in compared(
        config, problem, material(config, problem), [space.names(index_L) for index_L in drawn]
    ):
        with torch.no_grad():
            logits_NC = torch.cat([network(part) for part in shown.split(256)])
        index_L = space.index_L(candidate.ops)
        records.append({
            "ops": candidate.ops,
            "predicted": float(added_LKG[np.arange(len(index_L)), index_L].mean(1).sum()),
            "distance": candidate.distance,
            "val_entropy": candidate.cross_entropy,
            "merit": candidate.merit,
            "test_entropy": float(F.cross_entropy(logits_NC, label_N)),
            "test_error": float((logits_NC.argmax(1) != label_N).float().mean()),
        })  # fmt: skip

    def tau(a: str, b: str) -> float:
        return float(stats.kendalltau([row[a] for row in records], [row[b] for row in records]).statistic)

    found = {
        "kendall_blockwise": tau("predicted", "test_entropy"),
        "kendall_blockwise_error": tau("predicted", "test_error"),
    }
    found |= {
        f"kendall_{a}_{b}": tau(a, f"test_{b}")
        for a in ("distance", "val_entropy", "merit")
        for b in ("entropy", "error")
    }
    return found, records


def file_name(options: argparse.Namespace) -> str:
    """Of the results: those of one share alone stand by themselves."""
    return "pretrained" + (f"_{100 * options.shares[0]:.0f}" if len(options.shares) == 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on few pictures; nothing is written")
    parser.add_argument("--sets", default="cifar10,pad_ufes,fashion")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shares", default="0.5,0.3")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument(
        "--images", type=int, default=10_000, help="images that each training sees; from scratch four times as many"
    )
    parser.add_argument("--keep-scratch", action="store_true", help="networks from scratch stay as results/ has them")
    parser.add_argument("--gumbel", action="store_true", help="the Gumbel-softmax search from the teacher, too")
    parser.add_argument("--kendall", action="store_true", help="after the cells: 40 random networks of one budget")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    options.shares, sets = [float(text) for text in options.shares.split(",")], options.sets.split(",")
    if options.quick:
        options.size, options.images, options.seeds, options.shares, sets = 64, 60, 1, [0.5], ["pad_ufes"]
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    options.folder = (options.folder or Path(tempfile.mkdtemp(prefix="pretrained-"))).absolute()
    options.folder.mkdir(parents=True, exist_ok=True)
    if "fashion" in sets and not options.fashion.is_dir():
        print(f"without fashion: {options.fashion} is not here (apt install dataset-fashion-mnist, or --fashion DIR)")
        sets.remove("fashion")
    device = options.folder / "this-machine.json"
    if not device.exists():
        supernet(["lut", "build", "--space", f"lite{options.size}", "--device", "this-machine", "--rounds", "12", "--threads", "1", "--out", str(device)])  # fmt: skip
    rows: list[dict[str, Any]] = []
    scratch = [
        row for row in read_records("pretrained") if options.keep_scratch and row["network"].endswith("_scratch")
    ]
    for seed in range(options.seeds):
        for name in sets:
            own = options.folder / name
            data = data_options(name, own / "data", options.fashion)
            data += ["--max-train", "60"] if options.quick else []
            rows += [{**row, "set": name} for row in one(own, data, seed, options)]
            rows += [row for row in scratch if (row["set"], row["seed"]) == (name, seed)]
            found = summary(rows, options.shares) | {"seeds": seed + 1, "size": options.size, "images": options.images}
            print(json.dumps(found, indent=1), flush=True)
            if not options.quick:
                write_results(file_name(options), found, rows)
    if options.kendall:
        own = options.folder / sets[0]
        taus, random_networks = kendall(own, data_options(sets[0], own / "data", options.fashion), device, min(options.shares), 40)  # fmt: skip
        found |= taus
        rows += [{"set": sets[0], "network": "random", **row} for row in random_networks]
        print(json.dumps(found, indent=1), flush=True)
        write_results(file_name(options), found, rows)


if __name__ == "__main__":
    main()
