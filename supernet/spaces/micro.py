"""micro32: a part of fbnet32 so small that every architecture can be trained."""

from __future__ import annotations

from dataclasses import replace

from supernet.spaces.fbnet import FBNET32
from supernet.spaces.space import SearchSpace


def micro(parent: SearchSpace) -> SearchSpace:
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


MICRO32 = micro(FBNET32)
