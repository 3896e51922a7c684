"""Spaces `flex`: of each layer the family of its block, of each stage the width and the depth.

A stage's first layer takes an operation and the stage's width together; the others keep the width and take an operation, or are
left out. So what a layer costs depends on two decisions and never on three: its own, and that of the first layer before it.
Widths are multiples of 16, where onnxruntime's blocked layout has no cliff. The last layer is a 1×1 convolution of one width, so
the classifier has a fixed size. Blocks: MobileNetV2 and V3, ResNet, EfficientNetV2, MobileNetV4 (blocks/ops.py names the papers).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from supernet.choices import Choices, Decision
from supernet.spaces.space import LayerSpec, Place, SearchSpace

FLEX_SIZES = (24, 32, 48, 64, 96, 128, 160, 192, 224)
FLEX_OPS = ("k3_e3", "k3_e6", "k5_e3", "k3_e3_se", "res_k3", "fused_e2", "uib_a3_e3", "uib_a3k3_e3")
DEPTH = 4  # layers of a stage at most
TAIL = 256  # channels that the classifier takes
_WIDTHS = ((16, 32, 48), (32, 64, 96), (64, 128, 192), (96, 160, 224))
_WIDTH = "_w"  # between an operation's name and a stage's width


@dataclass(frozen=True)
class FlexSpace(SearchSpace):
    """A layer's `ops` are its options: operations, in a stage's first layer with the stage's width (`k3_e3_w32`).

    `layers` has the largest shapes. `before_L`: of each layer the one whose width is its input's; None where that is fixed.
    """

    before_L: tuple[int | None, ...] = ()

    @cached_property
    def choices(self) -> Choices:
        """Columns: the operations at the first width, at the second, …, then skip. A layer without a width has the first ones."""
        skip = len(self.ops) - 1

        def row(layer: LayerSpec) -> tuple[str | None, ...]:
            plain = [op for op in layer.ops if op != "skip"]
            left_out = "skip" if "skip" in layer.ops else None
            return (*plain, *([None] * (skip - len(plain))), left_out)

        decisions = tuple(Decision(f"ops[{number}]", row(layer)) for number, layer in enumerate(self.layers))
        edges = tuple((before, number) for number, before in enumerate(self.before_L) if before is not None)
        return Choices(self.name, decisions, edges)

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.operation(option) for layer in self.layers for option in layer.ops))

    def operation(self, option: str) -> str:
        return option.rpartition(_WIDTH)[0] or option

    def before(self, layer: int) -> int | None:
        return self.before_L[layer]

    def place(self, layer: int, option: str, before: str | None = None) -> Place:
        spec = self.layers[layer]
        c_in = spec.c_in if before is None else int(before.rpartition(_WIDTH)[2])
        op, _, width = option.rpartition(_WIDTH)
        if op:
            return op, replace(spec, c_in=c_in, c_out=int(width), ops=())
        last = layer == len(self.layers) - 1
        return option, replace(spec, c_in=c_in, c_out=spec.c_out if last else c_in, ops=())


def flex(size: int) -> FlexSpace:
    """The space for pictures of `size` × `size` pixels, one of FLEX_SIZES; from 64 pixels on it has a fourth stage."""
    assert size in FLEX_SIZES
    small = size < 64
    name, stem, widths = f"flex{size}", 32 if small else 16, _WIDTHS[:3] if small else _WIDTHS
    return flex_space(name, size, stem, widths, FLEX_OPS, DEPTH, first_stride=1 if small else 2)


def flex_space(
    name: str,
    size: int,
    stem: int,
    widths: tuple[tuple[int, ...], ...],
    ops: tuple[str, ...],
    depth: int,
    *,
    first_stride: int = 1,
) -> FlexSpace:
    """A stem of stride 2 and `stem` channels, a stage for each entry of `widths`, the 1×1 convolution.

    ops: what every layer may be.  depth: layers of a stage at most.  first_stride: of the first stage; the others have 2.
    """
    layers: list[LayerSpec] = []
    before: list[int | None] = []
    c_in, hw = stem, -(-size // 2)
    first: int | None = None
    for stage, own in enumerate(widths):
        stride = 2 if stage else first_stride
        layers.append(LayerSpec(c_in, own[-1], stride, hw, stage, tuple(f"{op}{_WIDTH}{w}" for w in own for op in ops)))
        before.append(first)
        first, hw, c_in = len(layers) - 1, -(-hw // stride), own[-1]
        for _ in range(depth - 1):
            layers.append(LayerSpec(c_in, c_in, 1, hw, stage, (*ops, "skip")))
            before.append(first)
    layers.append(LayerSpec(c_in, TAIL, 1, hw, len(widths), ("skip",)))
    before.append(first)
    columns = (*(f"{op}@{n}" for n in range(max(map(len, widths))) for op in ops), "skip")
    return FlexSpace(name, columns, tuple(layers), size, stem, 2, 0, before_L=tuple(before))
