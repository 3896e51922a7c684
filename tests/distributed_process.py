"""One of two processes of test_distributed, in a file of its own since a spawned process imports it anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import distributed as dist

from supernet.blocks.ops import arch_strings
from supernet.commands.setting import prepare, read_data
from supernet.config import SearchConfig, TrainConfig
from supernet.data import Batch
from supernet.engine import distributed
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.errors import UserError
from supernet.network import build_efficientnet
from supernet.spaces import get_space
from supernet.strategies.differentiable import DifferentiableSearch

STEPS = 3


def double(batch: Batch) -> Batch:
    return batch._replace(image=batch.image.double(), weight=batch.weight.double())


def search_steps(folder: str, config: SearchConfig) -> dict[str, Any]:
    """α and the stem's weights after some steps in float64, as plain arrays; the first process's run folder."""
    config = replace(config, out=folder)
    asked = prepare(config)
    search = DifferentiableSearch(config, asked)
    search.modules.double()
    for step in range(STEPS):
        path_LK = search.warmup.weights(search.p_DK, 1, search.generator)
        search.weight_step(double(search.train.at(step)), step, path_LK)
        search.alpha_step(double(search.val.at(step)), search.warmup_steps)
    norm = search.supernet.bn1
    return {
        "alpha": search.alpha.logits_DK.detach().numpy(),
        "stem": search.supernet.conv_stem.weight.detach().numpy(),
        "mean": norm.running_mean.numpy(),
        "variance": norm.running_var.numpy(),
        "past": search.alpha_objective.fairness[0].gap.past_HSGE.numpy(),
        "folder": str(asked.folder.path),
        "writes": asked.folder.writes,
    }


def train_steps(folder: str) -> dict[str, Any]:
    """An epoch of retraining in float32, sharpness-aware, by SGD: Adam would make a step of what is rounding."""
    config = TrainConfig(
        max_train=68, batch_size=17, epochs=1, opt="sgd", lr=0.05, warmup_steps=1, sam=0.05, out=folder
    )
    space, data = get_space("micro32"), read_data(config, 32)
    torch.manual_seed(0)
    network = build_efficientnet(
        arch_strings(space, [layer.ops[0] for layer in space.layers]),
        stem_channels=16, stem_stride=4, head_channels=256, num_classes=10, in_chans=1,
    )  # fmt: skip
    run = RunFolder.open(config, "train", data.fingerprint)
    averaged = train_network(config, replace(data, val=data.train), network, run, torch.device("cpu"))
    state = {f"trained {name}": value.numpy() for name, value in averaged.state_dict().items()}
    return state | {"losses": [row["loss"] for row in run.rows()]}


def mistaken() -> None:
    raise UserError("a mistake")


def told() -> dict[str, Any]:
    """A mistake of the first process reaches both, and one of them says it."""
    try:
        distributed.from_first(mistaken)
    except UserError as error:
        return {"mistake": str(error), "says": distributed.first_to_say(str(error))}
    return {}


def search_process(rank: int, store: str, folder: str, config: SearchConfig, queue: Any = None) -> dict[str, Any]:
    """Every second image of each batch goes to this process."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    try:
        found = {**search_steps(folder, config), **train_steps(f"{folder}-train"), **told()}
        if queue is not None:
            queue.put(found)
        return found
    finally:
        dist.destroy_process_group()
