"""Answers from a table of losses: the very best of all architectures, inside every budget, never worse for a larger one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from supernet import answers as module
from supernet.answers import CLOSE, Wish, answers
from supernet.choices import every
from supernet.commands.front import hypervolume_of
from supernet.costs.factors import Cost
from supernet.errors import UserError
from supernet.quality import Quality
from supernet.spaces import get_space

SPACE = get_space("micro32")
VALID = SPACE.valid_LK
ALL = np.array(list(every(VALID)))
WISHES = (Wish(), Wish(weight=1.0), Wish(weight=5.0), Wish(worst=True), Wish(max_gap=0.05))


def planted(seed: int, link: str = "log") -> tuple[Quality, Cost]:
    """A table of three groups of two attributes, and a latency with pairs."""
    rng = np.random.default_rng(seed)
    added_LKG = rng.normal(0, 0.25, (*VALID.shape, 1)) + rng.normal(0, 0.06, (*VALID.shape, 3))
    base_G = np.array([-1.5, -1.3, -1.4]) if link == "log" else np.full(3, 3.0)
    added_LKG = np.where(VALID[:, :, None], added_LKG, 0)
    quality = Quality(SPACE, ("a: x", "a: y", "b: z"), ("a", "a", "b"), link, base_G, added_LKG, None)  # type: ignore[arg-type]
    unary_LK, pairs_KK = rng.uniform(0, 2, VALID.shape), rng.uniform(0, 2, (VALID.shape[1],) * 2)
    return quality, Cost("latency", "ms", 1.0, unary_LK, {(1, 3): pairs_KK})


def best(quality: Quality, cost: Cost, budget: float, wish: Wish) -> float:
    """By counting all through."""
    loss_NG = quality.loss_NG(ALL[cost.totals(ALL) <= budget])
    kept = [
        wish.value(quality, loss_G) for loss_G in loss_NG if wish.max_gap is None or quality.gap(loss_G) <= wish.max_gap
    ]
    return min(kept)


@pytest.mark.parametrize("link", ["log", "identity"])
@pytest.mark.parametrize("wish", WISHES, ids=str)
@pytest.mark.parametrize("few", [0, 10**6], ids=["programmed", "counted"])
def test_the_best_inside_the_budget(link: str, wish: Wish, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", few)
    quality, cost = planted(3, link)
    wish = replace(wish, max_gap=wish.max_gap and wish.max_gap * (8 if link == "identity" else 1))
    budget = float(np.quantile(cost.totals(ALL), 0.4))
    found = answers(quality, [cost], {"latency": budget}, wish, 3)
    expected = best(quality, cost, budget, wish)
    assert found[0].value == pytest.approx(expected, rel=CLOSE) and found[0].value >= expected - 1e-9
    values = [one.value for one in found]
    assert values == sorted(values) and len({one.index_L.tobytes() for one in found}) == len(found)
    for one in found:
        assert cost.total(one.index_L) <= budget and (wish.max_gap is None or one.gap <= wish.max_gap)
        (loss_G,) = quality.loss_NG(one.index_L[None])
        assert one.gap == pytest.approx(abs(loss_G[0] - loss_G[1])), "a gap is between groups of one attribute"


@pytest.mark.parametrize("wish", [*WISHES, Wish(max_gap=0.01)], ids=str)
def test_a_larger_budget_is_never_worse(wish: Wish) -> None:
    quality, cost = planted(1)
    values = []
    for budget in np.linspace(*np.quantile(cost.totals(ALL), [0.005, 1]), 25):
        try:
            values.append(answers(quality, [cost], {"latency": float(budget)}, wish)[0].value)
        except UserError:
            assert wish.max_gap is not None, "the budget alone can be kept"
            values.append(np.inf)
    assert values == sorted(values, reverse=True) and values[0] > values[-1]


def test_a_weight_and_a_cap_buy_a_smaller_gap() -> None:
    quality, cost = planted(1)
    gaps = [answers(quality, [cost], {}, Wish(weight=weight))[0].gap for weight in (0, 1, 50)]
    assert gaps[0] >= gaps[1] >= gaps[2] and gaps[2] < gaps[0]
    loss_NG = quality.loss_NG(ALL)
    assert gaps[2] == pytest.approx(min(quality.gap(loss_G) for loss_G in loss_NG), abs=1e-3)
    worst = answers(quality, [cost], {}, Wish(worst=True))[0]
    assert worst.loss_G.max() == pytest.approx(loss_NG.max(axis=1).min())


def test_a_deep_space_is_answered_by_the_programme() -> None:
    """fbnet32: 7²² architectures. The mean of one group's losses has a plain optimum to compare with."""
    space = get_space("fbnet32")
    rng = np.random.default_rng(0)
    added_LKG = np.where(space.valid_LK[:, :, None], rng.normal(0, 0.1, (*space.valid_LK.shape, 1)), 0)
    quality = Quality(space, ("a: x",), ("a",), "log", np.zeros(1), added_LKG, None)
    cost = Cost("latency", "ms", 0.0, np.ones(space.valid_LK.shape))
    (found,) = answers(quality, [cost], {"latency": 22.0}, Wish())
    assert np.array_equal(found.index_L, np.where(space.valid_LK, added_LKG[:, :, 0], np.inf).argmin(axis=1))


@pytest.mark.parametrize("few", [0, 10**6], ids=["programmed", "counted"])
def test_what_cannot_be_says_what_can(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", few)
    quality, cost = planted(0)
    least = cost.totals(ALL).min()
    with pytest.raises(UserError, match="the least possible is") as told:
        answers(quality, [cost], {"latency": least * 0.99}, Wish())
    possible = float(str(told.value).split("least possible is ")[1].split()[0])
    assert answers(quality, [cost], {"latency": possible}, Wish())
    with pytest.raises(UserError, match=r"predicted gap of 0 or less; the least possible is"):
        answers(quality, [cost], {"latency": least}, Wish(max_gap=0.0))


def test_a_front_beyond_the_median_has_no_hypervolume() -> None:
    """The largest network has the least loss and a gap above the median's: no figure of it may count as the best possible."""
    space = get_space("micro32")
    size_LK = np.where(space.valid_LK, np.linspace(0, 1, space.valid_LK.shape[1]), 0.0)
    quality = Quality(
        space, ("g: a", "g: b"), ("g", "g"), "log", np.zeros(2), -np.stack([0.05 * size_LK, 0.03 * size_LK], -1), None
    )
    asked = SimpleNamespace(quality=quality, costs={"latency": Cost("latency", "ms", 1.0, size_LK)})
    index_L = np.where(space.valid_LK, size_LK, -1).argmax(1)
    loss_G = quality.loss_NG(index_L[None])[0]
    row = {"predicted_mean_loss": float(loss_G.mean()), "predicted_gap": quality.gap(loss_G), "costs": {"latency": 0.5}}
    assert hypervolume_of(asked, [row]) == 0.0  # type: ignore[arg-type]
