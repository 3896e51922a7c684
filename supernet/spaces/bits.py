"""bits32: the network stays, of each block the bits of its weights and activations are decided.

A ResNet of six basic blocks (He et al., CVPR 2016), two a stage, without an activation behind stem and blocks: what a block takes is signed, so
that even one bit says something. The first and the last layer have 8 bits, as is usual (Rastegari et al., "XNOR-Net", ECCV 2016, section 3.2).
No runtime of ours executes fewer than 8 bits, so nothing here has a latency: the cost is bit operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from supernet.spaces.space import Bits, LayerSpec, SearchSpace

ENDS = Bits(8, 8)  # of the stem and the classifier
OPTIONS: dict[str, Bits] = {bits.name: bits for bits in (Bits(8, 8), Bits(4, 4), Bits(2, 2), Bits(1, 1))}
_WIDTHS, _DEPTH = (16, 32, 64), 2


@dataclass(frozen=True)
class BitsSpace(SearchSpace):
    """A layer's options are bits; its block is a pair of 3×3 convolutions, which both have them."""

    @property
    def bits(self) -> Mapping[str, Bits]:
        return {option: OPTIONS[option] for option in self.ops}

    @property
    def plain(self) -> Iterator[tuple[str, ...]]:
        """The same bits in every layer."""
        return ((option,) * len(self.layers) for option in self.ops)


def bits_space(size: int, stem_stride: int) -> BitsSpace:
    """The space for pictures of `size` × `size` pixels."""
    layers: list[LayerSpec] = []
    c_in, side = _WIDTHS[0], size // stem_stride
    for stage, c_out in enumerate(_WIDTHS):
        for position in range(_DEPTH):
            layer = LayerSpec(c_in, c_out, 2 if stage and not position else 1, side, stage, tuple(OPTIONS))
            layers.append(layer)
            c_in, side = c_out, layer.resolution_out
    return BitsSpace(f"bits{size}", tuple(OPTIONS), tuple(layers), size, _WIDTHS[0], stem_stride, 0)


BITS32 = bits_space(32, 2)
