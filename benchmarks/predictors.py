"""Latency predictors that were compared (docs/costs.md): fit(source, samples) → .predict(basis) → (mean_N, std_N) in ms."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.neural_network import MLPRegressor

from supernet.transfer import bayes
from supernet.transfer.predictors import Fit, Fitted, leave_one_out
from supernet.transfer.source import Basis, Samples, Source


@dataclass(frozen=True)
class Regressor:
    """A scikit-learn regressor on chosen columns, in the samples' spread; `std_ms` is None where it has its own."""

    model: Any
    columns: Callable[[Basis], np.ndarray]
    centre_ms: float
    spread_ms: float
    std_ms: float | None

    def predict(self, basis: Basis) -> tuple[np.ndarray, np.ndarray]:
        X = self.columns(basis)
        if self.std_ms is not None:
            mean = self.model.predict(X)
            return self.centre_ms + self.spread_ms * mean, np.full(len(X), self.std_ms)
        mean, std = self.model.predict(X, return_std=True)
        return self.centre_ms + self.spread_ms * mean, self.spread_ms * std


def _regress(model: Any, columns: Callable[[Basis], np.ndarray], samples: Samples, own_std: bool = False) -> Regressor:
    y = samples.latency_ms_n
    centre, spread = float(y.mean()), float(y.std()) or 1.0
    X = columns(samples.basis)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound of a scale was reached: harmless with 20 samples
        model.fit(X, (y - centre) / spread)
    residual = (y - centre) / spread - (0.0 if own_std else model.predict(X))
    std = None if own_std else float(np.sqrt((residual**2).sum() / max(1, len(y) - 2))) * spread
    return Regressor(model, columns, centre, spread, std)


def fit_additive(source: Source, samples: Samples) -> Fitted:
    """An additive table by regularised least squares on the one-hot columns; knows nothing of other devices."""
    return _regress(BayesianRidge(), lambda basis: basis.onehot_ND, samples, own_std=True)


def fit_ridge(source: Source, samples: Samples) -> Fitted:
    """Bayesian ridge with the source devices' predictions as columns; the totals where there is no source."""
    columns = (lambda basis: basis.source_NS) if source.devices else (lambda basis: basis.analytic_NA)
    return _regress(BayesianRidge(), columns, samples, own_std=True)


def fit_gp(source: Source, samples: Samples) -> Fitted:
    """Gaussian process over sources and encoding: linear + smooth + noise, scales by the largest evidence."""
    kernel = ConstantKernel(0.5) * DotProduct(1.0, "fixed") + ConstantKernel(0.1) * RBF(5.0) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, normalize_y=False)
    scale = 1 / np.sqrt(max(1, len(source.devices)))
    return _regress(
        model,
        lambda b: np.column_stack([b.source_NS * scale, b.phi_NP / np.sqrt(max(1, b.phi_NP.shape[1]))]),
        samples,
        own_std=True,
    )


def fit_selection(source: Source, samples: Samples) -> Fitted:
    """The one source device (or total) that ranks the samples most like the target, scaled to its milliseconds."""
    known = np.column_stack([samples.basis.source_NS, samples.basis.analytic_NA])
    if np.ptp(samples.latency_ms_n) == 0:
        best = 0
    else:
        ranks = [spearmanr(column, samples.latency_ms_n).statistic if np.ptp(column) else -1.0 for column in known.T]
        best = int(np.argmax(ranks))
    return _regress(
        LinearRegression(positive=True),
        lambda basis: np.column_stack([basis.source_NS, basis.analytic_NA])[:, [best]],
        samples,
    )


def fit_embedding(source: Source, samples: Samples) -> Fitted:
    """A network trained on the source devices: encoding ⊕ hardware embedding → latency.

    A device's embedding is its standardised latency on the target's sampled architectures (Lee et al., "HELP",
    NeurIPS 2021), so the target's is known without training; the encoding is Akhauri & Abdelfattah's idea
    ("Multi-Predict", AutoML 2023): operations and zero-cost counts, not the space.
    """
    if not source.devices:
        return fit_ridge(source, samples)
    rng = np.random.default_rng(0)
    rows = rng.choice(len(source.reference_NL), min(600, len(source.reference_NL)), replace=False)
    seen = source.basis(source.reference_NL[rows])

    def encode(basis: Basis, embedding_n: np.ndarray) -> np.ndarray:
        return np.column_stack([basis.analytic_NA, basis.phi_NP, np.tile(embedding_n, (len(basis), 1))])

    def standard(values: np.ndarray) -> tuple[np.ndarray, float, float]:
        mean, std = float(values.mean()), float(values.std()) or 1.0
        return (values - mean) / std, mean, std

    X, y = [], []
    for s in range(seen.source_NS.shape[1]):
        embedding, mean, std = standard(samples.basis.source_NS[:, s])
        X.append(encode(seen, embedding))
        y.append((seen.source_NS[:, s] - mean) / std)
    network = MLPRegressor(
        hidden_layer_sizes=(64, 64), alpha=1e-3, max_iter=40, random_state=0, learning_rate_init=3e-3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(np.concatenate(X), np.concatenate(y))
    embedding, _, _ = standard(samples.latency_ms_n)
    return _regress(
        LinearRegression(positive=True), lambda basis: network.predict(encode(basis, embedding))[:, None], samples
    )


def fit_ensemble(source: Source, samples: Samples) -> Fitted:
    """The member with the smallest leave-one-out error (mean absolute) on the target's own samples."""
    members: tuple[Fit, ...] = (fit_ridge, fit_gp, fit_selection, bayes.fit)
    errors = [abs(leave_one_out(fit, source, samples)[0] - samples.latency_ms_n).mean() for fit in members]
    return members[int(np.argmin(errors))](source, samples)


PREDICTORS: dict[str, Fit] = {
    "additive": fit_additive,
    "ridge": fit_ridge,
    "gp": fit_gp,
    "selection": fit_selection,
    "embedding": fit_embedding,
    "bayes": bayes.fit,
    "ensemble": fit_ensemble,
}
