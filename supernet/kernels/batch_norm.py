"""Batch norm with ReLU in native.c: four passes over memory forward and six backward, where torch needs seven and ten.

Formulas: Ioffe & Szegedy, "Batch normalization" (ICML 2015). Sums are accumulated in double.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from supernet.kernels.native import SLICES, applies, library, run


class FastBatchNormAct2d(BatchNormAct2d):
    """timm's `BatchNormAct2d` (same parameters, same statistics) with faster training on CPU.

    Its `act` and `drop` children are not called on the fast way, so neither are hooks on them.
    """

    def forward(self, x: Tensor) -> Tensor:
        # momentum None: `update_bn` asks for cumulative means
        if not self.training or self.momentum is None or x.numel() == x.shape[1] or not applies(x, self.weight):
            return cast(Tensor, super().forward(x))
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        floor = 0.0 if isinstance(self.act, nn.ReLU) else -math.inf
        running = self.running_mean, self.running_var
        return cast(Tensor, _BatchNormAct.apply(x, self.weight, self.bias, running, self.momentum, self.eps, floor))


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
    """x (B, C, H, W), weight (C,), bias (C,) → max(normalised x · weight + bias, floor); updates the running (C,)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor],
        momentum: float,
        eps: float,
        floor: float,
    ) -> Tensor:
        native, C, N = library(x.dtype), x.shape[1], x.numel() // x.shape[1]
        assert native is not None and C % 8 == 0
        partial, vectors = x.new_empty((SLICES, 2, C), dtype=torch.float64), x.new_empty((4, C))
        y = torch.empty_like(x)
        run(native.norm_sums, x, partial, N, C)
        run(native.norm_vectors, x, partial, weight, bias, *running, vectors, N, C, eps, momentum)
        run(native.norm_forward, x, vectors, y, N, C, floor)
        ctx.save_for_backward(x, weight, vectors)
        ctx.eps, ctx.floor = eps, floor
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, vectors = ctx.saved_tensors
        nothing = (None,) * 4
        if torch.is_grad_enabled():  # create_graph=True: torch's own backward pass can be differentiated again
            mean, inverse_std, scale, shift = vectors.view(4, -1, 1, 1)
            passed = x.detach() * scale + shift > ctx.floor
            known = mean.flatten(), inverse_std.flatten(), True, ctx.eps, list(ctx.needs_input_grad[:3])
            return *torch.ops.aten.native_batch_norm_backward(grad * passed, x, weight, None, None, *known), *nothing
        native, C, N = library(x.dtype), x.shape[1], x.numel() // x.shape[1]
        assert native is not None
        grad = grad.contiguous(memory_format=torch.channels_last)
        partial, grads = x.new_empty((SLICES, 2, C), dtype=torch.float64), x.new_empty((4, C))
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        run(native.norm_backward_sums, x, grad, vectors, partial, N, C, ctx.floor)
        run(native.norm_backward_vectors, partial, vectors, grads, N, C)
        if grad_x is not None:
            run(native.norm_backward, x, grad, vectors, grads, grad_x, N, C, ctx.floor)
        return grad_x, grads[0], grads[1], *nothing
