"""What derive and front share: a finished search's table of losses, and any device's costs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.command_line import ranged
from supernet.config import LIMITS, limits_of
from supernet.errors import UserError
from supernet.options import flag, numbers
from supernet.schema import printable

if TYPE_CHECKING:
    from supernet.answers import Answer, Wish
    from supernet.costs.factors import Cost
    from supernet.costs.latency import LatencyTable
    from supernet.quality import Quality
    from supernet.spaces.architecture import Architecture


@dataclass(frozen=True)
class Asked:
    """A run's table, what its search was, the device's table, and every cost with a budget or without; `notes` for the person.

    run: the search's folder.  quality: its table of losses.  arch: what it derived.  table: the device's.
    costs: by name, each in its unit.  limits: the most of those that have a budget, in the same units.
    bits: that a budget of bit operations counts; None: the table's.  others: the tables of other devices with a budget.
    """

    run: Path
    quality: Quality
    arch: Architecture
    table: LatencyTable
    costs: dict[str, Cost]
    limits: dict[str, float]
    notes: tuple[str, ...]
    bits: str | None = None
    others: tuple[LatencyTable, ...] = ()

    def answers(self, budget_ms: float, wish: Wish, number: int) -> list[Answer]:
        """The best inside the budget. Raises UserError where there is none."""
        from supernet.answers import answers

        found = answers(self.quality, list(self.costs.values()), {**self.limits, "latency": budget_ms}, wish, number)
        assert all(self.costs["latency"].total(one.index_L) <= budget_ms for one in found)
        return found

    def facts(self, one: Answer) -> dict[str, Any]:
        """What files tell of an architecture."""
        costs = {name: cost.total(one.index_L) for name, cost in self.costs.items() if name != "depth_order"}
        return {
            "ops": list(self.quality.space.names(one.index_L)),
            "costs": costs,
            "predicted_loss": dict(zip(self.quality.groups, one.loss_G.tolist(), strict=True)),
            "predicted_mean_loss": float(one.loss_G.mean()),
            "predicted_gap": one.gap,
        }


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both have."""
    parser.add_argument("--run", dest="folder", required=True, type=Path, help="folder of a finished search")
    parser.add_argument("--device", required=True, help="any device: a shipped table's name, or a table's path")
    parser.add_argument("--max-params", type=ranged(float, "(0, 1e12]"), metavar="X", help="budget of parameters, too")
    parser.add_argument("--max-macs", type=ranged(float, "(0, 1e15]"), metavar="X", help="budget of MACs, too")
    parser.add_argument(
        "--max-bops", type=ranged(float, "(0, 1e18]"), metavar="X", help="budget of bit operations, too"
    )
    parser.add_argument(
        "--bits", metavar="W/A", help="bits of weights/activations for --max-bops (default: the table's)"
    )
    parser.add_argument(
        "--max-flash-kb", type=ranged(float, "(0, 1e9]"), metavar="X", help="budget of the weights' size, KiB, too"
    )
    parser.add_argument(
        "--max-sram-kb", type=ranged(float, "(0, 1e9]"), metavar="X", help="budget of peak activation memory, KiB, too"
    )
    parser.add_argument(
        "--max-input-kb",
        type=ranged(float, "(0, 1e9]"),
        metavar="X",
        help="budget of what the sensor delivers, KiB, too",
    )
    parser.add_argument(
        "--max-mj",
        type=ranged(float, "(0, 1e9]"),
        metavar="X",
        help="budget of energy, mJ, where the table has a power",
    )
    parser.add_argument("--accept-poor-table", action="store_true", help="with a table that failed its own validation")


def asked_of(options: argparse.Namespace) -> Asked:
    """Raises UserError where the run has no table of losses, or the device's latency table does not hold for its space."""
    from supernet.commands.budgets import costs_of
    from supernet.costs.latency import load_table, require_good
    from supernet.quality import Quality
    from supernet.spaces import get_space
    from supernet.spaces.architecture import Architecture
    from supernet.strategies.blockwise import depth_order
    from supernet.transfer.kernel_model import table_for

    if options.bits is not None and options.max_bops is None:
        raise UserError("--bits is for --max-bops: leave it out, or give a budget of bit operations.")
    arch = Architecture.load(options.folder)
    if get_space(arch.space).bits:
        raise UserError(f"{options.folder} searched the bits of {arch.space}, which have no latency: search again with another --max-bops.")  # fmt: skip
    quality = Quality.load(options.folder)
    space = quality.space
    if arch.space != space.name or arch.data.get("fingerprint") != quality.fingerprint:
        raise UserError(f"{options.folder}: quality.json and derived.json are not of one search.")
    table = load_table(options.device)
    require_good(table, options.accept_poor_table)
    table, notes = table_for(table, space)
    channels, classes = arch.input.channels, len(arch.classes)
    limits = limits_of(options)
    costs = {"latency": table.cost(space)} | costs_of(space, channels, classes, limits, table, options.bits)
    if quality.link == "identity":  # blocks replaced in a teacher: depth is cut as the search itself cuts it
        costs["depth_order"], limits["depth_order"] = depth_order(space), 0.0
        notes.append(
            "The architecture begins without the teacher's weights. search --teacher --quality RUN assembles them."
        )
    notes += _left_out(arch, limits)
    if few := quality.few():
        told = ", ".join(f"{printable(name)} ({number})" for name, number in few.items())
        notes.append(f"Losses and gaps of groups with too few images of search-val are hardly known: {told}.")
    return Asked(options.folder, quality, arch, table, costs, limits, tuple(notes), options.bits)


def with_devices(asked: Asked, also: Sequence[str], consent: bool) -> Asked:
    """The same with latency budgets on other devices, too, each as `DEVICE=MS`; its cost is called `latency on DEVICE`.

    consent: to poor tables.  Raises UserError for what is no budget, for a device that is named twice, and as `asked_of`.
    """
    from supernet.costs.latency import load_table, require_good
    from supernet.transfer.kernel_model import table_for

    costs, limits, notes = dict(asked.costs), dict(asked.limits), list(asked.notes)
    tables: list[LatencyTable] = []
    for text in also:
        device, _, ms = text.rpartition("=")
        if not device or "," in ms:
            raise UserError(f"--also {text[:60]}: a device and its budget in ms are needed, such as pixel3=3.2.")
        (budget_ms,) = numbers(ms, "also", "(0, 1e6]")
        table = load_table(device)
        require_good(table, consent)
        table, told = table_for(table, asked.quality.space)
        name = latency_on(table)
        if name in costs or table.device == asked.table.device:
            raise UserError(f"--also {text[:60]}: {table.device} has a budget already.")
        costs[name] = replace(table.cost(asked.quality.space), name=name)
        limits[name] = budget_ms
        notes += told
        tables.append(table)
    return replace(asked, costs=costs, limits=limits, notes=tuple(notes), others=tuple(tables))


def latency_on(table: LatencyTable) -> str:
    """The name of the cost of another device's latency."""
    return f"latency on {table.device}"


def _left_out(arch: Architecture, limits: Mapping[str, float]) -> list[str]:
    """A line on what the search was asked to keep, and these answers are not."""
    names = [option for cost, option in LIMITS.items() if cost not in limits]
    asked = {name: arch.config.get(name) for name in ("latency_quantile", *names)}
    told = [f"{flag(name)} {value:g}" for name, value in asked.items() if isinstance(value, (int, float))]
    return [f"The search kept {', '.join(told)}; this answer does not."] if told else []
