"""Samplers that were compared (docs/costs.md): which n architectures of a pool to measure on a new device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans

from supernet.transfer.sampling import d_optimal, known_columns
from supernet.transfer.source import Basis

Sampler = Callable[[Basis, int, np.random.Generator], np.ndarray]


def random(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows without preference."""
    return rng.choice(len(basis), n, replace=False)


def quantile(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows, one from each n-quantile of the source devices' mean latency."""
    latency = (basis.source_NS if basis.source_NS.shape[1] else basis.analytic_NA).mean(1)
    return np.array([rng.choice(part) for part in np.array_split(np.argsort(latency), n)])


def cluster(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows nearest to the centres of n clusters; fewer distinct architectures are filled up at random."""
    known = known_columns(basis)
    centres = KMeans(n, n_init=1, random_state=int(rng.integers(2**31))).fit(known)
    rows = np.unique(centres.transform(known).argmin(0))
    others = np.setdiff1d(np.arange(len(basis)), rows)
    return np.concatenate([rows, rng.choice(others, n - len(rows), replace=False)])


SAMPLERS: dict[str, Sampler] = {"random": random, "quantile": quantile, "cluster": cluster, "d_optimal": d_optimal}
