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
    """(L, K) expansion of each operation with the teacher's own kernel and width; NaN for the others. For `derive.uniform`."""
    return np.array([[_size(space, row, option, layer.c_out) for option in decision.options]
                     for row, (layer, decision) in enumerate(zip(space.layers, space.choices.decisions, strict=True))])  # fmt: skip


def _size(space: SearchSpace, row: int, option: str | None, width: int) -> float:
    """The expansion of an option with the teacher's kernel and `width` channels behind it; NaN of others."""
    if option is None or option == "skip":
        return np.nan
    op, layer = space.place(row, option)
    kernels = {space.operation(other).partition("_")[0] for other in space.layers[row].ops}
    if layer.c_out != width or not op.startswith(("ds_", "k5_" if "k5" in kernels else "k3_")):
        return np.nan
    return 1 if op.startswith("ds_") else int(op.rpartition("e")[2])


def scaled(space: SearchSpace, share: float) -> np.ndarray:
    """(L,) the network whose stages keep this share of their blocks, the first ones, and whose blocks this share of their expansion.

    Depth and width smaller alike, as compound scaling makes a network larger (Tan & Le, ICML 2019, section 3.3). Where
    stages have widths, they keep this share of these, too.
    """
    stages = [layer.stage for layer in space.layers]
    index_L = np.zeros(len(stages), np.int64)
    for row, (stage, layer) in enumerate(zip(stages, space.layers, strict=True)):
        position, blocks, options = row - stages.index(stage), stages.count(stage), space.choices.decisions[row].options
        if position >= np.ceil(share * blocks - 1e-9):
            index_L[row] = options.index("skip")
        else:
            widths = {space.place(row, option)[1].c_out for option in layer.ops if option != "skip"}
            width = max((w for w in widths if w <= share * layer.c_out + 1e-9), default=min(widths))
            size_K = np.array([_size(space, row, option, width) for option in options])
            wanted = max(share * np.nanmax(size_K), np.nanmin(size_K))
            index_L[row] = np.nanargmax(np.where(size_K <= wanted + 1e-9, size_K, np.nan))
    return index_L


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
