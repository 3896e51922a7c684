"""Is there something to find in a space? Random networks of one measured latency, all trained alike, beside hand-made ones.

    python benchmarks/space_headroom.py --folder DIR                   # flex32; goes on where it was, results as they come
    python benchmarks/space_headroom.py --folder DIR --space fbnet32 --networks 40 --budget-ms 0.6
    python benchmarks/space_headroom.py --quick                        # three tiny trainings, a smoke test; nothing written

A table of the space is built on this machine. The centre is the network that a search calls hand-made, at --budget-ms by the table. Random networks
(each by its own draw of how likely the options are, Dirichlet, and a Metropolis walk inside the band) are timed with onnxruntime, one thread, in turn with
the centre, and kept within 2.5% of its time. All are trained as `train` does: CIFAR-10 of ../shared/data, 8,000 images, 5 epochs of batch 64; tested on 10,000.
The hand-made network is trained with three seeds, and so are, after all others, the ten best: what the first seed chose is judged by
the other two. `summary`: arch_sd is the spread between networks without that between seeds, best_over_uniform in points. The same for one family of blocks in
every layer (families). Writes benchmarks/truth/cifar_SPACE.npz, the table of trainings; its card is benchmarks/truth/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx_time import milliseconds
from public_sets import SHARED, cifar10, write_table
from results_io import write_results
from scipy.stats import kendalltau
from sklearn.model_selection import KFold
from torch import nn

from supernet.commands.main import main as supernet
from supernet.config import TrainConfig
from supernet.costs.analytic import macs_table, params_table
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.data import Batches, GroupedData, Split, load_data
from supernet.derive import hand_made, most_probable
from supernet.engine.evaluate import predict
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.kernels import keep_freed_memory
from supernet.lut.pieces import build
from supernet.network import build_path
from supernet.quality_fit import fit_table
from supernet.spaces import SearchSpace, get_space
from supernet.spaces.flex import FLEX_OPS, FlexSpace

BAND = 0.025  # of the centre's measured time, up and down
SPLITS = (("train", 8000), ("val", 500), ("test", 10_000))
WALK = 300  # steps of a Metropolis walk
BEST, AGAIN = 10, (1, 2)  # so many networks are trained with these seeds, too
TRUTH = Path(__file__).parent / "truth"
Runs = dict[tuple[tuple[str, ...], int], dict[str, Any]]
"""Trainings by operations and seed."""


def walked(cost: Cost, valid_DK: np.ndarray, low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """(D,) an architecture with a cost in [low, high]: a Metropolis walk whose stationary law is that of the drawn options inside the band."""
    likely_DK = np.where(valid_DK, rng.dirichlet(np.ones(valid_DK.shape[1])) + 1e-3, 0)
    while True:
        index_D = next(most_probable(np.log(np.maximum(likely_DK, 1e-9)) + rng.gumbel(size=valid_DK.shape), valid_DK, [cost], {cost.name: high}))  # fmt: skip
        if cost.total(index_D) >= low:
            break
    for _ in range(WALK):
        decision = rng.integers(len(valid_DK))
        other_D = index_D.copy()
        other_D[decision] = rng.choice(np.flatnonzero(valid_DK[decision]))
        if rng.random() < likely_DK[decision, other_D[decision]] / likely_DK[decision, index_D[decision]]:
            index_D = other_D if low <= cost.total(other_D) <= high else index_D
    return index_D


def quick_budget_ms(cost: Cost, space: SearchSpace) -> float:
    """Inside of any table: two rounds on a busy machine may say of every network that it is slower than it is."""
    return 1.5 * cost.bounds(space.valid_LK)[0]


def ratio(space: SearchSpace, ops: tuple[str, ...], centre: tuple[str, ...]) -> float:
    """The measured time of a network over the centre's."""
    one, other = milliseconds([build(space, names, 3, 10) for names in (ops, centre)], (1, 3, space.resolution, space.resolution), 24)  # fmt: skip
    return one / other


