"""`supernet search`: data + device + budget → derived.json, front.json and a report."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from supernet.config import SearchConfig, add_options, from_options
from supernet.errors import UserError, nearest

if TYPE_CHECKING:
    from supernet.commands.setting import Setting
    from supernet.strategies.differentiable import DifferentiableSearch

EPILOG = """\
examples:
  search.py --device rpi4                          the default: digits by two groups of writers, Raspberry Pi 4
  search.py --device rpi4 --budget-ms 12           a tighter latency budget
  search.py --device rpi4 --group-mix student=0.05 --max-gap 0.02
                                                   students are rare in training; hold the soft gap under 2 points
  search.py --device ./my-board.json --data photos --label-col label --group-cols sex,age
                                                   your own device table, your own images
  search.py --resume runs/search-rpi4-1            go on where an interrupted run stopped

It writes into the run folder: derived.json (the architecture: hand it to train.py), front.json (the candidates that
were compared), report.html and report.json, metrics.jsonl (a row an epoch), config.json, checkpoint.pt.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "search",
        help="search for an architecture",
        description="Searches a supernet for the architecture that is accurate, fair to every group and inside the "
        "device's latency budget: cross-entropy + λ_fair · soft group gap + λ_lat · expected latency.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, SearchConfig)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The story of the command."""
    from supernet.commands.setting import open_run, prepare
    from supernet.runs import Interrupted
    from supernet.strategies import STRATEGIES

    folder, config = open_run(options, "search", SearchConfig, from_options)
    started = time.monotonic()
    setting = prepare(config)
    print(f"{setting.summary}\nRun folder: {folder.path}")
    if config.strategy not in STRATEGIES:
        raise UserError(f'Unknown strategy "{config.strategy}".{nearest(config.strategy, STRATEGIES)}')
    search = STRATEGIES[config.strategy](config, setting.space, setting.data, setting.costs, setting.budgets, setting.device)
    try:
        search.run(folder)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Continue with: python search.py --resume {folder.path}") from None
