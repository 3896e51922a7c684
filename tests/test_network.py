"""Supernet and derived network are one thing: the same blocks, the same output, α saved with the rest."""

from __future__ import annotations

import dataclasses
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models._efficientnet_blocks import ConvBnAct, InvertedResidual
from timm.models.efficientnet import EfficientNet
from torch import nn

from supernet.alpha.generator import FreeAlpha
from supernet.blocks.ops import arch_strings
from supernet.errors import UserError
from supernet.network import Supernet, build_efficientnet
from supernet.spaces import LayerSpec, SearchSpace, get_space

OPS3 = ("k3_e1", "k5_e3", "skip")
# small enough for a supernet a test: one layer of each kind
TINY = SearchSpace(
    "tiny",
    OPS3,
    (LayerSpec(8, 8, 1, 8, 0, OPS3), LayerSpec(8, 16, 2, 8, 1, OPS3), LayerSpec(16, 16, 1, 4, 1, ("k3_e1", "skip"))),
    resolution=8,
    stem_channels=8,
    stem_stride=1,
    head_channels=24,
)


def derived(space: SearchSpace, ops: tuple[str, ...], in_chans: int = 1) -> EfficientNet:
    return build_efficientnet(
        arch_strings(space, ops),
        stem_channels=space.stem_channels,
        stem_stride=space.stem_stride,
        head_channels=space.head_channels,
        num_classes=4,
        in_chans=in_chans,
    )


def trained_a_little(supernet: Supernet, images: torch.Tensor) -> Supernet:
    """Every path once in training mode, so that batch-norm statistics and weights are no defaults."""
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for k in range(len(supernet.space.ops)):
            index_L = [k if valid_K[k] else valid_K.argmax() for valid_K in supernet.space.valid_LK]
            supernet(images, torch.eye(len(supernet.space.ops))[index_L])
    return supernet


@pytest.fixture(scope="module")
def tiny() -> Supernet:
    torch.manual_seed(0)
    return trained_a_little(Supernet(TINY, num_classes=4, in_chans=2), torch.randn(8, 2, 8, 8))


@settings(max_examples=12)
@given(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 2])), st.booleans())
def test_subnet_equals_derived_network(tiny: Supernet, index_L: tuple[int, ...], training: bool) -> None:
    network = derived(TINY, TINY.names(index_L), in_chans=2)
    tiny.copy_weights(TINY.names(index_L), network)
    images, weights_LK = torch.randn(4, 2, 8, 8), torch.eye(3)[list(index_L)]
    was = {name: value.clone() for name, value in tiny.state_dict().items()}
    with torch.no_grad():
        expected = tiny.train(training)(images, weights_LK)
        torch.testing.assert_close(network.train(training)(images), expected, rtol=1e-5, atol=1e-6)
    tiny.load_state_dict(was)


@pytest.mark.parametrize(("name", "seed"), [("fbnet32", 0), ("fbnet32", 1), ("fbnet224", 2)])
def test_subnet_equals_derived_network_in_the_real_spaces(name: str, seed: int) -> None:
    space = get_space(name)
    torch.manual_seed(seed)
    index_L = np.random.default_rng(seed).integers(0, 7, 22)
    supernet = Supernet(space, num_classes=4, in_chans=1)
    images, weights_LK = torch.randn(4, 1, 64, 64), torch.eye(7)[index_L.tolist()]
    with torch.no_grad():
        supernet(images, weights_LK)
        network = derived(space, space.names(index_L))
        supernet.copy_weights(space.names(index_L), network)
        for training in (False, True):
            expected = supernet.train(training)(images, weights_LK)
            torch.testing.assert_close(network.train(training)(images), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_carry_a_gradient_give_the_same_output(tiny: Supernet) -> None:
    images, weights_LK = torch.randn(2, 2, 8, 8), torch.eye(3)[[1, 0, 2]]
    tiny.eval()
    torch.testing.assert_close(tiny(images, weights_LK.clone().requires_grad_()), tiny(images, weights_LK))


def test_soft_forward_is_the_weighted_sum(tiny: Supernet) -> None:
    tiny.eval()
    weights_LK = torch.rand(3, 3)
    weights_LK[2, 1] = 0  # not allowed there
    images = torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        x = tiny.bn1(tiny.conv_stem(images))
        for ops, weights_K in zip(tiny.layers, weights_LK, strict=True):
            x = torch.stack([w * op(x) for w, op in zip(weights_K, ops, strict=True) if w != 0]).sum(0)
        expected = tiny.classifier(tiny.bn2(tiny.conv_head(x)).mean((2, 3)))
        torch.testing.assert_close(tiny(images, weights_LK), expected, rtol=1e-5, atol=1e-6)


@given(st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 4, 5])))
def test_an_operation_of_weight_zero_is_not_run(tiny: Supernet, runs: tuple[int, ...]) -> None:
    called = []
    handles = [
        op.register_forward_hook(lambda module, args, result, place=(row, k): called.append(place))
        for row, ops in enumerate(tiny.layers)
        for k, op in enumerate(ops)
    ]
    try:
        weights_LK = torch.tensor([[0.5 * bool(run & 1 << k) for k in range(3)] for run in runs])
        with torch.no_grad():
            tiny(torch.zeros(1, 2, 8, 8), weights_LK)
    finally:
        for handle in handles:
            handle.remove()
    assert called == [(row, k) for row, run in enumerate(runs) for k in range(3) if run & 1 << k]


