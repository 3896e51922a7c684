"""One of two processes of test_distributed, in a file of its own since a spawned process imports it anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import distributed as dist

from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.data import Batch
from supernet.strategies.differentiable import DifferentiableSearch

STEPS = 3


def double(batch: Batch) -> Batch:
    return batch._replace(image=batch.image.double(), weight=batch.weight.double())


def search_steps(folder: str, config: SearchConfig) -> dict[str, Any]:
    """α and the stem's weights after some steps in float64, as plain arrays; the first process's run folder."""
    config = replace(config, out=folder)
    asked = prepare(config)
    search = DifferentiableSearch(config, asked)
    search.state.double()
    search.step = 1
    for step in range(STEPS):
        search.weight_step(double(search.train.at(step)), warm=True)
        search.alpha_step(double(search.val.at(step)))
    norm = search.supernet.bn1
    return {
        "alpha": search.parameters.logits_LK.detach().numpy(),
        "stem": search.supernet.conv_stem.weight.detach().numpy(),
        "mean": norm.running_mean.numpy(),
        "variance": norm.running_var.numpy(),
        "past": search.alpha_objective.gaps[0].past_HSGE.numpy(),
        "folder": str(asked.folder.path),
        "writes": asked.folder.writes,
    }


def search_process(rank: int, store: str, folder: str, config: SearchConfig, queue: Any = None) -> dict[str, Any]:
    """Every second image of each batch goes to this process."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    try:
        found = search_steps(folder, config)
        if queue is not None:
            queue.put(found)
        return found
    finally:
        dist.destroy_process_group()
