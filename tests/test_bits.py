"""Spaces in which the bits of each layer are decided: what is rounded and how, what it costs, and the whole way from search to file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from supernet_paths import assert_each_path_is_derived, warmed_up
from torch import Tensor, nn

from supernet.blocks import rounding
from supernet.blocks.ops import build_op
from supernet.blocks.rounding import (
    MAGNITUDE,
    RELU_STEP,
    SIGNED_STEP,
    RoundedConv2d,
    RoundedInput,
    RoundedLinear,
    baked,
    rounded_weight,
)
from supernet.choices import every
from supernet.costs.analytic import bops_table, count, macs_table, params_table
from supernet.derive import best_first
from supernet.engine.evaluate import standalone
from supernet.errors import UserError
from supernet.network import Supernet, build_efficientnet, build_path
from supernet.spaces import Bits, get_space

BITS32 = get_space("bits32")
EIGHT, ONE = ("w8a8",) * 6, ("w1a1",) * 6
MIXED = ("w8a8", "w4a4", "w2a2", "w1a1", "w4a4", "w2a2")


def levels(x: Tensor) -> int:
    return len(x.detach().unique())


class TestWeights:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize(("bits", "most"), [(8, 255), (4, 15), (2, 3), (1, 2)])
    def test_each_channel_has_so_many_symmetric_levels_and_no_more(self, bits: int, most: int) -> None:
        for channel in rounded_weight(self.weight, bits):
            assert levels(channel) <= most
            assert torch.allclose(channel.unique(), -channel.unique().flip(0)) or bits in (8, 4)

    def test_the_error_grows_as_bits_go_and_is_small_at_eight(self) -> None:
        error = [
            float((rounded_weight(self.weight, b) - self.weight).norm() / self.weight.norm()) for b in (8, 4, 2, 1)
        ]
        assert error == sorted(error) and error[0] < 0.01 and error[3] < 0.7

    def test_one_bit_is_the_sign_times_the_mean_magnitude(self) -> None:
        weight = torch.tensor([[0.5, -1.5, 0.0, 2.0]])
        assert torch.equal(rounded_weight(weight, 1), torch.tensor([[1.0, -1.0, 1.0, 1.0]]))

    @pytest.mark.parametrize("bits", [8, 4, 2, 1])
    def test_the_gradient_is_that_of_the_clipped_identity(self, bits: int) -> None:
        """Of f(clip(w)), by autograd, where the ends are half a step (one bit: a level's distance) beyond the last level."""
        weight, factor = self.weight.clone().requires_grad_(), torch.randn_like(self.weight)
        rounded = rounded_weight(weight, bits)
        (rounded * factor).sum().backward()
        size_C = self.weight.flatten(1)
        step_C = {8: size_C.abs().amax(1) / 127, 4: SIGNED_STEP[4] * size_C.square().mean(1).sqrt(),
                  2: SIGNED_STEP[2] * size_C.square().mean(1).sqrt(), 1: size_C.abs().mean(1)}[bits]  # fmt: skip
        end = ({8: 127.5, 4: 7.5, 2: 1.5, 1: 2.0}[bits] * step_C).view(-1, 1, 1, 1)
        other = self.weight.clone().requires_grad_()
        (other.clamp(-end, end) * factor).sum().backward()
        assert torch.equal(weight.grad, other.grad)
        assert bool((weight.grad == 0).any()) == (bits < 8), "at few bits some are clipped"


class TestInputs:
    x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(1))

    @pytest.mark.parametrize("signed", [True, False])
    @pytest.mark.parametrize("bits", [8, 4, 2, 1])
    def test_levels_and_gradients_in_training_and_evaluation(self, bits: int, signed: bool) -> None:
        own, x = RoundedInput(bits, signed), (self.x if signed else self.x.relu()).clone().requires_grad_()
        for _ in range(200):
            y = own(x)
        assert levels(y) <= 2**bits and (signed or float(y.detach().min()) == 0)
        y.sum().backward()
        step = own.step * own.size
        end = 2 * step if signed and bits == 1 else (own.high + 0.5) * step
        assert torch.equal(x.grad, (x.abs() <= end).float())
        torch.testing.assert_close(own.eval()(x), y)

    def test_running_statistics_are_the_largest_or_the_root_mean_square_and_stand_in_evaluation(self) -> None:
        eight, four = RoundedInput(8, True), RoundedInput(4, True)
        for _ in range(200):
            eight(self.x), four(self.x)
        assert float(eight.size) == pytest.approx(float(self.x.abs().max()), rel=1e-4)
        assert float(four.size) == pytest.approx(float(self.x.square().mean().sqrt()), rel=1e-4)
        before = float(four.eval().size)
        four(100 * self.x)
        assert float(four.size) == before

    def test_the_steps_have_the_least_squared_error_for_a_normal_distribution(self) -> None:
        z = np.linspace(-8, 8, 40_001)
        p = norm.pdf(z) / norm.pdf(z).sum()

        def error(value: np.ndarray, step: float, low: int, high: int) -> float:
            return float((p * (value - step * np.clip(np.round(value / step), low, high)) ** 2).sum())

        cases = [(z, SIGNED_STEP[b], -(2 ** (b - 1)) + 1, 2 ** (b - 1) - 1) for b in (2, 4)]
        cases += [(np.maximum(z, 0) * 2**0.5, RELU_STEP[b], 0, 2**b - 1) for b in (1, 2, 4)]
        for value, step, low, high in cases:
            own = error(value, step, low, high)
            assert all(own <= error(value, factor * step, low, high) for factor in (0.98, 1.02))
        assert (p * abs(z)).sum() == pytest.approx(MAGNITUDE, rel=1e-3)

    def test_a_border_of_one_bit_is_a_sign_too(self) -> None:
        plain = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        binary, found = RoundedConv2d(plain, Bits(1, 1), True).eval(), []
        binary.input.register_forward_hook(lambda module, taken, given: found.append(given))
        assert binary(-torch.ones(1, 1, 2, 2)).shape == (1, 1, 2, 2)
        assert found[0].shape == (1, 1, 4, 4) and levels(found[0]) == 2


