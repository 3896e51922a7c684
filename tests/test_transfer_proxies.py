"""Zero-cost proxies: values that can be written down, and a model that comes back untouched."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from supernet.transfer.proxies import PROXIES


def network(width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 5),
    )  # fmt: skip


X, Y = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_is_finite_repeatable_and_leaves_the_model_alone(name: str) -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, mode = PROXIES[name](model, X, Y), model.training
    second = PROXIES[name](model.eval(), X, Y)
    assert math.isfinite(first) and first == second and mode and not model.training
    for key, value in model.state_dict().items():
        assert value.dtype == before[key].dtype and torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_counts_of_a_convolution_and_a_linear_layer() -> None:
    model = network()
    assert PROXIES["flops"](model, X, Y) == 4 * 27 * 64 + 20
    assert PROXIES["params"](model, X, Y) == (27 * 4 + 4) + 8 + (20 + 5)


def test_synflow_of_a_chain_of_linear_layers_is_the_sum_over_paths() -> None:
    """R = 1ᵀ|W2||W1|1; each layer's Σ w ∂R/∂w is R itself (Tanaka et al., theorem 1)."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    flow = (model[1].weight.abs() @ model[0].weight.abs()).sum().item()
    score = PROXIES["synflow"](model, torch.ones(2, 3), torch.tensor([0, 1]))
    assert score == pytest.approx(math.log(2 * flow), rel=1e-6)


def test_snip_and_gradient_norm_of_a_linear_model_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    weight = model[1].weight
    grad = torch.autograd.grad(nn.functional.cross_entropy(model(X), Y), weight)[0]
    assert PROXIES["snip"](model, X, Y) == pytest.approx((weight * grad).abs().sum().item(), rel=1e-5)
    assert PROXIES["grad_norm"](model, X, Y) == pytest.approx(grad.norm().item(), rel=1e-5)


def test_naswot_is_higher_where_images_fall_on_different_sides() -> None:
    model = network(32)
    assert PROXIES["naswot"](model, X, Y) > PROXIES["naswot"](model, X[:1].repeat(6, 1, 1, 1), Y)


@pytest.mark.parametrize("name", ["flops", "params", "synflow", "naswot", "l2_norm"])
def test_a_wider_network_scores_more(name: str) -> None:
    assert PROXIES[name](network(32), X, Y) > PROXIES[name](network(4), X, Y)
