"""Tasks whose output is a picture: what they share, and what a file must say of one. Their search and training are in dense_search and dense_train."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from supernet.closer import thumbnail
from supernet.command_line import to_file
from supernet.config import CommonConfig, TrainConfig
from supernet.data import Batches, GroupedData
from supernet.data.grouped import Batch, Split
from supernet.data.masks import at
from supernet.engine import distributed
from supernet.errors import UserError
from supernet.options import flag
from supernet.task import Task

SHARED = {
    "task", "data", "group_cols", "intersections", "file_col", "cluster_col", "channels", "allow_duplicates",
    "group_mix", "max_train", "device", "budget_ms", "batch_size", "weight_decay", "augment", "epochs", "lr", "seed", "out",
    "resume", "compute_device", "precision", "log_to", "threads",
}  # fmt: skip
SEARCH = SHARED | {"space", "warmup_epochs", "candidates", "eval_images", "max_params", "max_macs", "accept_poor_table"}
TRAIN = SHARED | {"arch", "opt", "ema_decay", "warmup_steps", "export", "images"}
SAMPLES = 6  # pictures in the report
Measured = Callable[[nn.Module, GroupedData, TrainConfig, Task, torch.device], dict[str, Any]]


@dataclass(frozen=True)
class DenseTask:
    """What search and training ask of a task.

    name:     of --task
    words:    of what a network does
    score:    the name of the one of `Task.scores` that networks are compared by, higher is better
    told:     a score as a person reads it, with its name
    options:  that are this task's own
    task:     (data, options) → the task
    pictures: the data as the network is shown it
    measured: of the test pictures, JSON-ready
    lines:    what the terminal shows of that
    output:   what the ONNX file says of its output
    drawn:    (data, batch, the network's output) → the pictures of a row, each (B, K, H, W) uint8
    strip:    what they are, from left to right
    """

    name: str
    words: str
    score: str
    told: Callable[[float], str]
    options: frozenset[str]
    task: Callable[[GroupedData, CommonConfig], Task]
    pictures: Callable[[GroupedData], GroupedData]
    measured: Measured
    lines: Callable[[Mapping[str, Any], TrainConfig], list[str]]
    output: Callable[[CommonConfig], dict[str, str]]
    drawn: Callable[[GroupedData, Batch, torch.Tensor, CommonConfig], tuple[np.ndarray, ...]]
    strip: str

    def check_options(self, given: Collection[str], known: Collection[str]) -> None:
        """Raises UserError for an option that was given and is of other tasks alone, and under torchrun."""
        others = sorted(set(given) - {*known, *self.options, "config", "run", "quick"})
        if others:
            raise UserError(f"{flag(others[0])} has no effect with --task {self.name}: leave it out.")
        if distributed.started() > 1:
            raise UserError(f"--task {self.name} runs in one process: start it without torchrun.")

    def to_file(self, config: CommonConfig, known: Collection[str]) -> str:
        """The options as a file that a later call reads: those that the task has."""
        return to_file(config, {item.name for item in fields(config)} - {*known, *self.options})


def shown(data: GroupedData, part: Split, task: Task, device: torch.device) -> Batches:
    """Pictures in the split's order, as the task makes them; always the same."""
    return Batches(part, 256, shuffle=False, mean=data.mean, std=data.std, device=device, made=task.made)


@torch.no_grad()
def score(network: nn.Module, batches: Iterable[Any], task: Task, name: str) -> float:
    """Of the pictures of these batches."""
    assert task.scores is not None
    network.eval()
    found = [(task.predictions(network(batch.image).float()).cpu(), batch.label.cpu()) for batch in batches]
    output, label = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return task.scores(output, label)[name]


@torch.no_grad()
def samples(network: nn.Module, data: GroupedData, task: Task, device: torch.device, dense: DenseTask, config: CommonConfig) -> list[list[dict[str, str]]]:  # fmt: skip
    """Of the first test pictures: rows of data URIs with their words."""
    network.eval()
    few = at(data.test, np.arange(min(SAMPLES, len(data.test))))
    (batch,) = shown(data, few, task, device).epoch()
    pictures = dense.drawn(data, batch, network(batch.image).float(), config)
    told = dense.strip.split(", ")
    return [[{"src": thumbnail(own[n]), "told": word} for word, own in zip(told, pictures, strict=True)] for n in range(len(few))]  # fmt: skip


def units(test: Split) -> np.ndarray:
    """(N,) what belongs together: clusters where they are known, else each picture by itself."""
    return np.arange(len(test)) if test.cluster_N is None else test.cluster_N
