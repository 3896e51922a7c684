"""A latency table for a new device from about twenty measured networks: `supernet lut sample` and `… adapt`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import norm

from latency_luts.validation import errors, is_poor
from supernet.errors import UserError
from supernet.spaces import SearchSpace
from supernet.transfer import bayes
from supernet.transfer.predictors import leave_one_out
from supernet.transfer.sampling import d_optimal
from supernet.transfer.sheet import FEWEST, Sheet
from supernet.transfer.shipped import random_architectures, shipped_source
from supernet.transfer.source import Samples, Source

SURPRISING = 4.0  # standard deviations


@dataclass(frozen=True)
class Adapted:
    """A table's content (format of latency_luts/), and what the user must be told."""

    content: dict[str, Any]
    warnings: tuple[str, ...]


def sample_architectures(space: SearchSpace, n: int, seed: int = 0) -> list[tuple[str, ...]]:
    """n architectures (operation names) whose measurement tells most about a device: D-optimal of 2,000 random ones."""
    if n < FEWEST:
        raise UserError(f"{n} networks are too few to adapt a table: at least {FEWEST}; 20 are a good number.")
    pool_NL = np.unique(random_architectures(space, 2000, seed), axis=0)
    if len(pool_NL) < n:
        raise UserError(f"{space.name} has too few architectures for {n} samples: at most {len(pool_NL)}.")
    rows = d_optimal(shipped_source(space).basis(pool_NL), n, np.random.default_rng(seed))
    return [space.names(pool_NL[row]) for row in rows]


def adapt(device: str, sheet: Sheet, source: Source | None = None) -> Adapted:
    """The adapted table of a space that tables are made for (`TABLE_SPACES`).

    `validation` is leave-one-out: each measured network foretold from the others; `pairs` are [foretold, measured] ms. Where
    the sheet has networks that are there as a check, the larger mean error counts: theirs or that of all.

    `predictive_std_ms` is the standard deviation of one measurement of a network that was not measured (root mean
    square over random architectures). Both are for budgets that must hold with a given probability: see `quantile_margin_ms`.

    Raises UserError where the prediction is not above 0 ms for every network.
    """
    space, latency_ms_n = sheet.space, sheet.latency_ms_n
    source = source or shipped_source(space)
    samples = Samples(source.basis(sheet.index_nL), latency_ms_n)
    posterior = bayes.fit(source, samples)
    random_NL = random_architectures(space, 2000, seed=1)
    mean_N, std_N = posterior.predict(source.basis(random_NL))
    if mean_N.min() <= 0:
        raise UserError(
            f"These measurements make {(mean_N <= 0).mean():.0%} of networks take no time at all: single times are wrong, "
            "or of different units. Measure again on a quiet device."
        )
    base_ms, table_TK, types = additive_table(space, random_NL, mean_N)
    left_out, left_std = leave_one_out(bayes.fit, source, samples)
    validation: dict[str, Any] = {
        **errors(left_out, latency_ms_n),
        "n": len(latency_ms_n),
        "kind": "leave-one-out",
        "predictive_std_ms": float(np.sqrt((std_N**2).mean())),
        "pairs": [[float(p), float(m)] for p, m in zip(left_out, latency_ms_n, strict=True)],
    }
    if sheet.check_n.any():
        validation["check"] = {"n": int(sheet.check_n.sum()),
                               "mape": errors(left_out[sheet.check_n], latency_ms_n[sheet.check_n])["mape"]}  # fmt: skip
        validation["mape"] = max(validation["mape"], validation["check"]["mape"])
    spec_of = {spec.block_type: spec for spec in space.layers}
    entries = [
        {"op": op, "c_in": spec.c_in, "c_out": spec.c_out, "stride": spec.stride, "resolution": spec.resolution,
         "median_ms": float(table_TK[row, space.ops.index(op)]), "iqr_ms": None, "n": None}
        for row, spec in enumerate(spec_of[block_type] for block_type in types)
        for op in spec.ops
    ]  # fmt: skip
    content = {
        "schema_version": 1, "device": device, "space": space.name, "runtime": {"name": sheet.runtime, "version": None},
        "dtype": sheet.dtype, "batch": None, "threads": sheet.threads, "resolution": space.resolution, "unit": "ms",
        "provenance": "adapted", "licence": "MIT",
        "source": f"{len(latency_ms_n)} whole networks measured on {device}, and {len(source.devices)} other devices' "
        "public tables (HELP, HW-NAS-Bench; MIT)",
        "base_ms": float(base_ms), "entries": entries, "validation": validation,
        "notes": "Adapted by a Bayesian average of linear models; single entries are no measurements: only sums are.",
    }  # fmt: skip
    return Adapted(content, _warnings(sheet, validation, left_out, left_std))


