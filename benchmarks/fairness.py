"""How much of the gap goes away, at what cost in accuracy, and how much of that is the architecture's doing.

    python benchmarks/fairness.py [--parts main,dim,blurred,wide] [--seeds 10] [--processes 2] [--folder runs/fairness]

`writers` with 5% students, rpi4. main: `fbnet32`, 10 ms, 2,000 training images, accuracy parity. dim and blurred: stronger tests, the
students' images made worse by us everywhere (no natural groups), `micro32`, 9 ms (the median of its 7.8 to 10.3). wide:
`micro32`, 9 ms, 6,000 images, three other notions. Each seed draws other training images. Of a seed, what is alike is done once: the data, the warm-up
of the supernet (plain cross-entropy), and a training that two methods share. Methods:

    fixed          as many k3_e3 blocks as the budget holds (MobileNet-like)   random    drawn within the budget
    ce             searched with --fairness-weight 0                          fair      searched with the soft gap
    …+fair         the same network, trained with the fair method as well

Fair training balances groups and classes. The rare group then fills a quarter of each batch, and an epoch has a quarter more
steps: nine epochs of it are 720 steps, twelve plain ones 768. Searches derive as `supernet search` does: of the probable candidates inside the budget the one with the smallest cross-entropy on
search-val, mean over groups.

Seed by seed, the parts in turn, so that results are of use early. A finished run is a line of FOLDER/PART-SEED.jsonl and is not
run again; results/fairness.json is written anew as seeds end (`--collect`: from what is there). Intervals: bootstrap over seeds and
test images together, the same draw for both sides of a difference. Seconds are CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
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
from typing import Any

import numpy as np
import torch
from fairness_runs import blurred, dimmed, drawn, fewer, fixed, made_worse, searched, trained, warmed_up
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
    "warmup_epochs": 6, "epochs": 3, "train_epochs": 12, "fair_epochs": 9, "training": BALANCE,
}  # fmt: skip
PARTS: dict[str, dict[str, Any]] = {
    "main": MICRO | {"space": "fbnet32", "budget_ms": 10.0},
    "dim": MICRO | {"students": dimmed},
    "blurred": MICRO | {"students": blurred},
    "wide": MICRO | {
        "max_train": 6000, "notions": ["demographic_parity", "equal_opportunity", "equalized_odds"],
        "warmup_epochs": 2, "epochs": 1, "train_epochs": 4, "fair_epochs": 3,
        "training": BALANCE | {"fairness_method": "balance,gap", "fairness_weight": 1.0},
    },
}  # fmt: skip
FAIR_SEARCH = {"fairness_method": "gap", "fairness_weight": 5.0}
PLAIN = {"fairness_method": "gap", "fairness_weight": 0.0}
TINY = {"max_train": 128, "warmup_epochs": 1, "epochs": 1, "train_epochs": 1, "fair_epochs": 1}


def one_seed(part: str, seed: int, folder: Path, tiny: bool) -> None:
    """Every run of a seed that is not on disk yet, each written as it ends."""
    torch.set_num_threads(1)
    keep_freed_memory()
    setting, effort = dict(PARTS[part]), {}
    if tiny:
        setting |= TINY | {"notions": setting["notions"][:1]}
        effort = {"candidates": 2, "eval_images": 256}
    journal = folder / f"{part}-{seed}.jsonl"
    done = {row["run"]: row for row in read_rows(journal)}

    def keep(run: str, row: dict[str, Any], started: float) -> None:
        row = {"run": run, "part": part, "seed": seed, "seconds": time.process_time() - started, **row}
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
        config = SearchConfig(
            space=setting["space"], budget_ms=setting["budget_ms"], max_train=setting["max_train"], group_mix="student=0.05",
            warmup_epochs=setting["warmup_epochs"], epochs=setting["epochs"], seed=seed, threads=1, out=str(work / "problem"),
            fairness=setting["notions"][0], **PLAIN, **effort,
        )  # fmt: skip
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
        for method, arch, notion, fair in plan(setting["notions"]):
            if method in done:
                continue
            started = time.process_time()
            row: dict[str, Any] = {"ops": list(ops[arch]), "recipe": [fair, notion if fair else ""]}
            same = next((r for r in done.values() if (r.get("ops"), r.get("recipe")) == tuple(row.values())), None)
            if same is not None:
                shared = ("predicted", "predicted_ms", "accuracy")
                keep(method, row | {name: same[name] for name in shared} | {"shared_with": same["run"]}, started)
                continue
            options, own = setting["training"] if fair else PLAIN, work / f"train-{method.replace('/', '-')}"
            predicted_N = trained(
                problem, ops[arch], setting["fair_epochs" if fair else "train_epochs"], notion, options, seed, own
            )
            label_N = problem.data.test.label_N
            row |= {
                "predicted": pack((predicted_N - label_N) % len(problem.data.classes)),
                "predicted_ms": problem.costs["latency"].total(problem.space.index_L(ops[arch])),
                "accuracy": float((predicted_N == label_N).mean()),
            }
            keep(method, row, started)


def plan(notions: list[str]) -> Iterator[tuple[str, str, str, bool]]:
    """(method, whose architecture, notion, fair training?), the comparisons that matter most first."""
    first = notions[0]
    yield from (("ce", "ce", first, False), (f"fair+fair/{first}", f"fair/{first}", first, True))
    yield from ((f"fair/{first}", f"fair/{first}", first, False), ("fixed", "fixed", first, False))
    yield from ((f"fixed+fair/{first}", "fixed", first, True), ("random", "random", first, False))
    yield (f"ce+fair/{first}", "ce", first, True)
    for notion in notions[1:]:
        yield from (
            (f"fair+fair/{notion}", f"fair/{notion}", notion, True),
            (f"fair/{notion}", f"fair/{notion}", notion, False),
        )
        yield from ((f"fixed+fair/{notion}", "fixed", notion, True), (f"ce+fair/{notion}", "ce", notion, True))


def estimate(part: str) -> float:
    """CPU seconds of a seed, from a few steps of each kind."""
    torch.set_num_threads(1)
    keep_freed_memory()
    setting = PARTS[part]
    clock = time.process_time
    with tempfile.TemporaryDirectory() as temporary:
        config = SearchConfig(
            space=setting["space"], budget_ms=setting["budget_ms"], max_train=setting["max_train"], group_mix="student=0.05",
            threads=1, out=f"{temporary}/problem", **FAIR_SEARCH,
        )  # fmt: skip
        problem = prepare(config)
        running = DifferentiableSearch(config, problem)
        per_epoch = len(running.train)

        def seconds(step: Callable[[int], object], steps: int = 4) -> float:
            step(0)  # the first one is slower
            started = clock()
            for number in range(steps):
                step(number)
            return (clock() - started) / steps

        warm = seconds(lambda n: running.weight_step(running.train.at(n), True))
        running.step = running.warmup_steps
        search = seconds(
            lambda n: (running.weight_step(running.train.at(n), False), running.alpha_step(running.val.at(n)))
        )
        few = replace(problem, data=replace(problem.data, train=fewer(problem.data.train, 320)))
        started = clock()
        trained(few, fixed(problem), 1, "accuracy_parity", PLAIN, 0, Path(temporary) / "train")
        one_epoch = clock() - started
        started = clock()
        trained(few, fixed(problem), 3, "accuracy_parity", PLAIN, 0, Path(temporary) / "longer")
        epoch_of_few = (clock() - started - one_epoch) / 2  # with its look at search-val
    searches, trainings = 1 + len(setting["notions"]), len(list(plan(setting["notions"])))
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
        "--tiny", action="store_true", help="128 images and one epoch each, results into FOLDER: does it run?"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    parts = options.parts.split(",")

    if options.estimate:
        for part in parts:
            estimate(part)
        return

    def collect() -> None:
        records = [row for journal in sorted(options.folder.glob("*-*.jsonl")) for row in read_rows(journal)]
        where = {"folder": options.folder} if options.tiny else {}
        summary = summarise(records, PARTS)
        write_results("fairness", summary, records, "python benchmarks/fairness.py", **where)
        print(json.dumps(summary, indent=1), flush=True)

    if not options.collect:
        jobs = [(part, seed) for seed in range(options.seeds) for part in parts]
        with ProcessPoolExecutor(options.processes) as pool:
            futures = [pool.submit(one_seed, part, seed, options.folder, options.tiny) for part, seed in jobs]
            for future in as_completed(futures):
                future.result()
                collect()
    collect()


if __name__ == "__main__":
    main()
