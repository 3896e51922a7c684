"""What search and train set up alike: the run folder, the data, the space, the device's table."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from supernet.commands.bits import NO_DEVICE, bops_budget, check_search
from supernet.commands.budgets import check_feasible, costs_of, regions
from supernet.commands.inherited import with_one_mix
from supernet.commands.usual import usual_strategy
from supernet.commands.without_groups import check_methods, check_notion
from supernet.config import (
    ASK_TELL,
    DATA,
    DENSE_TASKS,
    FROM_TEACHER,
    CommonConfig,
    SearchConfig,
    limits_of,
    with_epochs,
)
from supernet.data import UNKNOWN, GroupedData, Masks, load_data, with_intersections
from supernet.data.sources import group_names
from supernet.engine import distributed
from supernet.engine.claim import CONFIG, read_content, run_input
from supernet.engine.runs import RunFolder, compute_device
from supernet.errors import UserError
from supernet.kernels import keep_freed_memory
from supernet.options import check_values
from supernet.problem import Problem
from supernet.spaces import SearchSpace, get_space
from supernet.spaces.architecture import LONGEST_NAME
from supernet.spaces.sensor import require_colours
from supernet.strategies.uniform import no_control
from supernet.teacher import check_classes, read_teacher

TEACHER_WEIGHTS = "teacher.safetensors"  # a run's copy of what it learns from


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


def read_data(config: CommonConfig, resolution: int) -> GroupedData:
    """The data set that the options name, resized.

    Raises UserError where a picture is in two splits or has two labels, and where a gap could not be measured after all
    the work.
    """
    data = load_data(
        config.data,
        resolution=resolution,
        group_mix=config.group_mix,
        class_mix=config.class_mix,
        max_train=config.max_train,
        seed=config.seed,
        label_col=config.label_col,
        group_cols=group_names(config.group_cols),
        file_col=config.file_col or "file_name",
        cluster_col=config.cluster_col,
        positive=config.positive,
        channels=config.channels,
        pool_val=getattr(config, "train_on_val", False),
        masks=Masks(config.mask_col, config.mask_classes) if config.task == "segment" else None,
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
    found = with_one_mix({name: told[name] for name in DATA if name in told and name not in given}, given)
    check_values(SearchConfig, found, str(run / CONFIG))
    return replace(config, **found)


def prepare(config: SearchConfig, given: Collection[str] | None = None) -> Problem:
    """Everything a search needs. Raises UserError for what the user can mend, the cheapest checks first.

    given: names of the options that the user gave; if they are known, a strategy that was not may follow from the budget (usual.py).
    """
    device = use_machine(config)
    teacher = None if config.teacher is None else read_teacher(config.teacher)
    around = [] if teacher is None else [f"lite{teacher.spec.size}", f"slim{teacher.spec.size}"]
    if teacher is not None and config.space not in (SearchConfig.space, *around):
        raise UserError(
            f"--space {config.space}: the teacher was trained at {teacher.spec.size} px: take {' or '.join(around)}, or leave --space out."
        )
    if teacher is None and config.strategy in FROM_TEACHER:
        raise UserError(f"--strategy {config.strategy} needs --teacher RUN.")
    if teacher is not None and config.strategy in (*ASK_TELL, "score", "halving", "one-shot"):
        raise UserError(
            f"--strategy {config.strategy} begins from scratch: leave --teacher out, or take blockwise or differentiable."
        )
    space = get_space(around[0] if teacher is not None and config.space not in around else config.space)
    if teacher is not None and config.strategy == "differentiable" and space.choices.edges:
        raise UserError(
            f"--strategy differentiable cannot share a teacher's weights among the widths of {space.name}: take blockwise."
        )
    check_widths(config, space)
    if space.dense != (config.task in DENSE_TASKS):
        what = (
            "has pictures as outputs: it is for --task denoise or segment"
            if space.dense
            else "has one output a class: --task denoise and segment need --space dense32"
        )
        raise UserError(f"--space {space.name} {what}.")
    if space.bits:
        return _without_latency(config, given or (), space, device)
    every, inputs, notes = regions(config, space)
    main = every[0]
    data = read_data(config, space.resolution)
    require_colours(space, data.channels)
    if teacher is not None:
        check_classes(teacher, data.classes, data.channels)
        data = replace(data, preprocessing=teacher.spec)
    budgets = {"latency": main.limit_ms} | limits_of(config)
    outputs = data.channels if config.task == "denoise" else len(data.classes)
    costs = {"latency": main.latency} | costs_of(space, data.channels, outputs, budgets, main.table, config.bits)
    for one in every:
        check_feasible(space, {**costs, "latency": one.latency}, {**budgets, "latency": one.limit_ms})
    missing = None if teacher is None else no_control(space, list(costs.values()), budgets)
    if missing is not None and config.strategy == "uniform":
        raise UserError(f"{missing} Raise them, or leave out --strategy uniform: the search may leave out blocks.")
    if missing is not None:
        notes.append(f"{missing} So there is no uniform control among the candidates.")
    elif given is not None:
        strategy, why = usual_strategy(config, given, space, main)
        config, notes = replace(config, strategy=strategy), [*notes, *why]
    if config.teacher is not None:
        inputs[TEACHER_WEIGHTS] = teacher_weights(config.resume, config.teacher)
    folder = RunFolder.open(config, "search", data.fingerprint, inputs)
    notes += [*data.notes, *folder.notes]
    return Problem(folder, space, data, main.table, costs, budgets, main.budget_ms, device, tuple(notes),
                   teacher=teacher, regions=every, strategy=config.strategy)  # fmt: skip


def _without_latency(config: SearchConfig, given: Collection[str], space: SearchSpace, device: torch.device) -> Problem:
    """As `prepare`, where no device runs what is searched: bit operations stand in latency's place."""
    check_search(config, given, space)
    config = replace(config, device=NO_DEVICE)
    data = read_data(config, space.resolution)
    costs = costs_of(space, data.channels, len(data.classes), {"bops", *limits_of(config)}, None)
    bops = costs.pop("bops")
    limit, notes = bops_budget(config, space, bops)
    costs, budgets = {"bops": bops, **costs}, {"bops": limit} | limits_of(config)
    check_feasible(space, costs, budgets)
    folder = RunFolder.open(config, "search", data.fingerprint, {})
    notes += [*data.notes, *folder.notes]
    return Problem(folder, space, data, None, costs, budgets, None, device, tuple(notes), strategy=config.strategy)


def settled(config: SearchConfig, problem: Problem) -> SearchConfig:
    """The options as they hold, with what was left open: what a resumed run leaves is what one call leaves."""
    table = problem.table
    return replace(
        with_epochs(config, len(problem.data.train)), resume=None, strategy=problem.strategy, space=problem.space.name,
        device=NO_DEVICE if table is None else config.device, dtype=None if table is None else table.dtype,
        max_bops=problem.budgets.get("bops"),
    )  # fmt: skip


def check_widths(config: SearchConfig, space: SearchSpace) -> None:
    """Raises UserError for a way to search that a space with widths or picture sizes to decide does not have."""
    if not space.choices.edges:
        return
    decided = "picture sizes" if space.inputs else "widths"
    if config.strategy == "score":
        raise UserError(
            f"--strategy score has no scores for the {decided} of {space.name}: leave it out, or take random."
        )
    if config.strategy == "differentiable" and config.relaxation in ("gumbel", "gumbel-top2", "softmax"):
        raise UserError(
            f"--relaxation {config.relaxation} adds outputs, but those of {space.name} differ in {'size' if space.inputs else 'width'}: take score or gumbel-hard."
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