def test_the_gradient_reaches_weights_of_operations_that_run(tiny: Supernet) -> None:
    weights_LK = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], requires_grad=True)
    tiny.eval()(torch.randn(2, 2, 8, 8), weights_LK).square().sum().backward()
    assert weights_LK.grad is not None
    assert (weights_LK.grad != 0).tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_the_gradient_of_the_loss_with_respect_to_weights_is_right() -> None:
    torch.manual_seed(1)
    supernet = Supernet(dataclasses.replace(TINY, layers=TINY.layers[:2]), 3, 1).double().eval()
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    weights_LK = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda weights: supernet(images, weights), weights_LK)


def test_alpha_is_saved_with_the_rest() -> None:
    space = get_space("fbnet32")
    parameters = FreeAlpha(torch.from_numpy(space.valid_LK))
    with torch.no_grad():
        parameters.logits_DK.normal_()
    saved = nn.ModuleDict({"alpha": parameters}).state_dict()
    other = FreeAlpha(torch.from_numpy(space.valid_LK))
    nn.ModuleDict({"alpha": other}).load_state_dict(saved)
    assert torch.equal(other(), parameters())
    assert "alpha.logits_DK" in saved


def test_forbidden_operations_take_no_memory() -> None:
    assert isinstance(Supernet(TINY, 4, 1).layers[2][1], nn.Identity)


class TestTimmsPrivateBuilder:
    """timm's builder is private: a change in it must be noticed here."""

    def test_block_types(self) -> None:
        space = get_space("fbnet32")
        ops = space.ops
        network = derived(space, tuple(ops[row % 7] for row in range(22)))
        blocks = list(chain.from_iterable(network.blocks))
        kinds = [type(block) for block in blocks]
        assert kinds == [
            InvertedResidual if string.startswith("ir_") else ConvBnAct
            for string in chain.from_iterable(arch_strings(space, tuple(ops[row % 7] for row in range(22))))
        ]
        activations = {type(m) for m in network.modules() if not list(m.children()) and not list(m.parameters())}
        assert {nn.ReLU} == {kind for kind in activations if kind.__module__.endswith("activation")}
        assert network.conv_stem.stride == (1, 1)

    def test_parameters_of_known_architectures(self) -> None:
        count = {
            op: sum(p.numel() for p in derived(get_space("fbnet32"), (op,) * 22).parameters())
            for op in ("k3_e1", "k5_e6", "skip")
        }
        assert count == {"k3_e1": 1_025_908, "k5_e6": 3_604_884, "skip": 635_892}

    def test_batch_norm_settings(self) -> None:
        norms = [m for m in derived(get_space("fbnet32"), ("k3_e3",) * 22).modules() if isinstance(m, nn.BatchNorm2d)]
        assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def test_blocks_that_timm_cannot_build_are_named() -> None:
    frame = {"stem_channels": 8, "stem_stride": 1, "head_channels": 8, "num_classes": 2, "in_chans": 1}
    for string in ("xx_r1_k3_s1_e1_c8", "ir_r1_k3", "", "ir_r1_kx_s1_e1_c8"):
        with pytest.raises(UserError, match="arch_def: timm cannot build"):
            build_efficientnet([[string]], **frame)