def in_band(place: Path, space: SearchSpace, cost: Cost, centre_L: np.ndarray, number: int) -> list[dict[str, Any]]:
    """`number` distinct random networks whose measured time is the centre's; kept in `place` as they are found."""
    found = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    target, tried = cost.total(centre_L), len(found)
    while sum(row["kept"] for row in found) < number:
        index_L = walked(cost, space.valid_LK, 0.93 * target, 1.03 * target, np.random.default_rng(tried))
        tried += 1
        ops = space.names(index_L)
        if any(row["ops"] == list(ops) for row in found):
            continue
        measured = ratio(space, ops, space.names(centre_L))
        found.append({"ops": ops, "ratio": measured, "predicted": cost.total(index_L) / target, "kept": abs(measured - 1) <= BAND})  # fmt: skip
        with place.open("a") as file:
            file.write(json.dumps(found[-1]) + "\n")
        print(f"{tried} tried, {sum(row['kept'] for row in found)} of {number} in the band", flush=True)
    return [row for row in found if row["kept"]][:number]


def families(place: Path, space: SearchSpace, cost: Cost, centre_L: np.ndarray) -> list[dict[str, Any]]:
    """Of each operation of a flex space the plain network of it alone whose measured time is nearest the centre's."""
    if not isinstance(space, FlexSpace):
        return []
    if not place.exists():
        rows = []
        for op in FLEX_OPS:
            near = sorted(space.of_one(op), key=lambda ops: abs(np.log(cost.total(space.index_L(ops)) / cost.total(centre_L))))[:3]  # fmt: skip
            rows += [min(({"ops": ops, "ratio": ratio(space, ops, space.names(centre_L))} for ops in near), key=lambda row: abs(np.log(row["ratio"])))]  # fmt: skip
        place.write_text(json.dumps(rows))
    return json.loads(place.read_text())


def trained(folder: Path, pictures: Path, space: str, ops: tuple[str, ...], seed: int, epochs: int) -> dict[str, Any]:
    """An architecture's training and what it gives on test."""
    return {"ops": ops} | trained_network(
        folder, pictures, lambda: build_path(get_space(space), ops, len(pictures_of(pictures).classes), 3), seed, epochs
    )


def trained_network(folder: Path, pictures: Path, build: Callable[[], nn.Module], seed: int, epochs: int) -> dict[str, Any]:  # fmt: skip
    """Right answers and mean loss of each class on test, and the gap between groups, after the training that `train` does."""
    torch.set_num_threads(1)
    keep_freed_memory()
    data, started = pictures_of(pictures), time.process_time()
    config = TrainConfig(epochs=epochs, batch_size=64, fairness_weight=0.0, seed=seed, threads=1, export="none")
    torch.manual_seed(seed)
    place = folder / f"training-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    network = train_network(config, data, build(), RunFolder(place), torch.device("cpu"))
    prob_NC = predict(network, Batches(data.test, 256, shuffle=False, mean=data.mean, std=data.std).epoch())
    label_N, group_N = data.test.label_N, data.test.group_NA[:, 0]
    loss_N = -np.log(prob_NC[np.arange(len(label_N)), label_N].clip(1e-12))
    right_N = prob_NC.argmax(1) == label_N
    classes, groups = (
        range(len(data.classes)),
        [float(right_N[group_N == group].mean()) for group in np.unique(group_N)],
    )
    return {"seed": seed, "accuracy": float(right_N.mean()), "gap": max(groups) - min(groups), "correct": [int(right_N[label_N == c].sum()) for c in classes],
            "loss": [float(loss_N[label_N == c].mean()) for c in classes], "seconds": time.process_time() - started}  # fmt: skip


@cache
def pictures_of(folder: Path) -> GroupedData:
    """The pictures, with a fifth of search-val: a training looks at it and decides nothing by it."""
    data = load_data(str(folder), progress=False)
    few = data.val
    return replace(data, val=Split(few.images_NCHW[::5], few.label_N[::5], few.group_NA[::5]))


def jobs(random: list[dict[str, Any]], plain: list[dict[str, Any]], centre: tuple[str, ...], runs: Runs) -> Iterator[list[tuple[tuple[str, ...], int]]]:  # fmt: skip
    """What is to be trained, in two parts: which networks are trained again depends on the first."""
    yield [*((centre, seed) for seed in (0, *AGAIN)), *((tuple(row["ops"]), 0) for row in (*plain, *random))]
    best = [row for own, number in ((random, BEST), (plain, 1)) for row in sorted(own, key=lambda row: -runs[tuple(row["ops"]), 0]["accuracy"])[:number]]  # fmt: skip
    yield [(tuple(row["ops"]), seed) for row in best for seed in AGAIN]


