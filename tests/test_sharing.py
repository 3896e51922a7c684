"""Operations of one layer share their weights: the smaller block is the inner part of the larger."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from supernet.blocks.ops import OPS, build_op
from supernet.blocks.sharing import SharedBlock, inner, share_weights
from supernet.network import Supernet
from supernet.spaces import get_space

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.sampled_from((1, 3, 5)))


def layer(*names: str, stride: int = 1) -> tuple[nn.ModuleList, nn.ModuleList]:
    ops = nn.ModuleList(build_op(name, 8, 16, stride) for name in names)
    return ops, share_weights(ops)


@given(SIZES, SIZES)
def test_the_inner_part_is_leading_channels_and_the_middle_of_the_kernel(
    a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    out, into, kernel = map(min, a, b)
    tensor = torch.randn(max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[2], b[2]))
    edge = (tensor.shape[-1] - kernel) // 2
    part = inner(tensor, (out, into, kernel, kernel))
    assert torch.equal(part, tensor[:out, :into, edge : edge + kernel, edge : edge + kernel])
    assert part.data_ptr() == tensor[:, :, edge:, edge:].data_ptr(), (
        "a view, so that a step of it is a step of the whole"
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_a_shared_block_is_the_block_with_these_weights(stride: int, training: bool) -> None:
    names = [name for name, op in OPS.items() if op.view is None]  # stems that take a view: test_sensor.py
    ops, _ = layer(*names, stride=stride)
    x = torch.randn(4, 8, 8, 8)
    for name, op in zip(names, ops, strict=True):
        alone = build_op(name, 8, 16, stride)
        alone.load_state_dict(op.block_state() if isinstance(op, SharedBlock) else op.state_dict())
        op.train(training)
        alone.train(training)
        assert torch.equal(op(x), alone(x)), name
        for ours, theirs in zip(op.buffers(), alone.buffers(), strict=True):
            assert torch.equal(ours, theirs), f"{name}: batch-norm statistics"


def test_every_block_of_a_kind_shares_and_no_other() -> None:
    names = [name for name in OPS if re.fullmatch(r"k\d_e\d|skip|ds_k3", name)]
    ops, shared = layer(*names)
    assert len(shared) == 1
    assert {name for name, op in zip(names, ops, strict=True) if isinstance(op, SharedBlock)} == set(names) - {
        "skip",
        "ds_k3",
    }
    largest = sum(p.numel() for p in build_op("k5_e6", 8, 16, 1).parameters())
    assert sum(p.numel() for p in shared.parameters()) == largest
    assert not any(True for op in ops if isinstance(op, SharedBlock) for _ in op.parameters()), "each is listed once"


def test_the_smallest_common_shape_is_taken_where_no_operation_is_the_largest() -> None:
    _, (shared,) = layer("k3_e3", "k5_e1", "skip")
    assert shared["conv_dw-weight"].shape == (24, 1, 5, 5)


def test_an_operation_alone_of_its_kind_keeps_its_weights() -> None:
    ops, shared = layer("k3_e3", "skip")
    assert len(shared) == 0 and not any(isinstance(op, SharedBlock) for op in ops)


def test_the_gradient_of_an_operation_reaches_its_own_part_only() -> None:
    ops, (shared,) = layer("k3_e1", "k5_e3")
    ops[0](torch.randn(4, 8, 8, 8)).square().mean().backward()
    for key, parameter in shared.items():
        assert parameter.grad is not None
        outside: Tensor = parameter.grad.clone()
        own = inner(outside, ops[0].shape[key.replace("-", ".")])
        assert own.abs().sum() > 0, key
        own.zero_()
        assert outside.abs().sum() == 0, key


def test_a_step_of_a_small_operation_moves_the_larger_ones() -> None:
    ops, shared = layer("k3_e1", "k5_e3")
    x = torch.randn(4, 8, 8, 8)
    before = ops[1](x)
    optimizer = torch.optim.SGD(shared.parameters(), 0.1)
    ops[0](x).square().mean().backward()
    optimizer.step()
    assert not torch.equal(ops[1](x), before)


def test_a_copy_and_a_state_dict_are_whole() -> None:
    space = get_space("micro32")
    weights_LK = nn.functional.one_hot(torch.tensor([0, 1, 2, 1, 0]), len(space.ops)).float()
    supernet, other, x = Supernet(space, 4, 1), Supernet(space, 4, 1), torch.randn(4, 1, 32, 32)
    supernet(x, weights_LK).sum().backward()  # a copy after a step, too
    copied = copy.deepcopy(supernet).eval()
    other.load_state_dict(supernet.state_dict())
    expected = supernet.eval()(x, weights_LK)
    assert torch.equal(copied(x, weights_LK), expected)
    assert torch.equal(other.eval()(x, weights_LK), expected)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(supernet(x, weights_LK), expected), "a copy has its own weights"
