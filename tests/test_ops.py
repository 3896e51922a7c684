"""Every candidate operation at every shape of every space, as a block and as an architecture string."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from supernet.blocks.ops import OPS, Label, Op, arch_string, arch_strings, build_block, build_op
from supernet.blocks.primitives import conv
from supernet.costs.analytic import macs_table
from supernet.engine.evaluate import standalone
from supernet.errors import UserError
from supernet.lut.pieces import pieces
from supernet.network import Supernet
from supernet.report.charts import architecture
from supernet.report.facts.runs import Layer
from supernet.spaces import BITS, SPACES, LayerSpec, SearchSpace, get_space
from supernet.spaces.flex import FLEX_OPS
from supernet.spaces.sensor import VIEWS

SHAPES = [
    pytest.param(space, op, layer, id=f"{space.name}-{op}-{layer.block_type}")
    for space in (*SPACES.values(), *BITS.values())
    for layer in dict.fromkeys(space.layers)
    for op in layer.ops
    if layer == next(other for other in space.layers if other.block_type == layer.block_type)
]


@pytest.mark.parametrize(("space", "op", "layer"), SHAPES)
def test_forward_and_backward_at_each_shape(space: SearchSpace, op: str, layer: LayerSpec) -> None:
    block = build_op(op, layer.c_in, layer.c_out, layer.stride)
    hw = min(layer.resolution, 16)  # a block does not know the resolution
    x = torch.randn(2, layer.c_in, hw, hw, requires_grad=True)
    y = block(x)
    assert y.shape == (2, layer.c_out, hw // layer.stride, hw // layer.stride)
    y.square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("op", OPS)
def test_each_operation_has_a_column_somewhere(op: str) -> None:
    spaces = (*SPACES.values(), *BITS.values(), get_space("lite96"))
    assert any(op in space.ops for space in spaces) or op in (*FLEX_OPS, *VIEWS)


def test_skip_is_an_identity_where_it_can_be_and_a_convolution_elsewhere() -> None:
    assert isinstance(build_op("skip", 24, 24, 1), nn.Identity)
    assert arch_string("skip", 24, 24, 1) is None
    assert arch_string("skip", 24, 24, 2) == "cn_r1_k1_s2_c24"
    assert arch_string("skip", 24, 32, 1) == "cn_r1_k1_s1_c32"


def test_expansion_one_keeps_its_first_convolution() -> None:
    block = build_op("k5_e1", 24, 32, 2)
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.kernel_size[0], c.stride[0], c.groups, c.out_channels) for c in convolutions] == [
        (1, 1, 1, 24),
        (5, 2, 24, 24),
        (1, 1, 1, 32),
    ]


def test_the_residual_is_there_where_shapes_allow_it() -> None:
    same, wider = build_op("k3_e3", 16, 16, 1).eval(), build_op("k3_e3", 16, 24, 1).eval()
    for block in (same, wider):
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)  # what is not the residual gives 0
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(same(x), x)
    assert not wider(x).any()


def test_architecture_strings_by_stage_leave_identities_out() -> None:
    space = get_space("fbnet32")
    ops = ["skip"] * 22
    ops[1], ops[6] = "k3_e6", "k5_e1"
    assert arch_strings(space, ops) == (
        ("ir_r1_k3_s1_e6_c24",),
        ("cn_r1_k1_s2_c32", "ir_r1_k5_s1_e1_c32"),
        ("cn_r1_k1_s2_c64",),
        ("cn_r1_k1_s1_c112",),
        ("cn_r1_k1_s2_c184",),
        ("cn_r1_k1_s1_c352",),
    )


def test_an_unknown_operation_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r'Unknown operation "k3_e7"\. Did you mean "k3_e6"'):
        build_op("k3_e7", 8, 8, 1)
    with pytest.raises(UserError, match="22 layers"):
        arch_strings(get_space("fbnet32"), ["k3_e1"])


def test_building_gives_fresh_weights_of_the_right_scale() -> None:
    torch.manual_seed(0)
    first, second = build_block("cn_r1_k1_s1_c64", 32), build_block("cn_r1_k1_s1_c64", 32)
    weight = next(first.parameters()).detach()
    assert not torch.equal(weight, next(second.parameters()))
    assert float(weight.std()) == pytest.approx((2 / 64) ** 0.5, rel=0.1)


def test_channels_that_timm_would_round_are_refused() -> None:
    with pytest.raises(UserError, match="12 channels"):
        build_op("k3_e1", 8, 12, 1)


def test_a_new_operation_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy: MobileNetV1's separable block, told once, is in the supernet, the derived network, the costs and the picture."""
    sep = Op(
        "sep3",
        arch=lambda c_in, c_out, stride: f"ds_r1_k3_s{stride}_c{c_out}",
        primitives=lambda c_in, c_out, stride, hw: [
            conv("depthwise3", 3, c_in, c_in, c_in, hw, stride), conv("pointwise", 1, c_in, c_out, 1, hw // stride, 1)
        ],
        label=lambda *shape: Label("separable 3×3", ("sep3",), "low"),
    )  # fmt: skip
    monkeypatch.setitem(OPS, "sep3", sep)
    names = ("sep3", "k3_e3")
    space = SearchSpace("toy", names, (LayerSpec(8, 16, 2, 8, 0, names),), 8, 8, 1, 16)
    supernet = Supernet(space, 3, 1).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            supernet(images, torch.tensor([[1.0, 0.0]])), standalone(supernet, ["sep3"]).eval()(images)
        )
    assert macs_table(space, 1, 3).unary_DK[0, 0] == sum(p.macs for p in sep.primitives(*space.layers[0].shape, 8))
    assert [piece.name for piece in pieces(space, 1, 3)][2:] == ["sep3_8x16s2_8", "k3_e3_8x16s2_8", "call"]
    row = Layer(layer=0, stage=0, c_in=8, c_out=16, stride=2, resolution=8, op="sep3", ms=1.0)
    assert "separable 3×3" in architecture([row])
