"""Does the search find the best? Regret against the ground truth of `micro32`, beside rivals, and on NAS-Bench-201.

    python benchmarks/search_quality.py [--seeds 5] [--folder runs/search_quality] [--nb201 FILE.npz] [--quick]

*micro32*: two devices × three budgets (the latencies that ¼, ½ and ¾ of the architectures keep). The differentiable search is
really run, its CPU seconds counted (in those of the machine that made the table: a few of the table's trainings are run again here to
know how fast this one is), and its derived architecture's true accuracy and gap looked up
(`benchmarks/truth/writers_micro.npz`). Beside it the network that one would build by hand. A rival queries the table's validation results, each charged with the CPU seconds of
its training: 25, 50, 100 queries, or as many as the differentiable search's seconds pay for. All are asked for the
smallest error + gap; the oracle is the architecture with the smallest *true* error + gap (test images, mean over the
table's seeds) inside the budget. Being the best of hundreds of noisy figures it is partly luck, so each regret is also given
without it (`…_without_luck`: the oracle chosen by other trainings than it is scored on; a rival scored on trainings it has not
queried), and it is by this one that a rival "gets as close". *Supernet*: Kendall τ between what a trained supernet says and
the truth, over every fifth architecture and the best tenth, beside the τ
between two trainings of the same networks, which nothing can exceed by much.
*NAS-Bench-201*: the constraints of HELP's table 4, CIFAR-100; queries see the 12-epoch validation accuracy, regret is in
200-epoch test accuracy. Resumable: every run is a line in `FOLDER/*.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from build_truth import RECIPE, architectures, data_of_truth, train
from micro_search import EVERY, Row, regret, regret_without_luck, search_job
from nb201_regret import QUERIES, RIVALS, nb201_rows
from results_io import write_results
from scipy.stats import kendalltau
from truth_table import Truth

from supernet.derive import hand_made
from supernet.kernels import keep_freed_memory
from supernet.strategies import ASK_TELL
from supernet.strategies.driver import Run, Setting, drive
from supernet.strategies.evaluators import table

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("rpi4", "gold_6226")
COUNTS = (*range(1, 10), *range(10, 51, 5), *range(60, 101, 10))  # of queries
MOST = {"motpe": 50}  # then it asks for what it knows, hundreds of times for each new one
NB201 = ROOT.parent / "shared" / "data" / "latency"


PACE = (0, 100, 200, 300, 400)  # architectures


def pace(truth: Truth, file: Path) -> float:
    """CPU seconds of a training here over those in the table."""
    if not file.exists():
        torch.set_num_threads(1)
        keep_freed_memory()
        data, index_NL = data_of_truth(), architectures()
        here = [train(data, index_NL[arch], 0, int(RECIPE["epochs"]))[2] for arch in PACE]
        file.write_text(json.dumps(sum(here) / float(truth.arrays["seconds"][list(PACE), 0].sum())))
    return float(json.loads(file.read_text()))


# --- micro32: the rivals --------------------------------------------------------------------------------------------


def run_rival(truth: Truth, strategy: str, device: str, budget_ms: float, seed: int, seconds: float) -> Row:
    """One strategy on the table: what it would choose after so many queries, and after `seconds` of training."""
    region = truth.region(device, budget_ms)
    column = seed % truth.arrays["seconds"].shape[1]
    evaluate = table(
        truth.index_NL,
        {
            "error": truth.error_NS("val")[:, column],
            "gap": truth.gap_NS("val")[:, column],
            "seconds": truth.arrays["seconds"][:, column].astype(float),
        },
    )
    run = drive(
        ASK_TELL[strategy](Setting(region, ("error", "gap"), seed)),
        evaluate,
        region,
        max_evaluations=MOST.get(strategy, max(QUERIES)),
    )
    spent = np.cumsum([record.seconds for record in run.records])
    paid = int((spent <= seconds).sum())
    return {
        "picks": {str(n): truth.row(np.array(picked(run, n))) for n in COUNTS if n <= len(run.records)},
        "queried": column,
        "same_seconds": truth.row(np.array(picked(run, max(1, paid)))),
        "same_seconds_queries": paid,
        "seconds_per_query": float(spent[-1] / len(spent)),
    }


def picked(run: Run, queries: int) -> list[int]:
    """The best of the first queries by what the queries said."""
    best = min(run.records[:queries], key=lambda record: record.objectives["error"] + record.objectives["gap"])
    return list(best.index_L)


# --- the whole ------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Row]:
    """The rows of a file of finished runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "search_quality")
    parser.add_argument("--nb201", type=Path, default=NB201, help="folder of the NAS-Bench-201 data (see docs/data.md)")
    parser.add_argument(
        "--quick", action="store_true", help="one budget, one seed, one epoch, no NAS-Bench-201; nothing is written"
    )
    options = parser.parse_args()
    options.folder /= "quick" if options.quick else ""
    seeds, devices, positions = (1, DEVICES[:1], (1,)) if options.quick else (options.seeds, DEVICES, (0, 1, 2))
    every, effort = (100, {"warmup_epochs": 1, "epochs": 1}) if options.quick else (EVERY, {})
    options.folder.mkdir(parents=True, exist_ok=True)
    truth = Truth.load()

    searches = options.folder / "searches.jsonl"
    done = {(row["device"], row["budget_ms"], row["seed"]) for row in read(searches)}
    # the supernet's ranking: at the middle budget of the first device, where it costs no search of its own
    jobs = [
        (device, truth.budgets_ms(device)[position], seed, every * (device == DEVICES[0] and position == 1), effort)
        for seed in range(seeds)
        for device in devices
        for position in positions
        if (device, truth.budgets_ms(device)[position], seed) not in done
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        for row in pool.map(search_job, jobs):
            append(searches, row)
            print(row["device"], row["budget_ms"], row["seed"], f"{row['seconds']:.0f} s", tuple(regret(truth, row["device"], row["budget_ms"], row["derived"])), flush=True)  # fmt: skip
    speed = 1.0 if options.quick else pace(truth, options.folder / "pace.json")
    ours = [row | {"seconds_here": row["seconds"], "seconds": row["seconds"] / speed} for row in read(searches)]

    rivals = options.folder / "rivals.jsonl"
    done = {(row["strategy"], row["device"], row["budget_ms"], row["seed"]) for row in read(rivals)}
    seconds = float(np.mean([row["seconds"] for row in ours]))
    for device in devices:
        for budget_ms in (truth.budgets_ms(device)[position] for position in positions):
            for strategy in RIVALS:
                for seed in range(2 * seeds):
                    if (strategy, device, budget_ms, seed) not in done:
                        row = run_rival(truth, strategy, device, budget_ms, seed, seconds)
                        append(
                            rivals,
                            {"strategy": strategy, "device": device, "budget_ms": budget_ms, "seed": seed, **row},
                        )

    cells = options.folder / "nb201.jsonl"
    if not options.quick and (options.nb201 / "bench" / "nb201.npz").exists():
        known = {row["key"] for row in read(cells)}
        nb201_rows(options.nb201, seeds, known, lambda row: append(cells, row))
    summary, records = summarise(truth, ours, read(rivals), read(cells))
    summary["pace"] = speed
    if not options.quick:
        write_results("search_quality", summary, records, "python benchmarks/search_quality.py")
    print(json.dumps(summary, indent=1))


def summarise(truth: Truth, ours: list[Row], rivals: list[Row], cells: list[Row]) -> tuple[Row, list[Row]]:
    """The issue's figures, and every single run with its regret."""
    records: list[Row] = []
    for row in ours:
        found = [measured(truth, row, row[name]) for name in ("derived", "most_probable")]
        region = truth.region(row["device"], row["budget_ms"])
        by_hand = measured(truth, row, hand_made(truth.space, region.costs, region.budgets))
        records.append(
            {"strategy": "differentiable", **row, **found[0], "of_most_probable": found[1], "of_hand_made": by_hand,
             "skips": skips(truth, row["derived"])}
        )  # fmt: skip
    mine = list(records)
    theirs = {strategy: [row for row in rivals if row["strategy"] == strategy] for strategy in RIVALS}
    curves = {strategy: curve(truth, rows, strategy) for strategy, rows in theirs.items()}

    def mean(rows: list[Row], name: str) -> float:
        return float(np.mean([row[name] for row in rows]))

    seconds = mean(mine, "seconds")
    ranked = [record for record in mine if "kendall_all" in record]
    summary: Row = {
        **{name: mean(mine, name) for name in MEASURES},
        **{f"{name}_sd": float(np.std([record[name] for record in mine], ddof=1)) for name in MEASURES},
        **{f"{name}_most_probable": mean([record["of_most_probable"] for record in mine], name) for name in MEASURES},
        **{f"{name}_hand_made": mean([record["of_hand_made"] for record in mine], name) for name in MEASURES},
        "search_cpu_seconds": seconds,
        **cheapest("cheapest_rival", curves, "regret_total_without_luck", mean(mine, "regret_total_without_luck"), seconds),
        **cheapest("cheapest_rival_with_luck", curves, "regret_total", mean(mine, "regret_total"), seconds),
        **{
            name: float(np.mean([record[name] for record in ranked]))
            for name in ("kendall_all", "kendall_top10", "kendall_gap", "kendall_loss_all", "kendall_loss_top10", "kendall_loss_gap")
        },
        "skip_collapse_rate": float(np.mean([record["skips"] == len(record["derived"]) for record in mine])),
        "skip_share": float(np.mean([record["skips"] / len(record["derived"]) for record in mine])),
        "seeds": len({record["seed"] for record in mine}),
        "searches": len(mine),
        **ceilings(truth),
        "truth_architectures": len(truth.index_NL),
        "truth_seeds": int(truth.arrays["seconds"].shape[1]),
    }  # fmt: skip
    for strategy, rows in theirs.items():
        same = [measured(truth, row, truth.index_NL[row["same_seconds"]]) for row in rows]
        for name in MEASURES:
            summary[f"{strategy}_{name}_same_seconds"] = mean(same, name)
            summary |= {
                f"{strategy}_{name}_at_{n}": curves[strategy][n][name] for n in QUERIES if n in curves[strategy]
            }
        nb201 = [row["regret"] for row in cells if row["strategy"] == strategy]
        for n in QUERIES if nb201 else ():
            summary[f"nb201_regret_at_{n}_{strategy}"] = float(np.mean([row[str(n)] for row in nb201]))
    return summary, [*records, *rivals, *({"space": "nb201", **row} for row in cells)]


MEASURES = tuple(f"regret_{name}{luck}" for luck in ("", "_without_luck") for name in ("accuracy", "gap", "total"))


def measured(truth: Truth, row: Row, index_L: np.ndarray) -> Row:
    """Both regrets of an architecture under the row's device and budget."""
    own = regret(truth, row["device"], row["budget_ms"], index_L)
    without = regret_without_luck(truth, row["device"], row["budget_ms"], index_L, row.get("queried"))
    return dict(zip(MEASURES, (*own, *without), strict=True))


def curve(truth: Truth, rows: list[Row], strategy: str) -> dict[int, Row]:
    """Queries → mean regrets and CPU seconds. A run that has nothing left to ask keeps what it has."""
    found = {}
    for n in (n for n in COUNTS if n <= MOST.get(strategy, max(COUNTS))):
        picks = [max((int(count), pick) for count, pick in row["picks"].items() if int(count) <= n)[1] for row in rows]
        after = [measured(truth, row, truth.index_NL[pick]) for row, pick in zip(rows, picks, strict=True)]
        found[n] = {name: float(np.mean([one[name] for one in after])) for name in MEASURES}
        found[n]["seconds"] = n * float(np.mean([row["seconds_per_query"] for row in rows]))
    return found


def cheapest(name: str, curves: dict[str, dict[int, Row]], measure: str, ours: float, seconds: float) -> Row:
    """What the first rival pays whose mean regret is no larger than ours; where none is, the most that was tried is a bound."""
    reached = [
        (after["seconds"], strategy, n)
        for strategy, by_count in curves.items()
        for n, after in by_count.items()
        if after[measure] <= ours
    ]
    if not reached:
        most = max(after["seconds"] for by_count in curves.values() for after in by_count.values())
        return {name: f"none within {max(COUNTS)} queries", f"cost_over_{name}": seconds / most}
    paid, strategy, n = min(reached)
    return {name: strategy, f"{name}_queries": n, f"cost_over_{name}": seconds / paid}


def ceilings(truth: Truth) -> Row:
    """Kendall τ between two trainings of the same architectures: all, the truly best tenth, and of the gap."""
    error_NS, gap_NS = truth.error_NS("test"), truth.gap_NS("test")
    best = np.argsort(truth.error_N)[: len(truth.error_N) // 10]
    pairs = {"all": error_NS, "top10": error_NS[best], "gap": gap_NS}
    return {
        f"kendall_{name}_between_seeds": float(kendalltau(*v_NS[:, :2].T).statistic) for name, v_NS in pairs.items()
    }


def skips(truth: Truth, index_L: list[int]) -> int:
    """How many layers of the architecture are skip."""
    return sum(truth.space.ops[k] == "skip" for k in index_L)


if __name__ == "__main__":
    main()
