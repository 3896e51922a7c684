"""Further training-free scores: values in closed form, and a model that comes back untouched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from supernet.network import build_path
from supernet.spaces import get_space
from supernet.transfer import further_proxies as further
from supernet.transfer.further_proxies import AZ_NAS, FURTHER, joint_ranks
from supernet.transfer.score_table import score_table

MICRO = get_space("micro32")
X, Y = torch.randn(12, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3
EVERY = {**FURTHER, **{one.__name__: one for one in AZ_NAS}}


def linear(features: int, outputs: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(features, outputs))


@pytest.mark.parametrize("name", EVERY)
def test_a_proxy_is_finite_repeatable_and_leaves_the_model_alone(name: str) -> None:
    torch.manual_seed(0)
    model = build_path(MICRO, [layer.ops[0] for layer in MICRO.layers], 10, 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, second = EVERY[name](model, X, Y), EVERY[name](model, X, Y)
    assert math.isfinite(first) and first == second and model.training
    for key, value in model.state_dict().items():
        assert value.dtype == before[key].dtype and torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_kernel_of_a_linear_model_is_that_of_its_images() -> None:
    """f = Σ_c w_c · x + b_c has the gradients x and 1, once an output: K = C (x_i · x_j + 1)."""
    x, model = X[:5], linear(1024, 3)
    flat_BF = x.flatten(1).double()
    expected_BB = 3 * (flat_BF @ flat_BF.T + 1)
    assert torch.allclose(further.neural_tangent_kernel(model, x), expected_BB, rtol=1e-5)
    least = float(np.linalg.eigvalsh(expected_BB.numpy())[0])
    assert further.ntk_least(model, x, Y) == pytest.approx(math.log(least), rel=1e-4)
    assert further.ntk_least(model, x[:1].repeat(3, 1, 1, 1), Y) < math.log(least) - 5, "twice the same image: singular"


def test_alignment_is_whole_where_images_are_their_classes() -> None:
    """x = one-hot of the class: K is the labels' kernel and a constant, which centring takes away."""
    x = torch.eye(3)[Y].reshape(-1, 1, 1, 3)
    assert further.ntk_alignment(linear(3, 4), x, Y) == pytest.approx(1)
    assert further.ntk_alignment(linear(3, 4), x, torch.zeros(12, dtype=torch.long)) == 0
    other = torch.arange(12) // 6
    flat = x.flatten(1).double().numpy()
    centre = np.eye(12) - 1 / 12
    kernels = [centre @ k @ centre for k in (4 * (flat @ flat.T + 1), (other[:, None] == other).double().numpy())]
    expected = (kernels[0] * kernels[1]).sum() / np.prod([np.linalg.norm(k) for k in kernels])
    assert further.ntk_alignment(linear(3, 4), x, other) == pytest.approx(float(expected))


def test_meco_of_known_maps() -> None:
    """Two maps that say the same have a singular correlation; a lone map is 1; the noise's own correlation else."""
    same, alone = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(1, 1, 1)
    assert further.meco(nn.Sequential(same), X, Y) == pytest.approx(0, abs=1e-6)
    assert further.meco(nn.Sequential(alone), X, Y) == pytest.approx(1)
    assert further.meco(nn.Sequential(alone, same), X, Y) == pytest.approx(1, abs=1e-6)
    through = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        through.weight.copy_(torch.eye(3)[..., None, None])
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))[0].flatten(1)
    least = float(np.linalg.eigvalsh(np.corrcoef(noise.double().numpy()))[0])
    assert further.meco(nn.Sequential(through), torch.zeros(2, 3, 8, 8), Y) == pytest.approx(least, rel=1e-5)
    with torch.no_grad():
        same.weight.zero_()
    assert further.meco(nn.Sequential(same), X, Y) == 0, "constant maps correlate with nothing"


def test_nn_degree_by_hand() -> None:
    """Stem 8, an inverted residual 4 → 8 → 8 → 4 with a skip: 20/3 + 4 / (20/3 · 3)."""
    block = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1))
    block.has_skip = True
    assert further.nn_degree(nn.Sequential(nn.Conv2d(1, 8, 3), block), X, Y) == pytest.approx(8 + 20 / 3 + 0.2)
    block.has_skip = False
    assert further.nn_degree(nn.Sequential(nn.Conv2d(1, 8, 3), block), X, Y) == pytest.approx(8 + 20 / 3)


def test_entropy_of_a_spectrum_and_its_smallest_rise() -> None:
    """Maps that are all one direction have entropy 0, two independent ones of one size log 2."""
    stem, spread, flat = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 2, (2, 2), padding=1, bias=False), nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        stem.weight.fill_(1)
        spread.weight.zero_()
        spread.weight[0, 0, 0, 0] = spread.weight[1, 0, 1, 1] = 1  # two shifts of one noise image
        flat.weight.fill_(1)
        flat.bias.zero_()
    shifted = nn.Sequential(stem, spread)
    assert further.az_expressivity(shifted, X, Y) == pytest.approx(math.log(2), abs=2e-3)
    assert further.az_progressivity(shifted, X, Y) == pytest.approx(math.log(2), abs=2e-3)
    joined = nn.Sequential(stem, spread, flat)
    assert further.az_expressivity(joined, X, Y) == pytest.approx(math.log(2), abs=2e-3)
    assert further.az_progressivity(joined, X, Y) == pytest.approx(-math.log(2), abs=2e-3)


@pytest.mark.parametrize(("scale", "score"), [(1.0, 0.0), (2.0, -0.5), (0.5, -0.5)])
def test_trainability_is_greatest_where_a_block_keeps_lengths(scale: float, score: float) -> None:
    """A block that multiplies by s has σ = s: 2 − s − 1/s (few signs agree by chance)."""
    stem, block = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        block.weight.copy_(scale * torch.eye(2)[..., None, None])
    assert further.az_trainability(nn.Sequential(stem, block), X, Y) == pytest.approx(score, abs=0.02)


def test_joint_ranks_by_hand() -> None:
    """Two networks, each first in one figure: log(1/2) + log(2/2); a third that is last in both falls behind."""
    assert joint_ranks(np.array([[1.0, 5.0], [2.0, 3.0]])) == pytest.approx([math.log(0.5)] * 2)
    assert joint_ranks(np.array([[1.0, 1.0], [2.0, 3.0], [5.0, 2.0]])).argmin() == 0


@pytest.mark.parametrize("name", ["nn-degree", "az-nas"])
def test_a_table_of_them(name: str) -> None:
    x, y = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(8)
    table = score_table(MICRO, name, 10, x, y, seed=3)
    assert table.networks == 13 and np.isfinite(table.added_LK).all() and (table.added_LK[~MICRO.valid_LK] == 0).all()
    again = score_table(MICRO, name, 10, x, y, seed=3)
    assert np.array_equal(table.added_LK, again.added_LK) and table.kendall is not None
