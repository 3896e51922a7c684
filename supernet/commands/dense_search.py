"""`supernet search --task denoise` or `segment`: a supernet whose outputs are pictures, and the best of those that keep the latency budget."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from supernet.alpha.warmup import begin
from supernet.commands.dense import SEARCH, DenseTask, score, shown
from supernet.commands.dense_tasks import TASKS
from supernet.commands.described import derived_architecture
from supernet.commands.search_words import latency_words
from supernet.commands.setting import prepare
from supernet.commands.tracked import dense_figures
from supernet.config import CONTROL, SearchConfig, with_epochs
from supernet.data.masks import at
from supernet.derive import drawn_inside, hand_made
from supernet.engine.evaluate import subnet
from supernet.engine.loop import train
from supernet.engine.stopping import Interrupted
from supernet.engine.supernet_trainer import SupernetTrainer
from supernet.errors import UserError
from supernet.options import check_effect
from supernet.problem import Problem
from supernet.program import called
from supernet.report import write_dense_report
from supernet.schema import write_json
from supernet.scoring import CALIBRATION_BATCHES, compared_images


def search(config: SearchConfig, given: Collection[str]) -> None:
    """The story: paths are drawn at random, `candidates` networks inside the budget are compared by the task's score on search-val."""
    started = time.monotonic()
    dense = TASKS[config.task]
    dense.check_options(given, SEARCH)
    check_effect(config, given)
    if "space" not in given and config.resume is None:
        config = replace(config, space="dense32", relaxation="score")  # as it is where --space names it
    problem = prepare(config)
    assert problem.table is not None and problem.budget_ms is not None, "only layers of few bits have no latency"
    task, dtype = dense.task(problem.data, config), problem.table.dtype
    problem = replace(problem, data=dense.pictures(problem.data), task=task)
    folder = problem.folder
    config = replace(with_epochs(config, len(problem.data.train)), resume=None, dtype=dtype)
    print(
        "\n".join((*problem.notes, folder.words(), folder.save_options("search", dense.to_file(config, SEARCH)))),
        flush=True,
    )
    try:
        rows = _compared(config, problem, dense)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Go on with: {called('search', '--resume', folder.path)}") from None
    best = rows[0]
    arch = derived_architecture(config, problem, tuple(best["ops"]))
    arch.save(folder.path / "derived.json")
    write_json(folder.path / "front.json", rows)
    by_hand = next(row for row in rows if row["by_hand"])
    told = "It is the network one would build by hand."
    if by_hand is not best:
        derived_architecture(config, problem, tuple(by_hand["ops"]), CONTROL).save(
            folder.path / CONTROL / "derived.json"
        )
        told = f"Control, to see what the search is worth: {called('train', '--arch', folder.path / CONTROL)}"
    lines = [
        f"{latency_words(arch)}.",
        f"On search-val with the supernet's weights: {dense.told(best[dense.score])}, the network one would build by hand "
        f"{dense.told(by_hand[dense.score])}. Retrain to know the true numbers.",
    ]
    facts = {
        "schema_version": 1, "command": "search", "task": dense.name, "name": folder.path.name, "folder": str(folder.path), "asked": asdict(config), "told": [*lines, told],
        "notes": list(problem.notes), "budget_ms": problem.budget_ms, "candidates": rows, "history": folder.rows(),
        "seconds": {"total": time.monotonic() - started}, **folder.circumstances(),
    }  # fmt: skip
    write_dense_report(folder.path, facts)
    folder.finish(dense_figures(facts))
    following = f"Next: {called('train', '--arch', folder.path / 'derived.json')}"
    print(
        "\n".join((f"Derived: {' '.join(arch.ops)}", *lines, following, told, f"Report: {folder.path / 'report.html'}"))
    )


def _compared(config: SearchConfig, problem: Problem, dense: DenseTask) -> list[dict[str, Any]]:
    """The compared networks, the best first: ops, the task's score on search-val by its name, ms, by_hand."""
    assert config.epochs is not None and config.warmup_epochs is not None and problem.task is not None, "known"
    space, costs, task = problem.space, list(problem.costs.values()), problem.task
    weights_only = replace(config, warmup_epochs=config.warmup_epochs + config.epochs, epochs=0)
    begun = begin(weights_only, space, problem.costs, problem.budgets)
    plain = replace(problem.data, attributes={})  # no fairness term is for pictures
    trainer = SupernetTrainer(weights_only, space, plain, begun, problem.device, task)
    train(trainer, problem.folder)
    val = plain.val
    part = at(val, compared_images(val.group_NA, config.eval_images))
    batches = list(shown(plain, part, task, problem.device).epoch())
    as_they_are = trainer.batches("train")  # not augmented: statistics are of what is scored
    calibration = [as_they_are.at(step) for step in range(min(CALIBRATION_BATCHES, len(as_they_are)))]
    rng = np.random.default_rng(config.seed)
    by_hand = hand_made(space, problem.costs, problem.budgets)
    drawn = [drawn_inside(space.valid_LK, costs, problem.budgets, rng) for _ in range(config.candidates)]
    distinct = {index_L.tobytes(): index_L for index_L in (by_hand, *drawn)}
    rows = []
    for index_L in distinct.values():
        ops = space.names(index_L)
        own = score(subnet(trainer.supernet, ops, calibration), batches, task, dense.score)
        ms = problem.costs["latency"].total(index_L)
        rows.append({"ops": list(ops), dense.score: own, "ms": ms, "by_hand": bool((index_L == by_hand).all())})
    return sorted(rows, key=lambda row: -row[dense.score])
