"""What every space's supernet must do: each of its paths is the network that is derived from it."""

from __future__ import annotations

import numpy as np
import torch

from supernet.choices import draw
from supernet.engine.evaluate import standalone
from supernet.network import Supernet
from supernet.spaces import SearchSpace


def warmed_up(space: SearchSpace, number: int, size: int) -> tuple[Supernet, torch.Tensor, np.ndarray]:
    """A supernet with weights off their start, evaluating; pictures (4, 3, size, size); `number` architectures whose statistics it has seen."""
    torch.manual_seed(0)
    supernet, x = Supernet(space, 4, 3), torch.randn(4, 3, size, size)
    drawn = draw(space.valid_LK, number, np.random.default_rng(0))
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for index_L in drawn:
            supernet(x, one_hot(space, index_L))
    return supernet.eval(), x, drawn


def one_hot(space: SearchSpace, index_L: np.ndarray) -> torch.Tensor:
    """(L, K)."""
    return torch.eye(space.valid_LK.shape[1])[index_L]


def assert_each_path_is_derived(space: SearchSpace, supernet: Supernet, x: torch.Tensor, drawn: np.ndarray) -> None:
    with torch.no_grad():
        for index_L in drawn:
            network = standalone(supernet, space.names(index_L)).eval()
            torch.testing.assert_close(network(x), supernet(x, one_hot(space, index_L)))
