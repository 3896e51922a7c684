"""What foretells how good a network is when it is trained alone, at what cost? Ways to train a supernet, and short trainings, on a known truth.

    python benchmarks/supernet_ranking.py --folder DIR [--seeds 5] [--seconds 180]   # goes on where it was
    python benchmarks/supernet_ranking.py --folder DIR --ways one_path,sandwich      # only these; the rows of the others stay as results/ has them
    python benchmarks/supernet_ranking.py --quick                                    # two tiny supernets; nothing written

truth/cifar_flex32.npz has 100 random networks of one measured time, each trained alone. Every way sees the same 8,000 pictures of CIFAR-10, trains for --seconds of
one core (its number of steps is set from the time of its first ones), and scores these networks on 2,000 more, batch norm measured anew.

one_path   a step trains one path inside the budget, as `search --strategy one-shot` does
sandwich   a step trains the space's largest network, its smallest and one path; the largest learns the labels, the others its outputs (BigNAS, Yu et al., ECCV 2020)
sandwich_budget  the same with the networks of most and of fewest multiply-adds inside the budget
few_shot   after half of the time the supernet is split: of the decision whose options' gradients on all other weights agree least, the options go into two groups,
           and each half trains its own copy for a quarter (Zhao et al., ICML 2021; gradients as Hu et al., "Generalizing few-shot NAS", ICLR 2022)
scratch_N  the first --networks of them, each trained alone for N epochs of the truth's 5; seconds are of one network

`summary`: Kendall's τ with the truth's mean test loss over all networks (`WAY_kendall`), over the truth's best tenth (`WAY_top`), the mean regret in points of
accuracy of the network that the way puts first (`WAY_regret`: beside the truth's best, so partly luck, alike for all). Means over seeds; `_low`, `_high`: 95% t-interval.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from public_sets import SHARED, cifar10, write_table
from results_io import read_records, write_results
from scipy.stats import kendalltau
from search_value import SPACE, SPLITS, centre_D, random_networks
from space_headroom import quick_budget_ms, trained_network
from t_interval import t_interval
from torch import Tensor
from torch.nn import functional as F

from supernet.alpha.relaxation import one_hot
from supernet.commands.main import main as supernet
from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.costs.analytic import macs_table
from supernet.costs.latency import load_table
from supernet.derive import best_first
from supernet.engine.descent import descend
from supernet.kernels import keep_freed_memory
from supernet.network import Supernet, build_path
from supernet.problem import Problem
from supernet.scoring import supernet_scores
from supernet.spaces import get_space
from supernet.strategies.one_shot import RegionTrainer

BATCH, FIRST_STEPS = 64, 6
GRADIENTS = 2  # of each option, before a split


class Sandwich(RegionTrainer):
    """A step trains the largest network on the labels, and the smallest and one path on the largest one's outputs."""

    ends: tuple[np.ndarray, np.ndarray]

    def one_step(self, step: int) -> dict[str, Tensor]:
        batch = self.train.at(step)
        largest, smallest = (one_hot(torch.from_numpy(index_D), self.p_DK) for index_D in self.ends)
        logits_BC = self.logits(batch, largest)
        loss = F.cross_entropy(logits_BC, batch.label)
        total, taught_BC = loss, logits_BC.detach().softmax(-1)
        for weights_DK in (smallest, self.warmups[0].weights(self.p_RLK[0], step, self.generator)):
            total = total + F.cross_entropy(self.logits(batch, weights_DK), taught_BC)
        descend(total, self.optimizer, self.weights, None)
        self.scheduler.step_update(step + 1)
        return {"loss": total.detach(), "cross_entropy": loss.detach()}


def ends(problem: Problem, limited: bool) -> tuple[np.ndarray, np.ndarray]:
    """The networks of most and of fewest multiply-adds, of the space or inside the budget."""
    macs = macs_table(problem.space, problem.data.channels, len(problem.data.classes))
    budgets = problem.budgets if limited else {}
    costs = list(problem.costs.values())

    def extreme(sign: float) -> np.ndarray:
        unary, pairs = sign * macs.unary_DK, {edge: sign * table for edge, table in macs.pairs.items()}
        return next(best_first(unary, problem.space.valid_LK, costs, budgets, pairs))

    return extreme(1e-6), extreme(-1e-6)


