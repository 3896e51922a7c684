"""Architectures as sums of primitive operations, so that one encoding fits every search space.

An operation is a list of primitives (blocks/primitives.py: convolution, normalisation, addition, …). An architecture's encoding `phi_NF` adds them up by kind, and counts them: on a GPU at
batch 1 the number of launched kernels decides, on a phone the multiply-adds, on others the memory traffic. Nothing
in `phi_NF` names a layer or a space; `onehot_ND` is the encoding that does.

Shapes: N architectures, L layers (or cell edges), K operations, F features of the encoding, D one-hot columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from supernet.blocks.ops import OPS
from supernet.blocks.primitives import KINDS, BlockPrimitives, Primitive, conv, elementwise
from supernet.spaces import SearchSpace

PER_KIND = ("count", "mmacs", "traffic", "params")  # 10⁶ multiply-adds, 10⁵ elements moved, 10⁴ parameters
FEATURES = ("active", "launches", *(f"{kind}_{what}" for kind in KINDS for what in PER_KIND))
NB201_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NB201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def edge_primitives(op: str) -> list[Primitive]:
    """Primitives of a NAS-Bench-201 edge over all 15 cells (Dong & Yang, ICLR 2020: 5 cells at 16, 32, 64 channels)."""
    primitives = []
    for channels, resolution in ((16, 32), (32, 16), (64, 8)):
        before = [elementwise(channels, resolution), elementwise(channels, resolution, 2 * channels)]  # ReLU, norm
        addition = elementwise(channels, resolution)
        cell = {
            "none": [],
            "skip_connect": [addition],
            "nor_conv_1x1": [*before, conv("pointwise", 1, channels, channels, 1, resolution, 1), addition],
            "nor_conv_3x3": [*before, conv("dense", 3, channels, channels, 1, resolution, 1), addition],
            "avg_pool_3x3": [
                Primitive("pool", 9 * channels * resolution**2, 0, 2 * channels * resolution**2),
                addition,
            ],
        }[op]
        primitives += 5 * cell
    return primitives


def features(primitives: Sequence[Primitive]) -> list[float]:
    """(F,) the values of `FEATURES` for one operation."""
    values = [float(bool(primitives)), float(len(primitives))]
    for kind in KINDS:
        of_kind = [p for p in primitives if p.kind == kind]
        values += [
            len(of_kind),
            sum(p.macs for p in of_kind) / 1e6,
            sum(p.traffic for p in of_kind) / 1e5,
            sum(p.params for p in of_kind) / 1e4,
        ]
    return values


def summary(phi_NF: np.ndarray) -> np.ndarray:
    """(N, 4) multiply-adds, traffic, parameters and launches: what every device answers to, whatever its kernels."""
    start = FEATURES.index("pointwise_count")
    totals = [phi_NF[:, start + offset : len(FEATURES) : len(PER_KIND)].sum(1) for offset in (1, 2, 3)]
    return np.column_stack([*totals, phi_NF[:, 1]])


@dataclass(frozen=True)
class LayerEncoder:
    """L layers × K operations whose primitives add up: `phi_LKF` are the features of every (layer, operation)."""

    ops: tuple[str, ...]
    phi_LKF: np.ndarray

    def onehot(self, index_NL: np.ndarray) -> np.ndarray:
        return _onehot(index_NL, len(self.ops))

    def phi(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, F)"""
        return self.phi_LKF[np.arange(index_NL.shape[1]), index_NL].sum(1)


@dataclass(frozen=True)
class CellEncoder:
    """NAS-Bench-201: every edge is counted twice, once as written and once only where it lies between input and output.

    Frameworks run the dead edges too, cost models drop them: the target's own samples tell which of the two it is.
    """

    ops: tuple[str, ...]
    phi_LKF: np.ndarray

    def live(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, 6) the operations, `none` where an edge cannot pass anything from input to output."""
        none = self.ops.index("none")
        present = index_NL != none
        forward = np.zeros((len(index_NL), 4), bool)
        backward = np.zeros((len(index_NL), 4), bool)
        forward[:, 0] = backward[:, 3] = True
        for edge, (a, b) in enumerate(NB201_EDGES):  # edges are ordered by their end
            forward[:, b] |= present[:, edge] & forward[:, a]
        for edge in (5, 4, 2, 3, 1, 0):
            a, b = NB201_EDGES[edge]
            backward[:, a] |= present[:, edge] & backward[:, b]
        passes = np.column_stack(
            [present[:, e] & forward[:, a] & backward[:, b] for e, (a, b) in enumerate(NB201_EDGES)]
        )
        return np.where(passes, index_NL, none)

    def onehot(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, D): the edges as written, the live edges, and every pair of written edges (raspi4's sums need it)."""
        written = _onehot(index_NL, len(self.ops))
        K = len(self.ops)
        pairs = [
            (written[:, a * K : (a + 1) * K, None] * written[:, None, b * K : (b + 1) * K]).reshape(len(written), -1)
            for a in range(6)
            for b in range(a + 1, 6)
        ]
        return np.concatenate([written, _onehot(self.live(index_NL), K), *pairs], axis=1)

    def phi(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, 2 F + 1): of all edges, of the live ones, and whether anything is live."""
        every, live = (self.phi_LKF[np.arange(6), index].sum(1) for index in (index_NL, self.live(index_NL)))
        return np.column_stack([every, live, live[:, 1] > 0])


Encoder = LayerEncoder | CellEncoder


def _onehot(index_NL: np.ndarray, K: int) -> np.ndarray:
    return (index_NL[:, :, None] == np.arange(K)).reshape(len(index_NL), -1).astype(float)


def space_encoder(space: SearchSpace, ops: Mapping[str, BlockPrimitives] | None = None) -> LayerEncoder:
    """Encoder of a layered space; `ops` has what the indices mean when they are not the space's own operations."""
    ops = ops or {name: OPS[name].primitives for name in space.ops}
    table = [
        [features(primitives(spec.c_in, spec.c_out, spec.stride, spec.resolution)) for primitives in ops.values()]
        for spec in space.layers
    ]
    return LayerEncoder(tuple(ops), np.array(table))


def nb201_encoder(ops: Sequence[str] = NB201_OPS) -> CellEncoder:
    """Encoder of NAS-Bench-201 cells."""
    return CellEncoder(tuple(ops), np.array([[features(edge_primitives(op)) for op in ops]] * len(NB201_EDGES)))


def counting_encoder(ops: Sequence[str], layers: int) -> LayerEncoder:
    """For a space whose operations we know nothing of but their names: `phi_NF` counts each of them."""
    return LayerEncoder(tuple(ops), np.repeat(np.eye(len(ops))[None], layers, axis=0))
