"""One table, every device, budget and fairness weight: `micro32`'s truth, 8 devices × 6 budgets × 3 weights.

    python benchmarks/one_search.py [--seeds 3] [--folder runs/one_search] [--quick]

Three choosers, each through the product's own `answers`. *Trained*: a table of the groups' log error on search-val, fitted to all 432 networks
of one training of the truth (and to 50 of them). *Score*: synflow's table, from 13 networks that were never trained. *Supernet*: quality.json of one search
on rpi4 at its middle budget. *One-shot*: the product's one search for all 48 regions. *Generator*: its rival (generator.py). *Separate*: an
ordinary search for each budget of two devices, weights 0 and 5. Beside them MACs and the mean of all architectures inside the budget.

Judged is on test, by the truth's other training than the one that chose (both ways round for the trained table): so no luck is counted. The oracle is
the best by the one training, scored by the other. Regret: points of mean group error + weight · points of gap, over the oracle's.
Hypervolume: of true error × latency, error from the least to its 90% quantile, latency from fastest to slowest, divided by that of all architectures.
Resumable: a supernet's table is a file in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from build_truth import data_of_truth
from micro_search import RECIPE, problem_of
from one_search_runs import SEPARATE, every_run
from results_io import write_results
from scipy.stats import kendalltau
from sklearn.linear_model import BayesianRidge
from truth_table import Truth

from supernet import answers as answers_module
from supernet.answers import Wish, answers
from supernet.config import SearchConfig
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.data import Batches
from supernet.engine.loop import train
from supernet.front import hypervolume
from supernet.quality import Quality
from supernet.quality_fit import fit_quality, fit_table
from supernet.strategies.differentiable import DifferentiableSearch
from supernet.strategies.score import greatest
from supernet.transfer.score_table import ScoreTable, score_table

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("eyeriss", "fpga", "gold_6226", "pixel3", "rpi4", "silver_4210r", "titan_rtx_1", "titanxp_64")
BUDGETS, WEIGHTS = 6, (0.0, 1.0, 5.0)
Row = dict[str, Any]


def table_of_training(truth: Truth, seed: int, rows: np.ndarray) -> Quality:
    """Log error of each group on search-val of one training of these networks; half an image is added, so that none is 0."""
    wrong_NG = (1 - truth.group_accuracy_NSG("val")[:, seed])[rows]
    floor_G = 0.5 / truth.arrays["total_val"].sum(-1)
    base_G, added_LKG = fit_table(truth.space.valid_LK, truth.index_NL[rows], wrong_NG + floor_G)
    return Quality(
        truth.space, ("writer: employee", "writer: student"), ("writer", "writer"), "log", base_G, added_LKG, None
    )


def kendall_with_pairs(truth: Truth, seed: int, rows: np.ndarray) -> float:
    """Kendall's τ with the other training's error where each pair of layers has effects of its own, too."""
    options_NLK = np.eye(truth.space.valid_LK.shape[1])[truth.index_NL]
    columns = [options_NLK.reshape(len(options_NLK), -1)]
    for a, b in combinations(range(options_NLK.shape[1]), 2):
        columns.append((options_NLK[:, a, :, None] * options_NLK[:, b, None, :]).reshape(len(options_NLK), -1))
    shown_NF = np.concatenate(columns, axis=1)
    wrong_N = (1 - truth.group_accuracy_NSG("val")[:, seed]).mean(-1) + 0.5 / truth.arrays["total_val"].sum()
    model = BayesianRidge().fit(shown_NF[rows], np.log(wrong_N[rows]))
    error_N, _ = truth.of_seeds([s for s in range(truth.seeds) if s != seed])
    return float(kendalltau(model.predict(shown_NF), error_N).statistic)


def table_of_supernet(truth: Truth, seed: int, folder: Path, effort: Row) -> tuple[Quality, Row]:
    """quality.json of one search, and its CPU seconds; from the folder where it is there."""
    file, facts = folder / f"quality-{seed}.json", folder / f"seconds-{seed}.json"
    if not facts.exists():
        budget_ms, data = truth.budgets_ms("rpi4")[1], data_of_truth()
        config = SearchConfig(device="rpi4", budget_ms=budget_ms, seed=seed, **{**RECIPE, **effort})
        with tempfile.TemporaryDirectory() as scratch:
            problem = problem_of(truth, data, "rpi4", budget_ms, Path(scratch))
            started = time.process_time()
            running = DifferentiableSearch(config, problem)
            train(running, problem.folder)
            searched = time.process_time()
            running.supernet.train()
            fit_quality(config, problem, running.logits).save(file)
        seconds = {"search": searched - started, "quality": time.process_time() - searched}
        facts.write_text(json.dumps(seconds))
    return Quality.load(file), json.loads(facts.read_text())


def score_of_truth(truth: Truth, seed: int) -> ScoreTable:
    data = data_of_truth()
    batch = Batches(data.train, 64, seed=seed, stratify=True, mean=data.mean, std=data.std).at(0)
    return score_table(truth.space, "synflow", len(data.classes), batch.image, batch.label, seed)


class Cells:
    """All cells of device × budget × weight, and what a choice is worth there."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.costs = {device: load_table(device).cost(truth.space) for device in DEVICES}
        self.macs = Cost("macs", "MACs", 0.0, truth.region("rpi4", 1e6).costs["macs"].unary_DK)
        accuracy_NSG = truth.group_accuracy_NSG("test")
        self.error_NS, self.gap_NS = 1 - accuracy_NSG.mean(-1), np.ptp(accuracy_NSG, axis=-1)
        self.latency = {device: cost.totals(truth.index_NL) for device, cost in self.costs.items()}

    def budgets(self, device: str) -> list[float]:
        shares = (np.arange(BUDGETS) + 1) / (BUDGETS + 1)
        return [float(ms) for ms in np.quantile(self.latency[device], shares)]

    def total_N(self, seed: int, weight: float) -> np.ndarray:
        return 100 * (self.error_NS[:, seed] + weight * self.gap_NS[:, seed])

    def record(self, chooser: str, device: str, budget: float, weight: float, row: int, chosen_by: list[int]) -> Row:
        """Regret of a row of the truth, by the trainings that did not choose it."""
        inside = np.flatnonzero(self.latency[device] <= budget)
        assert row in inside, "the budget is always kept"
        regrets = []
        for seed in (s for s in range(self.truth.seeds) if s not in chosen_by or len(chosen_by) == self.truth.seeds):
            oracle = inside[self.total_N(1 - seed, weight)[inside].argmin()]
            regrets.append(self.total_N(seed, weight)[row] - self.total_N(seed, weight)[oracle])
        return {"chooser": chooser, "device": device, "budget_ms": budget, "weight": weight, "row": int(row),
                "chosen_by": chosen_by, "regret": float(np.mean(regrets))}  # fmt: skip

    def volume(self, device: str, rows: list[int], seeds: list[int]) -> float:
        """Hypervolume of these rows over that of all, by these trainings."""
        error_N, ms_N = self.error_NS[:, seeds].mean(1), self.latency[device]
        worst = np.quantile(error_N, 0.9)
        points_N2 = np.column_stack(
            [(error_N - error_N.min()) / (worst - error_N.min()), (ms_N - ms_N.min()) / np.ptp(ms_N)]
        )
        return hypervolume(points_N2[rows], np.ones(2)) / hypervolume(points_N2, np.ones(2))


