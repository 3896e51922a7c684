"""The options of a run: checked before anything is written, or those of the earlier run that --resume names."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch

from supernet.command_line import from_options, with_file
from supernet.config import CommonConfig, SearchConfig, TrainConfig
from supernet.engine import distributed
from supernet.engine.claim import check_free
from supernet.engine.runs import read_config
from supernet.engine.trackers import asked_trackers
from supernet.errors import UserError
from supernet.fairness import get_notion, parse_methods
from supernet.options import check_values, flag
from supernet.strategies.asktell import check_endpoint
from supernet.strategies.joint import tuned_names

Config = TypeVar("Config", bound=CommonConfig)
_FREE_ON_RESUME = {"resume", "compute_device", "run", "quick"}


def open_run(options: argparse.Namespace, command: str, kind: type[Config]) -> tuple[Config, set[str]]:
    """The options checked, or those of the earlier run that --resume names; and the names of those that were given.

    Raises UserError for a value that no run can have; `check_effect` is for the caller, who knows what else is inherited.
    """
    if "resume" not in options:
        options = with_file(kind, options)
        config = from_options(kind, options)
        check(config)
        if isinstance(config, SearchConfig):
            check_tuned(config, vars(options))
        if config.out is not None:
            check_free(Path(config.out))  # now rather than after the pictures are decoded
        return config, set(vars(options))
    given = sorted(set(vars(options)) - _FREE_ON_RESUME)
    if given or options.quick:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "--quick"
        raise UserError(f"--resume continues a run with its own options: leave out {names}.")
    config = read_config(options.resume, command, kind)
    check(config)
    return replace(config, compute_device=getattr(options, "compute_device", config.compute_device)), set()


def check(config: CommonConfig) -> None:
    """Raises UserError for a value out of its range or of an unknown name, before anything is written."""
    check_values(type(config), asdict(config), "options")
    if isinstance(config, SearchConfig):
        _ = config.answered_weights  # raises UserError
        if config.strategy == "llm":
            check_endpoint(config)
    get_notion(config.fairness)
    parse_methods(config.fairness_method)
    asked_trackers(config.log_to)
    if isinstance(config, TrainConfig):
        check_optimizer(config.opt)
        if config.qat_epochs and distributed.started() > 1:
            raise UserError("--qat-epochs trains in one process: start it without torchrun, or leave it out.")
        if config.train_on_val and config.refit_classifier:
            raise UserError(
                "--refit-classifier needs images that were not trained on: leave out --train-on-val, or it."
            )


def check_optimizer(name: str) -> None:
    """Raises UserError where timm has no such optimiser, or one that cannot make a plain step (it needs a closure, a GPU …)."""
    from timm.optim import create_optimizer_v2, list_optimizers

    network = torch.nn.Linear(1, 1)
    try:
        optimizer = create_optimizer_v2(network, name, 1e-3)
        network(torch.ones(1, 1)).sum().backward()
        optimizer.step()
    except Exception as error:  # each optimiser has its own way to say that it cannot
        close = difflib.get_close_matches(name, [n for n in list_optimizers() if isinstance(n, str) and n != name], n=3)
        raise UserError(
            f'--opt: "{name[:60]}" cannot be used here ({str(error)[:100] or type(error).__name__}). '
            f"Try {', '.join(dict.fromkeys([*close, 'adamw', 'sgd', 'lamb']))}."
        ) from error


def check_tuned(config: SearchConfig, given: Collection[str]) -> None:
    """Raises UserError for an option that --tune chooses and that was given a value, too, or that stands twice."""
    for name in tuned_names(config.tune):
        if name in given:
            raise UserError(f"--tune {config.tune} chooses {flag(name)}: leave one of the two out.")
