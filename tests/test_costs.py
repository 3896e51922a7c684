"""Costs behind one table: exact on every architecture, and counted in a second way here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.choices import draw
from supernet.costs.analytic import bits_of, bops_table, count, macs_table, params_table, weight_bytes
from supernet.costs.factors import Cost, least_text
from supernet.costs.latency import load_table
from supernet.costs.memory import KIB, path_peak_bytes, peak_activation_bytes, peak_table
from supernet.derive import most_probable
from supernet.errors import UserError
from supernet.network import build_path
from supernet.spaces import SearchSpace, get_space

FBNET32, FBNET224 = get_space("fbnet32"), get_space("fbnet224")
INDEX_L = st.lists(st.integers(0, 6), min_size=22, max_size=22)


def derived(space: SearchSpace, ops: tuple[str, ...], in_chans: int = 3, num_classes: int = 10) -> nn.Module:
    return build_path(space, ops, num_classes, in_chans).eval()


def drawn(space: SearchSpace, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    index_L = np.random.default_rng(seed).integers(0, 7, 22)
    return index_L, space.names(index_L)


TABLE = load_table("rpi4").cost(FBNET32)


@given(INDEX_L)
def test_expected_at_one_hot_is_the_sum(index_L: list[int]) -> None:
    weights_LK = torch.eye(7, dtype=torch.float64)[index_L]
    assert float(TABLE.expected(weights_LK)) == pytest.approx(TABLE.total(index_L), rel=1e-14)
    assert float(TABLE.expected(weights_LK.float())) == pytest.approx(TABLE.total(index_L), rel=1e-6)
    assert TABLE.bounds(FBNET32.valid_LK)[0] <= TABLE.total(index_L)


def test_expected_carries_the_gradient() -> None:
    alpha_LK = torch.randn(22, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda alpha: TABLE.expected(alpha.softmax(-1)), alpha_LK)
    weights_LK = torch.rand(22, 7, dtype=torch.float64, requires_grad=True)
    TABLE.expected(weights_LK).backward()
    assert weights_LK.grad is not None
    np.testing.assert_array_equal(weights_LK.grad.numpy(), TABLE.unary_DK)


WIDTHS = Cost(  # of a layer between two stages: 8, 16 or 32 channels each, and what the wide ones need besides
    "macs",
    "MACs",
    10.0,
    np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]]),
    {(0, 1): np.outer([8, 16, 32], [8, 16, 32]) / 64.0},
)


def test_a_pairwise_cost_adds_what_neighbours_choose() -> None:
    assert WIDTHS.total([1, 2]) == 10 + 2 + 9 + 16 * 32 / 64
    assert WIDTHS.by_decision([1, 2]).tolist() == [2, 9 + 8]
    assert WIDTHS.change_DK(np.array([1, 2]))[0].tolist() == [
        WIDTHS.total([k, 2]) - WIDTHS.total([1, 2]) for k in range(3)
    ]
    p_DK = torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.4, 0.6]], dtype=torch.float64)
    every = [(p_DK[0, k] * p_DK[1, m], WIDTHS.total([k, m])) for k in range(3) for m in range(3)]
    assert float(WIDTHS.expected(p_DK)) == pytest.approx(float(sum(p * cost for p, cost in every)))
    assert torch.autograd.gradcheck(
        lambda alpha: WIDTHS.expected(alpha.softmax(-1)), torch.randn(2, 3).double().requires_grad_()
    )
    assert WIDTHS.bounds(np.array([[False, True, True], [True, True, True]])) == (
        WIDTHS.total([1, 0]),
        WIDTHS.total([2, 2]),
    )


def test_a_maximum_is_its_largest_term_and_its_expectation_is_exact() -> None:
    peak = Cost("peak", "bytes", 2.0, np.array([[1.0, 7.0], [3.0, 5.0]]), combine="max")
    assert [peak.total(index_D) for index_D in ([0, 0], [0, 1], [1, 0], [1, 1])] == [3, 5, 7, 7]
    p_DK = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    assert float(peak.expected(p_DK)) == pytest.approx(0.125 * 3 + 0.125 * 5 + 0.75 * 7)
    assert torch.autograd.gradcheck(
        lambda alpha: peak.expected(alpha.softmax(-1)), torch.randn(2, 2).double().requires_grad_()
    )
    assert peak.bounds(np.ones((2, 2), bool)) == (3, 7)
    coupled = Cost("peak", "bytes", 2.0, peak.unary_DK, {(0, 1): np.array([[9.0, 4.0], [0.0, 0.0]])}, "max")
    assert coupled.bounds(np.ones((2, 2), bool)) == (5, 9)


def test_bounds_and_median_count_allowed_operations_only() -> None:
    cost = Cost("latency", "ms", 1.0, np.array([[5.0, 0.0], [2.0, 3.0]]))
    assert cost.bounds(np.array([[True, False], [True, True]]))[0] == 8
    assert cost.median(np.array([[True, False], [True, False]])) == 8
    assert cost.median(np.ones((2, 2), bool)) == cost.median(np.ones((2, 2), bool))


def test_a_least_cost_is_never_told_too_low() -> None:
    assert [least_text(v) for v in (5.08701, 0.0123401, 7.798226, 12345.6, 2301234.0, 0.0, -0.001234567)] == [
        "5.088", "0.01235", "7.799", "12350", "2301234", "0", "-0.001234",
    ]  # fmt: skip
    assert Cost("latency", "ms", 1.0, np.array([[5.0, 9.0]])).bounds(np.array([[True, False]]))[1] == 6


@pytest.mark.parametrize(
    ("space", "in_chans"), [(FBNET32, 1), (FBNET32, 3), (FBNET224, 3)], ids=lambda v: getattr(v, "name", v)
)
@pytest.mark.parametrize("seed", range(3))
def test_macs_and_parameters_are_those_of_the_derived_network(space: SearchSpace, in_chans: int, seed: int) -> None:
    index_L, ops = drawn(space, seed)
    network = derived(space, ops, in_chans, 7)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, in_chans, space.resolution, space.resolution))
    assert macs_table(space, in_chans, 7).total(index_L) == counter.get_total_flops() / 2
    assert params_table(space, in_chans, 7).total(index_L) == sum(p.numel() for p in network.parameters())


def test_counts_of_one_operation_by_hand() -> None:
    row = next(row for row, layer in enumerate(FBNET32.layers) if layer.block_type == "24x32s2@32")
    macs, params = macs_table(FBNET32, 1, 10), params_table(FBNET32, 1, 10)
    k5_e3 = FBNET32.ops.index("k5_e3")
    assert macs.unary_DK[row, k5_e3] == 24 * 72 * 32**2 + 25 * 72 * 16**2 + 72 * 32 * 16**2
    assert params.unary_DK[row, k5_e3] == 24 * 72 + 25 * 72 + 72 * 32 + 2 * (72 + 72 + 32)
    assert macs.unary_DK[row, -1] == 24 * 32 * 16**2  # a skip that changes the shape is a 1×1 convolution
    assert macs.unary_DK[row + 1, -1] == params.unary_DK[row + 1, -1] == 0  # an identity is nothing
    assert (macs.name, macs.unit, params.name, params.unit) == ("macs", "MACs", "params", "parameters")


def counted_bops(network: nn.Module, channels: int, size: int, weights: int, activations: int) -> float:
    """Karbachevsky et al.'s formula, m n k² (b_w b_a + b_w + b_a + log2(n k²)) a pixel, from each layer's own attributes and output."""
    found: list[float] = []

    def listen(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            terms = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        else:
            assert isinstance(module, nn.Linear)
            terms = module.in_features
        found.append(output.numel() * terms * (weights * activations + weights + activations + np.log2(terms)))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(listen)
    with torch.no_grad():
        network(torch.zeros(1, channels, size, size))
    return sum(found)


@pytest.mark.parametrize(
    ("space", "bits"),
    [("fbnet32", "8/8"), ("fbnet32", "2/4"), ("micro32", "32/32"), ("flex32", "1/1"), ("dense32", "8/4")],
)
def test_bit_operations_are_those_of_the_derived_network(space: str, bits: str) -> None:
    of = get_space(space)
    rng = np.random.default_rng(3)
    index_L = np.array([rng.choice(np.flatnonzero(row)) for row in of.valid_LK])
    weights, activations = map(int, bits.split("/"))
    network = build_path(of, of.names(index_L), 5, 3).eval()
    counted = counted_bops(network, 3, of.resolution, weights, activations)
    assert bops_table(of, 3, 5, bits).total(index_L) == pytest.approx(counted, rel=1e-12)


def test_bit_operations_by_hand_and_their_bits() -> None:
    row = next(row for row, layer in enumerate(FBNET32.layers) if layer.block_type == "24x32s2@32")
    assert bops_table(FBNET32, 3, 10, "4/8").unary_DK[row, -1] == pytest.approx(
        24 * 32 * 16**2 * (32 + 4 + 8 + np.log2(24))
    )
    assert [bits_of(dtype) for dtype in ("float32", "float16", "int8")] == ["32/32", "16/16", "8/8"]
    for wrong in ("8", "0/8", "33/8", "8/8/8", "a/b", ""):
        with pytest.raises(UserError, match="1 to 32 each"):
            bops_table(FBNET32, 3, 10, wrong)


def test_counting_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.rand(4)
    torch.manual_seed(3)
    params_table(FBNET32, 5, 11)  # not counted before
    assert torch.equal(torch.rand(4), before)


def test_weight_bytes() -> None:
    assert [weight_bytes(10, dtype) for dtype in ("float32", "float16", "bfloat16", "int8")] == [40, 20, 20, 10]
    with pytest.raises(UserError, match='Did you mean "float32"'):
        weight_bytes(10, "float3")


class TestPeakMemory:
    def test_batch_norm_and_relu_write_in_place(self) -> None:
        network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
        assert peak_activation_bytes(network, 2, 5, "int8") == 25 * (8 + 4)

    def test_the_shortcut_is_counted(self) -> None:
        class Residual(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv1, self.conv2 = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 3, 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + self.conv2(self.conv1(x))

        assert peak_activation_bytes(Residual(), 3, 4) == 4 * 16 * (3 + 6 + 3)

    def test_a_function_whose_input_is_read_again_needs_room_of_its_own(self) -> None:
        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(1, 4, 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = self.conv(x)
                return x * x.sigmoid()

        assert peak_activation_bytes(Gated(), 1, 2, "int8") == 4 * (4 + 4 + 4)

    def test_a_strided_convolution_reads_a_padded_copy_where_litert_needs_one(self) -> None:
        """Its own padding is as torch's where the size is odd, and where the stride is 1."""
        conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        assert peak_activation_bytes(conv, 2, 8, "int8") == 2 * (64 + 100)
        assert peak_activation_bytes(conv, 2, 7, "int8") == 2 * 49 + 3 * 16
        assert peak_activation_bytes(nn.Conv2d(2, 3, 3, padding=1), 2, 8, "int8") == 64 * (2 + 3)
        assert peak_activation_bytes(nn.Conv2d(2, 30, 3, stride=2, padding=1), 2, 8, "int8") == 2 * 100 + 30 * 16

    def test_other_functions_than_relu_write_a_tensor_of_their_own(self) -> None:
        for function, tensors in ((nn.ReLU(), 1), (nn.ReLU6(), 1), (nn.Hardswish(), 2), (nn.Sigmoid(), 2)):
            network = nn.Sequential(nn.Conv2d(1, 8, 1), function)
            assert peak_activation_bytes(network, 1, 4, "int8") == 16 * max(1 + 8, 8 * tensors), function

    def test_downsampling_frees_what_was_read(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 2, stride=2), nn.Flatten(), nn.Linear(8, 100))
        assert peak_activation_bytes(network, 1, 4, "int8") == max(16 + 32, 32 + 8, 8 + 100)

    @pytest.mark.parametrize("space", [FBNET32, FBNET224], ids=lambda space: space.name)
    @pytest.mark.parametrize("seed", range(4))
    def test_of_a_derived_network_equals_the_count_from_its_shapes(self, space: SearchSpace, seed: int) -> None:
        _, ops = drawn(space, seed)
        network = derived(space, ops).train()
        assert peak_activation_bytes(network, 3, space.resolution) == 4 * peak_by_shapes(space, ops, 3, 10)
        assert network.training


