"""One table for every device and budget, on NAS-Bench-201: N trained networks in all, against rivals that have 100 for each constraint.

    python benchmarks/one_search_nb201.py [--seeds 20] [--data FOLDER] [--quick]

CIFAR-100; what is queried is the accuracy on validation after 12 epochs, what counts is that on test after 200. N random networks are queried,
a Bayesian ridge regression of their log error by operation (and by pairs of edges) foretells all 15,625, and the best predicted one
inside a budget is the answer: of 27 devices, HELP's constraints where it has some, else quartiles of latency. *Asked again*: the 10 best predicted inside
each budget are queried, too, the best of these counts. Regret: points of accuracy below the best network inside the budget; mean
over budgets. Rivals (search_quality.json): ask/tell strategies with 100 queries for each of HELP's constraints. No group is known here.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from results_io import write_results
from scipy.stats import kendalltau
from sklearn.linear_model import BayesianRidge

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "latency"
QUERIES, AGAIN = (25, 50, 100, 200), 10
RIVALS = ("random", "evolution", "nsga2", "motpe", "reinforce", "progressive")


def features(op_NE: np.ndarray, pairs: bool) -> np.ndarray:
    """(N, columns): one a edge × operation, and one a pair of them."""
    columns = np.eye(int(op_NE.max()) + 1)[op_NE]
    flat = [columns.reshape(len(op_NE), -1)]
    if pairs:
        for a, b in itertools.combinations(range(op_NE.shape[1]), 2):
            flat.append((columns[:, a, :, None] * columns[:, b, None, :]).reshape(len(op_NE), -1))
    return np.concatenate(flat, axis=1)


def constraints(path: Path, devices: list[str], latency_NT: np.ndarray) -> list[tuple[str, float, bool]]:
    """(device, ms, whether HELP has it)."""
    published = json.loads((path / "published_results.json").read_text())["HELP_table4_nb201_cifar100_constrained_nas"]
    found = []
    for device, latency_N in zip(devices, latency_NT.T, strict=True):
        known = [row[0] for row in published.get(device, [])]
        limits = known or [float(q) for q in np.quantile(latency_N, [0.25, 0.5, 0.75])]
        found += [(device, float(ms), bool(known)) for ms in limits]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true", help="one seed, 50 queries; nothing is written")
    options = parser.parse_args()
    if not (options.data / "bench" / "nb201.npz").exists():
        print("skipped: the data of this benchmark is not here (../shared/data/latency)")
        return
    with np.load(options.data / "bench" / "nb201.npz") as file:
        op_NE, latency_NT, devices = file["ops"].astype(int), file["help_latency_ms"], list(file["help_devices"])
        asked_N, true_N = file["acc12_val"][:, 1].astype(float), file["acc200_test"][:, 1].astype(float)
    cells = constraints(options.data, devices, latency_NT)
    records: list[dict[str, Any]] = []
    for pairs, number in itertools.product((False, True), (50,) if options.quick else QUERIES):
        shown_NF = features(op_NE, pairs)
        for seed in range(1 if options.quick else options.seeds):
            drawn = np.random.default_rng(seed).choice(len(op_NE), number, replace=False)
            model = BayesianRidge().fit(shown_NF[drawn], np.log(100 - asked_N[drawn]))
            told_N = model.predict(shown_NF)
            tau = float(kendalltau(told_N, -true_N).statistic)
            for device, limit, known in cells:
                inside = np.flatnonzero(latency_NT[:, devices.index(device)] <= limit)
                order = inside[told_N[inside].argsort(kind="stable")]
                queried = np.concatenate([np.intersect1d(inside, drawn), order[:AGAIN]])
                best = true_N[inside].max()
                records.append({
                    "pairs": pairs, "queries": number, "seed": seed, "device": device, "limit_ms": limit, "help": known,
                    "regret": best - true_N[order[0]], "regret_again": best - true_N[queried[asked_N[queried].argmax()]],
                    "kendall": tau,
                })  # fmt: skip
    summary = summarise(records)
    print(json.dumps(summary, indent=1))
    if not options.quick:
        write_results("one_search_nb201", summary, records)


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over budgets and seeds, with the spread over seeds; of HELP's constraints alone where the rivals are held against them."""
    summary: dict[str, Any] = {
        "devices": len({r["device"] for r in records}),
        "seeds": len({r["seed"] for r in records}),
    }
    for pairs, number in dict.fromkeys((r["pairs"], r["queries"]) for r in records):
        own = [r for r in records if (r["pairs"], r["queries"]) == (pairs, number)]
        tag = f"{number}{'_pairs' if pairs else ''}"
        for figure, chosen in (("regret", own), ("regret_help", [r for r in own if r["help"]])):
            for asked in ("", "_again"):
                by_seed = [
                    np.mean([r[f"regret{asked}"] for r in chosen if r["seed"] == seed])
                    for seed in {r["seed"] for r in own}
                ]
                summary[f"{figure}_{tag}{asked}"] = float(np.mean(by_seed))
                summary[f"{figure}_{tag}{asked}_sd"] = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
        summary[f"kendall_{tag}"] = float(np.mean([r["kendall"] for r in own]))
    published = Path(__file__).parent / "results" / "search_quality.json"
    rivals = json.loads(published.read_text())["summary"]
    return summary | {f"rival_{name}_help_100_each": rivals[f"nb201_regret_at_100_{name}"] for name in RIVALS}


if __name__ == "__main__":
    main()
