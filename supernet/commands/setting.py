"""What search and train set up alike: the run folder, the data, the space, the device's table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import torch

from supernet.config import CommonConfig, SearchConfig
from supernet.costs.analytic import macs_table, params_table
from supernet.costs.latency import LatencyTable, load_table
from supernet.costs.table import CostTable
from supernet.data import GroupedData, load_data
from supernet.errors import UserError
from supernet.fairness import get_notion
from supernet.runs import RunFolder, compute_device
from supernet.space import SearchSpace, get_space

Config = TypeVar("Config", bound=CommonConfig)
_FREE_ON_RESUME = {"resume", "compute_device", "run", "quick"}


@dataclass(frozen=True)
class Setting:
    """What a search works on. `budgets` gives the most that each named cost may be; `notes` are for the person."""

    space: SearchSpace
    data: GroupedData
    table: LatencyTable
    costs: dict[str, CostTable]
    budgets: dict[str, float]
    device: torch.device
    notes: tuple[str, ...]


def open_run(options: argparse.Namespace, command: str, kind: type[Config], make: Callable[..., Config]) -> tuple[RunFolder, Config]:
    """A new run folder from the options, or the one that --resume names with its own options."""
    if "resume" not in options:
        config = make(kind, options)
        check(config)
        return RunFolder.create(config, command), config
    given = sorted(set(vars(options)) - _FREE_ON_RESUME)
    if given or options.quick:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "--quick"
        raise UserError(f"--resume continues a run with its own options: leave out {names}.")
    return RunFolder.reopen(options.resume, command, kind)


def check(config: CommonConfig) -> None:
    """Raises UserError for a number that makes no sense, before anything is written."""
    positive = {"batch_size": 2, "max_train": 2, "threads": 1, "paths": 2, "epochs": 1, "candidates": 1, "eval_images": 1}
    for item in fields(config):
        value = getattr(config, item.name)
        least = positive.get(item.name, 0)
        if isinstance(value, int | float) and not isinstance(value, bool) and (value < least or value != value):
            raise UserError(f"--{item.name.replace('_', '-')} must be at least {least}, not {value}.")
    for name in ("budget_ms", "lr", "temperature", "temperature_end", "alpha_lr"):
        if getattr(config, name, None) == 0:
            raise UserError(f"--{name.replace('_', '-')} must be above 0.")
    get_notion(config.fairness)


def read_data(config: CommonConfig, resolution: int) -> GroupedData:
    """The data set that the options name, resized."""
    return load_data(
        config.data,
        resolution=resolution,
        group_mix=config.group_mix,
        max_train=config.max_train,
        seed=config.seed,
        label_col=config.label_col,
        group_cols=config.group_cols.split(",") if config.group_cols else None,
        file_col=config.file_col or "file_name",
        cluster_col=config.cluster_col,
    )


def prepare(config: SearchConfig) -> Setting:
    """Everything a search needs. Raises UserError for what the user can mend, the cheapest checks first."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = compute_device(config.compute_device)
    space = get_space(config.space)
    table = load_table(config.device)
    latency = table.cost(space)
    notes = []
    budget_ms = config.budget_ms
    if budget_ms is None:
        budget_ms = round(latency.median(space.valid_LK), 1)
        notes.append(f"No --budget-ms was given: {budget_ms} ms, the median over architectures of {space.name}, was taken.")
    fastest = latency.fastest(space.valid_LK)
    if budget_ms < fastest:
        raise UserError(f"No architecture of {space.name} runs in {budget_ms:g} ms on {table.device}: the fastest possible takes {fastest:.2f} ms. Raise --budget-ms.")  # fmt: skip
    data = read_data(config, space.resolution)
    costs = {
        "latency": latency,
        "macs": macs_table(space, data.channels, len(data.classes)),
        "params": params_table(space, data.channels, len(data.classes)),
    }
    return Setting(space, data, table, costs, {"latency": budget_ms}, device, (*notes, *data.notes))