SPACES_OF_MEMORY = ("micro32", "fbnet32", "lite64", "slim64", "flex24", "sensor32-grey")


@pytest.mark.parametrize("name", SPACES_OF_MEMORY)
def test_peak_memory_is_a_maximum_over_the_table_of_layers_and_operations(name: str) -> None:
    """Exactly what the derived network is measured to need, in two ways; the table knows all architectures."""
    space = get_space(name)
    table = peak_table(space, 3, 10)
    assert (table.combine, table.unit) == ("max", "KiB")
    for index_L in draw(space.valid_LK, 4, np.random.default_rng(1)):
        ops = space.names(index_L)
        network = derived(space, ops)
        assert KIB * table.total(index_L) == peak_activation_bytes(network, 3, space.resolution)
        assert KIB * table.total(index_L) == path_peak_bytes(space, ops, 3, 10)
        if name not in ("flex24", "sensor32-grey"):  # the hooks know no squeeze-excite, and no view
            assert KIB * table.total(index_L) == 4 * peak_by_hooks(network, space.resolution)


@pytest.mark.parametrize("name", SPACES_OF_MEMORY)
def test_a_limit_on_memory_is_kept_exactly_and_the_least_possible_is_told(name: str) -> None:
    space = get_space(name)
    table = peak_table(space, 1, 10)
    least, most = table.bounds(space.valid_LK)
    limit, rng = least + 0.3 * (most - least), np.random.default_rng(2)
    for peak in (least, limit):
        alpha_LK = rng.normal(size=space.valid_LK.shape)
        index_L = next(most_probable(alpha_LK, space.valid_LK, [table], {"peak_memory": peak}))
        assert peak_activation_bytes(derived(space, space.names(index_L), 1), 1, space.resolution) <= KIB * peak
    assert table.totals(draw(space.valid_LK, 200, rng)).min() >= least
    with pytest.raises(UserError, match=f"the least possible is {least_text(least)} KiB"):
        next(most_probable(alpha_LK, space.valid_LK, [table], {"peak_memory": 0.999 * least}))


