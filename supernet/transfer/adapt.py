"""A latency table for a new device from about twenty measured networks: `supernet lut sample` and `… adapt`."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import norm, spearmanr

from supernet.errors import UserError
from supernet.spaces import SearchSpace
from supernet.transfer import bayes
from supernet.transfer.predictors import leave_one_out
from supernet.transfer.sampling import d_optimal
from supernet.transfer.shipped import random_architectures, shipped_source
from supernet.transfer.source import Samples, Source

FEWEST = 5
POOR_SPEARMAN = 0.8  # of the left-out samples: below it the other devices do not explain this one
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


def write_measurement_sheet(path: Path, architectures: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """A CSV to fill in: name, ops (separated by spaces), latency_ms (empty)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "ops", "latency_ms"])
        writer.writerows([name, " ".join(ops), ""] for name, ops in zip(names, architectures, strict=True))


def read_measurement_sheet(path: Path, space: SearchSpace) -> tuple[np.ndarray, np.ndarray]:
    """(n, L) architectures, and (n,) ms. Rows of one architecture are runs: their median counts.

    Raises UserError, with the line, for a missing column, a wrong operation or a latency that is no positive number;
    rows without latency are left out.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. `supernet lut sample` writes such a file, to be filled in.")
    runs: dict[tuple[int, ...], list[float]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"ops", "latency_ms"} - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{path}: the column {', '.join(sorted(missing))} is missing.")
        for row in reader:
            text = (row["latency_ms"] or "").strip()
            if not text:
                continue
            try:
                index = tuple(space.index_L((row["ops"] or "").split()).tolist())
                latency = float(text)
            except ValueError as error:  # UserError of the space is one, too
                raise UserError(f"{path}, line {reader.line_num}: {error}") from error
            if not (math.isfinite(latency) and latency > 0):
                raise UserError(f"{path}, line {reader.line_num}: {text} is not a latency in ms.")
            runs.setdefault(index, []).append(latency)
    if len(runs) < FEWEST:
        raise UserError(
            f"{path} has {len(runs)} measured networks; at least {FEWEST} are needed, 20 are a good number."
        )
    return np.array(list(runs)), np.array([float(np.median(times)) for times in runs.values()])


def adapt(
    space: SearchSpace, device: str, index_nL: np.ndarray, latency_ms_n: np.ndarray, source: Source | None = None
) -> Adapted:
    """The adapted table of a space that tables are made for (`TABLE_SPACES`).

    `validation` is leave-one-out: each measured network foretold from the others.

    `predictive_std_ms` is the standard deviation of one measurement of a network that was not measured (root mean
    square over random architectures), for budgets that must hold with a given probability: see `quantile_margin_ms`.
    """
    source = source or shipped_source(space)
    samples = Samples(source.basis(index_nL), latency_ms_n)
    posterior = bayes.fit(source, samples)
    random_NL = random_architectures(space, 2000, seed=1)
    mean_N, std_N = posterior.predict(source.basis(random_NL))
    base_ms, table_TK, types = additive_table(space, random_NL, mean_N)
    left_out, left_std = leave_one_out(bayes.fit, source, samples)
    errors = abs(left_out - latency_ms_n)
    flat = np.ptp(latency_ms_n) == 0 or np.ptp(left_out) == 0
    validation = {
        "n": len(latency_ms_n),
        "kind": "leave-one-out",
        "mape": float((errors / latency_ms_n).mean()),
        "max_error": float((errors / latency_ms_n).max()),
        "spearman": 0.0 if flat else float(spearmanr(left_out, latency_ms_n).statistic),
        "predictive_std_ms": float(np.sqrt((std_N**2).mean())),
    }
    spec_of = {spec.block_type: spec for spec in space.layers}
    entries = [
        {"op": op, "c_in": spec.c_in, "c_out": spec.c_out, "stride": spec.stride, "resolution": spec.resolution,
         "median_ms": float(table_TK[row, space.ops.index(op)]), "iqr_ms": None, "n": None}
        for row, spec in enumerate(spec_of[block_type] for block_type in types)
        for op in spec.ops
    ]  # fmt: skip
    content = {
        "schema_version": 1, "device": device, "space": space.name, "runtime": {"name": None, "version": None},
        "dtype": None, "batch": None, "threads": None, "resolution": space.resolution, "unit": "ms",
        "provenance": "adapted", "licence": "MIT",
        "source": f"{len(latency_ms_n)} whole networks measured on {device}, and {len(source.devices)} other devices' "
        "public tables (HELP, HW-NAS-Bench; MIT)",
        "base_ms": float(base_ms), "entries": entries, "validation": validation,
        "notes": "Adapted by a Bayesian average of linear models; single entries are no measurements: only sums are.",
    }  # fmt: skip
    return Adapted(content, _warnings(validation, left_out, left_std, latency_ms_n))


def _warnings(
    validation: dict[str, Any], left_out: np.ndarray, std: np.ndarray, measured: np.ndarray
) -> tuple[str, ...]:
    found = []
    if validation["spearman"] < POOR_SPEARMAN:
        found.append(
            f"The other devices do not explain this one: each network foretold from the others, Spearman is "
            f"{validation['spearman']:.2f} and the mean error {validation['mape']:.1%}. Measure more networks "
            "(supernet lut sample), on a quiet device, or build the whole table (supernet lut build)."
        )
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
    """What to take off a budget so that a measured network keeps it with probability `quantile` (0 at .5).

    Raises UserError for a table without a predictive standard deviation.
    """
    std = (content["validation"] or {}).get("predictive_std_ms")
    if std is None:
        raise UserError(
            f"The table of {content['device']} states no predictive_std_ms: a quantile needs an adapted table."
        )
    return float(norm.ppf(quantile) * std)