def trained_for(seconds: float, make: Callable[[SearchConfig], RegionTrainer], config: SearchConfig, begun: dict[str, Tensor] | None = None) -> RegionTrainer:  # fmt: skip
    """A trainer after so many seconds of one core; `begun`: a supernet's state to begin with."""
    probe, started = make(replace(config, warmup_epochs=1)), time.process_time()
    for step in range(FIRST_STEPS):
        probe.one_step(step)
    each = (time.process_time() - started) / FIRST_STEPS
    epochs = max(1, round(seconds / (each * len(probe.train))))
    trainer = make(replace(config, warmup_epochs=epochs))
    if begun is not None:
        trainer.supernet.load_state_dict(begun)
    for step in range(trainer.total_steps):
        trainer.one_step(step)
    return trainer


def made(problem: Problem, kind: type[RegionTrainer], limited: bool, config: SearchConfig) -> RegionTrainer:
    trainer = kind(config, problem)
    if isinstance(trainer, Sandwich):
        trainer.ends = ends(problem, limited)
    return trainer


def losses(config: SearchConfig, problem: Problem, supernet: Supernet, index_ND: np.ndarray) -> np.ndarray:
    scores = supernet_scores(config, problem, supernet)
    return np.array([scores(index_D)["cross_entropy"] for index_D in index_ND])


def one_supernet(kind: type[RegionTrainer], limited: bool, config: SearchConfig, problem: Problem, seconds: float, index_ND: np.ndarray) -> np.ndarray:  # fmt: skip
    trainer = trained_for(seconds, partial(made, problem, kind, limited), config)
    return losses(config, problem, trainer.supernet, index_ND)


def few_shot(config: SearchConfig, problem: Problem, seconds: float, index_ND: np.ndarray) -> np.ndarray:
    make = partial(made, problem, RegionTrainer, False)
    whole = trained_for(seconds / 2, make, config)
    started = time.process_time()
    row, groups = least_agreed(whole)
    rest = max(1.0, seconds / 2 - (time.process_time() - started))  # finding the split costs, too
    found_N = np.full(len(index_ND), np.nan)
    for group in groups:
        valid_DK = problem.space.valid_LK.copy()
        valid_DK[row] &= np.isin(np.arange(valid_DK.shape[1]), group)

        def halved(config: SearchConfig, valid_DK: np.ndarray = valid_DK) -> RegionTrainer:
            trainer = make(config)
            p_DK = trainer.p_RLK[0] * torch.from_numpy(valid_DK)
            trainer.p_RLK = [p_DK / p_DK.sum(-1, keepdim=True)]
            trainer.warmups[0].anchor_L = None  # the supernet is past its curriculum
            return trainer

        part = trained_for(rest / 2, halved, config, copy.deepcopy(whole.supernet.state_dict()))
        chosen_N = np.isin(index_ND[:, row], group)
        found_N[chosen_N] = losses(config, problem, part.supernet, index_ND[chosen_N])
    return found_N


def least_agreed(trainer: RegionTrainer) -> tuple[int, tuple[list[int], list[int]]]:
    """The decision whose options' gradients on the other layers' weights agree least, and its options in two groups.

    Groups: the sign of the cosines' main axis, so that those that agree stay together. Decisions of one group are passed over.
    """
    supernet, p_DK = trainer.supernet, trainer.p_RLK[0]
    found = []
    for row, p_K in enumerate(p_DK):
        options = torch.nonzero(p_K > 0.02)[:, 0].tolist()
        if len(options) < 2:
            continue
        own = {id(parameter) for part in (supernet.layers[row], supernet.shared[row]) for parameter in part.parameters()}  # fmt: skip
        others = [parameter for parameter in supernet.parameters() if id(parameter) not in own]
        gradients = torch.stack([option_gradient(trainer, p_DK, row, option, others) for option in options])
        cosine = F.normalize(gradients, dim=1) @ F.normalize(gradients, dim=1).T
        axis = torch.linalg.eigh(cosine - cosine.mean())[1][:, -1]
        groups = [k for k, side in zip(options, axis, strict=True) if side > 0], [k for k, side in zip(options, axis, strict=True) if side <= 0]  # fmt: skip
        if all(groups):
            apart = cosine[axis > 0][:, axis <= 0].mean()
            found.append((float(apart), row, groups))
    _, row, (one, other) = min(found, key=lambda split: split[0])
    rare = [
        k for k in torch.nonzero(p_DK[row])[:, 0].tolist() if k not in (*one, *other)
    ]  # without gradients, but networks have them
    return row, (one, [*other, *rare])


