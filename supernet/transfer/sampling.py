"""Which architectures to measure on a new device: n rows of a pool, chosen before anything is known of the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans

from supernet.transfer.source import Basis

Sampler = Callable[[Basis, int, np.random.Generator], np.ndarray]


def _known(basis: Basis) -> np.ndarray:
    """(N, Z) sources and totals, and the encoding, each block with total variance 1; a constant."""
    known = np.column_stack([basis.source_NS, basis.analytic_NA])
    blocks = [block / np.sqrt(block.shape[1]) for block in (known, basis.phi_NP) if block.shape[1]]
    return np.column_stack([*blocks, np.ones(len(basis))])


def random(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows without preference."""
    return rng.choice(len(basis), n, replace=False)


def quantile(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows, one from each n-quantile of the source devices' mean latency."""
    latency = (basis.source_NS if basis.source_NS.shape[1] else basis.analytic_NA).mean(1)
    return np.array([rng.choice(part) for part in np.array_split(np.argsort(latency), n)])


def cluster(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows nearest to the centres of n clusters; fewer distinct architectures are filled up at random."""
    known = _known(basis)
    centres = KMeans(n, n_init=1, random_state=int(rng.integers(2**31))).fit(known)
    rows = np.unique(centres.transform(known).argmin(0))
    others = np.setdiff1d(np.arange(len(basis)), rows)
    return np.concatenate([rows, rng.choice(others, n - len(rows), replace=False)])


def d_optimal(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows chosen greedily where a Bayesian linear model is most uncertain: the largest gain of log det.

    Prior and noise variance are 1: a noisy device. Chaloner & Verdinelli, "Bayesian Experimental Design", 1995.
    """
    known = _known(basis)
    covariance = np.eye(known.shape[1])
    rows: list[int] = []
    for _ in range(n):
        uncertain = ((known @ covariance) * known).sum(1)
        uncertain[rows] = -1.0
        rows.append(int(uncertain.argmax()))
        step = covariance @ known[rows[-1]]
        covariance -= np.outer(step, step) / (uncertain[rows[-1]] + 1.0)
    return np.array(rows)


SAMPLERS: dict[str, Sampler] = {"random": random, "quantile": quantile, "cluster": cluster, "d_optimal": d_optimal}
