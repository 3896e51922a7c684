"""Architecture parameters and a budget → architectures that keep it: a multiple-choice knapsack, solved exactly.

Shapes: D decisions (of a plain space, its layers) and K options (its operations).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from supernet.choices import draw
from supernet.config import LIMITS
from supernet.costs.factors import Cost, leading, least_text
from supernet.errors import UserError
from supernet.programme import Pairs, Programme
from supernet.spaces import SearchSpace

TRIES = 200  # uniform draws before the exact way is taken


def most_probable(
    alpha_DK: np.ndarray, valid_DK: np.ndarray, costs: Sequence[Cost], budgets: Mapping[str, float]
) -> Iterator[np.ndarray]:
    """Yields (D,) architectures inside every budget, the most probable first, then the next, until none is left.

    Maximises Σ_d log p[d, k(d)], p = softmax(α); else as `best_first`.
    """
    log_p_DK = np.maximum(log_softmax(np.where(valid_DK, alpha_DK, -np.inf), axis=1), -1e3)
    return best_first(log_p_DK, valid_DK, costs, budgets)


def best_first(
    score_DK: np.ndarray,
    valid_DK: np.ndarray,
    costs: Sequence[Cost],
    budgets: Mapping[str, float],
    score_pairs: Pairs | None = None,
    apart: int = 1,
) -> Iterator[np.ndarray]:
    """Yields (D,) architectures inside every budget, the one with the greatest score first, then the next, until none is left.

    Each differs from the others in `apart` decisions or more. The score is a sum over decisions and, where there are `score_pairs`, over edges. `budgets` gives the most that each named
    cost may be. By integer programming; what was yielded is cut off for the next. A solution that exceeds a budget within the
    solver's tolerance is cut off too, so no budget is ever exceeded. Raises UserError if nothing fits, with the least possible cost.
    """
    assert set(budgets) <= {cost.name for cost in costs}, "a budget without its cost would be ignored"
    assert not np.isnan(list(budgets.values())).any(), "NaN would be no budget at all"
    limited = [(cost, budgets[cost.name]) for cost in costs if budgets.get(cost.name, np.inf) < np.inf]
    programme = Programme(valid_DK, [score_pairs or {}, *(cost.pairs for cost, _ in limited)])
    for cost, limit in limited:
        least, _ = cost.bounds(valid_DK)
        if least > limit:
            raise UserError(nothing_keeps(cost, limit, least))
        cost.constraints(programme, limit)
    score_V, found = programme.row(score_DK, score_pairs), False
    largest = float(np.abs(score_V[programme.upper > 0]).max(initial=0))
    if 0 < largest < 1:
        score_V = score_V / largest  # the solver takes what is within 1e-6 of the best, however small the scores are
    while (index_D := programme.best(score_V)) is not None:
        if all(cost.total(index_D) <= limit for cost, limit in limited):
            found = True
            yield index_D
            programme.exclude(index_D, apart)
        else:
            programme.exclude(index_D)
    if not found:
        raise UserError(f"No architecture keeps all of these budgets at once: {dict(budgets)}.")


def nothing_keeps(cost: Cost, limit: float, least: float) -> str:
    """What is told where no architecture has so little of a cost: the least possible, and the option to raise."""
    option = {"latency": "budget_ms", **LIMITS}.get(cost.name)
    told = f"No architecture has {cost.name} of {limit:g} {cost.unit} or less; the least possible is {least_text(least)} {cost.unit}."
    return told if option is None else f"{told} Raise --{option.replace('_', '-')}."


def inside(index_D: np.ndarray, costs: Sequence[Cost], budgets: Mapping[str, float]) -> bool:
    """Whether an architecture (D,) keeps every budget."""
    return all(cost.total(index_D) <= budgets.get(cost.name, np.inf) for cost in costs)


def drawn_inside(
    valid_DK: np.ndarray, costs: Sequence[Cost], budgets: Mapping[str, float], rng: np.random.Generator
) -> np.ndarray:
    """(D,) drawn uniformly inside the budgets, by rejection. Where they are so tight that `TRIES` draws all fail: the best one
    for random α (perturb-and-MAP, as `candidates`), which is always inside but not quite uniform. Raises UserError if nothing fits.
    """
    for _ in range(TRIES):
        (index_D,) = draw(valid_DK, 1, rng)
        if inside(index_D, costs, budgets):
            return index_D
    return next(most_probable(rng.gumbel(size=valid_DK.shape), valid_DK, costs, budgets))


def repaired(
    index_D: np.ndarray,
    valid_DK: np.ndarray,
    costs: Sequence[Cost],
    budgets: Mapping[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """(D,) inside the budgets and near: random decisions get a random cheaper option until the budgets are kept.

    With several budgets that can go in circles; then the one that differs in the fewest decisions, by an integer programme.
    """
    found_D = np.array(index_D)
    for _ in range(4 * len(index_D)):
        broken = [cost for cost in costs if cost.total(found_D) > budgets.get(cost.name, np.inf)]
        if not broken:
            return found_D
        change_DK = broken[rng.integers(len(broken))].change_DK(found_D)
        cheaper = np.argwhere(valid_DK & (change_DK < 0))
        if not len(cheaper):  # within rounding of the least possible, or a maximum that two decisions hold
            break
        decision, option = cheaper[rng.integers(len(cheaper))]
        found_D[decision] = option
    same_DK = (np.arange(valid_DK.shape[1]) == np.asarray(index_D)[:, None]).astype(float)
    return next(best_first(same_DK, valid_DK, costs, budgets))


def uniform(sizes_LK: np.ndarray, costs: Sequence[Cost], budgets: Mapping[str, float]) -> np.ndarray | None:
    """(L,) a control of a search: every layer keeps the same share of its size, as large as the budgets hold.

    sizes_LK: the size of an operation among those that may be taken at the layer, NaN for the others. What is left of the budgets
    goes to the last layers, one step each. None where not even the smallest of them fit.
    """
    steps = [np.flatnonzero(np.isfinite(size_K))[np.argsort(size_K[np.isfinite(size_K)])] for size_K in sizes_LK]
    levels = [
        np.array([own[min(level, len(own) - 1)] for own in steps]) for level in reversed(range(max(map(len, steps))))
    ]
    return largest_inside(levels, sizes_LK, costs, budgets)


def largest_inside(
    levels: Iterable[np.ndarray], sizes_LK: np.ndarray, costs: Sequence[Cost], budgets: Mapping[str, float]
) -> np.ndarray | None:
    """The first of the (L,) levels inside the budgets, and what is left of these to its last layers, one step of `sizes_LK` each.

    A layer whose operation has no size stays as it is. None where no level is inside.
    """
    found_L = next((index_L.copy() for index_L in levels if inside(index_L, costs, budgets)), None)
    if found_L is None:
        return None
    for layer in reversed(range(len(found_L))):
        size_K = sizes_LK[layer]
        larger_K = np.where(size_K > size_K[found_L[layer]], size_K, np.nan)  # of NaN nothing is larger
        if np.isfinite(larger_K).any():
            larger_L = found_L.copy()
            larger_L[layer] = np.nanargmin(larger_K)
            if not inside(larger_L, costs, budgets):
                break
            found_L = larger_L
    return found_L


def broadest_alpha(cost: Cost, valid_DK: np.ndarray, budget: float) -> np.ndarray:
    """(D, K) logits of the distribution of greatest entropy whose expected cost is inside the budget: α = −λ · cost.

    λ = 0 (uniform) where that is inside already. A search that starts there spends its steps, which cost by size, on
    architectures that may be derived. Where only the cheapest fits, λ is as large as it needs to be to say so.
    """
    cost_DK = np.where(valid_DK, cost.marginal_DK(valid_DK), 0.0)

    def excess(multiplier: float) -> float:
        p_DK = softmax(np.where(valid_DK, -multiplier * cost_DK, -np.inf), axis=1)
        return float(cost.expected(torch.from_numpy(p_DK))) - budget

    largest = 100 * len(cost_DK) / max(budget, 1e-9)
    if excess(0.0) <= 0:
        return np.zeros_like(cost_DK)
    return -cost_DK * (largest if excess(largest) >= 0 else brentq(excess, 0.0, largest))


def hand_made(space: SearchSpace, costs: Mapping[str, Cost], budgets: Mapping[str, float]) -> np.ndarray:
    """(L,) what one would build without a search: the layer's middle operation by latency (of seven, the fourth) in as many
    layers as the budgets hold, a stage's first layer rather than another, and the fastest operation in the rest. Where the space
    names its plain networks: the slowest of these inside the budgets (or, without a latency, that of the greatest first cost).

    Raises UserError where nothing fits.
    """
    sized = costs[leading(costs)]
    plain = [index_D for ops in space.plain if inside(index_D := space.index_L(ops), [*costs.values()], budgets)]
    if plain:
        return max(plain, key=sized.total)
    order_LK = np.where(space.valid_LK, sized.marginal_DK(space.valid_LK), np.inf).argsort(axis=1, kind="stable")
    layers = np.arange(len(order_LK))
    first_L = np.diff([layer.stage for layer in space.layers], prepend=-1) > 0
    wish_LK = np.zeros(order_LK.shape)
    wish_LK[layers, order_LK[:, 0]] = 0.1 / len(layers)  # all of it is less than a layer more
    wish_LK[layers, order_LK[layers, space.valid_LK.sum(axis=1) // 2]] = 1 + 0.5 / len(layers) * first_L
    return next(most_probable(wish_LK, space.valid_LK, list(costs.values()), budgets))


def candidates(
    alpha_DK: np.ndarray,
    valid_DK: np.ndarray,
    costs: Sequence[Cost],
    budgets: Mapping[str, float],
    number: int,
    seed: int,
) -> list[np.ndarray]:
    """The most probable architectures inside the budgets, the likeliest first, then different ones up to `number`.

    Half are the most probable; the others are drawn from p under the budgets by perturb-and-MAP (Papandreou & Yuille, ICCV 2011): the same integer
    programme on α plus Gumbel noise, every second one at a tighter budget so that they spread along the front.
    """
    rng = np.random.default_rng(seed)
    found = list(islice(most_probable(alpha_DK, valid_DK, costs, budgets), (number + 1) // 2))
    fastest = {cost.name: cost.bounds(valid_DK)[0] for cost in costs}
    for attempt in range(4 * number):
        if len(found) == number:
            break
        share = 1.0 if attempt % 2 else rng.uniform(0.5, 1.0)
        tighter = {name: min(limit, fastest[name] + share * (limit - fastest[name])) for name, limit in budgets.items()}
        noisy_DK = alpha_DK + rng.gumbel(size=alpha_DK.shape)
        try:
            index_D = next(most_probable(noisy_DK, valid_DK, costs, tighter))
        except UserError:  # several budgets, each tightened, may exclude one another
            continue
        if not any(np.array_equal(index_D, other) for other in found):
            found.append(index_D)
    return found
