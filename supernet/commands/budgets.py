"""Budgets of a search: the default one, what a quantile holds back, whether any architecture keeps them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from supernet.config import SearchConfig
from supernet.costs.analytic import bits_of, bops_table, input_table, macs_table, params_table, weights_table
from supernet.costs.factors import Cost, least_text
from supernet.costs.latency import LatencyTable, load_table, require_good, table_path
from supernet.costs.memory import peak_table
from supernet.derive import most_probable
from supernet.engine.claim import run_input
from supernet.errors import UserError
from supernet.options import numbers
from supernet.problem import Region
from supernet.spaces import SearchSpace
from supernet.spaces.bits import ENDS
from supernet.transfer.adapt import quantile_margin_ms
from supernet.transfer.kernel_model import table_for


def regions(config: SearchConfig, space: SearchSpace) -> tuple[tuple[Region, ...], dict[str, Path], list[str]]:
    """(each budget of each device that was asked for, the tables' files by their names in a run folder, lines for the person).

    Of several budgets those that a device cannot keep are left out with a note. Raises UserError where a device keeps none.
    """
    names = [config.device]
    if config.devices is not None:
        names = list(dict.fromkeys(name.strip() for name in config.devices.split(",")))
        if "" in names:
            raise UserError(f'--devices: names joined by commas, not "{config.devices[:60]}".')
        if len({Path(name).stem for name in names}) < len(names):
            raise UserError("--devices: two tables have one file name, and so their answers one folder; rename one.")
        if config.device not in names:
            raise UserError(f"--device {config.device} is none of --devices {config.devices[:60]}: leave it out.")
        names.sort(key=lambda name: name != config.device)  # derived.json is of the first
    asked = [config.budget_ms] if config.budgets_ms is None else numbers(config.budgets_ms, "budgets_ms", "(0, 1e6]")
    found: list[Region] = []
    files: dict[str, Path] = {}
    notes: list[str] = []
    for number, name in enumerate(names):
        copy = f"latency_table{number or ''}.json"
        files[copy] = run_input(config.resume, copy, table_path(name))
        table, told = device_table(config, space, files[copy])
        latency = table.cost(space)
        kept: list[Region] = []
        left_out: list[UserError] = []
        for budget_ms in asked:
            try:
                ms, limit_ms, words = latency_budget(replace(config, budget_ms=budget_ms), space, table, latency)
            except UserError as error:
                left_out.append(error)
                continue
            kept.append(Region(name, table, latency, ms, limit_ms))
            told += words
            if limit_ms >= latency.bounds(space.valid_LK)[1] and budget_ms != asked[-1]:
                told.append(
                    f"{ms:g} ms hold every architecture of {space.name} on {table.device}: larger budgets are left out."
                )
                break
        if not kept:
            raise left_out[-1]
        notes += [*told, *(f"Left out: {why}" for why in left_out)]
        found += kept
    if len(formats := {region.table.dtype for region in found}) > 1:
        raise UserError(
            f"The tables of --devices are of different number formats ({', '.join(sorted(formats))}): take one."
        )
    if formats != {"float32"}:
        notes.append(
            f"The table is of {found[0].table.dtype}: budgets and predictions are of the network in this format."
        )
    return tuple(found), files, list(dict.fromkeys(notes))


def device_table(config: SearchConfig, space: SearchSpace, file: Path) -> tuple[LatencyTable, list[str]]:
    """A device's table for the space, and lines for the person. Raises UserError for a poor one that was not accepted."""
    table = load_table(str(file))
    require_format(table, config.dtype, space)
    if config.max_mj is not None:
        _ = table.power_watts  # one without is said now
    require_good(table, config.accept_poor_table)
    if config.accept_poor_table and table.content["validation"] is None:
        raise UserError(
            f"--accept-poor-table has no effect: the table of {table.device} was never validated; leave it out."
        )
    table, notes = table_for(table, space)
    if table.accelerator is not None:
        notes.append(f"{table.device}: {table.content['notes']}")
    if config.accept_poor_table and table.error is not None:
        notes.append(f"--accept-poor-table: the table's error on held-out networks, {table.error:.1%}, was accepted.")
    return table, notes


def require_format(table: LatencyTable, dtype: str | None, space: SearchSpace) -> None:
    """Raises UserError where the table's latencies are of another number format than the one that was asked for."""
    if dtype is not None and table.dtype != dtype:
        way = f"Measure these on the device: supernet lut build --space {space.name} --dtype {dtype} --device {table.device}"
        if (array := table.array) is not None:
            way = (f"It is modelled: supernet lut model --rows {array.rows} --columns {array.columns} --clock-mhz {array.clock_mhz:g} "
                   f"--space {space.name} --dtype {dtype}")  # fmt: skip
        if table.accelerator is not None:
            way = "An Ethos-U computes nothing else: leave --dtype out."
        raise UserError(f"The table of {table.device} holds {table.dtype} latencies, not {dtype}. {way}")


def costs_of(
    space: SearchSpace,
    channels: int,
    classes: int,
    limits: Collection[str],
    table: LatencyTable | None,
    bits: str | None = None,
) -> dict[str, Cost]:
    """The costs beside latency. table: its number format counts, and its power; without one it is float32. bits: that bit operations are counted at; by default the table's, or of the ends where layers have their own. Peak memory only where it has a limit: in a large space its table takes seconds."""
    dtype = "float32" if table is None else table.dtype
    costs = {"macs": macs_table(space, channels, classes), "params": params_table(space, channels, classes)}
    if "weights" in limits:
        costs["weights"] = weights_table(costs["params"], dtype)
    if "bops" in limits:
        costs["bops"] = bops_table(space, channels, classes, bits or (ENDS.text if space.bits else bits_of(dtype)))
    if "input" in limits or space.inputs:
        costs["input"] = input_table(space, channels)
    if "peak_memory" in limits:
        costs["peak_memory"] = peak_table(space, channels, classes, dtype)
    if "energy" in limits:
        assert table is not None  # bits.py refuses --max-mj
        costs["energy"] = table.energy(space)
    return costs


def half_way(space: SearchSpace, cost: Cost) -> float:
    """Half way from the fastest (or cheapest) to the median architecture: the default budget, before it is rounded."""
    return (cost.bounds(space.valid_LK)[0] + cost.median(space.valid_LK)) / 2


def latency_budget(
    config: SearchConfig, space: SearchSpace, table: LatencyTable, latency: Cost
) -> tuple[float, float, list[str]]:
    """(budget in ms as asked or by default, what the predicted latency may be, lines for the person).

    Raises UserError where no architecture keeps it, with the least budget that is accepted.
    """
    fastest, slowest = latency.bounds(space.valid_LK)
    notes = [
        f"{space.name} on {table.device}: predicted from {least_text(fastest)} ms (fastest) to {slowest:.4g} ms (slowest); "
        f"{latency.base:.4g} ms of each are fixed ({'classifier' if space.inputs else 'stem, head, classifier'})."
    ]
    margin_ms = 0.0
    if config.latency_quantile is not None:
        margin_ms = quantile_margin_ms(table.content, config.latency_quantile)
    budget_ms = config.budget_ms
    if budget_ms is None:
        middle = half_way(space, latency)
        digits = max(1, 1 - math.floor(math.log10(middle))) if middle > 0 else 1
        budget_ms = max(round(middle, digits), float(least_text(fastest + margin_ms)))
        notes.append(
            f"No --budget-ms was given: {budget_ms:g} ms was taken, half way from the fastest to the median "
            f"architecture of {space.name}."
        )
    limit_ms = max(budget_ms - margin_ms, fastest)  # a budget of just both must not fail by rounding
    if config.latency_quantile is not None:
        notes.append(
            f"Predicted latency is held at {limit_ms:.4g} ms, so that a measured one keeps {budget_ms:g} ms with "
            f"probability {config.latency_quantile:g}."
        )
    if budget_ms < fastest + margin_ms:
        held = f", of which {margin_ms:.4g} ms are held back by --latency-quantile" if margin_ms else ""
        raise UserError(
            f"No architecture of {space.name} keeps {budget_ms:g} ms on {table.device}{held}: the fastest possible takes "
            f"{least_text(fastest + margin_ms)} ms. Raise --budget-ms."
        )
    return budget_ms, limit_ms, notes


def check_feasible(space: SearchSpace, costs: dict[str, Cost], budgets: dict[str, float]) -> None:
    """Raises UserError, before the search, where no architecture keeps all budgets."""
    next(most_probable(np.zeros(space.valid_LK.shape), space.valid_LK, list(costs.values()), budgets))