def summary(random: list[dict[str, Any]], plain: list[dict[str, Any]], centre: tuple[str, ...], runs: Runs) -> dict[str, Any]:  # fmt: skip
    """Points of accuracy. Seeds' spread is pooled over the networks that have three; it is taken out of the spread between networks."""
    first = {ops: 100 * run["accuracy"] for (ops, seed), run in runs.items() if seed == 0}
    done = [row for row in random if tuple(row["ops"]) in first]
    again = {ops: [100 * runs[ops, seed]["accuracy"] for seed in AGAIN] for ops in first if all((ops, seed) in runs for seed in AGAIN)}  # fmt: skip
    # the first seed chose the ten best, so its own value is too high: spread by the other two alone
    seed_sd = float(np.sqrt(np.mean([np.var(own, ddof=1) for own in again.values()]))) if again else None
    values = [first[tuple(row["ops"])] for row in done]
    found: dict[str, Any] = {"networks": len(done), "random_mean": float(np.mean(values)), "observed_sd": float(np.std(values, ddof=1)), "seed_sd": seed_sd}  # fmt: skip
    if seed_sd:
        arch = float(np.sqrt(max(0.0, found["observed_sd"] ** 2 - seed_sd**2)))
        found |= {"arch_sd": arch, "ratio": arch / seed_sd}
    uniform = again.get(tuple(centre))
    if uniform:
        found["uniform_all_seeds"] = float(np.mean([first[tuple(centre)], *uniform]))
    chosen = [row for row in done if tuple(row["ops"]) in again]
    if uniform and len(chosen) >= BEST:
        best = max(chosen, key=lambda row: first[tuple(row["ops"])])
        gains = [np.mean(again[tuple(row["ops"])]) - np.mean(uniform) for row in chosen]
        found |= {"uniform": float(np.mean(uniform)), "best_over_uniform": float(np.mean(again[tuple(best["ops"])]) - np.mean(uniform)),
                  "best_ten_over_uniform": float(np.mean(gains))}  # fmt: skip
    best_plain = [row for row in plain if tuple(row["ops"]) in again]
    if best_plain and len(chosen) >= BEST:
        family = float(np.mean(again[tuple(best_plain[0]["ops"])]))
        found |= {"family": next(op for op in best_plain[0]["ops"] if op != "skip"), "family_accuracy": family, "family_over_uniform": family - found["uniform"],
                  "best_over_family": found["uniform"] + found["best_over_uniform"] - family}  # fmt: skip
    return found


def foretold(space: SearchSpace, done: list[dict[str, Any]], runs: Runs) -> dict[str, float]:
    """Kendall's τ with the mean test loss of random networks: of an additive table of the others' (five folds), MACs, parameters."""
    index_NL = np.array([space.index_L(row["ops"]) for row in done])
    loss_N = np.array([np.mean(runs[tuple(row["ops"]), 0]["loss"]) for row in done])
    told_N = np.empty(len(done))
    for rest, held in KFold(5, shuffle=True, random_state=0).split(index_NL):
        base_G, added_LKG = fit_table(space.valid_LK, index_NL[rest], loss_N[rest, None])
        told_N[held] = base_G[0] + added_LKG[np.arange(len(space.layers)), index_NL[held], 0].sum(axis=1)
    counted = {"macs": macs_table(space, 3, 10), "params": params_table(space, 3, 10)}
    values = {"additive": told_N} | {name: -cost.totals(index_NL) for name, cost in counted.items()}
    return {f"kendall_{name}": float(kendalltau(value_N, loss_N).statistic) for name, value_N in values.items()}