def by_table(cells: Cells, chooser: str, quality: Quality, chosen_by: list[int]) -> tuple[list[Row], int, float]:
    """(records, how often a larger budget was answered worse, mean CPU seconds of an answer)."""
    records, violations, started = [], 0, time.process_time()
    for device, cost in cells.costs.items():
        for weight in WEIGHTS:
            before = np.inf
            for budget in cells.budgets(device):
                best = answers(quality, [cost], {"latency": budget}, Wish(weight=weight))[0]
                violations += best.value > before
                before = best.value
                row = cells.truth.row(best.index_L)
                records.append(cells.record(chooser, device, budget, weight, row, chosen_by))
    return records, violations, (time.process_time() - started) / len(records)


def by_score(cells: Cells, chooser: str, table: ScoreTable) -> list[Row]:
    """A score knows no weight: its one choice is judged under each."""
    records = []
    for device, cost in cells.costs.items():
        for budget in cells.budgets(device):
            costs = {"latency": cost, "macs": cells.macs}
            row = cells.truth.row(greatest(table, cells.truth.space.valid_LK, costs, {"latency": budget}))
            records += [cells.record(chooser, device, budget, weight, row, []) for weight in WEIGHTS]
    return records


def by_oracle(cells: Cells) -> list[Row]:
    """The best of one training inside each budget, to be judged by the other."""
    records = []
    for device in DEVICES:
        for budget in cells.budgets(device):
            inside = np.flatnonzero(cells.latency[device] <= budget)
            for weight in WEIGHTS:
                for seed in range(cells.truth.seeds):
                    row = inside[cells.total_N(seed, weight)[inside].argmin()]
                    records.append(cells.record("oracle", device, budget, weight, int(row), [seed]))
    return records


