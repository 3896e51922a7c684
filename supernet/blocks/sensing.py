"""The first convolution of a network that takes a part of its picture: grey, smaller, or the centre alone (spaces/sensor.py)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from supernet.spaces import View


def seen(picture_BCHW: Tensor, view: View) -> Tensor:
    """(B, channels, H, W) → (B, view's channels, size, size), as the sensor would have delivered it.

    Bilinear: at half the size that is the mean of four pixels, and down to half no pixel is passed over. Every runtime has it.
    """
    size, side = view.size, picture_BCHW.shape[-1]
    if view.crop and side > size:
        start = (side - size) // 2
        picture_BCHW = picture_BCHW[..., start : start + size, start : start + size]
    if view.grey and picture_BCHW.shape[1] > 1:
        picture_BCHW = picture_BCHW.mean(1, keepdim=True)
    if picture_BCHW.shape[-1] != size:
        picture_BCHW = F.interpolate(picture_BCHW, size=(size, size), mode="bilinear", align_corners=False)
    return picture_BCHW


class SensingConv2d(nn.Conv2d):
    """A convolution on what is seen of the whole picture, with the weight of a plain one."""

    def __init__(self, view: View, plain: nn.Conv2d) -> None:
        padding = plain.padding if isinstance(plain.padding, str) else (plain.padding[0], plain.padding[1])
        super().__init__(
            plain.in_channels,
            plain.out_channels,
            (plain.kernel_size[0], plain.kernel_size[1]),
            (plain.stride[0], plain.stride[1]),
            padding,
            bias=False,
            device="meta",
        )
        self.view, self.weight = view, plain.weight

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(seen(input, self.view))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.view}"
