"""What a latency predictor is: fit(source, samples) → .predict(basis) → (mean_N, std_N) in ms; and how good it is.

`bayes` is in use; those that it was compared with are in benchmarks/predictors.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from supernet.transfer.source import Basis, Samples, Source


class Fitted(Protocol):
    """A predictor that has seen the target's samples."""

    def predict(self, basis: Basis) -> tuple[np.ndarray, np.ndarray]:
        """(N,) expected latency and (N,) predictive standard deviation, ms."""


Fit = Callable[[Source, Samples], Fitted]


def leave_one_out(fit: Fit, source: Source, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """(n,) predictions and standard deviations of each sample by a fit to the others, ms."""
    means, stds = np.empty((2, len(samples.latency_ms_n)))
    for row in range(len(means)):
        mean, std = fit(source, samples.without(row)).predict(samples.basis[np.array([row])])
        means[row], stds[row] = mean[0], std[0]
    return means, stds
