"""The table of a training-free score: exact where the score is a sum, the same for a seed, defined in every space."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from supernet.network import build_path
from supernet.spaces import get_space
from supernet.transfer.further_proxies import FURTHER
from supernet.transfer.proxies import PROXIES, synflow
from supernet.transfer.score_table import COUNTED, SCORES, score_table

MICRO = get_space("micro32")
X, Y = torch.randn(16, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 10


@pytest.mark.parametrize("name", sorted(set(SCORES) - set(FURTHER)))
def test_a_table_says_what_each_operation_adds(name: str) -> None:
    table = score_table(MICRO, name, 10, X, Y, seed=3)
    assert table.networks == 1 + int(MICRO.valid_LK.sum() - len(MICRO.layers)) == 13
    assert np.isfinite(table.added_LK).all() and (table.added_LK[~MICRO.valid_LK] == 0).all()
    again = score_table(MICRO, name, 10, X, Y, seed=3)
    assert np.array_equal(table.added_LK, again.added_LK)
    assert table.kendall is not None and table.kendall > 0.6
    widened = MICRO.ops.index("k3_e3"), MICRO.ops.index("k3_e1")
    assert name == "nonlinear" or table.added_LK[3, widened[0]] > table.added_LK[3, widened[1]]


def test_synflow_is_a_sum_over_layers() -> None:
    table = score_table(MICRO, "synflow", 10, X, Y, seed=0)
    assert table.kendall is not None and table.kendall > 0.9 and table.r2 is not None and table.r2 > 0.99
    assert (table.added_LK[[1, 3, 4], MICRO.ops.index("skip")] < -1).all(), "a 1×1 convolution carries less"


def test_what_is_counted_is_counted() -> None:
    """nonlinear: two in each inverted residual, one in a 1×1 convolution, none in an identity."""
    table = score_table(MICRO, "nonlinear", 10, X, Y, seed=0)
    skip = MICRO.ops.index("skip")
    assert table.added_LK[:, skip].tolist() == [-2, -1, -2, -1, -1] and table.r2 == 1
    assert table.base == 2 + 2 * 5
    assert set(COUNTED) | set(SCORES) >= {"synflow", "parameters", "macs"}


def test_drawing_weights_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    score_table(MICRO, "nonlinear", 10, X, Y, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_synflow_of_relu6_is_that_of_relu() -> None:
    """Flows of images of ones are above 6 at once; cut there, nothing would have a gradient."""
    torch.manual_seed(0)
    chain = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU6(), torch.nn.Linear(64, 2))
    with torch.no_grad():
        chain[0].weight.mul_(100)
    plain = torch.nn.Sequential(chain[0], torch.nn.ReLU(), chain[2])
    x = torch.zeros(1, 8)
    assert synflow(chain, x, Y) == synflow(plain, x, Y) > math.log(6)
    assert chain[1].max_val == 6


def test_synflow_is_defined_where_relu6_is_used() -> None:
    """In lite64 a network of larger blocks carries more, and nothing is cut."""
    space, images = get_space("lite64"), torch.zeros(2, 3, 64, 64)
    larger = [layer.ops[-2] if layer.ops[-1] == "skip" else layer.ops[-1] for layer in space.layers]
    networks = [build_path(space, ops, 2, 3) for ops in ([layer.ops[0] for layer in space.layers], larger)]
    small, large = (synflow(network, images, torch.tensor([0, 1])) for network in networks)
    assert math.isfinite(small) and large > small + 1


def test_zico_by_hand() -> None:
    """One linear layer, a batch of two halves: Σ mean|g| / sd(g), where the two gradients differ."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    x, y = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 0, 1, 1, 0])
    gradients = []
    for half in (slice(0, 3), slice(3, 6)):
        loss = torch.nn.functional.cross_entropy(model(x[half]), y[half])
        gradients.append(torch.autograd.grad(loss, model[1].weight)[0])
    a, b = gradients
    expected = math.log(float((((a.abs() + b.abs()) / 2) / ((a - b).abs() / 2)).sum()))
    assert PROXIES["zico"](model, x, y) == pytest.approx(expected, rel=1e-4)


def test_swap_counts_patterns_over_images() -> None:
    """Three neurons, two of them on for the same images: two patterns."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    x = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    assert PROXIES["swap"](model, x, Y) == pytest.approx(math.log(2))
