"""Few-shot latency prediction on real measurements: how well are architectures ranked on a device that was measured
on 5, 10, 20 or 50 of them, given other devices?

    python benchmarks/latency_transfer.py [--tasks FILE] [--data FILE ...] [--quick] [--fresh]

Figures `TASK` and `TASK_10` of the summary (mean Spearman over target devices and draws at 20 and 10 samples, on every
architecture that was not sampled, untrimmed) are for the predictor `bayes` with its own choice of samples,
`d_optimal` from a random pool of 1,000; NASFLAT's published figures are for its own sampler, too. `TASK_random` has
random samples. Resumes where it stopped: every run is in `records`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, norm, rankdata
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # runs from a checkout that is not installed

from predictors import PREDICTORS  # noqa: E402
from results_io import read_records, read_results, write_results  # noqa: E402
from samplers import SAMPLERS  # noqa: E402
from transfer_data import Measurements, load, space_name  # noqa: E402

from supernet.errors import UserError  # noqa: E402
from supernet.transfer.adapt import quantile_margin_ms  # noqa: E402
from supernet.transfer.predictors import leave_one_out  # noqa: E402
from supernet.transfer.source import Basis, Samples, Source, from_measurements, from_other_space  # noqa: E402

DATA = HERE.parent.parent / "shared" / "data" / "latency"
SUMS = ("raspi4", "pixel3", "eyeriss", "fpga")  # sums of separate operation costs, not end-to-end measurements
POOL = 1000
CHOICES = (("bayes", "d_optimal"), ("bayes", "random"), ("bayes", "quantile"), ("bayes", "cluster"),
           ("ridge", "random"),
           ("selection", "random"))  # fmt: skip
Record = dict[str, Any]


def score(latency_ms_N: np.ndarray, mean_N: np.ndarray, std_N: np.ndarray, seconds: float) -> Record:
    """Rank correlations, relative error where it is defined, and how often the 90% quantile held."""
    spearman = np.corrcoef(rankdata(latency_ms_N), rankdata(mean_N))[0, 1] if np.ptp(mean_N) else 0.0
    defined = latency_ms_N.min() > 0.05 * np.median(latency_ms_N)  # near-zero times: a relative error says nothing
    return {
        "spearman": round(float(spearman), 5),
        "kendall": round(float(kendalltau(latency_ms_N, mean_N).statistic), 5) if np.ptp(mean_N) else 0.0,
        "mape": round(float((abs(mean_N - latency_ms_N) / latency_ms_N).mean()), 5) if defined else None,
        "below_q90": round(float((latency_ms_N <= mean_N + norm.ppf(0.9) * std_N).mean()), 4),
        "within_90": round(float((abs(latency_ms_N - mean_N) <= norm.ppf(0.95) * std_N).mean()), 4),
        "seconds": round(seconds, 4),
    }


def run(
    source: Source,
    basis: Basis,
    latency_ms_N: np.ndarray,
    predictor: str,
    sampler: str,
    n: int,
    draw: int,
    test_N: np.ndarray | None = None,
    pool_N: np.ndarray | None = None,
) -> Record:
    """One adaptation: n samples of the rows `pool_N`, scored on the rows `test_N` that were not sampled."""
    rng = np.random.default_rng([draw, n])
    measured = ~np.isnan(latency_ms_N)
    candidates = np.flatnonzero(measured if pool_N is None else measured & pool_N)
    if sampler != "random" and len(candidates) > POOL:
        candidates = rng.choice(candidates, POOL, replace=False)
    began = time.perf_counter()
    rows = candidates[SAMPLERS[sampler](basis[candidates], n, rng)]
    fitted = PREDICTORS[predictor](source, Samples(basis[rows], latency_ms_N[rows]))
    mean_N, std_N = fitted.predict(basis)
    seconds = time.perf_counter() - began
    test = measured if test_N is None else measured & test_N
    test = np.setdiff1d(np.flatnonzero(test), rows)
    return score(latency_ms_N[test], mean_N[test], std_N[test], seconds)


def cover(source: Source, basis: Basis, latency_ms_N: np.ndarray, n: int, draw: int) -> Record:
    """One adaptation as `supernet lut adapt` makes it: how often a measured network keeps a budget of quantile .9.

    `normal` is the share that the margin Φ⁻¹(.9) · predictive_std_ms covers, which was the rule before. Widths are shares of the
    median latency.
    """
    rng = np.random.default_rng([draw, n])
    candidates = rng.choice(np.flatnonzero(~np.isnan(latency_ms_N)), POOL, replace=False)
    rows = candidates[SAMPLERS["d_optimal"](basis[candidates], n, rng)]
    samples = Samples(basis[rows], latency_ms_N[rows])
    left_out, _ = leave_one_out(PREDICTORS["bayes"], source, samples)
    mean_N, std_N = PREDICTORS["bayes"](source, samples).predict(basis)
    std_ms = float(np.sqrt((std_N**2).mean()))
    pairs = list(zip(left_out.tolist(), samples.latency_ms_n.tolist(), strict=True))
    validation = {"pairs": pairs, "predictive_std_ms": std_ms}
    margin_ms = quantile_margin_ms({"device": "", "provenance": "adapted", "validation": validation}, 0.9)
    test = np.setdiff1d(np.flatnonzero(~np.isnan(latency_ms_N)), rows)
    above_N, middle = latency_ms_N[test] - mean_N[test], float(np.median(latency_ms_N[test]))
    normal_ms = float(norm.ppf(0.9) * std_ms)
    return {
        "coverage": round(float((above_N <= margin_ms).mean()), 4),
        "normal": round(float((above_N <= normal_ms).mean()), 4),
        "width": round(margin_ms / middle, 5),
        "normal_width": round(normal_ms / middle, 5),
    }


def family(device: str) -> str:
    """Devices that teach too much about each other to be left in: makers of GPUs, server CPUs, phones."""
    kinds = {"nvidia": ("1080", "2080", "titan"), "xeon": ("gold", "silver"),
             "phone": ("pixel", "samsung", "essential")}  # fmt: skip
    return next((kind for kind, names in kinds.items() if device.startswith(names)), device)


class Book:
    """Every run so far, on disk; a run that is in it is not run again."""

    def __init__(self, name: str, folder: Path, settings: Record, fresh: bool) -> None:
        self.name, self.folder, self.settings, self.saved = name, folder, settings, time.monotonic()
        there = (folder / f"{name}.json").is_file() and not fresh
        same = there and read_results(name, folder)["summary"].get("settings") == json.dumps(settings)
        self.records: list[Record] = read_records(name, folder) if same else []
        self.done = {self.key(record) for record in self.records}

    @staticmethod
    def key(record: Record) -> tuple[Any, ...]:
        return tuple(record[k] for k in ("part", "task", "device", "predictor", "sampler", "n", "draw"))

    def add(self, record: Record, compute: Callable[[], Record]) -> None:
        if self.key(record) in self.done:
            return
        self.records.append({**record, **compute()})
        self.done.add(self.key(record))
        if time.monotonic() - self.saved > 60:
            self.save()

    def save(self) -> None:
        write_results(self.name, summarise(self.records, self.settings), self.records, folder=self.folder)
        self.saved = time.monotonic()

    def mean(self, column: str = "spearman", **where: Any) -> float | None:
        return mean(self.records, column, **where)


def mean(records: Sequence[Record], column: str = "spearman", skip: Sequence[str] = (), **where: Any) -> float | None:
    """Mean over devices of the mean over draws of the records that match; None where there are none."""
    by_device: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record["device"] not in skip and all(record[key] == value for key, value in where.items()):
            by_device.setdefault((record["task"], record["device"]), []).append(record[column])
    values = [
        np.mean([v for v in column_values if v is not None])
        for column_values in by_device.values()
        if any(v is not None for v in column_values)
    ]
    return round(float(np.mean(values)), 4) if values else None


def least(records: Sequence[Record], by: str, part: str) -> float | None:
    """The smallest coverage of the quantile over tasks or devices, each the mean over its records."""
    names = {record[by] for record in records if record["part"] == part}
    found = [mean(records, "coverage", part=part, **{by: name}) for name in names]
    return min((value for value in found if value is not None), default=None)


def summarise(records: Sequence[Record], settings: Record) -> Record:
    """Flat figures: see the module's text for the names."""
    best = {"predictor": "bayes", "sampler": "d_optimal"}
    out: Record = {
        "settings": json.dumps(settings),
        "sums_of_operation_costs": ", ".join(SUMS),
        "headline": "bayes predictor, d_optimal samples; TASK_random: the same with random samples",
    }
    for task in settings["tasks"]:
        for n in settings["sizes"]:
            suffix = "" if n == 20 else f"_{n}"
            out[f"{task}{suffix}"] = mean(records, part="tasks", task=task, n=n, **best)
            out[f"{task}{suffix}_random"] = mean(records, part="tasks", task=task, n=n, **{**best, "sampler": "random"})
        at_20 = {"part": "tasks", "task": task, "n": 20}
        draws = [mean(records, draw=draw, **at_20, **best) for draw in range(settings["draws"])]
        out[f"{task}_std_over_draws"] = round(float(np.std([d for d in draws if d is not None] or [0.0])), 4)
        out[f"{task}_measured_devices_only"] = mean(records, skip=SUMS, **at_20, **best)
        for column in ("kendall", "mape", "below_q90", "within_90"):
            out[f"{task}_{column}"] = mean(records, column, **at_20, **best)
        for sampler in ("quantile", "cluster"):
            out[f"{task}_{sampler}"] = mean(records, predictor="bayes", sampler=sampler, **at_20)
        for predictor in PREDICTORS:
            if predictor != "bayes":
                out[f"{task}_{predictor}_random"] = mean(records, predictor=predictor, sampler="random", **at_20)
        left_out = {
            (p, s): mean(records, part="lodo", task=task, predictor=p, sampler=s) for p in PREDICTORS for s in SAMPLERS
        }
        ranked = sorted(((v, k) for k, v in left_out.items() if v is not None), reverse=True)
        out[f"{task}_choice_on_sources"] = "; ".join(f"{p}+{s} {v:.4f}" for v, (p, s) in ranked[:3]) or None
        out[f"{task}_cross_85"] = mean(records, part="cross_85", task=task, **best)
        for sampler in ("random", "d_optimal"):
            out[f"{task}_help_protocol_{sampler}"] = mean(records, part="help", task=task, sampler=sampler)
    parts = [("coverage", task) for task in settings["tasks"]] + [("family", "FBNet")]
    for part, task in parts:
        for column in ("coverage", "normal", "width"):
            out[f"quantile_{task}_{column}"] = mean(records, column, part=part, task=task)
    out["quantile_coverage_min_task"] = least(records, "task", "coverage")
    out["quantile_coverage_min_family_device"] = least(records, "device", "family")
    found = [value for key, value in out.items() if key.startswith("quantile_coverage_min_") and value is not None]
    out["quantile_coverage_min"] = min(found, default=None)
    covered = [record for record in records if record["part"] in ("coverage", "family")]
    for column in ("width", "normal_width"):
        out[f"quantile_margin_{column}_mean"] = (
            round(float(np.mean([r[column] for r in covered])), 4) if covered else None
        )
    out["cross_space"] = mean(records, part="cross_85", **best)
    out["cross_space_in_space_20"] = mean(records, part="tasks", n=20, **best)
    out["seconds_per_adaptation"] = mean(records, "seconds", part="tasks", n=20, **best)
    return out


