"""One of two processes of test_fairness_running, in a file of its own since a spawned process imports it anew."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from supernet.engine.distributed import all_reduce_sums
from supernet.fairness import RunningGap


def gap_steps(model: torch.nn.Module, running: RunningGap, batches: list[tuple[Tensor, Tensor, Tensor]]) -> list[float]:
    values = []
    for image, label, group in batches:
        model.zero_grad()
        value = running(model(image).softmax(1), label, group)
        value.backward()
        values.append(value.item())
    return values


def gap_process(rank: int, store: str, weights: list[Tensor], batches: list[Any], queue: Any = None) -> dict[str, Any]:
    """Every second sample of each batch goes to this process; what it finds, as plain arrays."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        linear = torch.nn.Linear(4, 3)
        torch.nn.utils.vector_to_parameters(torch.cat([weight.flatten() for weight in weights]), linear.parameters())
        running = RunningGap(2, 3, "equalized_odds", reduce_sums=all_reduce_sums)
        values = gap_steps(linear, running, [tuple(x[rank::2] for x in batch) for batch in batches])
        assert linear.weight.grad is not None
        dist.all_reduce(linear.weight.grad)  # the mean over processes, as DistributedDataParallel takes it; that class
        linear.weight.grad /= 2  # itself gives the same, but importing what it needs takes longer than all of this
        found = {"values": values, "gradient": linear.weight.grad.numpy(), "past": running.past_HSGE.numpy()}
        if queue is not None:
            queue.put(found)
        return found
    finally:
        dist.destroy_process_group()
