"""Who says how good an architecture is: each gives an `Evaluate`, (L,) → objectives by name, for the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from supernet.alpha.warmup import begin
from supernet.config import CommonConfig, SearchConfig, TrainConfig
from supernet.engine.loop import train
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.engine.supernet_trainer import SupernetTrainer
from supernet.errors import UserError
from supernet.network import build_path
from supernet.problem import Problem
from supernet.scoring import TOLD_MODEL, supernet_scores, val_scores
from supernet.strategies.driver import Evaluate
from supernet.strategies.joint import chosen, tuned_names


def table(index_NL: np.ndarray, objectives: Mapping[str, np.ndarray]) -> Evaluate:
    """Looks up known results: row n of `index_NL` (N, L) has the n-th value of each (N,) array of `objectives`.

    An array named `seconds` is what each evaluation is charged. Raises UserError for arrays that do not fit, and when it
    is asked for an architecture that is not in the table.
    """
    index_NL = np.asarray(index_NL, np.int64)
    wrong = [name for name, value_N in objectives.items() if np.shape(value_N) != (len(index_NL),)]
    if wrong or not np.isfinite(np.array(list(objectives.values()), float)).all():
        raise UserError(f"Every objective of the table needs {len(index_NL)} finite numbers ({', '.join(wrong)}).")
    row = {index_L.tobytes(): n for n, index_L in enumerate(index_NL)}
    if len(row) < len(index_NL):
        raise UserError("An architecture stands twice in the table.")

    def evaluate(index_L: np.ndarray) -> dict[str, float]:
        n = row.get(np.asarray(index_L, np.int64).tobytes())
        if n is None:
            raise UserError(f"The table has no architecture {np.asarray(index_L).tolist()}.")
        return {name: float(value_N[n]) for name, value_N in objectives.items()}

    return evaluate


def supernet(config: SearchConfig, problem: Problem) -> Evaluate:
    """Trains a supernet once, with sampled paths for warmup_epochs + epochs and no α step; each architecture is scored on
    search-val with its weights and batch-norm statistics of its own. Goes on from the folder's checkpoint.

    Raises UserError (loss not finite) and Interrupted.
    """
    weights_only = replace(config, warmup_epochs=all_epochs(config), epochs=0)
    begun = begin(weights_only, problem.space, problem.costs, problem.budgets)
    trainer = SupernetTrainer(weights_only, problem.space, problem.data, begun, problem.device, problem.task)
    trainer.learn_rotations(problem.folder)
    train(trainer, problem.folder)
    scores = supernet_scores(config, problem, trainer.supernet)
    return lambda index_L: objectives_of(scores(index_L))


def scratch(config: SearchConfig, problem: Problem) -> Evaluate:
    """Scores each architecture, trained alone, on search-val."""
    scores, trained = val_scores(config, problem), alone(config, problem)
    return lambda index_L: objectives_of(scores(trained(index_L)))


def alone(config: SearchConfig, problem: Problem, place: str = "scratch") -> Callable[[np.ndarray], nn.Module]:
    """Trains an architecture (L,) alone as `train` does, for warmup_epochs + epochs and with train's learning rate.

    Options that are tuned are those of its last columns. The run folder's `place` has the metrics of each; an interrupted training is continued.
    """
    shared = {item.name: getattr(config, item.name) for item in fields(CommonConfig)}
    training = TrainConfig(**shared, space=config.space, epochs=all_epochs(config))
    space, data = problem.space, problem.data
    tuned, layers = tuned_names(config.tune), len(space.valid_LK)

    def trained(index_L: np.ndarray) -> nn.Module:
        torch.manual_seed(config.seed)
        network = build_path(space, space.names(index_L[:layers]), len(data.classes), data.channels)
        folder = RunFolder(problem.folder.path / place / "-".join(str(int(k)) for k in index_L))
        folder.path.mkdir(parents=True, exist_ok=True)
        own: dict[str, Any] = chosen(tuned, index_L[layers:])
        averaged = train_network(replace(training, **own), data, network, folder, problem.device)
        (folder.path / "checkpoint.pt").unlink()
        return averaged

    return trained


def all_epochs(config: SearchConfig) -> int:
    assert config.epochs is not None and config.warmup_epochs is not None, "known by the data"
    return config.warmup_epochs + config.epochs


def objectives_of(scores: Mapping[str, float | None]) -> dict[str, float]:
    """What a strategy is told; an unknown gap is not."""
    names = ("accuracy", *TOLD_MODEL)
    told = {name: v for name, v in scores.items() if v is not None and (name in names or name.startswith("gap"))}
    mean = scores["mean_group_accuracy"]
    assert mean is not None, "there is always a group with images"
    return {"error": 1 - mean, **told}


EVALUATORS: dict[str, Callable[[SearchConfig, Problem], Evaluate]] = {"supernet": supernet, "scratch": scratch}
