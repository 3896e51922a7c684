"""Space `lite`: EfficientNet-Lite0's own stages, each block as it is or smaller: kernel, expansion, and depth by stage.

A network that is trained already is the largest path (`tf_efficientnet_lite0`), and every other one is a part of it. The first block
and the first of each stage stay; of the others a stage's last ones may be left out. Any input size in LITE_SIZES: lite96 is for 96 px.
Source of the stages: Tan & Le, "EfficientNet" (ICML 2019), table 1, without squeeze-excite and with ReLU6 (EfficientNet-Lite, 2020).
"""

from __future__ import annotations

import numpy as np

from supernet.spaces.space import LayerSpec, SearchSpace, Style

TEACHER = "tf_efficientnet_lite0"  # whose blocks these are
LITE_SIZES = (64, 96, 128, 160, 192, 224)
EXPANSIONS = (1, 2, 3, 4, 6)
_STAGES = ((3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3), (5, 1, 112, 3), (5, 2, 192, 4), (3, 1, 320, 1))  # k s c n
_OPS = ("ds_k3", *(f"k{kernel}_e{expansion}" for kernel in (3, 5) for expansion in EXPANSIONS), "skip")


def uniform_sizes(space: SearchSpace) -> np.ndarray:
    """(L, K) expansion of each operation with the teacher's own kernel; NaN for the others. For `derive.uniform`."""
    sizes_LK = np.full(space.valid_LK.shape, np.nan)
    for row, layer in enumerate(space.layers):
        kernel = 5 if "k5_e6" in layer.ops else 3
        for column, op in enumerate(space.ops):
            if op in layer.ops and op.startswith((f"k{kernel}_e", "ds_")):
                sizes_LK[row, column] = 1 if op.startswith("ds_") else int(op.rpartition("e")[2])
    return sizes_LK


def lite(size: int) -> SearchSpace:
    """The space for pictures of `size` × `size` pixels, one of LITE_SIZES."""
    assert size in LITE_SIZES
    hw = size // 2
    layers = [LayerSpec(32, 16, 1, hw, 0, ("ds_k3",))]
    c_in = 16
    for stage, (kernel, first_stride, c_out, repeats) in enumerate(_STAGES, 1):
        for position in range(repeats):
            stride = first_stride if position == 0 else 1
            kernels = (3,) if kernel == 3 else (3, 5)
            ops = [f"k{k}_e{expansion}" for k in kernels for expansion in EXPANSIONS]
            layers.append(LayerSpec(c_in, c_out, stride, hw, stage, (*ops, *(["skip"] if position else []))))
            c_in, hw = c_out, -(-hw // stride)
    style = Style(act="relu6", padding="same", norm_eps=1e-3)
    return SearchSpace(f"lite{size}", _OPS, tuple(layers), size, 32, 2, 1280, style=style)
