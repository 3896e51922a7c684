"""`supernet derive --compare`: answers of a table of losses, scored on search-val before one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from supernet.alpha.warmup import begin
from supernet.answers import Answer
from supernet.bars import bar as progress_bar
from supernet.commands.setting import prepare
from supernet.config import SearchConfig, with_epochs
from supernet.engine.runs import CHECKPOINT, read_config
from supernet.engine.supernet_trainer import SupernetTrainer
from supernet.errors import UserError
from supernet.problem import Problem
from supernet.scoring import supernet_scores, val_scores
from supernet.strategies.evaluators import alone

SUPERNET, TRAINED = "supernet", "trained"
WAYS = {SUPERNET: "with the supernet's weights", TRAINED: "each trained alone"}
TOLD = ("cross_entropy", "mean_group_accuracy", "gap")


def compared(run: Path, found: Sequence[Answer], way: str) -> list[tuple[Answer, dict[str, Any]]]:
    """The answers with their scores on search-val, the least cross-entropy (mean over groups) first.

    way: with the weights of the run's supernet, or each trained alone for the search's epochs. Raises UserError where the run has no such
    weights, or its data is not what it was.
    """
    config = read_config(str(run), "search", SearchConfig)
    if config.teacher is not None:
        raise UserError("--compare is for a search from scratch: search --teacher --quality RUN compares a teacher's.")
    problem = prepare(replace(config, log_to=None))  # the run has ended there: nothing of this is its own
    config = with_epochs(config, len(problem.data.train))
    scores = _supernet(config, problem) if way == SUPERNET else _trained(config, problem)
    rows = []
    for one in progress_bar(found, desc="compare", unit="architecture"):
        told = scores(one.index_L)
        rows.append((one, {name: told[name] for name in TOLD}))
    return sorted(rows, key=lambda row: float(row[1]["cross_entropy"]))


def _supernet(config: SearchConfig, problem: Problem) -> Callable[[np.ndarray], dict[str, Any]]:
    checkpoint = problem.folder.load_checkpoint() if (problem.folder.path / CHECKPOINT).exists() else None
    if checkpoint is None:
        raise UserError(f"{problem.folder.path} has no supernet's weights: take --compare {TRAINED}.")
    prefix = "supernet."
    named = {name: value for name, value in checkpoint["modules"].items() if name.startswith(prefix)}
    begun = begin(config, problem.space, problem.costs, problem.budgets)
    trainer = SupernetTrainer(config, problem.space, problem.data, begun, problem.device, problem.task)
    with problem.folder.restoring():
        trainer.supernet.load_state_dict({name.removeprefix(prefix): value for name, value in named.items()})
    return supernet_scores(config, problem, trainer.supernet)


def _trained(config: SearchConfig, problem: Problem) -> Callable[[np.ndarray], dict[str, Any]]:
    train, scores = alone(replace(config, tune=None), problem), val_scores(config, problem)
    return lambda index_L: scores(train(index_L))
