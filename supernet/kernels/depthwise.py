"""Depthwise convolution whose weight gradient is native.c's.

torch (oneDNN) takes 2 to 40 times as long as needed for the weight gradient of a 5×5 depthwise convolution on CPU, the
dearest part of a mobile network's training step.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.kernels.native import SLICES, applies, library, run, wanted


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` (same parameters, same state_dict, same output) with a faster backward pass on CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or not applies(input, self.weight):
            return super().forward(input)
        return cast(Tensor, _Depthwise.apply(input, self.weight, self.stride[0]))


def has_kernel(conv: nn.Conv2d) -> bool:
    """Depthwise, 5×5 or 3×3 (at stride 2 torch is as fast), zero padding K//2, no bias, channels in multiples of 8."""
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and (conv.kernel_size, conv.stride) in (((5, 5), (1, 1)), ((5, 5), (2, 2)), ((3, 3), (1, 1)))
        and conv.padding == (conv.kernel_size[0] // 2,) * 2
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.bias is None
        and conv.in_channels % 8 == 0
    )


class _Depthwise(torch.autograd.Function):
    """x (B, C, H, W), weight (C, 1, K, K) → (B, C, Ho, Wo), with padding K//2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        C, _, K, _ = weight.shape
        need_x, need_weight = wanted(ctx, 0), wanted(ctx, 1)
        twice = torch.is_grad_enabled()  # create_graph=True: torch's own backward pass can be differentiated again
        grad_x = grad_weight = None
        if need_x or twice:
            mask = [need_x, need_weight and twice, False]
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, [ctx.stride] * 2, [K // 2] * 2, [1, 1], False, [0, 0], C, mask
            )
        if need_weight and not twice:
            grad_weight = weight_gradient(x, grad, K, ctx.stride)
        return grad_x, grad_weight, None


def weight_gradient(x: Tensor, grad: Tensor, K: int, stride: int) -> Tensor:
    """(C, 1, K, K) weight gradient, of x (B, C, H, W) and grad (B, C, Ho, Wo), on CPU."""
    x, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, grad))
    (B, C, H, W), (Ho, Wo) = x.shape, grad.shape[2:]
    native = library(x.dtype)
    assert native is not None and C % 8 == 0 and x.dtype == grad.dtype
    partial = torch.empty((SLICES, K * K, C), dtype=x.dtype)
    run(native.depthwise_weight_grad, x, grad, partial, B, H, W, C, Ho, Wo, K, stride)
    return partial.sum(0).t().reshape(C, 1, K, K)
