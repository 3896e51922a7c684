"""Small devices: the error of the microcontroller's table, and what it is worth to search by a systolic array's cycles rather than by multiply-adds.

    python benchmarks/small_devices.py          # a minute
    python benchmarks/small_devices.py --quick  # one array; nothing written

`mcu_table_…`: published times of a Cortex-M7, each backbone foretold from the others (make_mcu_table.py); errors as fractions. No network was timed here.

By the model, time is MACs ÷ (peak × utilisation). A search that minimises modelled time has utilisation in its loss; one that minimises MACs is the
same search without it. All 432 networks of micro32 have been trained twice (truth/writers_micro.npz). A level is the accuracy that a network of the front
(fewest MACs, first training) reaches, within 5 points of the best. There the network of fewest MACs is held against the one of least modelled time.
`speedup_ROWSxCOLUMNS`: time of the first by time of the second, geometric mean over levels; it is 1 where both are one network.
`accuracy_change_…`: fastest − fewest MACs in the second training, which chose neither, points of mean group accuracy.
`utilisation_speedup`: geometric mean over arrays, `_low` and `_high` of the least and the greatest array's. `utilisation_by_…`: mean over levels.

`spread_SPACE_…`: no training and so no accuracy. Of 2,000 random networks, those of the MACs of the median ± 2%: slowest by fastest.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from make_mcu_table import KINDS, left_out, prices
from results_io import write_results
from truth_table import Truth

from latency_luts.validation import errors
from supernet.choices import draw
from supernet.costs.analytic import macs_table
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.costs.systolic import Array, utilisation
from supernet.spaces import SearchSpace, get_space

SIDES, LARGE = ((8, 8), (16, 16), (32, 32), (64, 64), (128, 128)), 0.05
CLOCK_MHZ, CHANNELS, CLASSES = 500.0, 1, 10


def modelled_cost(array: Array, space: SearchSpace) -> Cost:
    """The array's table for a space, by the way that any device's table takes."""
    shipped = load_table("systolic-16x16")
    model = {"kind": "systolic", **asdict(array)}
    return replace(shipped, content=shipped.content | {"model": model}).remodelled(space).cost(space)


def levels(accuracy_N: np.ndarray, macs_N: np.ndarray) -> list[int]:
    """The front's networks: each reaches more than all that have fewer MACs; those near the best accuracy."""
    front, best = [], -np.inf
    for row in np.lexsort((-accuracy_N, macs_N)):
        if accuracy_N[row] > best:
            best = accuracy_N[row]
            front.append(int(row))
    return [row for row in front if accuracy_N[row] >= accuracy_N.max() - LARGE]


def held_against(truth: Truth, array: Array) -> list[dict[str, Any]]:
    """Of each level, the network of fewest MACs and the one of least modelled time."""
    accuracy_NS = 1 - truth.error_NS("test")
    macs_N = macs_table(truth.space, CHANNELS, CLASSES).totals(truth.index_NL)
    ms_N = modelled_cost(array, truth.space).totals(truth.index_NL)
    rows = []
    for fewest in levels(accuracy_NS[:, 0], macs_N):
        fits = np.flatnonzero(accuracy_NS[:, 0] >= accuracy_NS[fewest, 0])
        fastest = int(fits[ms_N[fits].argmin()])
        own = {"rows": array.rows, "columns": array.columns, "level": float(accuracy_NS[fewest, 0]), "speedup": float(ms_N[fewest] / ms_N[fastest]),
               "accuracy_change": float(accuracy_NS[fastest, 1] - accuracy_NS[fewest, 1])}  # fmt: skip
        for name, row in (("macs", fewest), ("time", fastest)):
            ops = truth.space.names(truth.index_NL[row])
            own[f"by_{name}"] = {"ops": list(ops), "ms": float(ms_N[row]), "macs": float(macs_N[row]),
                                 "utilisation": utilisation(array, truth.space, ops).whole}  # fmt: skip
        rows.append(own)
    return rows


def spread(array: Array, space: SearchSpace) -> float:
    """Slowest by fastest among random networks of the median's MACs ± 2%."""
    index_NL = draw(space.valid_LK, 2000, np.random.default_rng(0))
    macs_N = macs_table(space, CHANNELS, CLASSES).totals(index_NL)
    alike = np.abs(macs_N / np.median(macs_N) - 1) <= 0.02
    ms_N = modelled_cost(array, space).totals(index_NL[alike])
    return float(ms_N.max() / ms_N.min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one array; nothing is written")
    options = parser.parse_args()
    truth, records = Truth.load(), []
    predicted_N, published_N, names = left_out()
    summary: dict[str, Any] = {f"mcu_table_{key}": value for key, value in errors(predicted_N, published_N).items()}
    summary |= {"mcu_table_networks": len(names), "mcu_table_backbones": len(set(names))}
    summary |= {f"mcu_ms_per_million_{kind}": float(ms) for kind, ms in zip(KINDS, prices(), strict=True)}
    records += [
        {"backbone": name, "predicted_ms": float(told), "published_ms": float(ms)}
        for name, told, ms in zip(names, predicted_N, published_N, strict=True)
    ]
    speedups = []
    for rows, columns in SIDES[1:2] if options.quick else SIDES:
        array, name = Array(rows, columns, CLOCK_MHZ, CHANNELS, CLASSES), f"{rows}x{columns}"
        own = held_against(truth, array)
        records += own
        speedups.append(float(np.exp(np.mean(np.log([one["speedup"] for one in own])))))
        summary |= {f"speedup_{name}": speedups[-1], f"speedup_max_{name}": max(one["speedup"] for one in own),
                    f"accuracy_change_{name}": 100 * float(np.mean([one["accuracy_change"] for one in own])), "levels": len(own)}  # fmt: skip
        for by in ("macs", "time"):
            summary[f"utilisation_by_{by}_{name}"] = float(np.mean([one[f"by_{by}"]["utilisation"] for one in own]))
        for space in ("fbnet32", "flex32"):
            summary[f"spread_{space}_{name}"] = spread(array, get_space(space))
    summary |= {"utilisation_speedup": float(np.exp(np.mean(np.log(speedups)))), "utilisation_speedup_low": min(speedups), "utilisation_speedup_high": max(speedups)}  # fmt: skip
    summary = {key: round(value, 4) for key, value in summary.items()}
    print(json.dumps(summary, indent=1))
    if not options.quick:
        write_results("small_devices", summary, records)


if __name__ == "__main__":
    main()