def keep(space: SearchSpace, random: list[dict[str, Any]], plain: list[dict[str, Any]], centre: tuple[str, ...], runs: Runs, recipe: dict[str, Any]) -> None:  # fmt: skip
    """The table of trainings: N networks, S seeds, C classes; −1 and NaN where a training is missing."""
    rows = [{"ops": centre, "ratio": 1.0}, *plain, *random]
    seeds = (0, *AGAIN)
    correct_NSC, loss_NSC = np.full((len(rows), len(seeds), 10), -1, np.int16), np.full((len(rows), len(seeds), 10), np.nan, np.float32)  # fmt: skip
    seconds_NS = np.full((len(rows), len(seeds)), np.nan, np.float32)
    for n, row in enumerate(rows):
        for s, seed in enumerate(seeds):
            if run := runs.get((tuple(row["ops"]), seed)):
                correct_NSC[n, s], loss_NSC[n, s], seconds_NS[n, s] = run["correct"], run["loss"], run["seconds"]
    np.savez_compressed(
        TRUTH / f"cifar_{space.name}.npz", index=np.array([space.index_L(row["ops"]) for row in rows], np.int16),
        kind=np.array(["uniform", *["family"] * len(plain), *["random"] * len(random)]), ratio=np.array([row["ratio"] for row in rows]),
        correct=correct_NSC, loss=loss_NSC, seconds=seconds_NS, card=json.dumps(recipe),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three tiny trainings; nothing is written")
    parser.add_argument("--space", default="flex32")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--budget-ms", type=float, default=0.13, help="of the centre, by this machine's table")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="headroom-"))).absolute() / options.space
    pictures = folder.parent / ("few" if options.quick else "cifar10")
    folder.mkdir(parents=True, exist_ok=True)
    if not (pictures / "metadata.csv").exists():
        pictures.mkdir(exist_ok=True)
        splits = (("train", 60), ("val", 20), ("test", 20)) if options.quick else SPLITS
        write_table(pictures, cifar10(pictures, splits))
    table = folder / "this-machine.json"
    if not table.exists():
        supernet(["lut", "build", "--space", options.space, "--device", "this-machine", "--rounds", "2" if options.quick else "80", "--threads", "1", "--out", str(table)])  # fmt: skip
    space = get_space(options.space)
    cost = load_table(str(table)).cost(space)
    if options.quick:
        options.budget_ms = quick_budget_ms(cost, space)
    centre_L = hand_made(space, {"latency": cost}, {"latency": options.budget_ms})
    centre = space.names(centre_L)
    number, epochs = (1, 1) if options.quick else (options.networks, options.epochs)
    plain = families(folder / "families.json", space, cost, centre_L)
    random = in_band(folder / "networks.jsonl", space, cost, centre_L, number)
    place = folder / "runs.jsonl"
    rows = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    runs: Runs = {(tuple(row["ops"]), row["seed"]): row for row in rows}
    recipe = {"space": space.name, "data": "CIFAR-10 (JPEG)", "train": dict(SPLITS)["train"], "test": dict(SPLITS)["test"], "epochs": epochs,
              "batch_size": 64, "budget_ms": options.budget_ms, "predicted_ms": cost.total(centre_L)}  # fmt: skip
    tried = [json.loads(line) for line in (folder / "networks.jsonl").read_text().splitlines()]
    off = [
        abs(row["predicted"] / row["ratio"] - 1) for row in tried
    ]  # against the centre, of networks that no fit has seen
    recipe |= {"timed": len(off), "table_mape": float(np.mean(off))}
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for part in jobs(random, plain, centre, runs):
            todo = [job for job in part if job not in runs][: 3 if options.quick else None]
            futures = [pool.submit(trained, folder, pictures, space.name, ops, seed, epochs) for ops, seed in todo]
            for future in as_completed(futures):
                row = future.result()
                runs[tuple(row["ops"]), row["seed"]] = row
                with place.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{len(runs)} trained: {row['accuracy']:.4f} in {row['seconds']:.0f} CPU s", flush=True)
                if not options.quick and len(runs) > 12 + len(plain):
                    leave(space, random, plain, centre, runs, recipe)
            if options.quick:
                return


def leave(space: SearchSpace, random: list[dict[str, Any]], plain: list[dict[str, Any]], centre: tuple[str, ...], runs: Runs, recipe: dict[str, Any]) -> None:  # fmt: skip
    """Results so far."""
    found = recipe | summary(random, plain, centre, runs)
    found |= foretold(space, [row for row in random if (tuple(row["ops"]), 0) in runs], runs)
    print(json.dumps(found), flush=True)
    write_results("space_headroom" + ("" if space.name == "flex32" else f"_{space.name}"), found, list(runs.values()))
    keep(space, random, plain, centre, runs, recipe)


if __name__ == "__main__":
    main()
