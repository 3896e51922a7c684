"""Row of counterparts.py: do early exits widen the gap between groups?

A small network (2.8 M multiply-adds, two exits) is trained on 3,000 pictures for each of 5 seeds. Thresholds are chosen on search-val so that the mean cost
is at most half the full network's. Figure: gap of accuracy with exits − the full network's on the same 4,000 test pictures, mean over seeds,
with Student's 95% interval over seeds. Beside it: the change of accuracy, and how much oftener one group leaves early.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counterparts_pictures import SETS, SIZES, pictures
from t_interval import t_interval

from supernet.anytime import answered, grid, leaves
from supernet.config import TrainConfig
from supernet.costs.analytic import count
from supernet.data import Batches
from supernet.engine.evaluate import predict_exits
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.exits import UpTo, attach, detach
from supernet.network import build_efficientnet

SEEDS, EPOCHS, SHARE = 5, 8, 0.5
ARCH = (("ir_r1_k3_s1_e3_c16",), ("ir_r2_k3_s2_e3_c32",), ("ir_r3_k3_s2_e3_c64",))


def gap(right_S: np.ndarray, group_S: np.ndarray) -> float:
    """Accuracy of group 1 − that of group 0; signed, so that seeds can be averaged."""
    return float(right_S[group_S == 1].mean() - right_S[group_S == 0].mean())


def one(name: str, seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    """One training, and what exits do to it. Goes on from `folder`."""
    own = folder / f"{name}-{seed}"
    if (own / "row.json").exists():
        return json.loads((own / "row.json").read_text())
    own.mkdir(parents=True, exist_ok=True)
    data = pictures(name, folder, seed, (128, 64, 200) if quick else SIZES)
    torch.manual_seed(seed)
    network = build_efficientnet(
        ARCH, stem_channels=16, stem_stride=2, head_channels=128, num_classes=len(data.classes), in_chans=data.channels
    )
    attach(network, 2, data.channels, 32)
    config = TrainConfig(epochs=1 if quick else EPOCHS, seed=seed, threads=1, exits=2, fairness_weight=0.0)
    trained: Any = train_network(config, data, network, RunFolder(own), torch.device("cpu"))
    exits = detach(trained)
    assert exits is not None
    trained.eval()
    macs = [float(count(UpTo(trained, exits, last).eval(), 1, data.channels, 32, 32)[0]) for last in range(3)]
    shown = {"shuffle": False, "mean": data.mean, "std": data.std}
    val_NSC, test_NSC = (
        predict_exits(trained, exits, Batches(part, 256, **shown).epoch()) for part in (data.val, data.test)
    )
    threshold_E = grid(val_NSC, data.val.label_N, macs).best(SHARE * macs[-1])
    assert threshold_E is not None, "the first exit costs a quarter"
    left_S, label_S, group_S = leaves(test_NSC, threshold_E), data.test.label_N, data.test.group_NA[:, 0]
    early, full = answered(test_NSC, left_S).argmax(-1) == label_S, test_NSC[-1].argmax(-1) == label_S
    gaps = [gap(full, group_S), gap(early, group_S)]
    row = {
        "set": name, "seed": seed, "accuracy": float(full.mean()), "accuracy_early": float(early.mean()),
        "gap": abs(gaps[0]), "gap_early": abs(gaps[1]), "signed": gaps, "macs": macs,
        "cost_share": float(np.asarray(macs)[left_S].mean() / macs[-1]),
        "leaving": np.bincount(left_S, minlength=3).tolist(), "early_apart": gap(left_S < 2, group_S),
        "exits_alone": [float((own.argmax(-1) == label_S).mean()) for own in test_NSC],
    }  # fmt: skip
    (own / "row.json").write_text(json.dumps(row))
    (own / "checkpoint.pt").unlink(missing_ok=True)
    return row


def exits_gap_change(folder: Path, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row. `exits_gap_change` is that of the letters, whose groups are people."""
    rows = [one(name, seed, folder, quick) for seed in range(1 if quick else SEEDS) for name in SETS]
    figures: dict[str, Any] = {}
    for name in SETS:
        mine = [row for row in rows if row["set"] == name]
        ending = "" if name == "arabic_letters" else f"_{name}"
        for key, values in {
            "exits_gap_change": [row["gap_early"] - row["gap"] for row in mine],
            "exits_accuracy_change": [row["accuracy_early"] - row["accuracy"] for row in mine],
            "exits_early_apart": [row["early_apart"] for row in mine],
        }.items():
            for part, value in zip(("", "_low", "_high"), t_interval(values), strict=True):
                figures[f"{key}{ending}{part}"] = None if value is None else round(value, 4)
        figures[f"exits_gap_full{ending}"] = round(float(np.mean([row["gap"] for row in mine])), 4)
        figures[f"exits_accuracy_full{ending}"] = round(float(np.mean([row["accuracy"] for row in mine])), 4)
        figures[f"exits_cost_share{ending}"] = round(float(np.mean([row["cost_share"] for row in mine])), 3)
    return figures, rows


ROWS = {"exits": exits_gap_change}
