"""What search and train set up alike: the run folder, the data, the space, the device's table."""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch

from supernet.command_line import from_options, with_file
from supernet.commands.budgets import check_feasible, costs_of, regions
from supernet.commands.without_groups import check_methods, check_notion
from supernet.config import ASK_TELL, DATA, FROM_TEACHER, CommonConfig, SearchConfig, TrainConfig, limits_of
from supernet.data import UNKNOWN, GroupedData, load_data, with_intersections
from supernet.engine import distributed
from supernet.engine.claim import CONFIG, check_free, read_content, run_input
from supernet.engine.runs import RunFolder, compute_device, read_config
from supernet.engine.trackers import asked_trackers
from supernet.errors import UserError
from supernet.fairness import get_notion, parse_methods
from supernet.kernels import keep_freed_memory
from supernet.options import check_values
from supernet.problem import Problem
from supernet.spaces import SearchSpace, get_space
from supernet.spaces.architecture import LONGEST_NAME
from supernet.strategies.uniform import no_control
from supernet.teacher import check_classes, read_teacher

Config = TypeVar("Config", bound=CommonConfig)
TEACHER_WEIGHTS = "teacher.safetensors"  # a run's copy of what it learns from
_FREE_ON_RESUME = {"resume", "compute_device", "run", "quick"}


def use_machine(config: CommonConfig) -> torch.device:
    """Threads, memory, compute device and fellow processes (torchrun) as asked. Raises UserError if it is not there."""
    if config.compile and shutil.which(os.environ.get("CXX", "c++")) is None:
        raise UserError("--compile needs a C++ compiler; install one (g++), or leave the option out.")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    distributed.start()
    device = compute_device(distributed.own_device(config.compute_device))
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # what NCCL and anything that says only "cuda" then use
    return device


def open_run(options: argparse.Namespace, command: str, kind: type[Config]) -> tuple[Config, set[str]]:
    """The options checked, or those of the earlier run that --resume names; and the names of those that were given.

    Raises UserError for a value that no run can have; `check_effect` is for the caller, who knows what else is inherited.
    """
    if "resume" not in options:
        options = with_file(kind, options)
        config = from_options(kind, options)
        check(config)
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
    get_notion(config.fairness)
    parse_methods(config.fairness_method)
    asked_trackers(config.log_to)
    if isinstance(config, TrainConfig):
        check_optimizer(config.opt)
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


def read_data(config: CommonConfig, resolution: int) -> GroupedData:
    """The data set that the options name, resized.

    Raises UserError where a picture is in two splits or has two labels, and where a gap could not be measured after all
    the work.
    """
    data = load_data(
        config.data,
        resolution=resolution,
        group_mix=config.group_mix,
        max_train=config.max_train,
        seed=config.seed,
        label_col=config.label_col,
        group_cols=config.group_cols.split(",") if config.group_cols else None,
        file_col=config.file_col or "file_name",
        cluster_col=config.cluster_col,
        positive=config.positive,
        channels=config.channels,
        pool_val=getattr(config, "train_on_val", False),
    )
    if data.repeats.contradiction is not None:
        raise UserError(data.repeats.contradiction)
    if data.repeats.across_splits is not None and not config.allow_duplicates:
        raise UserError(data.repeats.across_splits)
    data = with_intersections(data) if config.intersections else data
    check_notion(config.fairness, data.by_class)
    check_methods(config.fairness_method, data.by_class)
    check_measurable(data)
    return data


def check_measurable(data: GroupedData) -> None:
    """Raises UserError where no image of a split has a known group of an attribute, or a name does not fit derived.json."""
    for column, attribute in enumerate(data.attributes):
        for split, part in (("search-train", data.train), ("search-val", data.val), ("test", data.test)):
            if (part.group_NA[:, column] == UNKNOWN).all():
                raise UserError(
                    f'No image of {split} has a known group of "{attribute}": no gap could be measured there. Fill in groups of '
                    f"some, or leave that attribute out (--group-cols, --no-intersections)."
                )
    names = {"class": data.classes, "attribute": tuple(data.attributes), **{f"group of {a}": own for a, own in data.attributes.items()}}  # fmt: skip
    for kind, own in names.items():
        longest = max(own, key=len, default="")
        if len(longest) > LONGEST_NAME:
            raise UserError(f'The {kind} "{longest[:40]}…" has {len(longest)} characters; at most {LONGEST_NAME} are possible.')  # fmt: skip


