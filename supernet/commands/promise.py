"""What a derived.json promises, held against the space, the table and the data at hand."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from supernet.commands.bits import check_training
from supernet.commands.budgets import half_way
from supernet.commands.facts import energy_mj, layer_facts, table_facts
from supernet.config import TrainConfig
from supernet.costs.factors import Cost
from supernet.costs.latency import LatencyTable, load_table
from supernet.errors import UserError
from supernet.report.facts import Latency
from supernet.spaces import SIZED, SearchSpace, get_space
from supernet.spaces.architecture import Architecture
from supernet.spaces.lite import uniform_sizes
from supernet.transfer.kernel_model import table_for

CLOSE = 1e-6  # relative: a sum in another order
ROUNDING = 0.1  # relative: versions round the default budget differently


def priced(config: TrainConfig, arch: Architecture, given: Collection[str]) -> tuple[Architecture, list[str]]:
    """The architecture with the latency that the table of `config.device` predicts, and what to tell the person.

    Raises UserError for what a network of few bits cannot be asked, and, by the field's name, where the file contradicts the very table that it was made with, or where a
    table that --device names cannot be read. Without a table the file's own figures stay, and a note says so.
    """
    check_training(config, given, arch)
    if arch.predicted_ms is None or (arch.device is None and "device" not in given):
        return arch, []
    asked = "device" in given or config.resume is not None  # a resumed run's device was settled when it began
    try:
        table, _ = table_for(load_table(config.device), get_space(arch.space))
        latency = table.cost(get_space(arch.space))
    except UserError as error:
        if "device" in given:
            raise
        return arch, [f"{config.arch}: predicted_ms {arch.predicted_ms:.2f} was not checked. {error}"]
    if (arch.table or {}).get("hash") == table.hash:
        _check(config.arch, arch, table, latency)
        return arch, []
    if arch.device != table.device and not asked:
        raise UserError(f"{config.arch}: device: {arch.device}, but its search's table {config.device} is of {table.device}.")  # fmt: skip
    other = arch.device != table.device
    budget_ms = config.budget_ms if other else arch.budget_ms
    predicted_ms = latency.total(get_space(arch.space).index_L(arch.ops))
    found = replace(
        arch, device=table.device, predicted_ms=predicted_ms,
        predicted_error=table.error, budget_ms=budget_ms, table=table_identity(table),
    )  # fmt: skip
    why = f"for {arch.device}" if other else "with another table"
    over = "" if budget_ms is None or predicted_ms <= budget_ms else f", OVER the budget of {budget_ms:g} ms"
    return found, [f"{config.arch} was derived {why} ({arch.predicted_ms:.2f} ms). With the table of {table.device} here: {predicted_ms:.2f} ms{over}."]  # fmt: skip


def _check(name: str, arch: Architecture, table: LatencyTable, latency: Cost) -> None:
    """Raises UserError where a figure is not what this table gives."""
    space = get_space(arch.space)
    expected: dict[str, Any] = {
        "device": table.device,
        "predicted_ms": latency.total(space.index_L(arch.ops)),
        "predicted_error": table.error,
    }
    if arch.config.get("budget_ms", 0) is None and arch.config.get("latency_quantile") is None:
        expected["budget_ms"] = half_way(space, latency)
    for field, value in expected.items():
        stated, apart = getattr(arch, field), ROUNDING if field == "budget_ms" else CLOSE
        close = isinstance(value, float | int) and stated is not None and math.isclose(stated, value, rel_tol=apart)
        if stated != value and not close:
            raise UserError(f"{name}: {field}: {stated}, but its table and its search's options give {value}: one was changed.")  # fmt: skip


def table_identity(table: LatencyTable) -> dict[str, Any]:
    """Which table it was, for derived.json."""
    return {"hash": table.hash, "provenance": table.provenance, "source": table.content["source"]}


def other_data(config: TrainConfig, arch: Architecture, fingerprint: str) -> list[str]:
    """A note where the images are not those of the search."""
    before = arch.data.get("fingerprint")
    if before in (None, fingerprint):
        return []
    return [f"The images are not those of {config.arch}'s search (other files, draw or size): fingerprint {fingerprint}, then {before}."]  # fmt: skip


def latency_facts(config: TrainConfig, arch: Architecture | None) -> Latency | None:
    """Latency layer by layer, where the table is at hand."""
    if arch is None or arch.device is None:
        return None
    try:
        space, table, cost = _at_hand(config, arch)
    except UserError:
        return None
    layers = layer_facts(space, cost, arch.ops, None, table.utilisation(space, arch.ops))
    return Latency(table=table_facts(table), base_ms=cost.base, layers=layers)


def beside_latency(config: TrainConfig, arch: Architecture) -> dict[str, Any]:
    """What else the device's table tells of the network, by its name in the report: how much of a modelled array it uses, energy
    of an image. None where the table tells nothing of it, and without a table."""
    try:
        space, table, _ = _at_hand(config, arch)
    except UserError:
        return {}
    used = table.utilisation(space, arch.ops)
    return {
        "utilisation": None if used is None else used.whole,
        "energy_mj": energy_mj(table, arch.predicted_ms),
    }


def whole_ms(config: TrainConfig, arch: Architecture | None) -> float | None:
    """Predicted latency of the trained network that the space is made around, its largest path; None without a table."""
    if arch is None or arch.device is None or arch.space not in SIZED:
        return None
    try:
        space, _, latency = _at_hand(config, arch)
    except UserError:
        return None
    return latency.total(np.nanargmax(uniform_sizes(space), axis=1))


def _at_hand(config: TrainConfig, arch: Architecture) -> tuple[SearchSpace, LatencyTable, Cost]:
    space = get_space(arch.space)
    table, _ = table_for(load_table(config.device), space)
    return space, table, table.cost(space)
