"""Which architectures to measure on a new device: n rows of a pool, chosen before anything is known of the device.

Others that it was compared with are in benchmarks/samplers.py.
"""

from __future__ import annotations

import numpy as np

from supernet.transfer.source import Basis


def known_columns(basis: Basis) -> np.ndarray:
    """(N, Z) sources and totals, and the encoding, each block with total variance 1; a constant."""
    known = np.column_stack([basis.source_NS, basis.analytic_NA])
    blocks = [block / np.sqrt(block.shape[1]) for block in (known, basis.phi_NP) if block.shape[1]]
    return np.column_stack([*blocks, np.ones(len(basis))])


def d_optimal(basis: Basis, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) rows chosen greedily where a Bayesian linear model is most uncertain: the largest gain of log det.

    Prior and noise variance are 1: a noisy device. Chaloner & Verdinelli, "Bayesian Experimental Design", 1995.
    """
    known = known_columns(basis)
    covariance = np.eye(known.shape[1])
    rows: list[int] = []
    for _ in range(n):
        uncertain = ((known @ covariance) * known).sum(1)
        uncertain[rows] = -1.0
        rows.append(int(uncertain.argmax()))
        step = covariance @ known[rows[-1]]
        covariance -= np.outer(step, step) / (uncertain[rows[-1]] + 1.0)
    return np.array(rows)