def _warnings(sheet: Sheet, validation: dict[str, Any], left_out: np.ndarray, std: np.ndarray) -> tuple[str, ...]:
    found, measured = [], sheet.latency_ms_n
    if is_poor(validation):
        found.append(
            f"The other devices do not explain this one: each network foretold from the others, Spearman is "
            f"{validation['spearman']:.2f} and the mean error {validation['mape']:.1%}. Measure more networks "
            "(supernet lut sample), on a quiet device, or build the whole table (supernet lut build). "
            "The search takes this one only with --accept-poor-table."
        )
    if sheet.dtype == "int8":
        found.append(
            "All other devices were measured in float32, and int8 times follow other rules: expect more error than is told "
            "here. Build the whole table if you can: supernet lut build --dtype int8."
        )
    elif sheet.dtype is None:
        found.append("The sheet does not tell the dtype; the table holds for float32 only if that was measured.")
    surprise = abs(left_out - measured) / np.maximum(std, 1e-12)
    for row in np.flatnonzero(surprise > SURPRISING):
        found.append(f"Network {row + 1} took {measured[row]:.4g} ms where {left_out[row]:.4g} ± {std[row]:.2g} were "
                     "expected: measure it again.")  # fmt: skip
    return tuple(found)


def additive_table(
    space: SearchSpace, index_NL: np.ndarray, latency_ms_N: np.ndarray
) -> tuple[float, np.ndarray, list[str]]:
    """(base_ms, (T, K) ms, T block types): the table whose sums are nearest to the latencies, and no time below 0.

    A linear predictor is hit exactly where no operation got a negative time.
    """
    types = list(dict.fromkeys(spec.block_type for spec in space.layers))
    K = len(space.ops)
    counts = np.zeros((len(index_NL), len(types) * K))
    for row, spec in enumerate(space.layers):
        np.add.at(counts, (np.arange(len(index_NL)), types.index(spec.block_type) * K + index_NL[:, row]), 1)
    times, _ = nnls(np.column_stack([np.ones(len(counts)), counts]), np.maximum(latency_ms_N, 0))
    return float(times[0]), times[1:].reshape(len(types), K), types


def quantile_margin_ms(content: dict[str, Any], quantile: float) -> float:
    """What to take off a budget so that a measured network keeps it with probability `quantile`; never below 0.

    Split conformal prediction on the n networks of the table's `validation`, each foretold without itself: of the
    ⌈q (n + 1)⌉-th smallest residual (Vovk et al. 2005; Barber et al., "Predictive inference with the jackknife+",
    Annals of Statistics 2021), and no less than Φ⁻¹(q) · `predictive_std_ms` where the table states that.
    Raises UserError for a table without such networks, and for a quantile that needs more of them.
    """
    validation = content["validation"] or {}
    pairs, std_ms = validation.get("pairs"), validation.get("predictive_std_ms")
    normal_ms = 0.0 if std_ms is None else float(norm.ppf(quantile) * std_ms)
    if content["provenance"] == "estimated" or (pairs is None and std_ms is None):
        raise UserError(
            f"The table of {content['device']} has no measured networks to calibrate a quantile on: it needs a table that was "
            "measured (supernet lut build) or adapted (supernet lut adapt)."
        )
    if pairs is None:  # adapted before 0.3: the normal quantile alone
        return normal_ms
    residual_n = np.sort([measured - foretold for foretold, measured in pairs])
    rank = math.ceil(quantile * (len(residual_n) + 1) - 1e-9)
    if rank > len(residual_n):
        raise UserError(
            f"--latency-quantile {quantile:g} needs {math.ceil(quantile / (1 - quantile) - 1e-9)} measured networks; the table "
            f"of {content['device']} has {len(residual_n)}, which carry {len(residual_n) / (len(residual_n) + 1):.3f} at most."
        )
    return max(float(residual_n[rank - 1]), normal_ms, 0.0)
