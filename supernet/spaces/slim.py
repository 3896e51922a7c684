"""Spaces `slim`: those of `lite`, and of each stage the width, too.

A stage's first block takes an operation and the stage's width together, as in `flex`. The last stage keeps its width, since
the head's weights are the teacher's. Narrower widths are multiples of 16, where onnxruntime's blocked layout has no cliff. Neighbouring stages of one picture size have no width in common: a block between them would
be residual, and the teacher's is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from supernet.spaces.flex import WIDTH, FlexSpace
from supernet.spaces.lite import lite
from supernet.spaces.space import LayerSpec

WIDTHS = {
    1: (16, 24),
    2: (16, 32, 40),
    3: (48, 80),
    4: (64, 96, 112),
    5: (96, 128, 160, 192),
}  # by stage, the teacher's last


@dataclass(frozen=True)
class SlimSpace(FlexSpace):
    """As `FlexSpace`; a network that one would build by hand is a smaller teacher (lite.py), so none is plain."""

    @property
    def plain(self) -> Iterator[tuple[str, ...]]:
        return iter(())


def slim(size: int) -> SlimSpace:
    """The space for pictures of `size` × `size` pixels, one of LITE_SIZES."""
    whole = lite(size)
    layers: list[LayerSpec] = []
    before: list[int | None] = []
    first: dict[int, int] = {}  # of each stage with widths its first layer
    for number, layer in enumerate(whole.layers):
        begins = layer.stage in WIDTHS and layer.stage not in first
        before.append(first.get(layer.stage - 1 if begins or layer.stage not in first else layer.stage))
        options = tuple(f"{op}{WIDTH}{w}" for w in WIDTHS[layer.stage] for op in layer.ops) if begins else layer.ops
        layers.append(LayerSpec(layer.c_in, layer.c_out, layer.stride, layer.resolution, layer.stage, options))
        if begins:
            first[layer.stage] = number
    columns = (*(f"option {k}" for k in range(max(len(layer.ops) for layer in layers))), "skip")
    kept = {one.name: getattr(whole, one.name) for one in fields(whole)}
    return SlimSpace(
        **{**kept, "name": f"slim{size}", "ops": columns, "layers": tuple(layers), "before_L": tuple(before)}
    )