def plan(settings: Record, quick: bool) -> list[tuple[str, str, int, int]]:
    """(predictor, sampler, n, draws) of the main part."""
    draws = settings["draws"]
    jobs = [("bayes", sampler, n, draws) for n in settings["sizes"] for sampler in ("d_optimal", "random")]
    jobs += [("ridge", "random", 20, draws)]
    if not quick:
        jobs += [("bayes", sampler, 20, draws // 2) for sampler in ("quantile", "cluster")]
        jobs += [("additive", "random", 20, 1), ("selection", "random", 20, 5), ("gp", "random", 20, 3)]
        jobs += [("embedding", "random", 20, 1), ("ensemble", "random", 20, 1)]
    return jobs


def run_task(book: Book, name: str, task: Record, spaces: dict[str, Measurements], quick: bool) -> None:
    """All parts of one task."""
    if space_name(task["space"]) not in spaces:
        raise UserError(f"Task {name} is of space {task['space']}, but no data file is.")
    data = spaces[space_name(task["space"])]
    names, targets = task["source_devices"], task["target_devices"]
    source = from_measurements(data.encoder, names, data.index_NL, data.latency(names))
    basis, truth = source.basis(data.index_NL), data.latency(targets)

    def each(part: str, src: Source, known: Basis, jobs: list[tuple[str, str, int, int]], **rows: np.ndarray) -> None:
        for predictor, sampler, n, draws in jobs:
            for column, device in enumerate(targets):
                for draw in range(draws):
                    record = {
                        "part": part,
                        "task": name,
                        "device": device,
                        "predictor": predictor,
                        "sampler": sampler,
                        "n": n,
                        "draw": draw,
                    }
                    latency, keys = truth[:, column], rows
                    if part == "help":  # both the pool and the test networks are of the device's 10-90% band
                        keys = {}
                        for key, mask in rows.items():
                            low, high = np.nanquantile(latency[mask], (0.1, 0.9))
                            keys[key] = mask & (latency >= low) & (latency <= high)
                    book.add(record, partial(run, src, known, latency, predictor, sampler, n, draw, **keys))

    each("tasks", source, basis, plan(book.settings, quick))
    other = next((space for key, space in spaces.items() if key != data.space), None)
    few = 3 if quick else 10
    if other is not None and {data.space, other.space} == {"fbnet", "nb201"}:
        shared = [device for device in names if device in other.devices]
        measured = other.latency(shared)
        foreign = from_other_space(data.encoder, data.index_NL, shared, other.encoder, other.index_NL, measured)
        each("cross_85", foreign, foreign.basis(data.index_NL), [("bayes", "d_optimal", 85, few)])
    pool = {"nb201": 900, "fbnet": 4000}.get(data.space)
    if pool is not None and len(data.index_NL) >= pool + 1000:
        order = np.arange(len(data.index_NL))
        first = from_measurements(data.encoder, names, data.index_NL[:pool], data.latency(names)[:pool])
        each(
            "help",
            first,
            first.basis(data.index_NL),
            [("bayes", s, 10, few) for s in ("random", "d_optimal")],
            pool_N=order < pool,
            test_N=(order >= pool) & (order < pool + 1000),
        )
    for column, device in enumerate(targets):
        for draw in range(3 if quick else 10):
            record = {"part": "coverage", "task": name, "device": device, "predictor": "bayes", "sampler": "d_optimal",
                      "n": 20, "draw": draw}  # fmt: skip
            book.add(record, partial(cover, source, basis, truth[:, column], 20, draw))
    if not quick:
        leave_one_device_out(book, name, data, names)


def leave_one_family_out(book: Book, data: Measurements, draws: int) -> None:
    """Coverage on every device of the FBNet space when no device of its family is known."""
    everyone = from_measurements(data.encoder, data.devices, data.index_NL, data.latency_ms_NT)
    for column, device in enumerate(data.devices):
        source = everyone
        for other in data.devices:
            source = source.without(other) if family(other) == family(device) else source
        basis = source.basis(data.index_NL)
        for draw in range(draws):
            record = {"part": "family", "task": "FBNet", "device": device, "predictor": "bayes", "sampler": "d_optimal",
                      "n": 20, "draw": draw}  # fmt: skip
            book.add(record, partial(cover, source, basis, data.latency_ms_NT[:, column], 20, draw))


def leave_one_device_out(book: Book, name: str, data: Measurements, names: Sequence[str]) -> None:
    """Which predictor and sampler would the source devices alone choose? Each plays the target once."""
    everyone = from_measurements(data.encoder, names, data.index_NL, data.latency(names))
    for left_out in names:
        source = everyone.without(left_out)
        basis, truth = source.basis(data.index_NL), data.latency([left_out])[:, 0]
        for predictor, sampler in CHOICES:
            for draw in range(3):
                record = {"part": "lodo", "task": name, "device": left_out, "predictor": predictor,
                          "sampler": sampler, "n": 20, "draw": draw}  # fmt: skip
                book.add(record, partial(run, source, basis, truth, predictor, sampler, 20, draw))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, default=DATA / "transfer_tasks.json")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[DATA / "bench" / "nb201.npz", DATA / "bench" / "fbnet_c100_latency.npz"],
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the results (default: results/; a temporary one with --quick)"
    )
    parser.add_argument("--name", default="latency_transfer", help="results go to OUT/NAME.json")
    parser.add_argument("--quick", action="store_true", help="3 draws, 10 and 20 samples, no comparisons")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    options = parser.parse_args()
    out = options.out or (Path(tempfile.mkdtemp(prefix="latency_transfer-")) if options.quick else HERE / "results")
    try:
        tasks = json.loads(options.tasks.read_text(encoding="utf-8"))
        tasks = tasks.get("tasks", tasks)
        settings = {
            "tasks": list(tasks),
            "sizes": [10, 20] if options.quick else [5, 10, 20, 50],
            "draws": 3 if options.quick else 20,
            "data": [path.name for path in options.data],
        }
        book = Book(options.name, out, settings, options.fresh)
        spaces = load(options.data)
        for name, task in tqdm(tasks.items(), unit="task"):
            run_task(book, name, task, spaces, options.quick)
            book.save()
            figures = {
                key: book.mean(part="tasks", task=name, n=20, predictor="bayes", sampler=key)
                for key in ("d_optimal", "random")
            }
            tqdm.write(f"{name}: Spearman at 20 samples {figures}; published {task.get('published_spearman')}")
        if "fbnet" in spaces:
            leave_one_family_out(book, spaces["fbnet"], 2 if options.quick else 8)
            book.save()
            tqdm.write(
                f"coverage of quantile .9: {summarise(book.records, settings)['quantile_coverage_min']} at the least"
            )
    except (UserError, OSError) as error:
        sys.exit(f"latency_transfer: {error}")


if __name__ == "__main__":
    main()
