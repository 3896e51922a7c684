"""`supernet front`: what a finished search answers over all budgets of a device: predicted loss × gap × latency."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from supernet.commands import answering
from supernet.options import numbers
from supernet.program import Help

EPILOG = """\
examples:
  supernet front --run runs/search --device rpi4
  supernet front --run runs/search --device ./new-board.json --budgets-ms 8,10,14

Each budget is answered for the least mean loss, for loss + gap, and for the worst group. Of a gap that a supernet foretells a tenth counts. Files: front-DEVICE.json has them with every
figure, front-DEVICE.html the pictures. Hypervolume: 0 at the space's median architecture, 1 at the least of each figure that was found.
"""
BUDGETS = 8  # where none are given


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "front",
        help="predicted loss, gap and latency over all budgets of a device, from a finished search",
        description="The front of a finished search on any device: the best architectures of many budgets.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    answering.add_options(parser)
    parser.add_argument(
        "--budgets-ms", metavar="A,B,C", help="latency budgets, ms; default: eight from fastest to slowest"
    )
    parser.add_argument("--out", type=Path, help="folder for the files; default: the run's")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Raises UserError for a budget that nothing keeps, with the fastest possible."""
    from latency_luts.files import write_whole
    from supernet.answers import Wish
    from supernet.report.front_page import front_page
    from supernet.schema import write_json

    given = None if options.budgets_ms is None else numbers(options.budgets_ms, "budgets_ms", "(0, 1e6]")
    asked = answering.asked_of(options)
    fastest, slowest = asked.costs["latency"].bounds(asked.quality.space.valid_LK)
    budgets = given or [float(ms) for ms in np.linspace(fastest + 0.02 * (slowest - fastest), slowest, BUDGETS)]
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for budget_ms in budgets:
        for goal, wish in (("mean", Wish()), ("mean + gap", Wish(weight=1.0)), ("worst group", Wish(worst=True))):
            facts = asked.facts(asked.answers(budget_ms, wish, 1)[0])
            row = rows.setdefault(tuple(facts["ops"]), facts | {"asked": []})
            row["asked"].append({"budget_ms": budget_ms, "goal": goal})
    found = marked(list(rows.values()))
    volume = hypervolume_of(asked, found)
    folder = options.out or options.folder
    folder.mkdir(parents=True, exist_ok=True)
    name = f"front-{Path(options.device).stem}"
    write_json(folder / f"{name}.json", {"device": asked.table.device, "table": asked.table.hash, "budgets_ms": budgets,
                                          "hypervolume": volume, "front": found})  # fmt: skip
    write_whole(folder / f"{name}.html", front_page(asked.table.device, found, asked.quality.groups).encode())
    print("\n".join([*asked.notes, *table_lines(found)]))
    print(f"Hypervolume of what is predicted: {volume:.4f} of 1. Pictures: {folder / name}.html")


def figures(row: dict[str, Any]) -> list[float]:
    return [row["predicted_mean_loss"], row["predicted_gap"], row["costs"]["latency"]]


def marked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By latency, with `non_dominated` in mean loss, gap and latency."""
    from supernet.front import non_dominated

    rows = sorted(rows, key=lambda row: row["costs"]["latency"])
    on_front = non_dominated(np.array([figures(row) for row in rows]))
    return [{**row, "non_dominated": bool(on)} for row, on in zip(rows, on_front, strict=True)]


def hypervolume_of(asked: answering.Asked, rows: list[dict[str, Any]]) -> float:
    """Of predicted mean loss, gap and latency, each from 0 at the least found to 1 at the median of random architectures.

    Normalised by the worst it would hardly see a difference. A figure of which the median is the least found counts as 0;
    where the median is less than that, nothing counts.
    """
    from supernet.choices import draw
    from supernet.front import hypervolume

    quality = asked.quality
    index_NL = draw(quality.space.valid_LK, 2001, np.random.default_rng(0))
    loss_NG = quality.loss_NG(index_NL)
    drawn_N3 = np.column_stack([loss_NG.mean(axis=1), [quality.gap(loss_G) for loss_G in loss_NG], asked.costs["latency"].totals(index_NL)])  # fmt: skip
    found_N3 = np.array([figures(row) for row in rows])
    least_3, median_3 = found_N3.min(axis=0), np.median(drawn_N3, axis=0)
    if (median_3 < least_3).any():  # all that was found is beyond the reference
        return 0.0
    span_3 = np.maximum(median_3 - least_3, 1e-12)
    return float(hypervolume((found_N3 - least_3) / span_3, np.ones(3)))


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """What the terminal shows; a star marks what none other dominates."""
    from supernet.report.words import milliseconds

    lines = ["    latency  mean loss      gap  operations"]
    for row in rows:
        loss, gap, ms = figures(row)
        lines.append(
            f"  {'*' if row['non_dominated'] else ' '} {milliseconds(ms):>7}  {loss:9.4f}  {gap:7.4f}  {' '.join(row['ops'])}"
        )
    return lines
