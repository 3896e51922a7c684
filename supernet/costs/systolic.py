"""A systolic array's time for an operation: its products of matrices, cut into tiles of rows × columns. Provenance `modelled`.

Yüzügüler, Dimitriadis and Frossard, "U-Boost NAS" (ECCV 2022): a convolution takes ⌈k² c_in / rows⌉ ⌈c_out / columns⌉ h w cycles, a
depthwise one ⌈k² / rows⌉ c h w; one tile of weights is held while the pixels stream through. Filling and draining the array, loading
weights and memory's own time are in neither, so it is a lower bound. They smooth the ceiling because widths are continuous in their
search. Here every option has its whole cycles in the table, and the expected latency has an exact gradient without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from supernet.blocks.ops import get_op
from supernet.blocks.primitives import Primitive, Product
from supernet.costs.analytic import frame
from supernet.spaces import SearchSpace

EntryKey = tuple[str, int, int, int, int]  # op, c_in, c_out, stride, resolution
KIND = "systolic"


@dataclass(frozen=True)
class Array:
    """An array of multiply-accumulate cells, each one multiply-add a cycle; `channels` and `classes` are what `base_ms` was made for.

    rows: cells that add up the terms of an output value.  columns: output channels at once.  clock_mhz: of the array.
    channels: of the image.  classes: of the classifier; of a dense space, the channels of its output.
    """

    rows: int
    columns: int
    clock_mhz: float
    channels: int = 3
    classes: int = 10

    def cycles(self, product: Product) -> int:
        """Cycles for one image."""
        tiles = -(-product.terms // self.rows) * -(-product.columns // self.columns)
        return tiles * product.groups * product.pixels

    def ms(self, kernels: Iterable[Primitive]) -> float:
        """Milliseconds of kernels one after another. What multiplies nothing runs beside the array and takes no time."""
        return sum(self.cycles(product) for product in _products(kernels)) / (1e3 * self.clock_mhz)

    def share_used(self, kernels: Iterable[Primitive]) -> float | None:
        """Multiply-adds done, of those that the array could have done in that time; None where nothing is multiplied."""
        products = list(_products(kernels))
        could = self.rows * self.columns * sum(map(self.cycles, products))
        return sum(product.macs for product in products) / could if could else None


@dataclass(frozen=True)
class Utilisation:
    """How much of the array a network uses, in [0, 1].

    by_layer: of each layer, None of an identity.  whole: of the whole network, stem, head and classifier included.
    """

    by_layer: tuple[float | None, ...]
    whole: float


def utilisation(array: Array, space: SearchSpace, ops: Sequence[str]) -> Utilisation:
    """Of one architecture, by the same cycles as the table's times."""
    layers = [get_op(op).primitives(*layer.shape, layer.resolution) for op, layer in space.placed(ops)]
    ends = frame(space, array.channels, array.classes)
    whole = array.share_used([*ends, *(kernel for kernels in layers for kernel in kernels)])
    assert whole is not None, "every network has a stem"
    return Utilisation(tuple(array.share_used(kernels) for kernels in layers), whole)


def entry_ms(array: Array, key: EntryKey) -> float:
    """The time of one entry of a table."""
    op, *shape = key
    return array.ms(get_op(op).primitives(*shape))


def base_ms(array: Array, space: SearchSpace) -> float:
    """The time of stem, head and classifier."""
    return array.ms(frame(space, array.channels, array.classes))


def modelled(array: Array, space: SearchSpace, device: str, dtype: str) -> dict[str, Any]:
    """The content of a table (format of latency_luts/) for all that the space may take."""
    entries = [
        {"op": op, "c_in": layer.c_in, "c_out": layer.c_out, "stride": layer.stride, "resolution": layer.resolution,
         "median_ms": entry_ms(array, layer.key(op)), "iqr_ms": None, "n": None}
        for op, layer in {layer.key(op): (op, layer) for op, layer in space.places()}.values()
    ]  # fmt: skip
    return {
        "schema_version": 1, "device": device, "space": space.table_space, "runtime": {"name": None, "version": None},
        "dtype": dtype, "batch": 1, "threads": None, "resolution": space.resolution, "unit": "ms",
        "provenance": "modelled", "licence": "MIT", "model": {"kind": KIND, **asdict(array)},
        "source": f"cycles of a {array.rows} × {array.columns} systolic array at {array.clock_mhz:g} MHz, by the formula of "
        "Yüzügüler et al., U-Boost NAS, ECCV 2022",
        "base_ms": base_ms(array, space), "entries": entries, "validation": None,
        "notes": "Modelled, never measured: cycles of multiply-adds only. Memory, filling and draining the array, and what is no "
        f"convolution are not counted. base_ms is for {array.channels} channels and {array.classes} outputs.",
    }  # fmt: skip


def _products(kernels: Iterable[Primitive]) -> Iterable[Product]:
    return (kernel.product for kernel in kernels if kernel.product is not None)
