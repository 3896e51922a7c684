"""What other devices teach: their latencies as functions of the architecture, and the basis that a predictor works in.

Shapes: N architectures, L layers, S source devices, A analytic totals, P encoding columns that vary, n target samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from sklearn.linear_model import Ridge

from supernet.transfer.encoding import FEATURES, Encoder, summary

MOST_ROWS = 3000  # measurements of a source device that its function is fitted to; more change the third digit


@dataclass(frozen=True)
class Basis:
    """N architectures as a predictor sees them; every column has mean 0 and standard deviation 1 over the space.

    source_NS: the S source devices' ms.  analytic_NA: totals.  phi_NP: counts of kernels.  onehot_ND: (N, D) operations taken.
    """

    source_NS: np.ndarray
    analytic_NA: np.ndarray
    phi_NP: np.ndarray
    onehot_ND: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Basis:
        return Basis(self.source_NS[rows], self.analytic_NA[rows], self.phi_NP[rows], self.onehot_ND[rows])

    def __len__(self) -> int:
        return len(self.phi_NP)


@dataclass(frozen=True)
class Samples:
    """n measured architectures of the target device."""

    basis: Basis
    latency_ms_n: np.ndarray

    def without(self, row: int) -> Samples:
        rows = np.delete(np.arange(len(self.latency_ms_n)), row)
        return Samples(self.basis[rows], self.latency_ms_n[rows])


@dataclass(frozen=True)
class Source:
    """Source devices as functions ms = coef[0] + columns @ coef[1:] of an encoding, and the scale of every column.

    `columns` says which: the space's one-hot columns, or (devices measured in another space) the shared totals.

    encoder: of architectures.  coef_DS: a column for each of S devices.  reference_NL: the architectures that columns are scaled by.
    """

    encoder: Encoder
    devices: tuple[str, ...]
    columns: Literal["onehot", "totals"]
    coef_DS: np.ndarray
    reference_NL: np.ndarray

    def without(self, device: str) -> Source:
        """The other source devices."""
        kept = [s for s, name in enumerate(self.devices) if name != device]
        return replace(self, devices=tuple(self.devices[s] for s in kept), coef_DS=self.coef_DS[:, kept])

    @cached_property
    def mean_std(self) -> float:
        """Standard deviation of the mean of the standardised source devices: 1 where they all agree."""
        mean = self.basis(self.reference_NL).source_NS.mean(1) if self.devices else np.zeros(1)
        return max(float(mean.std()), 1e-3)

    def latency_ms(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, S) the source devices' predicted latencies."""
        columns = self.encoder.onehot(index_NL) if self.columns == "onehot" else _totals(self.encoder, index_NL)
        return self.coef_DS[0] + columns @ self.coef_DS[1:]

    def _raw(self, index_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        phi = self.encoder.phi(index_NL)
        known = phi.shape[1] >= len(FEATURES)
        return self.latency_ms(index_NL), summary(phi) if known else phi[:, :0], phi

    def basis(self, index_NL: np.ndarray) -> Basis:
        """The architectures in standardised columns; those that never vary are left out, a source included."""
        parts = []
        for values, reference in zip(self._raw(index_NL), self._raw(self.reference_NL), strict=True):
            mean, std = reference.mean(0), reference.std(0)
            varies = std > 1e-6 * (abs(mean) + 1e-12)
            parts.append((values[:, varies] - mean[varies]) / std[varies])
        return Basis(parts[0], parts[1], parts[2], self.encoder.onehot(index_NL))


def _totals(encoder: Encoder, index_NL: np.ndarray) -> np.ndarray:
    return summary(encoder.phi(index_NL)[:, : len(FEATURES)])


def robust_fit(columns_ND: np.ndarray, latency_ms_N: np.ndarray, alpha: float, positive: bool = False) -> np.ndarray:
    """(1 + D,) ridge coefficients that outliers do not move (Huber's weights, reweighted four times)."""
    measured = np.flatnonzero(~np.isnan(latency_ms_N))
    if len(measured) > MOST_ROWS:
        measured = np.random.default_rng(0).choice(measured, MOST_ROWS, replace=False)
    X, y, weight = columns_ND[measured], latency_ms_N[measured], np.ones(len(measured))
    for _ in range(4):
        model = Ridge(alpha=alpha, positive=positive).fit(X, y, sample_weight=weight)
        residual = abs(y - model.predict(X))
        weight = np.minimum(1.0, 2.0 * np.median(residual) / np.maximum(residual, 1e-9) + 1e-9)
    return np.concatenate([[model.intercept_], model.coef_])


def from_measurements(
    encoder: Encoder, devices: Sequence[str], index_NL: np.ndarray, latency_ms_NS: np.ndarray
) -> Source:
    """Source devices measured on whole networks of the target's own space; NaN where a device was not measured."""
    columns = encoder.onehot(index_NL)
    coef = [robust_fit(columns, latency_ms_NS[:, s], alpha=0.1) for s in range(len(devices))]
    return Source(encoder, tuple(devices), "onehot", np.column_stack(coef) if coef else _none(columns), index_NL)


def from_tables(
    encoder: Encoder, devices: Sequence[str], base_ms_S: np.ndarray, table_SLK: np.ndarray, reference_NL: np.ndarray
) -> Source:
    """Source devices given by additive tables (L, K) in ms. Only for encoders whose one-hot columns are (L, K)."""
    coef_DS = np.concatenate([np.asarray(base_ms_S)[None], np.reshape(table_SLK, (len(devices), -1)).T])
    return Source(encoder, tuple(devices), "onehot", coef_DS, reference_NL)


def from_other_space(
    encoder: Encoder,
    reference_NL: np.ndarray,
    devices: Sequence[str],
    other: Encoder,
    index_NL: np.ndarray,
    latency_ms_NS: np.ndarray,
) -> Source:
    """Source devices measured in another space: what a multiply-add, an element moved, a parameter and a launch cost.

    The costs are kept ≥ 0, which is what lets them leave the space that they were fitted in.
    """
    totals = _totals(other, index_NL)
    scale = totals.std(0) + 1e-12
    coef = [robust_fit(totals / scale, latency_ms_NS[:, s], alpha=10.0, positive=True) for s in range(len(devices))]
    coef_DS = np.column_stack(coef) if coef else _none(totals)
    coef_DS[1:] /= scale[:, None]
    return Source(encoder, tuple(devices), "totals", coef_DS, reference_NL)


def _none(columns_ND: np.ndarray) -> np.ndarray:
    return np.zeros((1 + columns_ND.shape[1], 0))