def test_int8_activations_take_a_quarter() -> None:
    micro = get_space("micro32")
    np.testing.assert_array_equal(4 * peak_table(micro, 1, 10, "int8").unary_DK, peak_table(micro, 1, 10).unary_DK)


def test_the_table_of_peak_memory_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.rand(4)
    torch.manual_seed(3)
    peak_table(get_space("fbnet32"), 2, 13)
    assert torch.equal(torch.rand(4), before)


def peak_by_hooks(network: nn.Module, size: int) -> int:
    """Values alive at once, from the sizes of the tensors that hooks see at each convolution, pooling and linear layer.

    A residual block's input stays until it is added. A convolution that pads its input first has two copies for a moment.
    """
    moments: list[int] = []
    kept: list[torch.Tensor] = []

    def before_block(block: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept.extend(inputs if getattr(block, "has_skip", False) else ())

    def after_block(block: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if getattr(block, "has_skip", False):
            moments.append(3 * output.numel())  # both terms and the sum
        kept.clear()

    def after_leaf(leaf: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        taken, shortcut = inputs[0].numel(), sum(one.numel() for one in kept if one is not inputs[0])
        if isinstance(leaf, nn.Conv2d):
            (kernel, _), (stride, _), hw = leaf.kernel_size, leaf.stride, inputs[0].shape[-1]
            more = max((-(-hw // stride) - 1) * stride + kernel - hw, 0)
            if type(leaf).__name__ != "Conv2dSame":
                more = 0 if more == 2 * leaf.padding[0] else 2 * leaf.padding[0]
            if more:
                padded = taken // hw**2 * (hw + more) ** 2
                moments.append(shortcut + taken + padded)
                taken = padded
        moments.append(shortcut + taken + output.numel())

    for module in network.modules():
        if type(module).__name__ in ("InvertedResidual", "DepthwiseSeparableConv", "ConvBnAct"):
            module.register_forward_pre_hook(before_block)
            module.register_forward_hook(after_block)
        elif isinstance(module, nn.Conv2d | nn.Linear | nn.AdaptiveAvgPool2d):
            module.register_forward_hook(after_leaf)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    return max(moments)


def peak_by_shapes(space: SearchSpace, ops: tuple[str, ...], in_chans: int, num_classes: int) -> int:
    """Values alive at once: written from the blocks' shapes alone, without a network."""
    stem_hw = space.resolution // space.stem_stride
    picture, stem = in_chans * space.resolution**2, space.stem_channels * stem_hw**2
    padded = picture if space.stem_stride == 1 else in_chans * (space.resolution + 2) ** 2
    moments = [picture + stem] if space.stem_stride == 1 else [picture + padded, padded + stem]
    for op, layer in zip(ops, space.layers, strict=True):
        values_in = layer.c_in * layer.resolution**2
        values_out = layer.c_out * (layer.resolution // layer.stride) ** 2
        same = (layer.c_in, layer.stride) == (layer.c_out, 1)
        if op != "skip":
            hidden = layer.c_in * int(op[-1])
            wide, narrow = hidden * layer.resolution**2, hidden * (layer.resolution // layer.stride) ** 2
            kept = values_in if same else 0
            padded = wide if layer.stride == 1 else hidden * (layer.resolution + int(op[1]) - 1) ** 2
            moments += [kept + wide + padded] if layer.stride > 1 else []
            moments += [values_in + wide, kept + padded + narrow, kept + narrow + values_out]
            moments += [kept + 2 * values_out] if same else []
        elif not same:
            moments.append(values_in + values_out)
    last = space.layers[-1]
    last_hw = last.resolution // last.stride
    moments.append((last.c_out + space.head_channels) * last_hw**2)
    moments.append(space.head_channels * (last_hw**2 + 1))
    moments.append(space.head_channels + num_classes)
    return max(moments)


def test_counting_leaves_a_network_as_it_was_and_counts_in_whole_numbers() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, bias=False), torch.nn.Flatten(), torch.nn.Linear(5 * 36, 2))
    network[2].weight.requires_grad_(False)
    macs, params = count(network, 1, 3, 8, 8)
    assert (macs, params) == (3 * 5 * 9 * 36 + 5 * 36 * 2, 3 * 5 * 9 + 5 * 36 * 2 + 2) and type(macs) is int
    assert [parameter.requires_grad for parameter in network.parameters()] == [True, False, True]
