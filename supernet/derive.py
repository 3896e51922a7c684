"""Architecture parameters and a budget → architectures that keep it: a multiple-choice knapsack, solved exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, brentq, milp
from scipy.special import log_softmax, softmax

from supernet.costs.table import CostTable, least_text
from supernet.errors import UserError


def most_probable(
    alpha_LK: np.ndarray, valid_LK: np.ndarray, costs: list[CostTable], budgets: Mapping[str, float]
) -> Iterator[np.ndarray]:
    """Yields (L,) architectures inside every budget, the most probable first, then the next, until none is left.

    `budgets` gives the most that each named cost may be. Maximises Σ_l log p[l, op(l)] by integer programming (HiGHS);
    what was yielded is cut off for the next. A solution that exceeds a budget within the solver's tolerance is cut off
    too, so no budget is ever exceeded. Raises UserError if nothing fits, with the least possible cost.
    """
    assert set(budgets) <= {cost.name for cost in costs}, "a budget without its cost would be ignored"
    assert not np.isnan(list(budgets.values())).any(), "NaN would be no budget at all"
    layers, operations = valid_LK.shape
    log_p = np.maximum(log_softmax(np.where(valid_LK, alpha_LK, -np.inf), axis=1), -1e3).ravel()
    one_each = LinearConstraint(np.kron(np.eye(layers), np.ones(operations)), 1, 1)
    constraints, allowed_LK = [one_each], valid_LK.copy()
    for cost in costs:
        limit = budgets.get(cost.name, np.inf)
        if limit < np.inf:
            if cost.fastest(valid_LK) > limit:
                raise UserError(
                    f"No architecture has a {cost.name} of {limit:g} {cost.unit} or less; "
                    f"the least possible is {least_text(cost.fastest(valid_LK))} {cost.unit}."
                )
            allowed_LK &= _affordable(cost, valid_LK, limit)
            constraints.append(_inside(cost, valid_LK, limit))
    found = 0
    while True:
        result = milp(
            -log_p,
            integrality=np.ones(log_p.size),
            bounds=Bounds(0, allowed_LK.ravel().astype(float)),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            if not found:
                raise UserError(f"No architecture keeps all of these budgets at once: {dict(budgets)}.")
            return
        index_L = result.x.reshape(layers, operations).argmax(axis=1)
        if all(cost.total(index_L) <= budgets.get(cost.name, np.inf) for cost in costs):
            found += 1
            yield index_L
        chosen = np.zeros((layers, operations))
        chosen[np.arange(layers), index_L] = 1
        constraints.append(LinearConstraint(chosen.ravel(), -np.inf, layers - 1))


def _above_least(cost: CostTable, valid_LK: np.ndarray) -> np.ndarray:
    """(L, K) what each operation costs more than its layer's least; infinite where it is not allowed."""
    cost_LK = np.where(valid_LK, cost.cost_LK, np.inf)
    return cost_LK - cost_LK.min(axis=1, keepdims=True)


def _affordable(cost: CostTable, valid_LK: np.ndarray, limit: float) -> np.ndarray:
    """(L, K) whether an operation is inside the budget where all other layers take their least."""
    return _above_least(cost, valid_LK) <= _room(cost, valid_LK, limit)


def _room(cost: CostTable, valid_LK: np.ndarray, limit: float) -> float:
    """What the budget leaves above the least possible cost, and a little for rounding: who uses that is cut off later."""
    return limit - cost.fastest(valid_LK) + 1e-12 * max(abs(limit), abs(cost.base))


def _inside(cost: CostTable, valid_LK: np.ndarray, limit: float) -> LinearConstraint:
    """The budget as a row of numbers from 0 to 1: the solver's tolerances are absolute, and it refuses large ratios."""
    extra_LK = np.where(_affordable(cost, valid_LK, limit), _above_least(cost, valid_LK), 0.0)
    scale = max(extra_LK.max(), 1e-300)
    row_LK = np.where(extra_LK < 1e-9 * scale, 0.0, extra_LK) / scale  # smaller ones the solver drops, with a line
    return LinearConstraint(row_LK.ravel(), -np.inf, _room(cost, valid_LK, limit) / scale)


def broadest_alpha(cost: CostTable, valid_LK: np.ndarray, budget: float) -> np.ndarray:
    """(L, K) logits of the distribution of greatest entropy whose expected cost is inside the budget: α = −λ · cost.

    λ = 0 (uniform) where that is inside already. A search that starts there spends its steps, which cost by size, on
    architectures that may be derived. Where only the cheapest fits, λ is as large as it needs to be to say so.
    """
    cost_LK = np.where(valid_LK, cost.cost_LK, 0.0)

    def excess(multiplier: float) -> float:
        p_LK = softmax(np.where(valid_LK, -multiplier * cost_LK, -np.inf), axis=1)
        return cost.base + float((p_LK * cost_LK).sum()) - budget

    largest = 100 * len(cost_LK) / max(budget, 1e-9)
    if excess(0.0) <= 0:
        return np.zeros_like(cost_LK)
    return -cost_LK * (largest if excess(largest) >= 0 else brentq(excess, 0.0, largest))


def candidates(
    alpha_LK: np.ndarray,
    valid_LK: np.ndarray,
    costs: list[CostTable],
    budgets: Mapping[str, float],
    number: int,
    seed: int,
) -> list[np.ndarray]:
    """The most probable architectures inside the budgets, the likeliest first, then different ones up to `number`.

    Half are the most probable; the others are drawn from p under the budgets by perturb-and-MAP (Papandreou & Yuille, ICCV 2011): the same integer
    programme on α plus Gumbel noise, every second one at a tighter budget so that they spread along the front.
    """
    rng = np.random.default_rng(seed)
    found = list(islice(most_probable(alpha_LK, valid_LK, costs, budgets), (number + 1) // 2))
    fastest = {cost.name: cost.fastest(valid_LK) for cost in costs}
    for draw in range(4 * number):
        if len(found) == number:
            break
        share = 1.0 if draw % 2 else rng.uniform(0.5, 1.0)
        tighter = {name: min(limit, fastest[name] + share * (limit - fastest[name])) for name, limit in budgets.items()}
        noisy_LK = alpha_LK + rng.gumbel(size=alpha_LK.shape)
        try:
            index_L = next(most_probable(noisy_LK, valid_LK, costs, tighter))
        except UserError:  # several budgets, each tightened, may exclude one another
            continue
        if not any(np.array_equal(index_L, other) for other in found):
            found.append(index_L)
    return found
