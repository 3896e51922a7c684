"""What an int8 file loses, and what training with int8 in the loop changes of it: networks of several blocks, two data sets.

    python benchmarks/int8_training.py --folder DIR     # some 20 CPU minutes; goes on where it was
    python benchmarks/int8_training.py --quick          # one tiny network, a smoke test; nothing written

Each network is trained with 3,000 pictures: for 8 epochs (plain), or for 6 and then 2 with int8 in the loop (qat). Networks: of `flex32` with one block in
every layer (MobileNetV2's, with squeeze-excite, ResNet's two dense convolutions; some 6 M multiply-adds), and mobilenetv3_small_050 with squeeze-excite and
hard-swish, on pictures twice as wide, since it halves them five times. Test: 4,000 pictures. `summary`, in points: what the int8 file loses of the accuracy of the float32 file of the same training, by how much its gap
is larger (largest and mean over all networks and sets), how often both say the same, and by how much the int8 file of qat is better than that of plain.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counterparts_pictures import SETS, SHARED, SIZES, pictures
from results_io import write_results

from supernet.config import TrainConfig
from supernet.costs.analytic import macs_table
from supernet.data import GroupedData
from supernet.engine.quantised_training import train_for_int8
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.export import export_onnx, onnx_metadata
from supernet.models import create_network
from supernet.network import build_path
from supernet.quantisation import quantise_best
from supernet.spaces import get_space
from supernet.spaces.flex import FlexSpace

OPS, KNOWN, MACS = ("k3_e3", "k3_e3_se", "res_k3"), "mobilenetv3_small_050", 6e6
WAYS: dict[str, dict[str, int]] = {"plain": {"epochs": 8}, "qat": {"epochs": 6, "qat_epochs": 2}}


def network(name: str, data: GroupedData) -> Any:
    """With fresh weights."""
    if name == KNOWN:
        return create_network(name, data.classes, data.preprocessing)
    space = get_space("flex32")
    assert isinstance(space, FlexSpace)
    macs = macs_table(space, data.channels, len(data.classes))
    within = [ops for ops in space.of_one(name) if macs.total(space.index_L(ops)) <= MACS]
    return build_path(space, max(within, key=lambda ops: macs.total(space.index_L(ops))), len(data.classes), data.channels)  # fmt: skip


def twice_as_wide(data: GroupedData) -> GroupedData:
    """Each pixel four times."""
    parts = {name: replace(part, images_NCHW=np.asarray(part.images_NCHW).repeat(2, 2).repeat(2, 3))
             for name, part in (("train", data.train), ("val", data.val), ("test", data.test))}  # fmt: skip
    spec, augment = data.preprocessing, data.augment
    return replace(data, **parts, preprocessing=replace(spec, size=2 * spec.size), augment=replace(augment, shift=2 * augment.shift))  # fmt: skip


def one(folder: Path, set_name: str, name: str, way: str, seed: int, quick: bool) -> dict[str, Any]:
    """A training, its two files, and what each gives on test; read where it is there."""
    own = folder / f"{set_name}-{name}-{way}-{seed}"
    if (own / "row.json").exists():
        return json.loads((own / "row.json").read_text())
    own.mkdir(parents=True, exist_ok=True)
    data = pictures(set_name, folder, seed, (128, 64, 200) if quick else SIZES)
    data = twice_as_wide(data) if name == KNOWN else data
    torch.manual_seed(seed)
    epochs = dict.fromkeys(WAYS[way], 1) if quick else WAYS[way]
    config = TrainConfig(seed=seed, threads=1, fairness_weight=0.0, **epochs)
    device, run = torch.device("cpu"), RunFolder(own)
    trained = train_network(config, data, network(name, data), run, device)
    trained = train_for_int8(config, data, trained, run, device).eval()
    export_onnx(trained, own / "model.onnx", data.preprocessing, onnx_metadata(data.preprocessing, data.classes))
    found = quantise_best(own / "model.onnx", own / "model-int8.onnx", data, config.fairness)
    test = found["test"]
    row = {
        "set": set_name,
        "network": name,
        "way": way,
        "seed": seed,
        "setting": found["setting"],
        "agreement": test["agreement"],
    }
    for form in ("float32", "int8"):
        row |= {f"{form}_accuracy": test[form]["accuracy"], f"{form}_gap": test[form]["attributes"]["group"]["gap"]}
    (own / "row.json").write_text(json.dumps(row))
    for left in own.rglob("checkpoint.pt"):
        left.unlink()
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """In points; agreement as a share."""
    found: dict[str, Any] = {"trainings": len(rows)}
    for way in WAYS:
        own = [row for row in rows if row["way"] == way]
        if own:
            lost = [100 * (row["float32_accuracy"] - row["int8_accuracy"]) for row in own]
            more = [100 * (row["int8_gap"] - row["float32_gap"]) for row in own]
            found |= {f"{way}_lost_max": max(lost), f"{way}_lost_mean": float(np.mean(lost)), f"{way}_gap_change_max": max(more),
                      f"{way}_gap_change_mean": float(np.mean(more)), f"{way}_agreement_min": min(row["agreement"] for row in own)}  # fmt: skip
    by = {(row["set"], row["network"], row["seed"], row["way"]): row for row in rows}
    pairs = [
        (row, by[(*cell[:3], "plain")]) for cell, row in by.items() if cell[3] == "qat" and (*cell[:3], "plain") in by
    ]
    for form in ("int8", "float32"):
        found[f"qat_{form}_over_plain"] = float(np.mean([100 * (a[f"{form}_accuracy"] - b[f"{form}_accuracy"]) for a, b in pairs]))  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on few pictures; nothing is written")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="int8-training-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sets, names = (["arabic_letters"], [KNOWN]) if options.quick else (list(SETS), [*OPS, KNOWN])
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for name in names:
            for set_name in sets:
                rows += [one(folder, set_name, name, way, seed, options.quick) for way in WAYS]
                print(json.dumps(summary(rows), indent=1), flush=True)
                if not options.quick:
                    write_results("int8_training", summary(rows), rows)


if __name__ == "__main__":
    main()
