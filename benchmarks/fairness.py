"""How much of the gap goes away, at what cost in accuracy, and how much of that is the architecture's doing.

    python benchmarks/fairness.py [--parts main,dim,blurred,wide] [--seeds 10] [--processes 2] [--folder runs/fairness]

`writers` with 5% students, rpi4. main: `fbnet32`, 10 ms, 2,000 training images, accuracy parity. dim and blurred: stronger tests, the
students' images made worse by us everywhere (no natural groups), `micro32`, 9 ms (the median of its 7.8 to 10.3). wide:
`micro32`, 9 ms, 6,000 images, three other notions. Each seed draws other training images. Of a seed, what is alike is done once: the data, the warm-up
of the supernet (plain cross-entropy), and a training that several rows share. Architectures:

    fixed          as many k3_e3 blocks as the budget holds (MobileNet-like)   random    drawn within the budget
    ce             searched with --fairness-weight 0                          fair      searched with the soft gap

Searches derive as `supernet search` does: of the probable candidates inside the budget, and the network built by hand (on `fbnet32`
that is `fixed`), the one with the smallest cross-entropy on search-val, mean over groups. Trainings, alike in steps:

    (no suffix)    plain
    +fair          plain, then the classifier fitted anew on search-val (--refit-classifier); half of its 4,000 images are by students
    +rare          the same on 2,000 images of search-val of which 5% are by students, as in training
    +balance       --fairness-method balance (wide: balance,gap): the rare group fills a quarter of each batch, an epoch has
                   a quarter more steps; +balance+fair: with the classifier fitted anew as well
    +pooled        plain, but on search-train and search-val together: what the images that `fair` learns from bring by themselves

Seed by seed, the parts in turn, so that results are of use early. A finished run is a line of FOLDER/PART-SEED.jsonl and is not
run again while the part's setting is the same; results/fairness.json is written anew as seeds end (`--collect`: from what is there).
Intervals: bootstrap over seeds and test images together, the same draw for both sides of a difference. Seconds are CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairness_runs import (
    PLAIN,
    blurred,
    dimmed,
    drawn,
    fewer,
    fixed,
    made_worse,
    predicted,
    searched,
    trained,
    warmed_up,
)
from fairness_summary import summarise
from results_io import write_results

from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.kernels import keep_freed_memory
from supernet.strategies.differentiable import DifferentiableSearch

ROOT = Path(__file__).resolve().parent.parent
BALANCE = {"fairness_method": "balance", "fairness_weight": 0.0}
MICRO = {
    "space": "micro32", "budget_ms": 9.0, "max_train": 2000, "notions": ["accuracy_parity"],
    "warmup_epochs": 6, "epochs": 3, "train_epochs": 12, "fair_epochs": 9, "balance": BALANCE,
}  # fmt: skip
PARTS: dict[str, dict[str, Any]] = {
    "main": MICRO | {"space": "fbnet32", "budget_ms": 10.0},
    "dim": MICRO | {"students": dimmed},
    "blurred": MICRO | {"students": blurred},
    "wide": MICRO | {
        "max_train": 6000, "notions": ["demographic_parity", "equal_opportunity", "equalized_odds"],
        "warmup_epochs": 2, "epochs": 1, "train_epochs": 4, "fair_epochs": 3,
        "balance": BALANCE | {"fairness_method": "balance,gap", "fairness_weight": 1.0},
    },
}  # fmt: skip
FAIR_SEARCH = {"fairness_method": "gap", "fairness_weight": 5.0}
TINY = {"max_train": 128, "warmup_epochs": 1, "epochs": 1, "train_epochs": 1, "fair_epochs": 1}


def one_seed(part: str, seed: int, folder: Path, tiny: bool) -> None:
    """Every run of a seed that is not on disk yet, each written as it ends."""
    torch.set_num_threads(1)
    keep_freed_memory()
    setting, effort = PARTS[part], {}
    if tiny:
        setting = setting | TINY | {"notions": setting["notions"][:1]}
        effort = {"candidates": 2, "eval_images": 256}
    journal, stamp = folder / f"{part}-{seed}.jsonl", stamp_of(setting)
    done = {row["run"]: row for row in read_rows(journal) if row["setting"] == stamp}

    def keep(run: str, row: dict[str, Any], started: float) -> None:
        row = {
            "run": run,
            "part": part,
            "seed": seed,
            "setting": stamp,
            "seconds": time.process_time() - started,
            **row,
        }
        with journal.open("a") as file:
            file.write("\n" + json.dumps(row))  # begins a line of its own after one that was cut off
        done[run] = row
        print(f"{part} seed {seed} {run}: {row['seconds']:.0f} CPU s", file=sys.__stdout__, flush=True)

    quiet = io.StringIO()  # progress bars
    with (
        tempfile.TemporaryDirectory() as temporary,
        contextlib.redirect_stderr(quiet),
        contextlib.redirect_stdout(quiet),
    ):
        work = Path(temporary)
        config = search_config(setting, seed=seed, out=str(work / "problem"), **PLAIN, **effort)
        problem = prepare(config)
        if "students" in setting:
            problem = replace(problem, data=made_worse(problem.data, "student", setting["students"]))
        searches = {"ce": config} | {
            f"fair/{notion}": replace(config, fairness=notion, **FAIR_SEARCH) for notion in setting["notions"]
        }
        missing = {name: own for name, own in searches.items() if f"search {name}" not in done}
        if missing:
            started = time.process_time()
            warm = warmed_up(config, problem, work / "warm")
            keep("warm-up", {}, started)
            for name, own in missing.items():
                started = time.process_time()
                keep(f"search {name}", searched(own, problem, warm, work / name.replace("/", "-")), started)
        ops = {
            "fixed": fixed(problem),
            "random": drawn(problem, seed),
            **{name: tuple(done[f"search {name}"]["ops"]) for name in searches},
        }
        trainings: dict[tuple[tuple[str, ...], str], list[Run]] = {}
        for run in plan(setting["notions"]):
            trainings.setdefault((ops[run.arch], run.training), []).append(run)
        for number, ((own_ops, training), runs) in enumerate(trainings.items()):
            if all(run.name in done for run in runs):
                continue
            started = time.process_time()
            network = trained(problem, own_ops, training, setting, seed, work / f"train-{number}")
            label_N = problem.data.test.label_N
            for run in sorted(runs, key=lambda run: run.refit != ""):  # fitting anew changes the network
                predicted_N = predicted(problem, network, run.refit, seed)
                row = {
                    "ops": list(own_ops),
                    "training": training,
                    "predicted": pack((predicted_N - label_N) % len(problem.data.classes)),
                    "predicted_ms": problem.costs["latency"].total(problem.space.index_L(own_ops)),
                    "accuracy": float((predicted_N == label_N).mean()),
                }
                keep(run.name, row, started)
                started = time.process_time()


class Run(NamedTuple):
    """Whose architecture, how it is trained (plain, pooled, or balance/NOTION), and on what its classifier is fitted anew: "" is not."""

    name: str
    arch: str
    training: str
    refit: str = ""


def plan(notions: list[str]) -> Iterator[Run]:
    """The comparisons that matter most first."""
    yield from (Run("ce", "ce", "plain"), Run("ce+fair", "ce", "plain", "val"), Run("ce+rare", "ce", "plain", "rare"))
    for notion in notions:
        own, balance = f"fair/{notion}", f"balance/{notion}"
        yield from (Run(own, own, "plain"), Run(f"fair+fair/{notion}", own, "plain", "val"))
        yield from (
            Run(f"ce+balance/{notion}", "ce", balance),
            Run(f"ce+balance+fair/{notion}", "ce", balance, "val"),
        )
    yield from (Run("fixed", "fixed", "plain"), Run("fixed+fair", "fixed", "plain", "val"))
    yield from (Run("random", "random", "plain"), Run("ce+pooled", "ce", "pooled"))


def search_config(setting: dict[str, Any], **more: Any) -> SearchConfig:
    names = ("space", "budget_ms", "max_train", "warmup_epochs", "epochs")
    own = {"fairness": setting["notions"][0], "group_mix": "student=0.05", "threads": 1}
    return SearchConfig(**{name: setting[name] for name in names}, **own, **more)


def stamp_of(setting: dict[str, Any]) -> str:
    """Tells settings apart, so that no runs of an earlier one are mixed in."""
    plain = {name: getattr(value, "__name__", value) for name, value in setting.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def estimate(part: str) -> float:
    """CPU seconds of a seed, from a few steps of each kind."""
    torch.set_num_threads(1)
    keep_freed_memory()
    setting = PARTS[part]
    clock = time.process_time
    with tempfile.TemporaryDirectory() as temporary:
        config = search_config(setting, out=f"{temporary}/problem", **FAIR_SEARCH)
        problem = prepare(config)
        running = DifferentiableSearch(config, problem)
        per_epoch = len(running.train)

        def seconds(step: Callable[[int], object], steps: int = 4) -> float:
            step(0)  # the first one is slower
            started = clock()
            for number in range(steps):
                step(number)
            return (clock() - started) / steps

        warm = seconds(running.one_step)
        search = seconds(lambda n: running.one_step(running.warmup_steps + n))
        few = replace(problem, data=replace(problem.data, train=fewer(problem.data.train, 320)))
        own, ops = setting | {"train_epochs": 1}, fixed(problem)
        started = clock()
        trained(few, ops, "plain", own, 0, Path(temporary) / "train")
        one_epoch = clock() - started
        started = clock()
        trained(few, ops, "plain", own | {"train_epochs": 3}, 0, Path(temporary) / "longer")
        epoch_of_few = (clock() - started - one_epoch) / 2
    searches = 1 + len(setting["notions"])
    trainings = len({(run.arch, run.training) for run in plan(setting["notions"])})
    training = one_epoch + epoch_of_few * (setting["train_epochs"] * setting["max_train"] / 320 - 1)
    total = (
        warm * setting["warmup_epochs"] * per_epoch
        + searches * search * setting["epochs"] * per_epoch
        + trainings * training
    )
    print(
        f"{part}: about {total:.0f} CPU s a seed: warm-up step {warm:.2f} s, search step {search:.2f} s, {searches} searches, "
        f"{trainings} trainings of {training:.0f} s at most (alike ones are shared)"
    )
    return total


def pack(error_N: np.ndarray) -> str:
    """(predicted − true) modulo C of each test image: nearly all 0."""
    return base64.b64encode(zlib.compress(error_N.astype(np.uint8).tobytes(), 9)).decode()


def read_rows(journal: Path) -> list[dict[str, Any]]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "fairness")
    parser.add_argument("--estimate", action="store_true", help="only tell how many CPU seconds a seed takes")
    parser.add_argument("--collect", action="store_true", help="only write the results from the runs so far")
    parser.add_argument(
        "--quick", action="store_true", help="128 images and one epoch each, results into FOLDER: does it run?"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    parts = options.parts.split(",")

    if options.estimate:
        for part in parts:
            estimate(part)
        return

    def collect() -> None:
        stamps = {part: stamp_of(setting) for part, setting in PARTS.items()}
        rows = [row for journal in sorted(options.folder.glob("*-*.jsonl")) for row in read_rows(journal)]
        records = [row for row in rows if options.quick or row["setting"] == stamps[row["part"]]]
        where = {"folder": options.folder} if options.quick else {}
        summary = summarise(records, PARTS)
        write_results("fairness", summary, records, "python benchmarks/fairness.py", **where)
        print(json.dumps(summary, indent=1), flush=True)

    if not options.collect:
        jobs = [(part, seed) for seed in range(options.seeds) for part in parts]
        with ProcessPoolExecutor(options.processes) as pool:
            futures = [pool.submit(one_seed, part, seed, options.folder, options.quick) for part, seed in jobs]
            for future in as_completed(futures):
                future.result()
                collect()
    collect()


if __name__ == "__main__":
    main()
