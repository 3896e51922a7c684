"""One of two processes of test_fairness_methods, in a file of its own since a spawned process imports it anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import distributed as dist

from supernet.config import CommonConfig
from supernet.data import Batch
from supernet.engine.distributed import all_reduce_sums, average_gradients, mean
from supernet.objective import fair_objective
from supernet.task import classification

COUNTS = (torch.tensor([[30, 10, 20], [5, 25, 10]]), torch.tensor([[20, 10, 10], [5, 15, 10], [10, 10, 10]]))
JOINED = ("gap", "dro", "minimax", "balance,gap", "adversary")  # HSIC is each process's own


def training(methods: str, rank: int, processes: int) -> np.ndarray:
    """A linear classifier's weights, and the loss, after 25 steps on this process's slices of joint batches of 17 images."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3).double()
    options = CommonConfig(fairness="equalized_odds", fairness_method=methods)
    asked = fair_objective(options, classification(3), COUNTS, reduce_sums=all_reduce_sums).double()
    for _ in range(25):
        label_B = torch.randint(3, (17,), generator=generator)
        group_BA = torch.stack([torch.randint(-1, n, (17,), generator=generator) for n in (2, 3)], 1)
        image_BF = torch.randn(17, 4, generator=generator).double() + group_BA[:, :1]
        weight_B = 0.5 + torch.rand(17, generator=generator).double()
        own = Batch(*(part[rank::processes] for part in (image_BF, label_B, group_BA, weight_B)))
        model.zero_grad()
        output = model(own.image)[None]
        loss = asked.value(output, own)
        asked.update(output, own)
        loss.total_N.sum().backward()
        average_gradients(model.parameters())
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
    return torch.cat([model.weight.detach().flatten(), mean(loss.total_N.detach())]).numpy()


def methods_process(rank: int, store: str, queue: Any = None) -> dict[str, np.ndarray]:
    """Each method's training with every second image."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    try:
        found = {methods: training(methods, rank, 2) for methods in JOINED}
        if queue is not None:
            queue.put(found)
        return found
    finally:
        dist.destroy_process_group()
