"""The ground truth of `micro32`: every one of its 432 architectures, trained alike on `writers` with rare students.

    python benchmarks/build_truth.py [--processes 2] [--seeds 2] [--folder runs/truth]
    python benchmarks/build_truth.py --quick      # one architecture, one epoch; the table is not written

2,000 training images, 5% of them by students (the same draw for all, so that differences are paired), 4 epochs of batch
64, AdamW; a seed changes the initial weights and the order of the images. Resumable: a finished run is a line in
`FOLDER/part-*.jsonl`; what is there, or in the table already, is not run again. Writes `benchmarks/truth/writers_micro.npz` from the finished runs
(all of them, or those so far with `--collect`); `benchmarks/truth/README.md` is its data card, `truth_table.py` reads it.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from supernet.costs.analytic import macs_table, params_table
from supernet.costs.latency import load_table, shipped_devices
from supernet.data import Batches, GroupedData, Split, load_data
from supernet.engine.evaluate import predict
from supernet.kernels import fast_cpu, keep_freed_memory
from supernet.network import build_path
from supernet.spaces import get_space

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).parent / "truth" / "writers_micro.npz"
RECIPE = {
    "space": "micro32", "data": "writers", "group_mix": "student=0.05", "max_train": 2000, "data_seed": 0, "val_images": 2048,
    "epochs": 4, "batch_size": 64, "optimizer": "AdamW", "lr": 5e-3, "weight_decay": 1e-2, "schedule": "one cycle, cosine",
}  # fmt: skip
SPACE = get_space(str(RECIPE["space"]))


def architectures() -> np.ndarray:
    """(N, L) columns of every architecture of the space, in the order of the table."""
    return np.array(list(itertools.product(*(np.flatnonzero(row_K) for row_K in SPACE.valid_LK))))


def data_of_truth() -> GroupedData:
    """The training draw that all share; search-val and test as embedded."""
    return load_data(group_mix=str(RECIPE["group_mix"]), max_train=int(RECIPE["max_train"]), seed=0, progress=False)


def train(data: GroupedData, index_L: np.ndarray, seed: int, epochs: int) -> tuple[torch.nn.Module, float, float]:
    """(trained network, mean loss of the last epoch, CPU seconds) of one run of the recipe."""
    started = time.process_time()
    torch.manual_seed(seed)
    network = build_path(SPACE, SPACE.names(index_L), len(data.classes), data.channels)
    fast_cpu(network).to(memory_format=torch.channels_last)
    batches = Batches(data.train, 64, mean=data.mean, std=data.std, seed=seed, augment=data.augment)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2, foreach=True)
    steps = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.1)
    losses = []
    network.train()
    for step in range(steps):
        batch = batches.at(step)
        loss = F.cross_entropy(network(batch.image), batch.label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return network, float(np.mean(losses[-len(batches) :])), time.process_time() - started


def tested(network: torch.nn.Module, data: GroupedData, split: Split, images: int) -> dict[str, Any]:
    """Right answers per group and class, mean loss per group, and one bit an image (base64), of the first `images`."""
    batches = Batches(split, 256, shuffle=False, mean=data.mean, std=data.std)
    served = [batches.at(step) for step in range(min(len(batches), -(-images // 256)))]
    prob_NC = predict(network, served)
    label_N, group_N = split.label_N[: len(prob_NC)], split.group_NA[: len(prob_NC), 0]
    right_N = prob_NC.argmax(1) == label_N
    loss_N = -np.log(prob_NC[np.arange(len(label_N)), label_N].clip(1e-12))
    correct_GC = np.zeros((len(data.attributes["writer"]), len(data.classes)), int)
    np.add.at(correct_GC, (group_N[right_N], label_N[right_N]), 1)
    return {
        "correct": correct_GC.tolist(),
        "loss": [float(loss_N[group_N == g].mean()) for g in range(len(correct_GC))],
        "right": base64.b64encode(np.packbits(right_N).tobytes()).decode(),
    }


def work(part: Path, jobs: list[tuple[int, int]], epochs: int) -> None:
    """One process: its share of the runs, a line each."""
    os.nice(5)
    torch.set_num_threads(1)
    keep_freed_memory()
    data, index_NL = data_of_truth(), architectures()
    for number, (arch, seed) in enumerate(jobs, start=1):
        network, loss, seconds = train(data, index_NL[arch], seed, epochs)
        row = {
            "arch": arch,
            "seed": seed,
            "train_loss": loss,
            "seconds": seconds,
            "val": tested(network, data, data.val, int(RECIPE["val_images"])),
            "test": tested(network, data, data.test, len(data.test.label_N)),
        }
        with part.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{part.stem}: {number}/{len(jobs)} arch {arch} seed {seed} {seconds:.1f} s", flush=True)


def finished(folder: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """Every run that is in the table or in the folder, by (architecture, seed)."""
    rows = [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.read_text().splitlines()]
    return {(row["arch"], row["seed"]): row for row in (*tabled(), *rows)}


def tabled() -> list[dict[str, Any]]:
    """The runs in the table as it is, if it was made by this recipe."""
    if not TABLE.exists():
        return []
    with np.load(TABLE) as file:
        arrays = dict(file)
    card = json.loads(str(arrays["card"]))
    if any(card.get(name) != value for name, value in RECIPE.items()):
        return []
    return [
        {
            "arch": int(arch),
            "seed": int(seed),
            "train_loss": float(arrays["train_loss"][arch, seed]),
            "seconds": float(arrays["seconds"][arch, seed]),
            **{
                split: {name: arrays[f"{name}_{split}"][arch, seed].tolist() for name in ("correct", "loss")}
                for split in ("val", "test")
            },
            "right": arrays["right_test"][arch, seed],
        }
        for arch, seed in np.argwhere(np.isfinite(arrays["seconds"]))
    ]


def collect(folder: Path, seeds: int) -> None:
    """Writes the table from the finished runs; a run that is missing is NaN or −1 there."""
    runs, index_NL, data = finished(folder), architectures(), data_of_truth()
    shape = (len(index_NL), seeds)
    groups, classes = len(data.attributes["writer"]), len(data.classes)
    arrays: dict[str, np.ndarray] = {
        "train_loss": np.full(shape, np.nan, np.float32),
        "seconds": np.full(shape, np.nan, np.float32),
        "right_test": np.zeros((*shape, -(-len(data.test.label_N) // 8)), np.uint8),
    }
    for split, part in (("val", data.val), ("test", data.test)):
        arrays[f"correct_{split}"] = np.full((*shape, groups, classes), -1, np.int16)
        arrays[f"loss_{split}"] = np.full((*shape, groups), np.nan, np.float32)
        served = int(RECIPE["val_images"]) if split == "val" else len(part.label_N)
        total_GC = np.zeros((groups, classes), np.int16)
        np.add.at(total_GC, (part.group_NA[:served, 0], part.label_N[:served]), 1)
        arrays[f"total_{split}"] = total_GC
    for (arch, seed), row in runs.items():
        if seed >= seeds:
            continue
        arrays["train_loss"][arch, seed], arrays["seconds"][arch, seed] = row["train_loss"], row["seconds"]
        arrays["right_test"][arch, seed] = row["right"] if "right" in row else unpacked(row["test"]["right"])
        for split in ("val", "test"):
            arrays[f"correct_{split}"][arch, seed] = row[split]["correct"]
            arrays[f"loss_{split}"][arch, seed] = row[split]["loss"]
    for device in shipped_devices():
        table = load_table(device)
        if table.content["space"] == SPACE.table_space:
            arrays[f"latency_ms_{device}"] = totals(table.cost(SPACE), index_NL)
    arrays["params"] = totals(params_table(SPACE, data.channels, classes), index_NL)
    arrays["macs"] = totals(macs_table(SPACE, data.channels, classes), index_NL)
    card = {
        **RECIPE,
        "seeds": seeds,
        "fingerprint": data.fingerprint,
        "groups": data.attributes["writer"],
        "torch": torch.__version__,
    }
    TABLE.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        TABLE, index=index_NL.astype(np.int8), ops=np.array(SPACE.ops), label_test=data.test.label_N.astype(np.int8),
        group_test=data.test.group_NA[:, 0].astype(np.int8), card=json.dumps(card), **arrays,
    )  # fmt: skip
    done = np.isfinite(arrays["seconds"]).sum()
    print(f"{TABLE.relative_to(ROOT)}: {done} of {shape[0] * seeds} runs, {TABLE.stat().st_size / 1e6:.1f} MB")


def unpacked(text: str) -> np.ndarray:
    """The bits of a finished run's test images, as bytes."""
    return np.frombuffer(base64.b64decode(text), np.uint8)


def totals(cost: Any, index_NL: np.ndarray) -> np.ndarray:
    """(N,) total cost of each architecture."""
    return np.array([cost.total(index_L) for index_L in index_NL])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "truth")
    parser.add_argument("--collect", action="store_true", help="only write the table from the runs so far")
    parser.add_argument("--quick", action="store_true", help="one architecture, one epoch; nothing is written")
    options = parser.parse_args()
    options.folder /= "quick" if options.quick else ""
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.quick:
        work(options.folder / "part-0.jsonl", [(0, 0)], 1)
        return
    if not options.collect:
        # seed by seed, architectures in random order: an early table is a sample of all
        order = np.random.default_rng(0).permutation(len(architectures())).tolist()
        done = finished(options.folder)
        jobs = [(arch, seed) for seed in range(options.seeds) for arch in order if (arch, seed) not in done]
        with ProcessPoolExecutor(options.processes) as pool:
            shares = [
                pool.submit(
                    work, options.folder / f"part-{n}.jsonl", jobs[n :: options.processes], int(RECIPE["epochs"])
                )
                for n in range(options.processes)
            ]
            for share in shares:
                share.result()
    collect(options.folder, options.seeds)


if __name__ == "__main__":
    main()
