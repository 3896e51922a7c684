"""One process of search_speed.py: a step of one variant, a profile, a point of the growth table, or a whole search.

Started as `python benchmarks/search_speed_child.py KIND JSON`; answers in lines of JSON. See search_speed.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from search_speed_parts import profile, whole
from search_speed_setting import idle, memory_mb, mixture, sampled, seconds, setting
from timm.optim import create_optimizer_v2

from supernet.data import Batch
from supernet.engine.descent import descend
from supernet.engine.evaluate import standalone
from supernet.kernels import fast_cpu, keep_freed_memory
from supernet.spaces import SearchSpace, get_space
from supernet.strategies.differentiable import DifferentiableSearch


def moments_mb(optimizer: torch.optim.Optimizer) -> float:
    state = (value for slots in optimizer.state.values() for value in slots.values())
    return sum(value.numel() * value.element_size() for value in state) / 2**20


def steps(variant: str, space: str, batch: int, threads: int, seed: int) -> None:
    """Says when it is ready; answers each path number on stdin with the seconds of one step on that path; then the memory."""
    torch.set_num_threads(threads)
    if variant != "e":
        keep_freed_memory()
    relaxation = "gumbel" if variant == "d" else "score"
    search = setting(get_space(space), batch_size=batch, relaxation=relaxation)
    shape = (1000, len(search.supernet.space.layers))
    paths = torch.from_numpy(np.random.default_rng(seed).integers(0, len(search.supernet.space.ops), shape))
    idle_mb, state_mb = idle(), 0.0
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        number = int(line)
        weight_batch, alpha_batch = search.train.at(number), search.val.at(number)
        if variant in "ae":
            step, own_mb = standalone_step(search, variant, paths[number], weight_batch)
            state_mb = max(state_mb, own_mb)
        elif variant == "d":
            step = partial(mixture, search, weight_batch)
        else:

            def step(path_L: torch.Tensor = paths[number], batch: Batch = weight_batch) -> None:
                sampled(search, path_L, batch)
                if variant == "c":
                    search.alpha_step(alpha_batch, 1)  # noqa: B023

        search.alpha.logits_DK.data.zero_()  # α's own paths are drawn as the given ones are
        if variant != "d" or number == 0:
            step()  # memory and the optimiser's state of this path
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
        loss = search.objective.value(network(batch.image)[None], batch)
        descend(loss.total_N.sum(), optimizer, list(network.parameters()))

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
    work = {"sampled": lambda: sampled(search, path_L, weight_batch), "mixture": lambda: mixture(search, weight_batch)}  # fmt: skip
    for name, step in work.items():
        step()
        found[f"{name}_seconds"] = min(seconds(step) for _ in range(3))
        found[f"{name}_mb"] = memory_mb("VmHWM") - idle_mb
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    kinds: dict[str, Callable[..., None]] = {"steps": steps, "growth": growth, "profile": profile, "whole": whole}
    kinds[sys.argv[1]](**json.loads(sys.argv[2]))