def by_chance(cells: Cells) -> list[Row]:
    """Every twentieth architecture inside each budget."""
    return [
        cells.record("random", device, budget, weight, int(row), [])
        for device in DEVICES
        for budget in cells.budgets(device)
        for weight in WEIGHTS
        for row in np.flatnonzero(cells.latency[device] <= budget)[::20]
    ]


def ranked(truth: Truth, quality: Quality, seeds: list[int]) -> tuple[float, float]:
    """Kendall's τ of the predicted mean and gap with the true error and gap on test, by these trainings."""
    loss_NG = quality.loss_NG(truth.index_NL)
    error_N, gap_N = truth.of_seeds(seeds)
    pairs = (loss_NG.mean(1), error_N), (np.ptp(loss_NG, axis=1), gap_N)
    first, second = (float(kendalltau(told, true).statistic) for told, true in pairs)
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="searches of a supernet")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "one_search")
    parser.add_argument("--quick", action="store_true", help="one short search; nothing is written")
    options = parser.parse_args()
    options.folder /= "quick" if options.quick else ""
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    truth, seeds = Truth.load(), 1 if options.quick else options.seeds
    cells, everything = Cells(truth), np.arange(len(Truth.load().index_NL))
    records: list[Row] = []
    summary: Row = {"devices": len(DEVICES), "budgets": BUDGETS, "weights": str(WEIGHTS), "supernet_seeds": seeds}
    taus: dict[str, list[tuple[float, float]]] = {"": [], "_50": [], "_supernet": [], "_one_shot": []}
    violations, seconds = 0, []
    fifty = np.random.default_rng(0).choice(everything, 50, replace=False)
    for seed in range(truth.seeds):
        for chooser, name, rows in (("one", "", everything), ("one_50", "_50", fifty)):
            quality = table_of_training(truth, seed, rows)
            found, wrong, each = by_table(cells, chooser, quality, [seed])
            records, violations = records + found, violations + wrong
            seconds.append(each)
            summary.setdefault(f"kendall_table{name}_pairs", []).append(kendall_with_pairs(truth, seed, rows))
            taus[name].append(ranked(truth, quality, [s for s in range(truth.seeds) if s != seed]))
    costs = []
    for seed in range(seeds):
        effort = {"warmup_epochs": 1, "epochs": 1} if options.quick else {}
        quality, spent = table_of_supernet(truth, seed, options.folder, effort)
        found, wrong, _ = by_table(cells, "supernet", quality, [])
        records, violations = records + [row | {"table": seed} for row in found], violations + wrong
        taus["_supernet"].append(ranked(truth, quality, list(range(truth.seeds))))
        costs.append(1 + spent["quality"] / spent["search"])
        records += [row | {"table": seed} for row in by_score(cells, "score", score_of_truth(truth, seed))]
    budgets = {device: cells.budgets(device) for device in DEVICES}
    effort = {"warmup_epochs": 1, "epochs": 1} if options.quick else {}
    runs = every_run(truth, budgets, WEIGHTS, seeds, options.folder, effort)
    for chooser, own in runs.items():
        for n, run in enumerate(own):
            table = 0 if chooser == "separate" else n
            records += [cells.record(chooser, *asked, []) | {"table": table} for asked in run["answers"]]
    for seed in range(seeds):
        table = Quality.load(options.folder / f"one-shot-quality-{seed}.json")
        taus["_one_shot"].append(ranked(truth, table, list(range(truth.seeds))))
    records += (
        by_score(cells, "macs", ScoreTable("macs", 0.0, cells.macs.unary_DK, 0, None, None))
        + by_chance(cells)
        + by_oracle(cells)
    )
    summary = {name: float(np.mean(v)) if name.endswith("_pairs") else v for name, v in summary.items()}
    summary |= summarise(cells, records)
    summary |= one_against_separate(cells, records, runs)
    for name, pairs in taus.items():
        summary[f"kendall_table{name}"], summary[f"kendall_gap{name}"] = np.mean(pairs, axis=0).tolist()
    summary |= {
        "monotone_violations": violations,
        "answer_seconds": float(np.mean(seconds)),
        "cost_ratio": float(np.mean(costs)),
    }
    answers_module.FEW = 0
    started, asked = time.process_time(), [cells.costs["rpi4"]]
    for budget in cells.budgets("rpi4"):
        answers(table_of_training(truth, 0, everything), asked, {"latency": budget}, Wish(weight=1.0))
    summary["answer_seconds_programmed"] = (time.process_time() - started) / BUDGETS
    if not options.quick:
        write_results("one_search", summary, records, "python benchmarks/one_search.py")
    print(json.dumps(summary, indent=1))