def settled(network: nn.Module, x: Tensor) -> nn.Module:
    """With the running statistics of these pictures alone."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounding, "MOMENTUM", 1.0)
        network.train()(x)
    return network.eval()


class TestNetworks:
    def test_eight_bits_everywhere_are_nearly_the_float_network(self) -> None:
        torch.manual_seed(0)
        rounded, x = build_path(BITS32, EIGHT, 10, 3), torch.randn(16, 3, 32, 32)
        for block in rounded.modules():
            if isinstance(block, nn.BatchNorm2d):
                nn.init.ones_(block.weight)
        plain = build_efficientnet(
            [["er_r1_k3_p3_s1_e1_c16"] * 2, ["er_r1_k3_p3_s2_e1_c32", "er_r1_k3_p3_s1_e1_c32"],
             ["er_r1_k3_p3_s2_e1_c64", "er_r1_k3_p3_s1_e1_c64"]],
            stem_channels=16, stem_stride=2, head_channels=0, num_classes=10, in_chans=3,
        )  # fmt: skip
        plain.bn1.act = nn.Identity()
        assert not plain.load_state_dict(rounded.state_dict(), strict=False).missing_keys
        y8, y = (settled(network, x)(x).detach() for network in (rounded, plain))
        assert float((y8 - y).norm() / y.norm()) < 0.08, "1% a layer"
        assert (y8.argmax(1) == y.argmax(1)).float().mean() > 0.9

    def test_ends_have_eight_bits_and_each_block_its_own(self) -> None:
        network = build_path(BITS32, MIXED, 10, 3)
        own = [(m.weight_bits, m.input.bits, m.input.signed) for m in network.modules() if isinstance(m, RoundedConv2d)]
        wanted = [(b.weights, b.activations, signed) for b in BITS32.bits_of(MIXED) for signed in (True, False)]
        assert own == [(8, 8, True), *wanted]
        assert isinstance(network.classifier, RoundedLinear) and network.classifier.weight_bits == 8
        assert isinstance(network.bn1.act, nn.Identity)

    def test_each_path_is_its_derived_network_and_soft_weights_at_one_hot_are_hard(self) -> None:
        supernet, x, drawn = warmed_up(BITS32, 6, 32)
        assert_each_path_is_derived(BITS32, supernet, x, drawn)
        soft = torch.eye(4)[drawn[0]].requires_grad_()
        torch.testing.assert_close(supernet(x, soft), supernet(x, soft.detach()))
        supernet(x, torch.full((6, 4), 0.25, requires_grad=True)).sum().backward()
        assert all(parameter.grad is not None for parameter in supernet.parameters())

    def test_options_share_their_weights_and_each_has_its_own_statistics(self) -> None:
        supernet = Supernet(BITS32, 4, 3)
        assert sum(p.numel() for p in supernet.parameters()) == params_table(BITS32, 3, 4).base + params_table(BITS32, 3, 4).unary_DK[:, 0].sum()  # fmt: skip
        supernet(3 * torch.randn(4, 3, 32, 32), torch.eye(4)[[0] * 6])
        eight, one = standalone(supernet, EIGHT), standalone(supernet, ONE)
        assert torch.equal(eight.blocks[0][0].conv_exp.weight, one.blocks[0][0].conv_exp.weight)
        for name in ("conv_exp.input.size", "bn1.running_mean"):
            a, b = (network.blocks[0][0].state_dict()[name] for network in (eight, one))
            assert not torch.equal(a, b), name

    def test_baked_weights_are_on_their_levels_and_change_nothing(self) -> None:
        network, x = build_path(BITS32, MIXED, 10, 3), torch.randn(4, 3, 32, 32)
        settled(network, x)
        found = baked(network)
        assert torch.equal(found(x), network(x))
        assert levels(found.blocks[1][1].conv_exp.weight[0]) == 2 < levels(network.blocks[1][1].conv_exp.weight[0])
        assert levels(found.blocks[0][1].conv_pwl.weight[0]) <= 15


class TestBops:
    def test_they_are_counted_by_hand_from_the_built_network(self) -> None:
        """Karbachevsky et al.'s formula of each layer, from its own attributes and output."""
        network, found = build_path(BITS32, MIXED, 10, 3).eval(), []

        def listen(module: nn.Module, _: object, output: Tensor) -> None:
            terms = module.weight[0].numel()
            bits = module.weight_bits * module.input.bits + module.weight_bits + module.input.bits
            found.append(output.numel() * terms * (bits + np.log2(terms)))

        for module in network.modules():
            if isinstance(module, RoundedConv2d | RoundedLinear):
                module.register_forward_hook(listen)
        network(torch.zeros(1, 3, 32, 32))
        index_L = BITS32.index_L(MIXED)
        assert len(found) == 14
        assert bops_table(BITS32, 3, 10, "8/8").total(index_L) == pytest.approx(sum(found), rel=1e-12)
        macs, params = macs_table(BITS32, 3, 10).total(index_L), params_table(BITS32, 3, 10).total(index_L)
        assert count(network, 1, 3, 32, 32) == (macs, params)

    def test_one_block_by_hand(self) -> None:
        row, column = 5, BITS32.ops.index("w2a2")  # 64 to 64 channels on 4 × 4 pixels
        wanted = 2 * 16 * 64 * 576 * (2 * 2 + 2 + 2 + np.log2(576))
        assert bops_table(BITS32, 3, 10, "8/8").unary_DK[row, column] == pytest.approx(wanted, rel=1e-12)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.7])
    def test_derivation_is_exact_against_every_architecture(self, share: float) -> None:
        cost, rng = bops_table(BITS32, 3, 10, "8/8"), np.random.default_rng(int(10 * share))
        all_NL = np.array(list(every(BITS32.valid_LK)))
        totals_N, score_LK = cost.totals(all_NL), rng.normal(size=BITS32.valid_LK.shape)
        limit = float(totals_N.min() + share * np.ptp(totals_N))
        score_N = np.where(totals_N <= limit, score_LK[np.arange(6), all_NL].sum(1), -np.inf)
        (best,) = [next(best_first(score_LK, BITS32.valid_LK, [cost], {"bops": limit}))]
        assert best.tolist() == all_NL[score_N.argmax()].tolist() and cost.total(best) <= limit
        with pytest.raises(UserError, match="the least possible is"):
            next(best_first(score_LK, BITS32.valid_LK, [cost], {"bops": float(totals_N.min()) * (1 - 1e-6)}))


def test_an_operation_says_its_bits() -> None:
    block = build_op("w4a4", 16, 16, 1)
    assert block.conv_exp.weight_bits == 4 and not block.conv_pwl.input.signed
    assert [ops[0] for ops in BITS32.plain] == ["w8a8", "w4a4", "w2a2", "w1a1"]
