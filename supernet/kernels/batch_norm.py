"""Batch norm with ReLU in native.c: four passes over memory forward and six backward, where torch needs seven and ten.

Formulas: Ioffe & Szegedy, "Batch normalization" (ICML 2015). Variances and sums are accumulated in double.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from supernet.kernels.native import applies, bounds, library, run_slices


class FastBatchNormAct2d(BatchNormAct2d):  # type: ignore[misc]
    """timm's `BatchNormAct2d` (same parameters and statistics) with faster training on CPU.

    Its `act` and `drop` children are not called on the fast way, so neither are hooks on them.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not applies(x, self.weight) or x.numel() == x.shape[1]:
            return cast(Tensor, super().forward(x))
        floor = 0.0 if isinstance(self.act, nn.ReLU) else -math.inf
        y, mean, variance = _BatchNormAct.apply(x, self.weight, self.bias, self.eps, floor)
        with torch.no_grad():
            count = x.numel() / x.shape[1]
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return cast(Tensor, y)


def has_kernel(norm: BatchNormAct2d) -> bool:
    """With ReLU or no activation, no drop layer, affine, running statistics, channels in multiples of 8."""
    return (
        type(norm.act) in (nn.ReLU, nn.Identity)
        and type(norm.drop) is nn.Identity
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.num_features % 8 == 0
    )


class _BatchNormAct(torch.autograd.Function):
    """x (B, C, H, W), weight (C,), bias (C,) → max(normalised x · weight + bias, floor), mean (C,), variance (C,)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, floor: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _statistics(x)
        inverse_std = (variance + eps).rsqrt()
        scale = weight.double() * inverse_std
        shift = (bias.double() - mean * scale).to(x.dtype)
        mean, variance, inverse_std, scale = (v.to(x.dtype) for v in (mean, variance, inverse_std, scale))
        y = torch.empty_like(x)
        _by_pixels("norm_forward", x, scale, shift, y, floor=floor)
        ctx.save_for_backward(x, weight, mean, inverse_std, scale, shift)
        ctx.eps, ctx.floor = eps, floor
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, inverse_std, scale, shift = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: torch's own backward pass can be differentiated again
            passed = (x.detach() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)) > ctx.floor
            needs = list(ctx.needs_input_grad[:3])
            grads = torch.ops.aten.native_batch_norm_backward(
                grad * passed, x, weight, None, None, mean, inverse_std, True, ctx.eps, needs
            )
            return *grads, None, None
        grad = grad.contiguous(memory_format=torch.channels_last)
        sums, products = _sums(x, grad, scale, shift, mean, ctx.floor)
        count = x.numel() / x.shape[1]
        grad_x = None
        if ctx.needs_input_grad[0]:
            slope = -scale * inverse_std.double() ** 2 * products / count
            offset = (-scale * sums / count - slope * mean).to(x.dtype)
            grad_x = torch.empty_like(x)
            _by_pixels("norm_backward", x, grad, scale, shift, slope.to(x.dtype), offset, grad_x, floor=ctx.floor)
        return grad_x, (products * inverse_std).to(x.dtype), sums.to(x.dtype), None, None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) mean and (C,) biased variance in float64."""
    C = x.shape[1]
    lengths = torch.tensor([length for _, length in bounds(x.numel() // C)], dtype=torch.float64)[:, None]
    means, squares = torch.empty((2, len(lengths), C), dtype=torch.float64)
    _by_pixels("norm_statistics", x, means, squares)
    count = lengths.sum()
    mean = (means * lengths).sum(0) / count
    return mean, (squares + lengths * (means - mean) ** 2).sum(0).clamp_(min=0) / count


def _sums(
    x: Tensor, grad: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, floor: float
) -> tuple[Tensor, Tensor]:
    """(C,) Σ g and (C,) Σ g·(x − mean) in float64, of the gradients that pass the ReLU."""
    C = x.shape[1]
    sums, products = torch.empty((2, len(bounds(x.numel() // C)), C), dtype=torch.float64)
    _by_pixels("norm_backward_sums", x, grad, scale, shift, mean, sums, products, floor=floor)
    return sums.sum(0), products.sum(0)


def _by_pixels(function: str, x: Tensor, *tensors: Tensor, floor: float | None = None) -> None:
    """Runs a function of native.c on slices of x's pixels.

    Of each tensor a slice gets its own pixels (B, C, H, W), its own row (slices, C), or the whole (C,).
    """
    C = x.shape[1]
    native = library(x.dtype)
    assert native is not None and C % 8 == 0

    def call(number: int, start: int, length: int) -> int:
        begin = {4: start * C, 2: number * C, 1: 0}
        pointers = (tensor.data_ptr() + begin[tensor.dim()] * tensor.itemsize for tensor in (x, *tensors))
        return int(getattr(native, function)(*pointers, length, C, *([] if floor is None else [floor])))

    run_slices(x.numel() // C, call)