def one_against_separate(cells: Cells, records: list[Row], runs: dict[str, list[Row]]) -> Row:
    """On the devices that were searched separately, too: regrets, their paired difference, hypervolumes, and what one costs of the other."""
    summary: Row = {}
    asked = {(r["device"], r["budget_ms"], r["weight"]): r["regret"] for r in records if r["chooser"] == "separate"}
    for chooser in ("one_shot", "generator"):
        own: dict[Any, list[float]] = {}
        for r in records:
            if r["chooser"] == chooser and (r["device"], r["budget_ms"], r["weight"]) in asked:
                own.setdefault((r["device"], r["budget_ms"], r["weight"]), []).append(r["regret"])
        more = np.array([np.mean(own[key]) - asked[key] for key in asked])
        half = 1.96 * more.std(ddof=1) / len(more) ** 0.5
        summary |= {f"{chooser}_over_separate": float(more.mean()), f"{chooser}_over_separate_low": float(more.mean() - half),
                    f"{chooser}_over_separate_high": float(more.mean() + half)}  # fmt: skip
        seconds = float(np.mean([run["seconds"] for run in runs[chooser]]))
        summary[f"{chooser}_cost_ratio"] = seconds / float(np.mean([run["seconds"] for run in runs["separate"]]))
        plain = [np.mean(own[key]) - asked[key] for key in asked if key[2] == 0]
        summary[f"{chooser}_over_separate_weight_0"] = float(np.mean(plain))
        volumes = {}
        for name in (chooser, "separate"):
            both = []
            for device in SEPARATE:
                for table in {r.get("table") for r in records if r["chooser"] == name}:
                    rows = [r["row"] for r in records if r["chooser"] == name and r["device"] == device and r["weight"] == 0
                            and r.get("table") == table]  # fmt: skip
                    both.append(cells.volume(device, rows, list(range(cells.truth.seeds))))
            volumes[name] = float(np.mean(both))
        summary[f"{chooser}_hypervolume_ratio"] = volumes[chooser] / volumes["separate"]
    return summary | {
        "hypervolume_ratio": summary["one_shot_hypervolume_ratio"],
        "separate_regret": float(np.mean(list(asked.values()))),
    }


def summarise(cells: Cells, records: list[Row]) -> Row:
    """Regret of each chooser by weight, with its spread over devices and budgets, and its hypervolume."""
    summary: Row = {}
    for chooser in dict.fromkeys(record["chooser"] for record in records if record["chooser"] != "separate"):
        own = [record for record in records if record["chooser"] == chooser]
        for weight in WEIGHTS:
            regret = [record["regret"] for record in own if record["weight"] == weight]
            summary[f"{chooser}_regret_weight_{weight:g}"] = float(np.mean(regret))
        by_cell = [
            np.mean(
                [r["regret"] for r in own if r["weight"] == 1 and (r["device"], r["budget_ms"]) == (device, budget)]
            )
            for device in DEVICES
            for budget in cells.budgets(device)
        ]
        summary[f"{chooser}_regret_sd_over_cells"] = float(np.std(by_cell, ddof=1))
        if chooser == "random":
            continue
        volumes = []  # of one table each
        for table in {row.get("table") for row in own}:
            for device in DEVICES:
                for seed in range(cells.truth.seeds):
                    mine = [r for r in own if r["device"] == device and r["weight"] == 0 and r.get("table") == table]
                    rows = [r["row"] for r in mine if r["chosen_by"] in ([], [1 - seed])]
                    volumes.append(cells.volume(device, rows, [seed]))
        summary[f"{chooser}_hypervolume"] = float(np.mean(volumes))
    summary |= {"one_regret": summary["one_regret_weight_1"], "score_regret": summary["score_regret_weight_1"]}
    return summary | {
        "regret_mean": float(np.mean([r["regret"] for r in records if r["chooser"] == "one"])),
        "hypervolume": summary["one_hypervolume"],
    }


if __name__ == "__main__":
    main()
