"""The latency of any network as a sum over its kernels, each priced by a device's table: provenance `estimated`.

A table times whole blocks; each block is the sum of its kernels. Non-negative least squares (relative errors count) finds what a
launch, a multiply-add, an element moved and a weight cost on the device, for pointwise and depthwise convolutions apart, and what an
element of a plain pass costs. Zhang et al., "nn-Meter" (MobiSys 2021), price kernels from measurements of single ones; no public
table has those for our devices. What the table never timed is named and not priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import nnls
from torch import nn

from supernet.blocks.ops import OPS, build_op
from supernet.costs.latency import EntryKey, LatencyTable
from supernet.errors import UserError
from supernet.network import build_path
from supernet.spaces import BUILD_SPACES, MADE, PLAIN, SPACES, SearchSpace, Style, get_space
from supernet.transfer.kernels import Kernel, kernels_of

PRICED_AS = {
    "pointwise": "pointwise",
    "linear": "pointwise",
    "dense": "pointwise",
    "depthwise": "depthwise",
    "pass": "pass",
}
SEEN = ("pointwise", "depthwise", "linear", "pass")  # what the blocks and the head of the spaces are made of
MOST_UNSEEN = 0.2  # of the time, at the price of a pointwise convolution: the stem's own 3 × 3
NETWORK_ERROR = (
    0.3  # on published times of whole networks that no block of which was timed: benchmarks/latency_kernels.py
)
WORST_ERROR = 0.3  # on blocks left out: above it the entries are no sums of kernels
FEWEST = 20  # entries


@dataclass(frozen=True)
class Estimate:
    """Milliseconds of one network, in all and by kind of kernel; `error` is the mean relative error to be expected.

    ms: in all.  parts_ms: by kind.  notes: for the person.
    """

    ms: float
    error: float
    parts_ms: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class KernelModel:
    """Prices of one device: `price_F` ms per feature (see `features`), and `fixed_ms` that a network costs besides.

    `block_error` is the larger mean relative error on blocks of shapes, and on blocks of input sizes, that were left out of the
    fit; `sizes` are the smallest and the largest input of a timed block, in pixels.
    `batch`: images at once in the table.
    """

    device: str
    price_F: np.ndarray
    fixed_ms: float
    block_error: float
    sizes: tuple[int, int]
    batch: int

    def estimate(self, kernels: Sequence[Kernel], size: int) -> Estimate:
        """The latency of a network of these kernels for images of `size` pixels.

        Raises UserError, naming them, where operations that the table never timed would decide it.
        """
        parts = {"fixed": self.fixed_ms}
        for kernel in kernels:
            priced = float(features([kernel]) @ self.price_F) if kernel.kind in PRICED_AS else 0.0
            parts[kernel.kind] = parts.get(kernel.kind, 0.0) + priced
        unknown = sorted({kernel.name for kernel in kernels if kernel.kind not in PRICED_AS})
        unseen = sorted({kernel.name for kernel in kernels if kernel.kind in PRICED_AS and kernel.kind not in SEEN})
        share = sum(ms for kind, ms in parts.items() if kind not in (*SEEN, "fixed")) / max(sum(parts.values()), 1e-12)
        if unknown or share > MOST_UNSEEN:
            told = ", ".join(unknown[:4]) if unknown else f"{', '.join(unseen[:4])}, some {share:.0%} of the time"
            raise UserError(
                f"The table of {self.device} never timed {told}: no latency can be estimated. "
                "Measure the network on the device: supernet verify."
            )
        notes = [f"{', '.join(unseen)} at the price of a pointwise one"] if unseen else []
        if size > 2 * self.sizes[1]:
            notes.append(
                f"{size} px, where the table's blocks are timed at {self.sizes[0]} to {self.sizes[1]} px: extrapolated"
            )
        if self.batch > 1:
            notes.append(f"for a batch of {self.batch}")
        return Estimate(sum(parts.values()), max(self.block_error, NETWORK_ERROR), parts, tuple(notes))


def features(kernels: Iterable[Kernel]) -> np.ndarray:
    """(F,) launches, 10⁶ multiply-adds, 10⁵ elements and 10⁴ weights of pointwise, of depthwise kernels; elements of passes."""
    sums = np.zeros((2, 4))
    passed = 0.0
    for kernel in kernels:
        kind = PRICED_AS[kernel.kind]
        if kind == "pass":
            passed += kernel.moved / 1e5
        elif kernel.kind == "linear":  # nothing is used twice: a weight is an element that is read
            sums[0] += (1, kernel.macs / 1e6, (kernel.moved + kernel.weights) / 1e5, 0)
        else:
            sums[int(kind == "depthwise")] += (1, kernel.macs / 1e6, kernel.moved / 1e5, kernel.weights / 1e4)
    return np.append(sums.ravel(), passed)


def kernel_model(table: LatencyTable) -> KernelModel:
    """The prices that explain the table. Raises UserError for a table whose entries are too few, or no sums of kernels, as an NPU's."""
    if table.accelerator is not None:
        raise UserError(
            f"The times of {table.device} are no sums of kernels: it computes while it loads weights. Run vela on the network's int8 file."
        )
    validation = table.content["validation"] or {}
    scale = validation.get("scale", 1.0)
    keys = [key for key in table.entries if key[0] in OPS]
    style = SPACES[made_for].style if (made_for := table.content["space"]) in SPACES else PLAIN
    block = {key: features(_block(key, style)) for key in keys}
    skips = [
        table.entries[key] for key in keys if key[0] == "skip" and (key[1] != key[2] or key[3] != 1)
    ]  # that compute
    relative = bool(skips) and not any(skips)  # published tables: ms more than a skip
    if relative:
        block = {key: value - block.get(("skip", *key[1:]), 0.0) for key, value in block.items()}
    keys = [key for key in keys if block[key].any()]
    if len(keys) < FEWEST:
        raise UserError(
            f"The table of {table.device} has {len(keys)} operations that can be priced; {FEWEST} are needed."
        )
    X = np.array([block[key] for key in keys])
    ms = scale * np.array([table.entries[key] for key in keys])
    shapes, sizes = [key[1:] for key in keys], [key[4] for key in keys]
    error = max(_left_out_error(X, ms, shapes), _left_out_error(X, ms, sizes))
    if error > WORST_ERROR:
        raise UserError(
            f"The entries of {table.device} are no sums of kernels (mean error {error:.0%} on blocks that were left out): "
            "no latency is estimated from them."
        )
    price_F = _prices(X, ms)
    fixed_ms = 0.0
    if table.content["space"] in BUILD_SPACES:
        base = scale * table.content["base_ms"] + validation.get("offset_ms", 0.0)
        fixed_ms = max(0.0, base - float(_frame(get_space(table.content["space"]), table, relative) @ price_F))
    return KernelModel(table.device, price_F, fixed_ms, error, (min(sizes), max(sizes)), table.content["batch"] or 1)


