"""Budgets of a search: the default one, what a quantile holds back, whether any architecture keeps them."""

from __future__ import annotations

import math

import numpy as np

from supernet.config import SearchConfig
from supernet.costs.factors import Cost, least_text
from supernet.costs.latency import LatencyTable
from supernet.derive import most_probable
from supernet.errors import UserError
from supernet.spaces import SearchSpace
from supernet.transfer.adapt import quantile_margin_ms


def half_way_ms(space: SearchSpace, latency: Cost) -> float:
    """Half way from the fastest to the median architecture: the default budget, before it is rounded."""
    return (latency.bounds(space.valid_LK)[0] + latency.median(space.valid_LK)) / 2


def latency_budget(
    config: SearchConfig, space: SearchSpace, table: LatencyTable, latency: Cost
) -> tuple[float, float, list[str]]:
    """(budget in ms as asked or by default, what the predicted latency may be, lines for the person).

    Raises UserError where no architecture keeps it, with the least budget that is accepted.
    """
    fastest, slowest = latency.bounds(space.valid_LK)
    notes = [
        f"{space.name} on {table.device}: predicted from {least_text(fastest)} ms (fastest) to {slowest:.4g} ms (slowest); "
        f"{latency.base:.4g} ms of each are fixed (stem, head, classifier)."
    ]
    margin_ms = 0.0
    if config.latency_quantile is not None:
        margin_ms = quantile_margin_ms(table.content, config.latency_quantile)
    budget_ms = config.budget_ms
    if budget_ms is None:
        half_way = half_way_ms(space, latency)
        digits = max(1, 1 - math.floor(math.log10(half_way))) if half_way > 0 else 1
        budget_ms = max(round(half_way, digits), float(least_text(fastest + margin_ms)))
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
