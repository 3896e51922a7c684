"""The fbnet spaces: those that the public latency tables were measured on, and their ImageNet-sized sister."""

from __future__ import annotations

from collections.abc import Sequence

from supernet.spaces.space import LayerSpec, SearchSpace

FBNET_OPS = ("k3_e1", "k3_e3", "k3_e6", "k5_e1", "k5_e3", "k5_e6", "skip")


def fbnet(name: str, resolution: int, stem_stride: int, strides: Sequence[int], head_channels: int) -> SearchSpace:
    stages = zip((1, 4, 4, 4, 4, 4, 1), (16, 24, 32, 64, 112, 184, 352), strides, strict=True)
    layers, c_in, hw = [], 16, resolution // stem_stride
    for stage, (count, c_out, first_stride) in enumerate(stages):
        for position in range(count):
            stride = first_stride if position == 0 else 1
            layers.append(LayerSpec(c_in, c_out, stride, hw, stage, FBNET_OPS))
            c_in, hw = c_out, hw // stride
    return SearchSpace(name, FBNET_OPS, tuple(layers), resolution, 16, stem_stride, head_channels)


FBNET32 = fbnet("fbnet32", 32, 1, (1, 1, 2, 2, 1, 2, 1), 1504)
FBNET224 = fbnet("fbnet224", 224, 2, (1, 2, 2, 2, 1, 2, 1), 1984)
