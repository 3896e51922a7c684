"""Search spaces: L searchable layers × K candidate operations. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from supernet.errors import UserError, nearest


@dataclass(frozen=True)
class LayerSpec:
    """One searchable position: its shapes, and which candidate operations it may take.

    `resolution` is the height and width (pixels) of the layer's input.
    """

    c_in: int
    c_out: int
    stride: int
    resolution: int
    stage: int
    ops: tuple[str, ...]

    @property
    def block_type(self) -> str:
        """Layers of one block type share their latency entries, e.g. `24x32s2@32`."""
        return f"{self.c_in}x{self.c_out}s{self.stride}@{self.resolution}"


@dataclass(frozen=True)
class SearchSpace:
    """L layers, K operations, and the fixed stem and head around them.

    Source of the fbnet spaces: Wu et al., "FBNet" (CVPR 2019), table 1, with the widths of Li et al.,
    "HW-NAS-Bench" (ICLR 2021), on which the public latency tables were measured.
    """

    name: str
    ops: tuple[str, ...]
    layers: tuple[LayerSpec, ...]
    resolution: int
    stem_channels: int
    stem_stride: int
    head_channels: int
    parent: str | None = None

    @property
    def table_space(self) -> str:
        """The space whose latency tables hold here: the parent, of which this one is a part, or itself."""
        return self.parent or self.name

    @cached_property
    def valid_LK(self) -> np.ndarray:
        """(L, K) bool: True where the operation is allowed at the layer."""
        return np.array([[op in layer.ops for op in self.ops] for layer in self.layers])

    def index_L(self, ops: Sequence[str]) -> np.ndarray:
        """(L,) column of each layer's operation. Raises UserError for a wrong length or a forbidden operation."""
        if len(ops) != len(self.layers):
            raise UserError(f"{self.name} has {len(self.layers)} layers, but {len(ops)} operations were given.")
        for number, (op, layer) in enumerate(zip(ops, self.layers, strict=True)):
            if op not in layer.ops:
                raise UserError(
                    f'ops[{number}]: "{op}" is not an operation of {self.name} there.{nearest(op, layer.ops)}'
                )
        return np.array([self.ops.index(op) for op in ops])

    def names(self, index_L: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Operation names of an (L,) index vector."""
        return tuple(self.ops[int(k)] for k in index_L)


FBNET_OPS = ("k3_e1", "k3_e3", "k3_e6", "k5_e1", "k5_e3", "k5_e6", "skip")


def _fbnet(name: str, resolution: int, stem_stride: int, strides: Sequence[int], head_channels: int) -> SearchSpace:
    stages = zip((1, 4, 4, 4, 4, 4, 1), (16, 24, 32, 64, 112, 184, 352), strides, strict=True)
    layers, c_in, hw = [], 16, resolution // stem_stride
    for stage, (count, c_out, first_stride) in enumerate(stages):
        for position in range(count):
            stride = first_stride if position == 0 else 1
            layers.append(LayerSpec(c_in, c_out, stride, hw, stage, FBNET_OPS))
            c_in, hw = c_out, hw // stride
    return SearchSpace(name, FBNET_OPS, tuple(layers), resolution, 16, stem_stride, head_channels)


def _micro(parent: SearchSpace) -> SearchSpace:
    """Five of the parent's layers, each with three or four operations: 432 architectures, each trained in seconds.

    Its layers and operations are the parent's, so the parent's latency tables hold: the predicted latency is that of
    the parent's network with these operations there, and skip elsewhere. The stem (stride 2) and the head are narrower
    than the parent's, so that all of the architectures can be trained; they are alike in all.
    """
    small, wide = ("k3_e1", "k5_e1", "skip"), ("k3_e1", "k3_e3", "k5_e1", "skip")
    chosen = {6: small, 9: ("k3_e1", "k3_e3", "skip"), 10: wide, 13: wide, 17: small}
    layers = tuple(replace(parent.layers[number], ops=ops) for number, ops in chosen.items())
    ops = tuple(op for op in parent.ops if any(op in layer.ops for layer in layers))
    stem_channels, stem_stride = layers[0].c_in, parent.resolution // layers[0].resolution
    return SearchSpace("micro32", ops, layers, parent.resolution, stem_channels, stem_stride, 256, parent.name)


_FBNET32 = _fbnet("fbnet32", 32, 1, (1, 1, 2, 2, 1, 2, 1), 1504)

SPACES: dict[str, SearchSpace] = {
    "fbnet32": _FBNET32,
    "fbnet224": _fbnet("fbnet224", 224, 2, (1, 2, 2, 2, 1, 2, 1), 1984),
    "micro32": _micro(_FBNET32),
}
TABLE_SPACES = sorted(name for name, space in SPACES.items() if space.parent is None)  # that tables are made for


def get_space(name: str) -> SearchSpace:
    """The named space; raises UserError with the nearest names."""
    if name not in SPACES:
        raise UserError(f'Unknown search space "{name}".{nearest(name, SPACES)}')
    return SPACES[name]
