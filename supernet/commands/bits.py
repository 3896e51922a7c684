"""Searches and trainings of spaces whose layers' bits are decided: what is asked of them, and what has no meaning there."""

from __future__ import annotations

import math
from collections.abc import Collection

from supernet.commands.budgets import half_way
from supernet.config import CommonConfig, SearchConfig, TrainConfig
from supernet.costs.analytic import bops_table
from supernet.costs.factors import Cost, least_text
from supernet.engine import distributed
from supernet.errors import UserError
from supernet.options import flag
from supernet.report.words import amount
from supernet.spaces import SearchSpace, get_space
from supernet.spaces.architecture import Architecture
from supernet.spaces.bits import ENDS

NO_DEVICE = "none"  # as --device stands in a run whose network has no latency
NO_TIME = "no runtime here executes fewer than 8 bits, so there is no latency"
_TIMED = (
    "device",
    "devices",
    "budget_ms",
    "budgets_ms",
    "latency_weight",
    "latency_quantile",
    "accept_poor_table",
    "max_mj",
)
_WHY = {
    "bits": "each layer's bits are what is searched",
    "dtype": "each layer's bits are what is searched",
    "max_sram_kb": "it counts whole bytes, and layers have fewer bits",
    "max_flash_kb": "it counts whole bytes, and layers have fewer bits",
    "qat_epochs": "its layers are trained with their own bits already",
    "exits": "early exits have no bits of their own",
}


def check_search(config: SearchConfig, given: Collection[str], space: SearchSpace) -> None:
    """Raises UserError for what a search of bits cannot be asked."""
    _refuse(config, given, f"--space {space.name}", "Leave it out; the budget is --max-bops.")
    if config.strategy != "differentiable":
        raise UserError(f"--space {space.name} is searched by --strategy differentiable: leave --strategy out.")
    if distributed.started() > 1:
        raise UserError(f"--space {space.name} runs in one process: start it without torchrun.")


def check_training(config: TrainConfig, given: Collection[str], arch: Architecture) -> None:
    """Raises UserError for what a training of such an architecture cannot be asked, and where it is over its search's budget."""
    if not get_space(arch.space).bits:
        return
    _refuse(config, given, f"an architecture of {arch.space}", "Leave it out.")
    if distributed.started() > 1:
        raise UserError(f"An architecture of {arch.space} is trained in one process: start it without torchrun.")
    limit, found = arch.config.get("max_bops"), counted(arch)
    if isinstance(limit, int | float) and found > limit:
        raise UserError(f"{config.arch}: ops: {found:.6g} bit operations are over max_bops, {limit:.6g}: one was changed.")  # fmt: skip


def counted(arch: Architecture) -> float:
    """Bit operations of an architecture for one image."""
    space = get_space(arch.space)
    cost = bops_table(space, arch.input.channels, len(arch.classes), ENDS.text)
    return cost.total(space.index_L(arch.ops))


def bops_budget(config: SearchConfig, space: SearchSpace, bops: Cost) -> tuple[float, list[str]]:
    """(the budget of bit operations as asked or by default, lines for the person). Raises UserError where no architecture keeps it."""
    least, most = bops.bounds(space.valid_LK)
    notes = [
        f"{space.name}: from {amount(least)} to {amount(most)} bit operations; {amount(bops.base)} of each are fixed (stem and classifier, "
        f"{ENDS.weights} bits). They are counted, not measured: {NO_TIME}."
    ]
    budget = config.max_bops
    if budget is None:
        middle = half_way(space, bops)
        budget = max(round(middle, 1 - math.floor(math.log10(middle))), float(least_text(least)))
        notes.append(
            f"No --max-bops was given: {budget:.6g} was taken, half way from the least to the median of {space.name}."
        )
    if budget < least:
        raise UserError(
            f"No architecture of {space.name} keeps {budget:.6g} bit operations: the least possible is {least_text(least)}. Raise --max-bops."
        )
    return budget, notes


def _refuse(config: CommonConfig, given: Collection[str], what: str, advice: str) -> None:
    for name in sorted({*_TIMED, *_WHY} & set(given)):
        if getattr(config, name) in (None, False, NO_DEVICE):  # as run.yaml has it
            continue
        raise UserError(f"{flag(name)} has no meaning for {what}: {_WHY.get(name, NO_TIME)}. {advice}")
