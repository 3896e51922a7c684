"""The runs of benchmarks/fairness.py: supernets warmed up and searched with, rivals without a search, trainings from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from supernet.config import SearchConfig, TrainConfig
from supernet.data import Batches, GroupedData, Split
from supernet.derive import most_probable
from supernet.engine.evaluate import predict
from supernet.engine.loop import train
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.network import build_path
from supernet.problem import Problem
from supernet.refit import refit_classifier
from supernet.strategies.differentiable import DifferentiableSearch, ranked_candidates

PLAIN = {"fairness_method": "gap", "fairness_weight": 0.0}
VAL_IMAGES_IN_TRAINING = 256  # trainings look at search-val after each epoch and decide nothing by it


def warmed_up(config: SearchConfig, problem: Problem, folder: Path) -> DifferentiableSearch:
    """A search at the end of its warm-up."""
    running = DifferentiableSearch(config, problem)
    running.total_steps = running.warmup_steps
    train(running, RunFolder(make(folder)))
    return running


def searched(config: SearchConfig, problem: Problem, warm: DifferentiableSearch, folder: Path) -> dict[str, Any]:
    """Goes on from the warm-up with another objective; what `supernet search` would derive."""
    running = DifferentiableSearch(config, problem)
    for name in ("supernet", "alpha", "score", "cost_terms"):
        running.modules[name].load_state_dict(warm.modules[name].state_dict())
    running.optimizer.load_state_dict(copy.deepcopy(warm.optimizer.state_dict()))
    running.generator.set_state(warm.generator.get_state())
    train(running, RunFolder(make(folder)), first=running.warmup_steps)
    derived = ranked_candidates(config, problem, running)[0]
    return {
        "ops": list(derived.ops),
        "predicted_ms": derived.costs["latency"],
        "soft_gap": running.alpha_objective.estimate_A()[0],
    }


def fixed(problem: Problem) -> tuple[str, ...]:
    """As many 3×3 blocks of expansion 3 as the budget holds (of expansion 1 where the space has no 3), else skip."""
    space = problem.space
    allowed_LK = np.zeros(space.valid_LK.shape, bool)
    for layer, valid_K in enumerate(space.valid_LK):
        names = [op for op, valid in zip(space.ops, valid_K, strict=True) if valid]
        block = next((op for op in ("k3_e3", "k3_e1") if op in names), "skip")
        allowed_LK[layer, [space.ops.index(op) for op in {block, "skip"} if op in names]] = True
    alpha_LK = np.array([[1.0 if op != "skip" else 0.0 for op in space.ops]] * len(space.layers))
    return space.names(next(most_probable(alpha_LK, allowed_LK, list(problem.costs.values()), problem.budgets)))


def drawn(problem: Problem, seed: int) -> tuple[str, ...]:
    """A random architecture that uses the budget: the dearest of up to 50 (perturb-and-MAP on uniform probabilities), the
    first above 95% of it. One far under the budget would lose by capacity alone."""
    space, latency = problem.space, problem.costs["latency"]
    rng = np.random.default_rng(seed)
    best_L, most_ms = None, 0.0
    for _ in range(50):
        index_L = next(most_probable(rng.gumbel(size=space.valid_LK.shape), space.valid_LK, [latency], problem.budgets))
        if latency.total(index_L) > most_ms:
            best_L, most_ms = index_L, latency.total(index_L)
        if most_ms > 0.95 * problem.budget_ms:
            break
    assert best_L is not None
    return space.names(best_L)


def trained(
    problem: Problem, ops: tuple[str, ...], training: str, setting: dict[str, Any], seed: int, folder: Path
) -> nn.Module:
    """The network trained from scratch: "plain", "pooled" or "balance/NOTION"; alike in steps."""
    data, kind, notion = problem.data, *(training.split("/") + [setting["notions"][0]])[:2]
    epochs = setting["fair_epochs" if kind == "balance" else "train_epochs"]
    options = setting["balance"] if kind == "balance" else PLAIN
    if kind == "pooled":
        epochs = max(1, round(epochs * len(data.train) / (len(data.train) + len(data.val))))
        data = replace(data, train=joined(data.train, data.val))
    config = TrainConfig(epochs=epochs, fairness=notion, seed=seed, threads=1, export="none", **options)
    torch.manual_seed(seed)
    network = build_path(problem.space, ops, len(data.classes), data.channels)
    watched = replace(data, val=fewer(data.val, VAL_IMAGES_IN_TRAINING))
    return train_network(config, watched, network, RunFolder(make(folder)), torch.device("cpu"))


def predicted(problem: Problem, network: nn.Module, refit: str, seed: int) -> np.ndarray:
    """(N,) predicted classes on test, its classifier fitted anew on all of search-val ("val"), on a part of it with 5% students
    ("rare"), or not at all (""). The network stays as it is."""
    data = problem.data
    if refit:
        network = copy.deepcopy(network)
        refit_classifier(network, data, data.val if refit == "val" else with_rare_students(data, seed))
    test = Batches(data.test, 256, shuffle=False, mean=data.mean, std=data.std)
    return predict(network, test.epoch()).argmax(1)


def with_rare_students(data: GroupedData, seed: int) -> Split:
    """1,900 images of search-val by employees and 100 by students."""
    rng, group_N = np.random.default_rng(seed), data.val.group_NA[:, 0]
    counts = {"employee": 1900, "student": 100}
    names = data.attributes["writer"]
    drawn = [rng.choice(np.flatnonzero(group_N == names.index(name)), count, False) for name, count in counts.items()]
    return taken(data.val, np.concatenate(drawn))


def blurred(images_NCHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian of 1.5 pixels."""
    return gaussian_filter(images_NCHW, (0, 0, 1.5, 1.5))


def dimmed(images_NCHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A quarter of the contrast, and noise of 20 of 255: pictures taken in the dark."""
    noisy = 0.25 * images_NCHW + rng.normal(0, 20, images_NCHW.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def made_worse(
    data: GroupedData, group: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> GroupedData:
    """The images of one group changed, in training, search-val and test."""
    number, rng = data.attributes["writer"].index(group), np.random.default_rng(0)

    def of(split: Split) -> Split:
        chosen_N = split.group_NA[:, 0] == number
        images_NCHW = split.images_NCHW.copy()
        images_NCHW[chosen_N] = change(images_NCHW[chosen_N], rng)
        return replace(split, images_NCHW=images_NCHW)

    return replace(data, train=of(data.train), val=of(data.val), test=of(data.test))


def fewer(split: Split, images: int) -> Split:
    return taken(split, np.arange(min(images, len(split))))


def taken(split: Split, index_N: np.ndarray) -> Split:
    return Split(*(array[index_N] for array in (split.images_NCHW, split.label_N, split.group_NA)))


def joined(a: Split, b: Split) -> Split:
    names = ("images_NCHW", "label_N", "group_NA")
    return Split(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in names))


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
