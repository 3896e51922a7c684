"""One process of search_speed.py: a step of one variant, a profile, a point of the growth table, or a whole search.

Started as `python benchmarks/search_speed_child.py KIND JSON`; answers in lines of JSON. See search_speed.py.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from timm.optim import create_optimizer_v2

from supernet.commands.setting import prepare, read_data
from supernet.config import SearchConfig
from supernet.costs.analytic import macs_table
from supernet.costs.latency import load_table
from supernet.data import Batch
from supernet.derive import candidates
from supernet.evaluate import standalone
from supernet.kernels import fast_cpu, keep_freed_memory
from supernet.runs import RunFolder
from supernet.space import SearchSpace, get_space
from supernet.strategies import progress
from supernet.strategies.differentiable import DifferentiableSearch
from supernet.strategies.problem import Problem, compare


def setting(space: SearchSpace, **options: Any) -> DifferentiableSearch:
    """A search at its first step after the warm-up, without a budget that could move its paths."""
    config = SearchConfig(
        space=space.name,
        max_train=1024,
        warmup_epochs=0,
        latency_weight=0.0,
        out=tempfile.mkdtemp() + "/run",
        **options,
    )
    data = read_data(config, space.resolution)
    costs = {"latency": macs_table(space, data.channels, len(data.classes))}
    folder = RunFolder.open(config, "search", data.fingerprint)
    asked = {"latency": 1e12}, 1e12, torch.device("cpu"), ()
    search = DifferentiableSearch(config, Problem(folder, space, data, load_table("rpi4"), costs, *asked))
    search.step = 1
    return search


def sampled(search: DifferentiableSearch, path_L: torch.Tensor, batch: Batch) -> None:
    """The ω step on a given path."""
    search.warmup.paths = [path_L]
    search.weight_step(batch, warm=True)


def memory_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(line.split()[1]) / 1024


def moments_mb(optimizer: torch.optim.Optimizer) -> float:
    state = (value for slots in optimizer.state.values() for value in slots.values())
    return sum(value.numel() * value.element_size() for value in state) / 2**20


def idle() -> float:
    """Memory now, with the peak set back to it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def steps(variant: str, space: str, batch: int, threads: int, seed: int) -> None:
    """Answers each path number on stdin with the seconds of one step on that path; at the end, the memory."""
    torch.set_num_threads(threads)
    if variant != "e":
        keep_freed_memory()
    relaxation = "gumbel" if variant == "d" else "score"
    search = setting(get_space(space), batch_size=batch, relaxation=relaxation)
    shape = (1000, len(search.supernet.space.layers))
    paths = torch.from_numpy(np.random.default_rng(seed).integers(0, len(search.supernet.space.ops), shape))
    idle_mb, state_mb = idle(), 0.0
    for line in sys.stdin:
        number = int(line)
        weight_batch, alpha_batch = search.train.at(number), search.val.at(number)
        if variant in "ae":
            step, own_mb = standalone_step(search, variant, paths[number], weight_batch)
            state_mb = max(state_mb, own_mb)
        elif variant == "d":
            step = lambda batch=weight_batch: search.weight_step(batch, warm=False)  # noqa: E731
        else:

            def step(path_L: torch.Tensor = paths[number], batch: Batch = weight_batch) -> None:
                sampled(search, path_L, batch)
                if variant == "c":
                    search.alpha_step(alpha_batch)  # noqa: B023

        if variant != "d":
            step()  # memory and the optimiser's state of this path
        elif number == 0:
            search.weight_step(Batch(*(part[:8] for part in weight_batch)), warm=False)
        answer = {"seconds": seconds(step), "data_seconds": seconds(lambda: search.train.at(number + 1))}  # noqa: B023
        print(json.dumps(answer), flush=True)
    if variant not in "ae":
        state_mb = moments_mb(search.optimizer)
    print(json.dumps({"peak_mb": memory_mb("VmHWM"), "idle_mb": idle_mb, "state_mb": state_mb}), flush=True)


def standalone_step(
    search: DifferentiableSearch, variant: str, path_L: torch.Tensor, batch: Batch
) -> tuple[Callable[[], None], float]:
    """The training step of the path's derived network, and the MB of its parameters and moments."""
    network = standalone(search.supernet, search.supernet.space.names(path_L.numpy()))
    if variant == "a":
        network = fast_cpu(network.to(memory_format=torch.channels_last))
    else:
        batch = batch._replace(image=batch.image.contiguous())
    network.train()
    lr, decay = search.config.lr, search.config.weight_decay
    optimizer = create_optimizer_v2(network, "adamw", lr, decay, **({"fused": True} if variant == "a" else {}))

    def step() -> None:
        loss = search.weight_objective(network(batch.image)[None], batch)
        optimizer.zero_grad(set_to_none=True)
        loss.total_N.sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0, foreach=True)
        optimizer.step()

    return step, 12 * sum(p.numel() for p in network.parameters()) / 2**20