def with_teachers_data(config: SearchConfig, given: Collection[str]) -> SearchConfig:
    """Where --data is left open, the teacher's own data, read as its run did. Raises UserError where that is not told whole."""
    run = None if config.teacher is None else Path(config.teacher)
    if run is None or config.resume is not None or "data" in given or not (run / CONFIG).is_file():
        return config
    told = read_content(run)
    found = {name: told[name] for name in DATA if name in told and name not in given}
    check_values(SearchConfig, found, str(run / CONFIG))
    return replace(config, **found)


def prepare(config: SearchConfig) -> Problem:
    """Everything a search needs. Raises UserError for what the user can mend, the cheapest checks first."""
    device = use_machine(config)
    teacher = None if config.teacher is None else read_teacher(config.teacher)
    if teacher is not None and config.space not in (SearchConfig.space, f"lite{teacher.spec.size}"):
        raise UserError(
            f"--space {config.space}: the teacher was trained at {teacher.spec.size} px, which is lite{teacher.spec.size}: leave --space out."
        )
    if teacher is None and config.strategy in FROM_TEACHER:
        raise UserError(f"--strategy {config.strategy} needs --teacher RUN.")
    if teacher is not None and config.strategy in (*ASK_TELL, "score", "one-shot"):
        raise UserError(
            f"--strategy {config.strategy} begins from scratch: leave --teacher out, or take blockwise or differentiable."
        )
    space = get_space(config.space if teacher is None else f"lite{teacher.spec.size}")
    check_widths(config, space)
    every, inputs, notes = regions(config, space)
    main = every[0]
    data = read_data(config, space.resolution)
    if teacher is not None:
        check_classes(teacher, data.classes, data.channels)
        data = replace(data, preprocessing=teacher.spec)
    budgets = {"latency": main.limit_ms} | limits_of(config)
    costs = {"latency": main.latency} | costs_of(space, data.channels, len(data.classes), budgets, main.table.dtype)
    for one in every:
        check_feasible(space, {**costs, "latency": one.latency}, {**budgets, "latency": one.limit_ms})
    missing = None if teacher is None else no_control(space, list(costs.values()), budgets)
    if missing is not None and config.strategy == "uniform":
        raise UserError(f"{missing} Raise them, or leave out --strategy uniform: the search may leave out blocks.")
    if missing is not None:
        notes.append(f"{missing} So there is no uniform control among the candidates.")
    if config.teacher is not None:
        inputs[TEACHER_WEIGHTS] = teacher_weights(config.resume, config.teacher)
    folder = RunFolder.open(config, "search", data.fingerprint, inputs)
    notes += [*data.notes, *folder.notes]
    return Problem(folder, space, data, main.table, costs, budgets, main.budget_ms, device, tuple(notes),
                   teacher=teacher, regions=every)  # fmt: skip


def check_widths(config: SearchConfig, space: SearchSpace) -> None:
    """Raises UserError for a way to search that a space with widths to decide does not have."""
    if not space.choices.edges:
        return
    if config.strategy == "score":
        raise UserError(f"--strategy score has no scores for the widths of {space.name}: leave it out, or take random.")
    if config.strategy == "differentiable" and config.relaxation in ("gumbel", "gumbel-top2", "softmax"):
        raise UserError(
            f"--relaxation {config.relaxation} adds outputs, but those of {space.name} differ in width: take score or gumbel-hard."
        )


def teacher_weights(resume: str | None, teacher: str) -> Path:
    """The teacher's weights, which a resumed run holds against its own copy: two halves must have one teacher.

    Raises UserError where they are other ones now. A run of before has no copy.
    """
    folder = Path(teacher)
    path = (folder if folder.is_dir() else folder.parent) / "model.safetensors"
    if resume is not None and TEACHER_WEIGHTS in read_content(Path(resume))["inputs"]:
        run_input(resume, TEACHER_WEIGHTS, path)
    return path
