"""What a block is made of, as a device sees it: kernels, each with multiply-adds, parameters and elements moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

KINDS = ("pointwise", "grouped", "depthwise3", "depthwise5", "dense", "pool", "shuffle", "elementwise")


class Product(NamedTuple):
    """A convolution or linear layer as a product of matrices: (pixels × terms) · (terms × columns), `groups` of them.

    pixels: of the output.  terms: products that are added up for one output value, k² c_in / groups.  columns: output channels of a group.
    """

    pixels: int
    terms: int
    columns: int
    groups: int = 1

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return self.pixels * self.terms * self.columns * self.groups


@dataclass(frozen=True)
class Primitive:
    """One kernel that a device runs: multiply-adds, parameters, elements read and written.

    kind: one of KINDS.  macs: multiply-adds for one image.  params: weights.  traffic: elements read and written for one image.
    product: what it multiplies; None where it multiplies nothing.
    """

    kind: str
    macs: int
    params: int
    traffic: int
    product: Product | None = None


BlockPrimitives = Callable[[int, int, int, int], list[Primitive]]
"""(c_in, c_out, stride, resolution of the input in pixels) → the kernels of a block there."""


def stem(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
    """A dense 3×3 convolution, batch norm, activation."""
    out = -(-resolution // stride)
    return [
        conv("dense", 3, c_in, c_out, 1, resolution, stride),
        elementwise(c_out, out, 2 * c_out),
        elementwise(c_out, out),
    ]


def conv(kind: str, kernel: int, c_in: int, c_out: int, groups: int, resolution: int, stride: int) -> Primitive:
    """A convolution of `groups` groups on resolution × resolution pixels, without bias."""
    out = -(-resolution // stride)
    product = Product(out * out, kernel * kernel * c_in // groups, c_out // groups, groups)
    weights = kernel * kernel * c_in * c_out // groups
    return Primitive(kind, product.macs, weights, c_in * resolution**2 + c_out * out**2, product)


def linear(c_in: int, c_out: int) -> Primitive:
    """A linear layer with bias: a pointwise convolution of one pixel."""
    return Primitive("pointwise", c_in * c_out, (c_in + 1) * c_out, c_in + c_out, Product(1, c_in, c_out))


def elementwise(channels: int, resolution: int, params: int = 0, kind: str = "elementwise") -> Primitive:
    """An activation, a normalisation (2 parameters a channel) or an addition."""
    return Primitive(kind, 0, params, 2 * channels * resolution**2)


def inverted_residual(kernel: int, expansion: int, groups: int = 1) -> BlockPrimitives:
    """Pointwise, batch norm, activation, depthwise, batch norm, activation, pointwise, batch norm, and where the shape stays
    the addition (Wu et al., "FBNet", CVPR 2019, figure 3). With groups, the pointwise ones are grouped and channels shuffled.
    """
    pointwise = "pointwise" if groups == 1 else "grouped"

    def kernels(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
        middle, out = c_in * expansion, -(-resolution // stride)
        found = [
            conv(pointwise, 1, c_in, middle, groups, resolution, 1),
            elementwise(middle, resolution, 2 * middle),
            elementwise(middle, resolution),
        ]
        if groups > 1:
            found.append(elementwise(middle, resolution, kind="shuffle"))
        found += [
            conv(f"depthwise{kernel}", kernel, middle, middle, middle, resolution, stride),
            elementwise(middle, out, 2 * middle),
            elementwise(middle, out),
            conv(pointwise, 1, middle, c_out, groups, out, 1),
            elementwise(c_out, out, 2 * c_out),
        ]
        return [*found, elementwise(c_out, out)] if (c_in, stride) == (c_out, 1) else found

    return kernels


def separable(kernel: int) -> BlockPrimitives:
    """Depthwise, batch norm, activation, pointwise, batch norm, and where the shape stays the addition."""

    def kernels(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
        out = -(-resolution // stride)
        found = [
            conv(f"depthwise{kernel}", kernel, c_in, c_in, c_in, resolution, stride),
            elementwise(c_in, out, 2 * c_in),
            elementwise(c_in, out),
            conv("pointwise", 1, c_in, c_out, 1, out, 1),
            elementwise(c_out, out, 2 * c_out),
        ]
        return [*found, elementwise(c_out, out)] if (c_in, stride) == (c_out, 1) else found

    return kernels


def squeezed(kernel: int, expansion: int) -> BlockPrimitives:
    """An inverted residual whose middle channels are scaled by squeeze-excite, through a quarter of the block's channels."""

    def kernels(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
        middle, narrow, out = c_in * expansion, c_in // 4, -(-resolution // stride)
        return [
            *inverted_residual(kernel, expansion)(c_in, c_out, stride, resolution),
            elementwise(middle, out, kind="pool"),
            linear(middle, narrow),
            linear(narrow, middle),
            elementwise(middle, out),
        ]

    return kernels


def fused(kernel: int, expansion: int, last: int) -> BlockPrimitives:
    """Dense k × k, batch norm, activation, dense or pointwise, batch norm, and where the shape stays the addition."""

    def kernels(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
        middle, out = c_in * expansion, -(-resolution // stride)
        found = [
            conv("dense", kernel, c_in, middle, 1, resolution, stride),
            elementwise(middle, out, 2 * middle),
            elementwise(middle, out),
            conv("dense" if last > 1 else "pointwise", last, middle, c_out, 1, out, 1),
            elementwise(c_out, out, 2 * c_out),
        ]
        return [*found, elementwise(c_out, out)] if (c_in, stride) == (c_out, 1) else found

    return kernels


def universal(start: int, middle_kernel: int, expansion: int) -> BlockPrimitives:
    """Depthwise with batch norm, pointwise, maybe depthwise, pointwise; the last depthwise one has the stride."""

    def kernels(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
        middle, out = c_in * expansion, -(-resolution // stride)
        between = resolution if middle_kernel else out
        found = [
            conv(f"depthwise{start}", start, c_in, c_in, c_in, resolution, 1 if middle_kernel else stride),
            elementwise(c_in, between, 2 * c_in),
            conv("pointwise", 1, c_in, middle, 1, between, 1),
            elementwise(middle, between, 2 * middle),
            elementwise(middle, between),
        ]
        if middle_kernel:
            found += [
                conv(f"depthwise{middle_kernel}", middle_kernel, middle, middle, middle, resolution, stride),
                elementwise(middle, out, 2 * middle),
                elementwise(middle, out),
            ]
        found += [conv("pointwise", 1, middle, c_out, 1, out, 1), elementwise(c_out, out, 2 * c_out)]
        return [*found, elementwise(c_out, out)] if (c_in, stride) == (c_out, 1) else found

    return kernels


def shortcut(c_in: int, c_out: int, stride: int, resolution: int) -> list[Primitive]:
    """Nothing where the shape stays, else a pointwise convolution with batch norm and activation."""
    if (c_in, stride) == (c_out, 1):
        return []
    out = -(-resolution // stride)
    return [
        conv("pointwise", 1, c_in, c_out, 1, resolution, stride),
        elementwise(c_out, out, 2 * c_out),
        elementwise(c_out, out),
    ]