def estimate_network(table: LatencyTable, network: nn.Module, channels: int, size: int) -> Estimate:
    """The estimate for any torch network. Raises UserError where there can be none."""
    return kernel_model(table).estimate(kernels_of(network, channels, size), size)


@cache
def _block(key: EntryKey, style: Style = PLAIN) -> list[Kernel]:
    """Kept: a space has hundreds, and a command asks for its table several times."""
    op, c_in, c_out, stride, resolution = key
    return kernels_of(build_op(op, c_in, c_out, stride, style), c_in, resolution)


def _frame(space: SearchSpace, table: LatencyTable, relative: bool) -> np.ndarray:
    """(F,) what `base_ms` holds: stem and head, and where entries are relative to skips, these."""
    made_with = (table.content.get("protocol") or {}).get("made_with") or {}
    classes = made_with.get("classes", 1000 if space.resolution == 224 else 100)  # HW-NAS-Bench: CIFAR-100
    ops = [layer.ops[0] for layer in space.layers]
    whole = features(kernels_of(build_path(space, ops, classes, 3), 3, space.resolution))
    for op, x in space.placed(ops):
        whole = whole - features(_block((op, x.c_in, x.c_out, x.stride, x.resolution), space.style))
        skip = ("skip", x.c_in, x.c_out, x.stride, x.resolution)
        if relative and skip in table.entries:
            whole = whole + features(_block(skip, space.style))
    return whole


def _prices(X: np.ndarray, ms: np.ndarray) -> np.ndarray:
    """(F,) prices ≥ 0 with the least squared relative error; times far below the median count as if they were a tenth of it."""
    weight = 1 / np.maximum(ms, 0.1 * np.median(ms))
    return nnls(X * weight[:, None], ms * weight)[0]


def _left_out_error(X: np.ndarray, ms: np.ndarray, groups: Sequence[object]) -> float:
    """Mean relative error on each group's entries, by prices fitted to all other groups; 1 where there is but one group."""
    distinct = list(dict.fromkeys(groups))
    if len(distinct) < 2:
        return 1.0
    predicted = np.empty_like(ms)
    for group in distinct:
        mine = np.array([other == group for other in groups])
        predicted[mine] = X[mine] @ _prices(X[~mine], ms[~mine])
    counted = ms > 0.05 * np.median(ms)
    return float(np.abs(predicted[counted] / ms[counted] - 1).mean())


def table_for(table: LatencyTable, space: SearchSpace) -> tuple[LatencyTable, list[str]]:
    """(the table of a space, what to tell the person): the table itself, or one estimated from the kernels of its blocks.

    A modelled array's is computed anew for the space, as exact as the table itself. The estimate has the hash of the table that it is
    made from: it is a function of it. Raises UserError where the kernels cannot be priced.
    """
    made_for = table.content["space"]
    if table.array is not None and space.name != made_for:
        return table.remodelled(space), []
    if space.table_space == made_for or space.name not in MADE or table.accelerator is not None:
        return table, []  # an NPU's compiler is asked instead (`LatencyTable.way`)
    model = kernel_model(table)

    def ms(kernels: Sequence[Kernel]) -> float:
        return float(features(kernels) @ model.price_F)

    entries = {layer.key(op): ms(_block(layer.key(op), space.style)) for op, layer in space.places()}
    largest = [layer.ops[0] for layer in space.layers]
    whole = model.estimate(
        kernels_of(build_path(space, largest, 3 if space.dense else 10, 3), 3, space.resolution), space.resolution
    )
    blocks_ms = sum(entries[layer.key(op)] for op, layer in space.placed(largest))
    told = f"estimated for {space.name} from the kernels of the {made_for} table"
    content = table.content | {
        "space": space.table_space,
        "provenance": "estimated",
        "base_ms": whole.ms - blocks_ms,
        "notes": " ".join(filter(None, (table.content.get("notes"), f"{told}.", *whole.notes))),
        "validation": None,
        "estimated_error": whole.error,
    }
    note = (
        f"No table of {table.device} was made for {space.name}: its latency is {told}, and may be off by some {whole.error:.0%}"
        f"{''.join(f' ({words})' for words in whole.notes[-1:])}. Measured: supernet lut build --space {space.name}."
    )
    return LatencyTable(content, entries, table.hash), [note]
