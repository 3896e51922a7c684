"""Is it worth searching the bits of each layer, at equal bit operations? Accuracy and gap on CIFAR-10, beside the same bits in every layer.

    python benchmarks/bits.py --folder DIR --seeds 5     # some 6 CPU minutes a seed; goes on where it was
    python benchmarks/bits.py --quick                    # one tiny seed, a smoke test; nothing written

Space `bits32`, 3,000 training pictures, groups: animals and vehicles. Budgets: the bit operations (BOPS) of 4 bits everywhere, of 2 bits everywhere, and their
geometric mean. At the first two the control is the uniform network, which costs exactly as much. At the third no uniform network does: there the control is built
by hand, 2 bits and in the first layers 4, as many as fit. Each search is `--strategy differentiable` with 5 epochs after 5 of warm-up, and the
network that it derives is trained anew for 10 epochs, as every control is. At the third budget a random network that uses nine tenths of it is trained, too.
`summary`: accuracies, gaps (points) and BOPS; `bops_gain_over_uniform` is accuracy searched − control, in points, mean over budgets and seeds
with Student's 95% interval over the seeds. Nothing was timed: no runtime executes these bits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counterparts_pictures import SHARED, SIZES, pictures
from results_io import write_results
from t_interval import t_interval

from supernet.choices import draw
from supernet.config import SearchConfig, TrainConfig
from supernet.costs.analytic import bops_table, macs_table, params_table
from supernet.costs.factors import Cost
from supernet.data import Batches, GroupedData
from supernet.derive import largest_inside
from supernet.engine.evaluate import predict
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.network import build_path
from supernet.problem import Problem
from supernet.spaces import get_space
from supernet.spaces.bits import ENDS
from supernet.strategies.differentiable import search

SPACE, UNIFORM = get_space("bits32"), ("w8a8", "w4a4", "w2a2", "w1a1")
EPOCHS, SEARCH_EPOCHS, FLOOR, DRAWS = 10, 5, 0.9, 20_000
Row = dict[str, Any]


def bops() -> Cost:
    return bops_table(SPACE, 3, 10, ENDS.text)


def all_of(option: str) -> np.ndarray:
    """(L,) the same bits in every layer."""
    return SPACE.index_L((option,) * len(SPACE.layers))


def budgets() -> dict[str, float]:
    four, two = (bops().total(all_of(option)) for option in ("w4a4", "w2a2"))
    return {"w4a4": four, "between": (four * two) ** 0.5, "w2a2": two}


def by_hand(limit: float) -> np.ndarray:
    """(L,) 2 bits, and in the first layers 4, as many as fit."""
    levels = [np.where(np.arange(len(SPACE.layers)) < k, *(SPACE.ops.index(o) for o in ("w4a4", "w2a2"))) for k in range(len(SPACE.layers), -1, -1)]  # fmt: skip
    found = largest_inside(levels, np.full(SPACE.valid_LK.shape, np.nan), [bops()], {"bops": limit})
    assert found is not None
    return found


def searched(data: GroupedData, limit: float, seed: int, folder: Path, quick: bool) -> tuple[str, ...]:
    """What a search derives inside the budget."""
    epochs = 1 if quick else SEARCH_EPOCHS
    config = SearchConfig(space=SPACE.name, seed=seed, epochs=epochs, warmup_epochs=epochs, fairness_weight=0.0, threads=1, device="none", max_bops=limit)  # fmt: skip
    costs = {"bops": bops(), "macs": macs_table(SPACE, 3, 10), "params": params_table(SPACE, 3, 10)}
    fresh(folder)
    problem = Problem(RunFolder(folder), SPACE, data, None, costs, {"bops": limit}, None, torch.device("cpu"), ())
    found = search(config, problem).candidates[0].ops
    shutil.rmtree(folder)
    return found


def random_near(limit: float, seed: int) -> tuple[str, ...]:
    """One that uses most of the budget."""
    drawn_NL = draw(SPACE.valid_LK, DRAWS, np.random.default_rng(seed))
    totals_N = bops().totals(drawn_NL)
    return SPACE.names(drawn_NL[(totals_N <= limit) & (totals_N >= FLOOR * limit)][0])


def trained(data: GroupedData, ops: Sequence[str], seed: int, folder: Path, quick: bool) -> Row:
    """Its figures on test, trained anew."""
    fresh(folder)
    torch.manual_seed(seed)
    config = TrainConfig(epochs=1 if quick else EPOCHS, seed=seed, fairness_weight=0.0, threads=1)
    network = build_path(SPACE, ops, len(data.classes), data.channels)
    network = train_network(config, data, network, RunFolder(folder), torch.device("cpu"))
    shutil.rmtree(folder)
    shown = Batches(data.test, 256, shuffle=False, mean=data.mean, std=data.std).epoch()
    right_N = predict(network, shown).argmax(1) == data.test.label_N
    by_group = [float(right_N[data.test.group_NA[:, 0] == group].mean()) for group in range(2)]
    return {"ops": list(ops), "bops": bops().total(SPACE.index_L(ops)), "accuracy": float(right_N.mean()), "gap": abs(by_group[0] - by_group[1])}  # fmt: skip


def fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def one_seed(seed: int, folder: Path, quick: bool) -> list[Row]:
    """Every network of a seed; those whose file is there are read."""
    data = pictures("cifar10", folder, seed, (128, 64, 200) if quick else SIZES)
    limits, rows = budgets(), []
    wanted = [("uniform", option) for option in UNIFORM]
    wanted += [("searched", budget) for budget in limits] + [("by hand", "between"), ("random", "between")]
    for way, name in wanted:
        file = folder / f"{way.replace(' ', '-')}-{name}-{seed}.json"
        if not file.exists():
            limit = limits.get(name, np.inf)
            if way == "searched":
                ops = searched(data, limit, seed, folder / f"search-{seed}", quick)
            elif way == "random":
                ops = random_near(limit, seed)
            else:
                ops = SPACE.names(by_hand(limit) if way == "by hand" else all_of(name))
            row = trained(data, ops, seed, folder / f"train-{seed}", quick)
            assert row["bops"] <= limit * (1 + 1e-12) or way == "uniform"
            file.write_text(json.dumps({"way": way, "budget": name, "seed": seed, **row}))
        rows.append(json.loads(file.read_text()))
        print({key: rows[-1][key] for key in ("way", "budget", "seed", "accuracy", "gap")}, flush=True)
    return rows


def summary(rows: list[Row]) -> dict[str, Any]:
    """In points and BOPS."""
    by = {(row["way"], row["budget"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    found: dict[str, Any] = {"seeds": len(seeds)}
    for way, budget in dict.fromkeys((row["way"], row["budget"]) for row in rows):
        own = [by[way, budget, seed] for seed in seeds]
        for key, factor in (("accuracy", 100), ("gap", 100), ("bops", 1)):
            found[f"{way}_{budget}_{key}".replace(" ", "_")] = round(float(np.mean([factor * row[key] for row in own])), 2)  # fmt: skip
    control = {"w4a4": "uniform", "w2a2": "uniform", "between": "by hand"}
    for key, figure in (("accuracy", "bops_gain"), ("gap", "bops_gap_change")):
        change = {
            f"uniform_{budget}": [
                100 * (by["searched", budget, seed][key] - by[way, budget, seed][key]) for seed in seeds
            ]
            for budget, way in control.items()
        }
        change = {"uniform": list(np.mean(list(change.values()), axis=0)), **change}
        change["random"] = [100 * (by["searched", "between", seed][key] - by["random", "between", seed][key]) for seed in seeds]  # fmt: skip
        for name, change_S in change.items():
            for part, value in zip(("", "_low", "_high"), t_interval(change_S), strict=True):
                found[f"{figure}_over_{name}{part}"] = None if value is None else round(value, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on few pictures; nothing is written")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where results are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    torch.set_num_threads(1)
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="bits-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for seed in range(1 if options.quick else options.seeds):
        rows += one_seed(seed, folder, options.quick)
        print(json.dumps(summary(rows), indent=1), flush=True)
        if not options.quick:
            write_results("bits", summary(rows), rows)


if __name__ == "__main__":
    main()
