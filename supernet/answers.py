"""A table of predicted losses and the costs of any device → the best architectures inside every budget, exactly.

Minimised is the mean of the groups' predicted losses plus a weight times their gap (`Quality.gap_trust` of it), or the worst group's loss;
a cap on the gap may be held. With the logarithm as the table's link, a loss is the exponential of a sum over layers. Outer approximation (Duran &
Grossmann, 1986) makes that linear: a loss from below by tangents, and, where a gap subtracts one, from above by chords between
points, one of which a binary variable picks. What linear programmes find first bounds each loss, so that few points do.
Whatever is found is told exactly to the next programme, until the programme's bound and the best found agree to `CLOSE`.
A space of few architectures is simply counted through.

Shapes: L layers, K operations, G groups, V columns of the integer programme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from supernet.choices import every
from supernet.costs.factors import Cost, least_text
from supernet.derive import best_first, inside, nothing_keeps
from supernet.errors import UserError
from supernet.outer_approximation import OuterApproximation
from supernet.programme import Programme
from supernet.quality import Quality
from supernet.wish import Answer, Wish

CLOSE = 1e-3  # relative, between the best found and the bound: a tenth of what such a table is off at the best
FEW = 20_000  # architectures that are counted through
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)  # of the gap, tried in turn to find something that keeps a cap


def answers(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int = 1
) -> list[Answer]:
    """Up to `number` architectures inside every budget, the best first; after it, the best that were met on the way to it.

    Raises UserError where nothing fits, with the least possible cost, or where nothing keeps the cap, with the least gap.
    """
    valid_LK = quality.space.valid_LK
    wish = replace(wish, weight=wish.weight * quality.gap_trust)
    for cost in costs:
        limit, (least, _) = budgets.get(cost.name, np.inf), cost.bounds(valid_LK)
        if least > limit:
            raise UserError(nothing_keeps(cost, limit, least))
    few = valid_LK.sum(axis=1, dtype=float).prod() <= FEW
    found = (_counted if few else _programmed)(quality, costs, budgets, wish, number)
    if not found:
        raise UserError(_nothing(quality, costs, budgets, wish))
    return sorted(found, key=lambda one: one.value)[:number]


def _counted(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int
) -> list[Answer]:
    """The best of all architectures."""
    index_NL = np.array(list(every(quality.space.valid_LK)))
    inside_N = np.all([cost.totals(index_NL) <= budgets.get(cost.name, np.inf) for cost in costs], axis=0)
    index_NL = index_NL[inside_N]
    loss_NG = quality.loss_NG(index_NL)
    keeps_N = quality.gaps(loss_NG) <= (np.inf if wish.max_gap is None else wish.max_gap)
    best = wish.values(quality, loss_NG[keeps_N]).argsort(kind="stable")[:number]
    return [_answer(quality, wish, index_L) for index_L in index_NL[keeps_N][best]]


def _programmed(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int
) -> list[Answer]:
    """The best, and what was met on the way to it."""
    programme = Programme(quality.space.valid_LK, [cost.pairs for cost in costs])
    for cost in costs:
        if budgets.get(cost.name, np.inf) < np.inf:
            cost.constraints(programme, budgets[cost.name])
    found = {one.index_L.tobytes(): one for one in _first(quality, costs, budgets, wish, number) if wish.keeps(one)}
    highest = min((one.value for one in found.values()), default=None)
    relaxed = OuterApproximation(quality, programme, wish, _ranges(quality, costs, budgets, wish, highest))
    for bound, index_L in relaxed.solutions():
        one = _answer(quality, wish, index_L)
        if inside(index_L, costs, budgets) and wish.keeps(one):
            found[index_L.tobytes()] = one
        if found and bound >= min(one.value for one in found.values()) * (1 - CLOSE):
            break
    return list(found.values())


def _answer(quality: Quality, wish: Wish, index_L: np.ndarray) -> Answer:
    (loss_G,) = quality.loss_NG(index_L[None])
    return Answer(index_L, loss_G, quality.gap(loss_G), wish.value(quality, loss_G))


def _first(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, number: int
) -> list[Answer]:
    """Good architectures inside the budgets: what is minimised is taken as linear where the last best one stands, again and again.

    Raises UserError where the budgets leave nothing.
    """
    found: dict[bytes, Answer] = {}
    for weight in (wish.weight, *(WEIGHTS if wish.max_gap is not None else ())):
        goal, at_G = Wish(weight), np.ones(len(quality.base_G))
        for _ in range(4):
            score_LK = -(quality.added_LKG @ goal.slope(quality, at_G))
            best = islice(best_first(score_LK, quality.space.valid_LK, costs, budgets), number)
            new = [_answer(quality, wish, index_L) for index_L in best]
            if all(one.index_L.tobytes() in found for one in new):
                break
            found |= {one.index_L.tobytes(): one for one in new}
            at_G = new[0].loss_G
        if sum(wish.keeps(one) for one in found.values()) >= number:
            break
    return list(found.values())


def _ranges(
    quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish, highest: float | None
) -> list[tuple[float, float]]:
    """(least, most) link of each group's loss in an architecture inside the budgets that is no worse than `highest`, if known."""
    valid_LK, ends = quality.space.valid_LK, []
    least_G = np.empty(len(quality.base_G))
    for g in range(len(least_G)):
        index_L = next(best_first(-quality.added_LKG[:, :, g], valid_LK, costs, budgets))
        least_G[g] = quality.linked_NG(index_L[None])[0, g]
    most_G = quality.base_G + np.where(valid_LK[:, :, None], quality.added_LKG, -np.inf).max(axis=1).sum(axis=0)
    if highest is not None and quality.link == "log":
        others = 0.0 if wish.worst else np.exp(least_G).sum() - np.exp(least_G)
        most_G = np.minimum(most_G, np.log(highest * (1 if wish.worst else len(least_G)) - others))
    for least, most in zip(least_G, np.maximum(most_G, least_G), strict=True):
        ends.append((float(least) - 1e-6, float(most) + 1e-6))
    return ends


def _nothing(quality: Quality, costs: Sequence[Cost], budgets: Mapping[str, float], wish: Wish) -> str:
    """Why there is no answer. Raises UserError itself where the budgets alone leave none."""
    if wish.max_gap is None:
        return f"No architecture keeps all of these budgets at once: {dict(budgets)}."
    least = answers(quality, costs, budgets, Wish(weight=1e3))[0].gap
    return (
        f"No architecture inside the budgets has a predicted gap of {wish.max_gap:g} or less; "
        f"the least possible is {least_text(least)}. Raise --max-gap or the budget."
    )
