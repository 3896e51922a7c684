"""Where the time of a search goes: a profile of the ω step, and a default search cut short. A part of search_speed_child.py."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from search_speed_setting import sampled, seconds, setting

from supernet.commands.setting import prepare
from supernet.config import SearchConfig, with_epochs
from supernet.derive import candidates
from supernet.engine.loop import train
from supernet.kernels import keep_freed_memory
from supernet.scoring import compare
from supernet.spaces import get_space
from supernet.strategies.differentiable import DifferentiableSearch


def timed(totals: dict[str, float], holder: Any, method: str, name: str) -> None:
    """Replaces holder.method by itself with its seconds added to totals[name]."""
    inner = getattr(holder, method)

    def outer(*args: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return inner(*args, **named)
        finally:
            totals[name] += time.perf_counter() - started

    setattr(holder, method, outer)


def profile(space: str, batch: int, paths: int, seed: int) -> None:
    """Where the time of the ω step goes: operators from torch.profiler, host-side parts from a clock."""
    torch.set_num_threads(1)
    keep_freed_memory()
    search = setting(get_space(space), batch_size=batch)
    shape = (paths, len(search.supernet.space.layers))
    path_NL = torch.from_numpy(np.random.default_rng(seed).integers(0, len(search.supernet.space.ops), shape))

    def all_paths() -> None:
        for number, path_L in enumerate(path_NL):
            sampled(search, path_L, search.train.at(number))

    all_paths()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        wall = seconds(all_paths)
    self_seconds = {event.key: event.self_cpu_time_total / 1e6 for event in trace.key_averages()}
    rows = sorted(self_seconds.items(), key=lambda row: -row[1])[:15]
    totals: dict[str, float] = defaultdict(float)
    timed(totals, search.optimizer, "step", "optimiser")
    timed(totals, search.optimizer, "zero_grad", "optimiser")
    timed(totals, torch.nn.utils, "clip_grad_norm_", "gradient clipping")
    timed(totals, search.train, "at", "data")
    plain = seconds(all_paths)
    operators = {name: value / wall for name, value in rows}
    host = {"outside of operators": max(0.0, 1 - sum(self_seconds.values()) / wall)}
    print(json.dumps({"operators": operators, "parts": host | {name: value / plain for name, value in totals.items()}}))


def whole(warmup_steps: int, steps: int) -> None:
    """A default search cut short after some steps of each phase: seconds of its parts, and what all steps would take."""
    started = time.perf_counter()
    config = SearchConfig(threads=1, out=tempfile.mkdtemp() + "/run")
    problem = prepare(config)
    search = DifferentiableSearch(with_epochs(config, len(problem.data.train)), problem)
    prepared = time.perf_counter() - started
    asked = {"warm-up": search.warmup_steps, "search": search.total_steps - search.warmup_steps}
    search.warmup_steps = search.warmup.steps = warmup_steps
    search.total_steps = warmup_steps + steps
    totals: dict[str, float] = defaultdict(float)
    for holder, method, name in (
        (search, "weight_step", "ω steps"), (search, "alpha_step", "α steps"), (search.train, "at", "data"),
        (search.val, "at", "data"), (search, "line", "log"),
    ):  # fmt: skip
        timed(totals, holder, method, name)
    loop = seconds(lambda: train(search, problem.folder))
    totals["the loop itself"] = loop - sum(totals.values())
    alpha_LK = search.alpha().detach().double().numpy()
    space, costs = problem.space, list(problem.costs.values())
    found: Sequence[np.ndarray] = []

    def derive() -> None:
        nonlocal found
        found = candidates(alpha_LK, space.valid_LK, costs, problem.budgets, config.candidates, config.seed)

    totals["derive"] = seconds(derive)
    totals["compare"] = seconds(lambda: compare(config, problem, search.supernet, found, None))
    totals["checkpoints"] = seconds(
        lambda: problem.folder.save_checkpoint({"modules": search.modules.state_dict(), "rest": search.rest()})
    )
    by_step = sum(asked.values()) / (warmup_steps + steps)
    scale = {
        **dict.fromkeys(("ω steps", "log", "the loop itself"), by_step),
        "α steps": asked["search"] / steps,
        "data": (sum(asked.values()) + asked["search"]) / (warmup_steps + 2 * steps),
        "checkpoints": sum(asked.values()) // len(search.train),
    }
    for_default = {name: value * scale.get(name, 1.0) for name, value in totals.items()}
    answer = {"prepare": prepared, **for_default}
    print(json.dumps({"steps": asked, "measured_steps": [warmup_steps, steps], "seconds_of_default_search": answer}))
