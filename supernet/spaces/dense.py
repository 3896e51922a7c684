"""dense32: blocks at the picture's full resolution, for tasks whose output is a picture (MoD-NAS searches such widths).

Of each of three stages the width and the depth, of each layer the block; no stride anywhere. A 1×1 convolution to a fixed width and the
task's 3×3 convolution come after. All blocks are inverted residuals: their kernels are those that published tables have times of.
"""

from __future__ import annotations

from dataclasses import replace

from supernet.spaces.flex import FlexSpace, Frame, flex_space

DENSE_OPS = ("k3_e1", "k5_e1", "k3_e3", "k5_e3")
_WIDTHS = (16, 32, 48)
_STEM = _TAIL = 16


def dense(name: str, size: int) -> FlexSpace:
    """The space for pictures of `size` × `size` pixels."""
    frame = Frame(stem_stride=1, first_stride=1, stride=1, tail=_TAIL)
    return replace(flex_space(name, size, _STEM, (_WIDTHS,) * 3, DENSE_OPS, 2, frame=frame), dense=True)


DENSE32 = dense("dense32", 32)