def option_gradient(trainer: RegionTrainer, p_DK: Tensor, row: int, option: int, others: list[torch.nn.Parameter]) -> Tensor:  # fmt: skip
    """(P,) mean gradient of the loss over paths that take this option, on weights that are not the layer's."""
    total = torch.zeros(sum(parameter.numel() for parameter in others))
    for number in range(GRADIENTS):
        generator = torch.Generator().manual_seed(number)  # the same paths and pictures for every option
        path_D = torch.multinomial(p_DK, 1, generator=generator)[:, 0]
        path_D[row] = option
        batch = trainer.train.at(number)
        loss = F.cross_entropy(trainer.logits(batch, one_hot(path_D, p_DK)), batch.label)
        found = torch.autograd.grad(loss, others, allow_unused=True)
        total += torch.cat([(torch.zeros_like(own) if one is None else one).flatten() for own, one in zip(others, found, strict=True)])  # fmt: skip
    return total


WAYS: dict[str, Callable[[SearchConfig, Problem, float, np.ndarray], np.ndarray]] = {
    "one_path": partial(one_supernet, RegionTrainer, False),
    "sandwich_budget": partial(one_supernet, Sandwich, True),
    "sandwich": partial(one_supernet, Sandwich, False),
    "few_shot": few_shot,
}
EPOCHS = (1, 2)
ALL_WAYS = [*WAYS, *(f"scratch_{epochs}" for epochs in EPOCHS)]


def tested_on_val(place: Path, pictures: Path) -> Path:
    """The same pictures, but search-val is what networks are tested on."""
    if not (place / "metadata.csv").exists():
        place.mkdir()
        for part in ("train", "test"):
            (place / part).symlink_to(pictures / part)
        with (pictures / "metadata.csv").open() as file:
            rows = list(csv.reader(file))[1:]
        by = {split: [row for row in rows if row[3] == split] for split in ("train", "val", "test")}
        few = [[*row[:3], "val"] for row in by["test"][::20]]
        write_table(place, [*by["train"], *few, *([*row[:3], "test"] for row in by["val"])])
    return place


def scratch(folder: Path, pictures: Path, index_ND: np.ndarray, epochs: int) -> tuple[np.ndarray, float]:
    """(mean loss on search-val of each trained alone, CPU seconds of one)."""
    space, place = get_space(SPACE), folder / f"scratch-{epochs}.jsonl"
    rows = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    for index_D in index_ND[len(rows) :]:
        build = partial(build_path, space, space.names(index_D), 10, 3)
        rows.append(trained_network(folder, pictures, build, 3, epochs))
        with place.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    return np.array([np.mean(row["loss"]) for row in rows]), float(np.mean([row["seconds"] for row in rows]))


