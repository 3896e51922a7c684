"""Bayesian few-shot latency: an average of many linear models, each weighed by how well it foretold the samples.

Every member h says  latency = ρ_h · (one known function) + w · (source devices) + v · (counted primitives) + noise,
where the known function is a source device, their mean, or a total such as multiply-adds ("my device is like that
one"), and w, v are Gaussian with member h's own scales. Members are drawn from a wide prior that knows no device; their
weight is their evidence (marginal likelihood) on the target's samples, so nothing is tuned on a task. Gaussian
linear models are closed under this: the average is one linear model with mean and covariance. Bayesian model averaging:
Hoeting et al., Statistical Science 1999; the evidence: Rasmussen & Williams, "Gaussian Processes for Machine
Learning", eq. 5.8; Student-t noise by reweighting: Lange, Little & Taylor, JASA 1989.

Shapes: H members, n samples, Z columns (1, S sources, A totals, P encoding).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supernet.transfer.source import Basis, Samples, Source

MEMBERS = 500
DEGREES = 4.0  # of freedom of the noise: a phone's outlier must not turn the whole prediction
REWEIGHTINGS = 3
HOPELESS = -25.0  # log weight, against the best member's, below which a member is not followed further


@dataclass(frozen=True)
class LinearPosterior:
    """latency_ms = columns(basis) @ mean_Z, uncertain by covariance_ZZ, plus noise of one measurement."""

    mean_Z: np.ndarray
    covariance_ZZ: np.ndarray
    noise_ms: float

    def predict(self, basis: Basis) -> tuple[np.ndarray, np.ndarray]:
        """(N,) expected latency in ms and (N,) standard deviation of one measurement of it."""
        columns_NZ = columns(basis)
        variance_N = ((columns_NZ @ self.covariance_ZZ) * columns_NZ).sum(1)
        return columns_NZ @ self.mean_Z, np.sqrt(np.maximum(variance_N, 0) + self.noise_ms**2)


def columns(basis: Basis) -> np.ndarray:
    """(N, Z) constant, source devices, analytic totals, encoding."""
    return np.column_stack([np.ones(len(basis)), basis.source_NS, basis.analytic_NA, basis.phi_NP])


def _members(S: int, A: int, P: int, mean_std: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prior mean (H, Z), prior variance (H, Z) and noise (H,) of each member, in units of the samples' spread."""
    rng = np.random.default_rng(seed)
    scale_source, scale_phi = np.exp(rng.uniform(-3, 0.5, (2, MEMBERS)))
    noise_H = np.exp(rng.uniform(-4, 0.3, MEMBERS))
    share_H = rng.uniform(0, 1, MEMBERS) * (rng.random(MEMBERS) > 0.2)  # a fifth of the members resemble nothing known
    mean_HZ, variance_HZ = np.zeros((MEMBERS, 1 + S + A + P)), np.zeros((MEMBERS, 1 + S + A + P))
    if S + A:
        which = rng.integers(0, S + A + (S > 0), MEMBERS)
        alike = np.eye(S + A + 1)[which][:, : S + A]
        alike[which == S + A, :S] = 1 / (max(S, 1) * mean_std)
        mean_HZ[:, 1 : 1 + S + A] = share_H[:, None] * alike
    variance_HZ[:, 0] = 1.0
    variance_HZ[:, 1 : 1 + S] = (scale_source**2 / max(S, 1))[:, None]
    variance_HZ[:, 1 + S + A :] = (scale_phi**2 / max(P, 1))[:, None]
    return mean_HZ, variance_HZ, noise_H


def fit(source: Source, samples: Samples, seed: int = 0) -> LinearPosterior:
    """Posterior of the target's latency given its samples; some 20 ms of computing for 20 samples."""
    return fit_with(samples, source.mean_std, seed)


def fit_with(samples: Samples, mean_std: float, seed: int = 0) -> LinearPosterior:
    """`fit` for any known functions in `source_NS` (accuracy: zero-cost proxies); `mean_std` is their mean's spread."""
    basis, y = samples.basis, samples.latency_ms_n
    n = len(y)
    S, A, P = basis.source_NS.shape[1], basis.analytic_NA.shape[1], basis.phi_NP.shape[1]
    mean_HZ, prior_HZ, noise_H = _members(S, A, P, mean_std, seed)
    X = columns(basis)
    centre, spread = y.mean(), max(float(y.std()), 1e-9 * abs(float(y.mean())) + 1e-12)
    residual_Hn = (y - centre) / spread - mean_HZ @ X.T
    gram_Hnn = (prior_HZ[:, None, :] * X) @ X.T
    trust_n = np.ones(n)
    for _ in range(1 + REWEIGHTINGS):
        noise_Hn = noise_H[:, None] ** 2 / trust_n
        lower = np.linalg.cholesky(gram_Hnn + noise_Hn[:, :, None] * np.eye(n))
        white = np.linalg.solve(lower, residual_Hn[:, :, None])[:, :, 0]
        evidence = -0.5 * (white**2).sum(1) - np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(1)
        log_weight = evidence - evidence.max()
        kept = log_weight > HOPELESS
        mean_HZ, prior_HZ, noise_H = mean_HZ[kept], prior_HZ[kept], noise_H[kept]
        residual_Hn, gram_Hnn, lower = residual_Hn[kept], gram_Hnn[kept], lower[kept]
        weight_H = np.exp(log_weight[kept]) / np.exp(log_weight[kept]).sum()
        dual_Hn = np.linalg.solve(lower.transpose(0, 2, 1), white[kept][:, :, None])[:, :, 0]
        surprise_n = weight_H @ (noise_Hn[kept] * dual_Hn / noise_H[:, None]) ** 2
        trust_n = np.minimum(1.0, (DEGREES + 1) / (DEGREES + surprise_n))
    beta_HZ = mean_HZ + prior_HZ * (dual_Hn @ X)
    mean_Z = weight_H @ beta_HZ
    likely = weight_H > 1e-4
    gain = np.linalg.solve(lower[likely], X * prior_HZ[likely][:, None, :]) * np.sqrt(weight_H[likely])[:, None, None]
    gain = gain.reshape(-1, X.shape[1])
    apart = (beta_HZ - mean_Z) * np.sqrt(weight_H)[:, None]
    covariance = np.diag(weight_H[likely] @ prior_HZ[likely]) - gain.T @ gain + apart.T @ apart
    mean_Z = mean_Z * spread
    mean_Z[0] += centre
    return LinearPosterior(mean_Z, covariance * spread**2, float(np.sqrt(weight_H @ noise_H**2)) * spread)
