"""Layers of few bits: what they multiply is rounded in each forward pass, and gradients pass through where nothing is clipped.

The levels are uniform. At 8 bits their ends are the largest weight of an output channel and the running largest activation. Below, their
step is the one of least squared error for a normal distribution (Max, "Quantizing for minimum distortion", 1960; of activations behind a
ReLU: Cai et al., "HWGQ", CVPR 2017), times the root mean square. So nothing about them is learned, the options of a layer can share their
weights (blocks/sharing.py), and each keeps its own running statistics, as Jin et al., "AdaBits" (CVPR 2020), found it necessary.
One bit: the sign, times the mean magnitude (Rastegari et al., "XNOR-Net", ECCV 2016). Gradients: Bengio et al. (2013), clipped.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeVar, cast

import torch
from timm.models._efficientnet_blocks import EdgeResidual
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.spaces import Bits
from supernet.spaces.bits import ENDS

Network = TypeVar("Network", bound=nn.Module)

MOMENTUM = 0.1  # of running statistics, as batch norm's
SIGNED_STEP = {2: 1.2240, 4: 0.3534}  # for a normal distribution of root mean square 1, symmetric levels (test_bits.py)
RELU_STEP = {1: 1.7310, 2: 0.9203, 4: 0.2733}  # of its positive part, of root mean square 1
MAGNITUDE = (2 / torch.pi) ** 0.5  # mean absolute value of a normal distribution of root mean square 1
LEAST = 1e-8


class _Sign(torch.autograd.Function):
    """x, scale > 0 → scale · sign(x), with sign(0) = 1; the gradient is that of the identity where |x| ≤ 2 scale, else 0.

    Two levels a step of 2 scale apart: beyond ± 2 scale a value is clipped, as with more bits beyond half a step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs() <= 2 * scale)
        return signs(x) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None


def signs(x: Tensor) -> Tensor:
    """1 where x ≥ 0, else −1."""
    return 2 * (x >= 0).to(x.dtype) - 1


def rounded_weight(weight: Tensor, bits: int) -> Tensor:
    """The weight (C, …) on symmetric levels, a scale for each output channel; straight-through gradient."""
    size_C = weight.detach().flatten(1)
    if bits == 1:
        scale_C = size_C.abs().mean(1).clamp_min(LEAST)
        return cast(Tensor, _Sign.apply(weight, scale_C.view(-1, *[1] * (weight.ndim - 1))))
    most = 2 ** (bits - 1) - 1
    step_C = SIGNED_STEP[bits] * size_C.square().mean(1).sqrt() if bits in SIGNED_STEP else size_C.abs().amax(1) / most
    zero_C = torch.zeros_like(step_C, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, step_C.clamp_min(LEAST), zero_C, 0, -most, most)


class RoundedInput(nn.Module):
    """(…) → (…): activations on levels that follow running statistics; straight-through gradient.

    bits:   1 to 8
    signed: symmetric levels; else from 0 on, for what comes from a ReLU
    """

    size: Tensor

    def __init__(self, bits: int, signed: bool) -> None:
        super().__init__()
        self.bits, self.signed = bits, signed
        most = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        self.low, self.high = (-most if signed else 0), most
        known = SIGNED_STEP if signed else RELU_STEP
        self.by_largest = bits not in known and not (signed and bits == 1)
        self.step = 1 / most if self.by_largest else MAGNITUDE if signed and bits == 1 else known[bits]
        self.register_buffer("size", torch.ones(()))  # largest magnitude, or root mean square

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                now = x.abs().amax() if self.by_largest else x.square().mean().sqrt()
                self.size.lerp_(now.float(), MOMENTUM)
        step = self.step * self.size.clamp_min(LEAST)
        if self.signed and self.bits == 1:
            return cast(Tensor, _Sign.apply(x, step)) if self.training else signs(x) * step
        if self.training:
            zero = torch.zeros_like(step, dtype=torch.int32)
            return torch.fake_quantize_per_tensor_affine(x.float(), step, zero, self.low, self.high)
        return (x.float() * (1 / step)).round().clamp(self.low, self.high) * step  # what every exporter knows

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}"


class _Rounded(nn.Module):
    """What rounded layers have alike: the input's levels, and the bits of the weight; None of one that is rounded already."""

    input: RoundedInput
    weight: Tensor
    weight_bits: int | None

    def round_with(self, bits: Bits, signed: bool) -> None:
        self.input, self.weight_bits = RoundedInput(bits.activations, signed), bits.weights

    def taken(self) -> Tensor:
        """The weight that is multiplied."""
        return self.weight if self.weight_bits is None else rounded_weight(self.weight, self.weight_bits)

    @torch.no_grad()
    def bake(self) -> None:
        """Rounds the weight for good."""
        self.weight.copy_(self.taken())
        self.weight_bits = None


class RoundedConv2d(_Rounded, nn.Conv2d):
    """A convolution on rounded inputs and with rounded weights; it has the plain one's parameters."""

    def __init__(self, plain: nn.Conv2d, bits: Bits, signed: bool) -> None:
        assert not isinstance(plain.padding, str)
        kernel, stride, padding = ((pair[0], pair[1]) for pair in (plain.kernel_size, plain.stride, plain.padding))
        nn.Conv2d.__init__(self, plain.in_channels, plain.out_channels, kernel, stride, padding, bias=False, device="meta")  # fmt: skip
        assert plain.bias is None and plain.groups == 1
        self.weight = plain.weight
        self.round_with(bits, signed)
        # a padding of 0 is a level of the others; of two signs it becomes one of them, so it is put on before
        self.pad_first = signed and bits.activations == 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.pad_first:
            return F.conv2d(self.input(input), self.taken(), None, self.stride, self.padding)
        rows, columns = (int(side) for side in self.padding)
        return F.conv2d(self.input(F.pad(input, (columns, columns, rows, rows))), self.taken(), None, self.stride)


class RoundedLinear(_Rounded, nn.Linear):
    """A linear layer on rounded inputs and with rounded weights; its bias stays as it is."""

    def __init__(self, plain: nn.Linear, bits: Bits, signed: bool) -> None:
        nn.Linear.__init__(self, plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        self.round_with(bits, signed)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(self.input(input), self.taken(), self.bias)


def round_block(block: nn.Module, bits: Bits) -> nn.Module:
    """Gives a basic block these bits; in place. Its second convolution takes what a ReLU gives, its first one what blocks add up."""
    assert isinstance(block, EdgeResidual)
    block.conv_exp = RoundedConv2d(cast(nn.Conv2d, block.conv_exp), bits, signed=True)
    block.conv_pwl = RoundedConv2d(block.conv_pwl, bits, signed=False)
    return block


def round_network(network: Any, by_block: Sequence[Bits]) -> None:
    """Gives each block of a timm EfficientNet its bits, and the ends theirs; in place. The stem loses its activation (spaces/bits.py)."""
    network.conv_stem = RoundedConv2d(network.conv_stem, ENDS, signed=True)
    network.bn1.act = nn.Identity()
    for block, bits in zip(chain.from_iterable(network.blocks), by_block, strict=True):
        round_block(block, bits)
    network.classifier = RoundedLinear(network.classifier, ENDS, signed=True)


def is_rounded(network: nn.Module) -> bool:
    """Whether layers of the network have bits of their own."""
    return any(isinstance(module, _Rounded) for module in network.modules())


def baked(network: Network) -> Network:
    """A copy in evaluation mode, whose weights are float32 numbers that lie on their levels; inputs are still rounded as it runs."""
    found = copy.deepcopy(network).eval()
    for module in found.modules():
        if isinstance(module, _Rounded):
            module.bake()
    return found
