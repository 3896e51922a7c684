"""Spaces `flex`: of each layer the family of its block, of each stage the width and the depth.

A stage's first layer takes an operation and the stage's width together; the others keep the width and take an operation, or are
left out. So what a layer costs depends on two decisions and never on three: its own, and that of the first layer before it.
Widths are multiples of 16, where onnxruntime's blocked layout has no cliff. The last layer is a 1×1 convolution of one width, so
the classifier has a fixed size. Blocks: MobileNetV2 and V3, ResNet, EfficientNetV2, MobileNetV4 (blocks/ops.py names the papers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from supernet.choices import Choices, Decision
from supernet.spaces.space import LayerSpec, Place, SearchSpace

FLEX_SIZES = (24, 32, 48, 64, 96, 128, 160, 192, 224)
FLEX_OPS = ("k3_e3", "k3_e6", "k5_e3", "k3_e3_se", "res_k3", "fused_e2", "uib_a3_e3", "uib_a3k3_e3")
DEPTH = 4  # layers of a stage at most
TAIL = 256  # channels that the classifier takes
_WIDTHS = ((16, 32, 48), (32, 64, 96), (64, 128, 192), (96, 160, 224))
WIDTH = "_w"  # between an operation's name and a stage's width


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

    @property
    def plain(self) -> Iterator[tuple[str, ...]]:
        """MobileNetV2's block in every layer."""
        return self.of_one("k3_e3")

    @property
    def families(self) -> Iterator[Iterator[tuple[str, ...]]]:
        return (self.of_one(op) for op in self.operations if op != "skip")

    def of_one(self, op: str) -> Iterator[tuple[str, ...]]:
        """Networks of one operation: every stage has the width of the same rank, and as many layers as the others, or one more."""
        stages = [[n for n, layer in enumerate(self.layers) if layer.stage == stage] for stage in range(self.layers[-1].stage)]  # fmt: skip
        named = [[option for option in self.layers[own[0]].ops if self.operation(option) == op] for own in stages]
        order = [n for place in zip(*stages, strict=True) for n in place]
        for rank in range(len(named[0])):
            for taken in range(len(stages), len(order) + 1):
                options = [op if n in order[:taken] else "skip" for n in range(len(self.layers))]
                for own, widths in zip(stages, named, strict=True):
                    options[own[0]] = widths[rank]
                yield tuple(options)

    def operation(self, option: str) -> str:
        return option.rpartition(WIDTH)[0] or option

    def before(self, layer: int) -> int | None:
        return self.before_L[layer]

    def place(self, layer: int, option: str, before: str | None = None) -> Place:
        spec = self.layers[layer]
        c_in = spec.c_in if before is None else int(before.rpartition(WIDTH)[2])
        op, _, width = option.rpartition(WIDTH)
        if op:
            return op, replace(spec, c_in=c_in, c_out=int(width), ops=())
        fixed = layer == len(self.layers) - 1 or self.before_L[layer] is None
        return option, replace(spec, c_in=c_in, c_out=spec.c_out if fixed else c_in, ops=())


def flex(size: int) -> FlexSpace:
    """The space for pictures of `size` × `size` pixels, one of FLEX_SIZES; from 64 pixels on it has a fourth stage."""
    assert size in FLEX_SIZES
    small = size < 64
    name, stem, widths = f"flex{size}", 32 if small else 16, _WIDTHS[:3] if small else _WIDTHS
    return flex_space(name, size, stem, widths, FLEX_OPS, DEPTH, frame=Frame(first_stride=1 if small else 2))


@dataclass(frozen=True)
class Frame:
    """What is fixed of a space: `stem_stride`, `first_stride` of the first stage, `stride` of the others, `tail` channels at the end."""

    stem_stride: int = 2
    first_stride: int = 1
    stride: int = 2
    tail: int = TAIL


def flex_space(
    name: str,
    size: int,
    stem: int,
    widths: tuple[tuple[int, ...], ...],
    ops: tuple[str, ...],
    depth: int,
    *,
    frame: Frame = Frame(),
) -> FlexSpace:
    """A stem of `stem` channels, a stage for each entry of `widths`, the 1×1 convolution.

    ops: what every layer may be.  depth: layers of a stage at most.
    """
    layers: list[LayerSpec] = []
    before: list[int | None] = []
    c_in, hw = stem, -(-size // frame.stem_stride)
    first: int | None = None
    for stage, own in enumerate(widths):
        stride = frame.stride if stage else frame.first_stride
        layers.append(LayerSpec(c_in, own[-1], stride, hw, stage, tuple(f"{op}{WIDTH}{w}" for w in own for op in ops)))
        before.append(first)
        first, hw, c_in = len(layers) - 1, -(-hw // stride), own[-1]
        for _ in range(depth - 1):
            layers.append(LayerSpec(c_in, c_in, 1, hw, stage, (*ops, "skip")))
            before.append(first)
    layers.append(LayerSpec(c_in, frame.tail, 1, hw, len(widths), ("skip",)))
    before.append(first)
    columns = (*(f"{op}@{n}" for n in range(max(map(len, widths))) for op in ops), "skip")
    return FlexSpace(name, columns, tuple(layers), size, stem, frame.stem_stride, 0, before_L=tuple(before))
