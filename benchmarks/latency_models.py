"""Cost models of one device: an operation's shape → milliseconds. Used by latency_interpolation.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


@dataclass(frozen=True)
class Shape:
    """What one timed piece computes: 1×1 to `hidden` (if `expands`), depthwise k×k, 1×1 to `c_out`; or one plain
    convolution k×k (`hidden` 0). `hw` is the input's height and width."""

    hw: int
    c_in: int
    c_out: int
    stride: int
    kernel: int
    hidden: int
    expands: bool = True

    @property
    def place(self) -> tuple[int, int, int, int]:
        return self.hw, self.c_in, self.c_out, self.stride

    def costs(self) -> np.ndarray:
        """(6,) convolutions, dense MACs, depthwise MACs, values read and written, weights, residual values; ×10⁻⁶."""
        out = self.hw // self.stride
        if not self.hidden:
            dense = self.kernel**2 * self.c_in * self.c_out
            return np.array([1e6, dense * out**2, 0, self.c_in * self.hw**2 + self.c_out * out**2, dense, 0]) / 1e6
        expand = self.c_in * self.hidden if self.expands else 0
        moved = (self.c_in + self.hidden) * self.hw**2 * self.expands
        moved += self.hidden * (self.hw**2 + 2 * out**2) + self.c_out * out**2
        residual = self.c_out * out**2 * ((self.c_in, self.stride) == (self.c_out, 1))
        dense_macs = expand * self.hw**2 + self.hidden * self.c_out * out**2
        depthwise = self.kernel**2 * self.hidden
        weights = expand + depthwise + self.hidden * self.c_out
        return np.array([2e6 + 1e6 * self.expands, dense_macs, depthwise * out**2, moved, weights, residual]) / 1e6


def features(shapes: list[Shape]) -> np.ndarray:
    """(n, 8) logarithms for the regressions that need a smooth input."""
    costs = np.array([shape.costs() for shape in shapes])[:, :5]
    own = [(shape.hw, shape.kernel, max(shape.hidden, shape.c_in)) for shape in shapes]
    return np.log(np.hstack([costs + 1e-6, np.array(own, float)]))


class Additive:
    """Each convolution, MAC and moved value costs its own non-negative time; least squares of the relative error."""

    def fit(self, shapes: list[Shape], ms: np.ndarray) -> Additive:
        costs = np.array([shape.costs() for shape in shapes])
        self.ms_per_unit = nnls(costs / ms[:, None], np.ones(len(ms)))[0]
        return self

    def predict(self, shapes: list[Shape]) -> np.ndarray:
        return np.array([shape.costs() for shape in shapes]) @ self.ms_per_unit


class MacsAffine:
    """a + b · MACs: what a search without a table goes by."""

    def fit(self, shapes: list[Shape], ms: np.ndarray) -> MacsAffine:
        self.line = np.polyfit(self._macs(shapes), ms, 1, w=1 / ms)
        return self

    def predict(self, shapes: list[Shape]) -> np.ndarray:
        return np.maximum(np.polyval(self.line, self._macs(shapes)), 1e-3)

    def _macs(self, shapes: list[Shape]) -> np.ndarray:
        return np.array([shape.costs()[1:3].sum() for shape in shapes])


class LogModel:
    """A scikit-learn regressor on log features → log ms; with `residual`, of what the additive model leaves over."""

    def __init__(self, regressor: Any, residual: bool) -> None:
        self.regressor, self.residual = regressor, residual

    def fit(self, shapes: list[Shape], ms: np.ndarray) -> LogModel:
        self.base = Additive().fit(shapes, ms) if self.residual else None
        self.fitted = clone(self.regressor).fit(features(shapes), np.log(ms) - self._offset(shapes))
        return self

    def predict(self, shapes: list[Shape]) -> np.ndarray:
        return np.exp(self.fitted.predict(features(shapes)) + self._offset(shapes))

    def _offset(self, shapes: list[Shape]) -> np.ndarray:
        return np.log(self.base.predict(shapes)) if self.base else np.zeros(len(shapes))


def gaussian_process() -> Any:
    kernel = 0.3 * RBF(3.0, (0.5, 30)) + WhiteKernel(1e-3, (1e-7, 1.0))
    return make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=0))


def ridge() -> Any:
    return make_pipeline(StandardScaler(), PolynomialFeatures(2), StandardScaler(), RidgeCV(np.logspace(-4, 3, 15)))


MODELS: dict[str, Callable[[], Any]] = {
    "macs-affine": MacsAffine,
    "additive": Additive,
    "log-ridge": lambda: LogModel(ridge(), False),
    "log-gp": lambda: LogModel(gaussian_process(), False),
    "log-boosting": lambda: LogModel(GradientBoostingRegressor(random_state=0), False),
    "additive+ridge": lambda: LogModel(ridge(), True),
    "additive+gp": lambda: LogModel(gaussian_process(), True),
}