def figures(told_N: np.ndarray, loss_N: np.ndarray, accuracy_N: np.ndarray) -> dict[str, float]:
    top_N = np.argsort(loss_N)[: max(2, len(loss_N) // 10)]
    return {"kendall": float(kendalltau(told_N, loss_N).statistic), "top": float(kendalltau(told_N[top_N], loss_N[top_N]).statistic),
            "regret": float(accuracy_N.max() - accuracy_N[told_N.argmin()])}  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        for name in ("kendall", "top", "regret"):
            mean, low, high = t_interval([row[name] for row in own])
            found |= {f"{way}_{name}": mean} | ({} if low is None else {f"{way}_{name}_low": low, f"{way}_{name}_high": high})  # fmt: skip
        found[f"{way}_seconds"] = float(np.mean([row["seconds"] for row in own]))
        base = {row["seed"]: row["kendall"] for row in rows if row["way"] == "one_path"}
        gains = [row["kendall"] - base[row["seed"]] for row in own if row["seed"] in base and way in WAYS]
        if way != "one_path" and gains:
            mean, low, high = t_interval(gains)
            found |= {f"{way}_over_one_path": mean, f"{way}_over_one_path_low": low, f"{way}_over_one_path_high": high}
    return found


def rows_of(options: argparse.Namespace, folder: Path, device: Path, pictures: Path) -> Iterator[list[dict[str, Any]]]:
    """All runs so far, after each."""
    place = folder / "runs.jsonl"
    rows = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    if options.ways != ALL_WAYS:
        rows += [row for row in read_records("supernet_ranking") if row["way"] not in options.ways]
    done = {(row["way"], row["seed"]) for row in rows}
    index_ND, loss_N, accuracy_N = random_networks()
    if options.quick:
        index_ND, loss_N, accuracy_N = index_ND[:4], loss_N[:4], accuracy_N[:4]
    cost = load_table(str(device)).cost(get_space(SPACE))
    budget_ms = quick_budget_ms(cost, get_space(SPACE)) if options.quick else cost.total(centre_D())
    ways = {name: run for name, run in WAYS.items() if name in (("one_path", "few_shot") if options.quick else options.ways)}  # fmt: skip
    for seed in range(1 if options.quick else options.seeds):
        for way, run in ways.items():
            if (way, seed) in done:
                continue
            with tempfile.TemporaryDirectory() as own:
                config = SearchConfig(
                    space=SPACE, device=str(device), budget_ms=budget_ms, data=str(pictures), strategy="one-shot", batch_size=BATCH, warmup_epochs=1, epochs=0,
                    fairness_weight=0.0, threads=1, seed=seed, lr=5e-3, anchor=1.8, out=f"{own}/run", accept_poor_table=options.quick,
                )  # fmt: skip
                problem, started = prepare(config), time.process_time()
                told_N = run(config, problem, options.seconds, index_ND)
            rows.append({"way": way, "seed": seed, **figures(told_N, loss_N, accuracy_N), "seconds": time.process_time() - started})  # fmt: skip
            with place.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            yield rows
    for epochs in [number for number in EPOCHS if f"scratch_{number}" in options.ways and not options.quick]:
        told_N, seconds = scratch(
            folder, tested_on_val(folder / "tested-on-val", pictures), index_ND[: options.networks], epochs
        )
        own = {**figures(told_N, loss_N[: options.networks], accuracy_N[: options.networks]), "seconds": seconds}
        rows = [row for row in rows if row["way"] != f"scratch_{epochs}"] + [{"way": f"scratch_{epochs}", "seed": 3, **own}]  # fmt: skip
        yield rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tiny supernets; nothing is written")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=180, help="of one core for each supernet")
    parser.add_argument("--ways", type=lambda text: text.split(","), default=ALL_WAYS)
    parser.add_argument("--networks", type=int, default=40, help="of the truth that are trained shortly")
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="supernet-ranking-"))).absolute()
    pictures = folder / ("few" if options.quick else "cifar10")
    if not (pictures / "metadata.csv").exists():
        pictures.mkdir(parents=True, exist_ok=True)
        splits = (("train", 60), ("val", 40), ("test", 20)) if options.quick else SPLITS
        write_table(pictures, cifar10(pictures, splits))
    device = folder / "this-machine.json"
    if not device.exists():
        supernet(["lut", "build", "--space", SPACE, "--device", "this-machine", "--rounds", "2" if options.quick else "80", "--threads", "1", "--out", str(device)])  # fmt: skip
    options.seconds = 1.0 if options.quick else options.seconds
    for rows in rows_of(options, folder, device, pictures):
        found = summary(rows)
        print(json.dumps(found, indent=1), flush=True)
        if not options.quick:
            write_results("supernet_ranking", found, rows)


if __name__ == "__main__":
    main()