def spread_space(stage_layers: int, operations: int, resolution: int) -> SearchSpace:
    """fbnet32 with other numbers of layers a stage, of (equal) operations, and another resolution."""
    base = get_space("fbnet32")
    ops = ("k3_e3",) * operations
    first = [layer for before, layer in zip((None, *base.layers), base.layers, strict=False) if before is None or before.stage != layer.stage]  # fmt: skip
    layers = [
        replace(layer, ops=ops) if not again else replace(layer, ops=ops, c_in=layer.c_out, stride=1)
        for layer in first
        for again in range(stage_layers if 0 < layer.stage < 6 else 1)
    ]
    hw = resolution
    for row, layer in enumerate(layers):
        layers[row] = replace(layer, resolution=hw)
        hw //= layer.stride
    return replace(base, ops=ops, layers=tuple(layers), resolution=resolution)


def growth(stage_layers: int, operations: int, resolution: int, batch: int) -> None:
    """Seconds of a sampled and of a mixture step, and MB beyond what is there at rest."""
    torch.set_num_threads(1)
    search = setting(spread_space(stage_layers, operations, resolution), batch_size=batch, relaxation="gumbel")
    idle_mb = idle()
    weight_batch = search.train.at(0)
    path_L = torch.zeros(len(search.supernet.space.layers), dtype=torch.int64)
    found: dict[str, float] = {"parameters": sum(p.numel() for p in search.supernet.parameters())}
    work = {"sampled": lambda: sampled(search, path_L, weight_batch), "mixture": lambda: search.weight_step(weight_batch, False)}  # fmt: skip
    for name, step in work.items():
        step()
        found[f"{name}_seconds"] = min(seconds(step) for _ in range(3))
        found[f"{name}_mb"] = memory_mb("VmHWM") - idle_mb
    print(json.dumps(found), flush=True)


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
    search = DifferentiableSearch(config, problem)
    prepared = time.perf_counter() - started
    asked = {"warm-up": search.warmup_steps, "search": search.total_steps - search.warmup_steps}
    search.warmup_steps = search.warmup.steps = warmup_steps
    search.total_steps = warmup_steps + steps
    totals: dict[str, float] = defaultdict(float)
    for holder, method, name in (
        (search, "weight_step", "ω steps"), (search, "alpha_step", "α steps"), (search.train, "at", "data"),
        (search.val, "at", "data"), (problem.folder, "log", "log and checkpoint"),
        (problem.folder, "save_checkpoint", "log and checkpoint"), (progress, "line", "log and checkpoint"),
    ):  # fmt: skip
        timed(totals, holder, method, name)
    loop = seconds(lambda: search.run(problem.folder))
    totals["the loop itself"] = loop - sum(totals.values())
    alpha_LK = search.parameters().detach().double().numpy()
    space, costs = problem.space, list(problem.costs.values())
    found: Sequence[np.ndarray] = []

    def derive() -> None:
        nonlocal found
        found = candidates(alpha_LK, space.valid_LK, costs, problem.budgets, config.candidates, config.seed)

    totals["derive"] = seconds(derive)
    totals["compare"] = seconds(lambda: compare(config, problem, search.supernet, found, None))
    scale = {"ω steps": sum(asked.values()) / (warmup_steps + steps), "α steps": asked["search"] / steps}
    for_default = {name: value * scale.get(name, 1.0) for name, value in totals.items() if name != "data"}
    for_default["data"] = totals["data"] * (sum(asked.values()) + asked["search"]) / (warmup_steps + 2 * steps)
    for_default["the loop itself"] *= scale["ω steps"]
    answer = {"prepare": prepared, **for_default}
    print(json.dumps({"steps": asked, "measured_steps": [warmup_steps, steps], "seconds_of_default_search": answer}))


if __name__ == "__main__":
    kinds: dict[str, Callable[..., None]] = {"steps": steps, "growth": growth, "profile": profile, "whole": whole}
    kinds[sys.argv[1]](**json.loads(sys.argv[2]))
