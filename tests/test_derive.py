"""Derivation: the integer programme against the enumeration of every architecture, and budgets that are always kept."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from supernet.costs.analytic import macs_table, params_table
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.derive import (
    best_first,
    broadest_alpha,
    candidates,
    drawn_inside,
    hand_made,
    inside,
    most_probable,
    repaired,
    uniform,
)
from supernet.errors import UserError
from supernet.programme import Programme
from supernet.spaces import get_space

L, K = 4, 3
EVERY = np.array(list(itertools.product(range(K), repeat=L)))
FBNET32 = get_space("fbnet32")
TABLES = [load_table("rpi4").cost(FBNET32), macs_table(FBNET32, 1, 10), params_table(FBNET32, 1, 10)]


EDGES = list(itertools.combinations(range(L), 2))


def values(most: float) -> st.SearchStrategy[float]:
    """Costs as tables have them: not 1e-309 beside 10, which no solver tells from 0."""
    return st.floats(0, most).map(lambda value: round(value, 6))


@st.composite
def cost(draw: st.DrawFn, name: str) -> Cost:
    """A sum or a maximum, with a table for none, one or two of the pairs of decisions."""
    edges = draw(st.lists(st.sampled_from(EDGES), max_size=2, unique=True))
    pairs = {edge: draw(arrays(float, (K, K), elements=values(10))) for edge in edges}
    unary_DK = draw(arrays(float, (L, K), elements=values(10)))
    return Cost(name, "ms", draw(values(5)), unary_DK, pairs, draw(st.sampled_from(["sum", "sum", "max"])))


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """α, allowed operations and one to three costs, each with a budget at some architecture's very cost."""
    valid_LK = draw(arrays(bool, (L, K)))
    valid_LK[np.arange(L), draw(arrays(int, L, elements=st.integers(0, K - 1)))] = True
    costs = [draw(cost(f"cost{i}")) for i in range(draw(st.integers(1, 3)))]
    budgets = {cost.name: cost.total(EVERY[draw(st.integers(0, len(EVERY) - 1))]) for cost in costs}
    alpha_LK = draw(arrays(float, (L, K), elements=st.floats(-6, 6)))
    return {"alpha_DK": alpha_LK, "valid_DK": valid_LK, "costs": costs, "budgets": budgets}


def log_p(problem: dict[str, Any], index_L: np.ndarray) -> float:
    masked_LK = np.where(problem["valid_DK"], problem["alpha_DK"], -np.inf)
    return float(log_softmax(masked_LK, axis=1)[np.arange(L), index_L].sum())


def brute_force(problem: dict[str, Any]) -> list[np.ndarray]:
    """Every allowed architecture inside the budgets."""
    return [
        index_L
        for index_L in EVERY
        if problem["valid_DK"][np.arange(L), index_L].all()
        and all(cost.total(index_L) <= problem["budgets"][cost.name] for cost in problem["costs"])
    ]


@given(problems())
def test_the_first_is_the_most_probable_inside_every_budget(problem: dict[str, Any]) -> None:
    allowed = brute_force(problem)
    if not allowed:
        with pytest.raises(UserError, match="No architecture"):
            next(most_probable(**problem))
        return
    found = next(most_probable(**problem))
    assert any(np.array_equal(found, index_L) for index_L in allowed)
    assert log_p(problem, found) == pytest.approx(max(log_p(problem, index_L) for index_L in allowed), abs=1e-5)


@settings(max_examples=30)
@given(problems(), cost("score"))
def test_a_score_with_pairs_is_maximised_exactly_inside_every_budget(problem: dict[str, Any], score: Cost) -> None:
    """A toy space of widths: what a choice is worth, and what it costs, depends on its neighbours."""
    allowed = brute_force(problem)
    limits = {name: problem[name] for name in ("valid_DK", "costs", "budgets")}
    score = replace(score, combine="sum")
    if allowed:
        found = itertools.islice(best_first(score.unary_DK, **limits, score_pairs=score.pairs), 3)
        expected = sorted((score.total(index_L) for index_L in allowed), reverse=True)[:3]
        np.testing.assert_allclose([score.total(index_L) for index_L in found], expected, atol=1e-5)


@settings(max_examples=15)
@given(problems())
def test_the_enumeration_has_each_once_and_the_more_probable_first(problem: dict[str, Any]) -> None:
    allowed = brute_force(problem)
    found = list(itertools.islice(most_probable(**problem), 6)) if allowed else []
    assert len({tuple(index_L) for index_L in found}) == len(found) == min(6, len(allowed))
    assert {tuple(index_L) for index_L in found} <= {tuple(index_L) for index_L in allowed}
    probabilities = [log_p(problem, index_L) for index_L in found]
    expected = sorted((log_p(problem, index_L) for index_L in allowed), reverse=True)[: len(found)]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@settings(max_examples=15)
@given(problems(), st.integers(1, 4))
def test_the_best_ones_are_as_far_apart_as_asked_and_none_between_is_better(
    problem: dict[str, Any], apart: int
) -> None:
    fitting = brute_force(problem)
    if not fitting:
        return
    score_LK = np.where(problem["valid_DK"], problem["alpha_DK"], -1e3)
    found = list(best_first(score_LK, problem["valid_DK"], problem["costs"], problem["budgets"], apart=apart))
    rest = list(fitting)
    for index_L in found:  # greedily: each the best of what is far enough from those before
        best = max(score_LK[np.arange(L), one].sum() for one in rest)
        assert score_LK[np.arange(L), index_L].sum() == pytest.approx(best, abs=1e-6)
        rest = [one for one in rest if (one != index_L).sum() >= apart]
    assert not rest


def test_a_budget_of_exactly_the_cost_is_kept_and_a_little_less_is_not() -> None:
    cost = Cost("latency", "ms", 0.1, np.array([[0.1, 0.7], [0.2, 0.9]]))
    problem = {"alpha_DK": np.array([[0.0, 9.0], [0.0, 9.0]]), "valid_DK": np.ones((2, 2), bool), "costs": [cost]}
    assert next(most_probable(**problem, budgets={"latency": cost.total([1, 1])})).tolist() == [1, 1]
    below = float(np.nextafter(cost.total([1, 1]), 0))  # far inside the solver's tolerance
    assert next(most_probable(**problem, budgets={"latency": below})).tolist() != [1, 1]
    assert next(most_probable(**problem, budgets={})).tolist() == [1, 1]
    assert next(most_probable(**problem, budgets={"latency": np.inf})).tolist() == [1, 1]


def test_a_budget_that_nothing_keeps_names_the_least_possible() -> None:
    alpha_LK = np.zeros((22, 7))
    with pytest.raises(UserError, match=r"latency of 7\.5 ms or less; the least possible is 7\.799 ms"):
        next(most_probable(alpha_LK, FBNET32.valid_LK, TABLES, {"latency": 7.5}))
    with pytest.raises(UserError, match=r"params of 1000 parameters or less; the least possible is"):
        next(most_probable(alpha_LK, FBNET32.valid_LK, TABLES, {"latency": 20, "params": 1000}))


@given(st.floats(1e-6, 1e12), st.floats(1e-6, 1e6))
def test_the_least_possible_that_a_message_tells_is_accepted(base: float, step: float) -> None:
    cost = Cost("energy", "mJ", base, np.array([[step, 2 * step]]))
    problem = {"alpha_DK": np.zeros((1, 2)), "valid_DK": np.ones((1, 2), bool), "costs": [cost]}
    with pytest.raises(UserError) as caught:
        next(most_probable(**problem, budgets={"energy": base / 2}))
    told = str(caught.value).split("least possible is ")[1].split()[0]
    assert cost.bounds(problem["valid_DK"])[0] <= float(told) <= 1.001 * cost.bounds(problem["valid_DK"])[0]
    assert next(most_probable(**problem, budgets={"energy": float(told)})).tolist() == [0]


@pytest.mark.parametrize("huge", [1e6, 1e16, 1e21])
def test_an_operation_that_no_budget_has_room_for_does_not_blind_the_solver(huge: float) -> None:
    cost = Cost("latency", "ms", 0.0, np.array([[0.0, huge], [1.0, 2.0]]))
    found = list(most_probable(np.zeros((2, 2)), np.ones((2, 2), bool), [cost], {"latency": 2.0}))
    assert sorted(index_L.tolist() for index_L in found) == [[0, 0], [0, 1]]


def test_budgets_that_exclude_one_another_are_named() -> None:
    cheap = Cost("latency", "ms", 0, np.array([[0.0, 1.0]]))
    small = Cost("params", "parameters", 0, np.array([[1.0, 0.0]]))
    with pytest.raises(UserError, match=r"all of these budgets at once: .*latency.*params"):
        next(most_probable(np.zeros((1, 2)), np.ones((1, 2), bool), [cheap, small], {"latency": 0.5, "params": 0.5}))


def test_a_budget_without_its_cost_or_without_a_number_is_a_mistake_of_the_program() -> None:
    with pytest.raises(AssertionError):
        next(most_probable(np.zeros((22, 7)), FBNET32.valid_LK, TABLES, {"energy": 1.0}))
    with pytest.raises(AssertionError):
        next(most_probable(np.zeros((22, 7)), FBNET32.valid_LK, TABLES, {"latency": float("nan")}))


@pytest.mark.parametrize("budget_ms", [9, 10, 12, 15, 20, 30])
@pytest.mark.parametrize("seed", range(2))
def test_candidates_of_a_real_table_differ_and_keep_every_budget(budget_ms: float, seed: int) -> None:
    alpha_LK = np.random.default_rng(seed).normal(size=(22, 7)) * 3
    limits = {"latency": budget_ms, "macs": 4e7, "params": 1.5e6}
    found = candidates(alpha_LK, FBNET32.valid_LK, TABLES, limits, number=6, seed=seed)
    assert 1 <= len(found) <= 6
    assert len({tuple(index_L) for index_L in found}) == len(found)
    for index_L in found:
        for cost in TABLES:
            assert cost.total(index_L) <= limits[cost.name]
    assert np.array_equal(found[0], next(most_probable(alpha_LK, FBNET32.valid_LK, TABLES, limits)))
    again = candidates(alpha_LK, FBNET32.valid_LK, TABLES, limits, number=6, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@settings(max_examples=15)
@given(problems())
def test_candidates_keep_budgets_that_leave_almost_no_room(problem: dict[str, Any]) -> None:
    allowed = {tuple(index_L) for index_L in brute_force(problem)}
    if not allowed:
        return
    found = [tuple(index_L) for index_L in candidates(**problem, number=4, seed=0)]
    assert set(found) <= allowed
    assert len(set(found)) == len(found)


@given(st.floats(0.01, 1.5))
def test_the_broadest_distribution_is_inside_the_budget_and_no_tighter_than_it_must(share: float) -> None:
    cost, valid_LK = TABLES[0], FBNET32.valid_LK
    uniform_ms = cost.base + (cost.unary_DK / valid_LK.sum(1, keepdims=True)).sum()
    budget = cost.base + share * (uniform_ms - cost.base)
    alpha_LK = broadest_alpha(cost, valid_LK, budget)
    expected = cost.base + (softmax(alpha_LK, axis=1) * cost.unary_DK).sum()
    assert expected == pytest.approx(min(budget, uniform_ms), rel=1e-6)
    assert share < 1 or not alpha_LK.any()


def test_what_the_solver_finds_a_little_over_one_of_two_budgets_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tolerance allows that; here its first answer is plainly over the second budget."""
    unary_DK = np.array([[0.0, 1.0], [0.0, 1.0]])
    costs = [Cost("first", "ms", 0.0, np.zeros((2, 2))), Cost("second", "ms", 0.0, unary_DK)]
    best, answers = Programme.best, [np.array([1, 1])]

    def over(self: Programme, score_V: np.ndarray) -> np.ndarray | None:
        return answers.pop() if answers else best(self, score_V)

    monkeypatch.setattr(Programme, "best", over)
    found = list(best_first(unary_DK, np.ones((2, 2), bool), costs, {"first": 5.0, "second": 1.0}))
    assert [unary_DK[[0, 1], index_D].sum() for index_D in found] == [1.0, 1.0, 0.0]


@settings(max_examples=25)
@given(problems(), st.integers(0, 9))
def test_a_random_draw_and_a_repair_are_allowed_and_inside(problem: dict[str, Any], seed: int) -> None:
    valid_DK, costs, budgets = problem["valid_DK"], problem["costs"], problem["budgets"]
    fitting = brute_force(problem)
    rng = np.random.default_rng(seed)
    if not fitting:
        with pytest.raises(UserError):
            drawn_inside(valid_DK, costs, budgets, rng)
        return
    allowed = {tuple(index_L) for index_L in fitting}
    assert tuple(drawn_inside(valid_DK, costs, budgets, rng)) in allowed
    start_D = np.array([rng.choice(np.flatnonzero(valid_K)) for valid_K in valid_DK])
    found_D = repaired(start_D, valid_DK, costs, budgets, rng)
    assert tuple(found_D) in allowed and inside(found_D, costs, budgets)
    if tuple(start_D) in allowed:
        assert np.array_equal(found_D, start_D)


def test_random_draws_reach_every_architecture_inside_and_the_only_one_too() -> None:
    cost = Cost("ms", "ms", 0.0, np.arange(12.0).reshape(3, 4) % 4)
    valid_DK = np.ones((3, 4), bool)
    rng = np.random.default_rng(0)
    drawn = {tuple(drawn_inside(valid_DK, [cost], {"ms": 4.0}, rng)) for _ in range(600)}
    assert drawn == {index for index in itertools.product(range(4), repeat=3) if sum(index) <= 4}
    assert tuple(drawn_inside(valid_DK, [cost], {"ms": 0.0}, rng)) == (0, 0, 0), "too rare to be met by chance"


def test_where_cheaper_in_one_budget_is_dearer_in_the_other_the_repair_changes_least() -> None:
    """Each decision has a neutral option 2; options 0 and 1 trade one cost for the other."""
    one = Cost("one", "", 0.0, np.tile([0.0, 2.0, 1.0], (4, 1)))
    two = Cost("two", "", 0.0, np.tile([2.0, 0.0, 1.0], (4, 1)))
    budgets = {"one": 4.0, "two": 4.0}
    start_D = np.array([0, 0, 0, 1])
    for seed in range(8):
        found_D = repaired(start_D, np.ones((4, 3), bool), [one, two], budgets, np.random.default_rng(seed))
        assert inside(found_D, [one, two], budgets)
    stuck = Cost("stuck", "", 0.0, np.zeros((4, 3)), {(0, 1): np.full((3, 3), 5.0) - 5 * np.eye(3)}, "max")
    found_D = repaired(np.array([0, 1, 2, 2]), np.ones((4, 3), bool), [stuck], {"stuck": 0.0}, np.random.default_rng(0))
    assert (found_D != [0, 1, 2, 2]).sum() == 1 and found_D[0] == found_D[1]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_hand_made_network_has_the_middle_operation_in_as_many_layers_as_fit(share: float) -> None:
    space = get_space("micro32")
    latency = load_table("rpi4").cost(space)
    fastest, slowest = latency.bounds(space.valid_LK)
    budget = fastest + share * (slowest - fastest)
    order_LK = np.where(space.valid_LK, latency.unary_DK, np.inf).argsort(axis=1, kind="stable")
    middle_L = order_LK[np.arange(len(order_LK)), space.valid_LK.sum(1) // 2]
    found_L = hand_made(space, {"latency": latency}, {"latency": budget})
    assert latency.total(found_L) <= budget
    choices = [np.array(c) for c in itertools.product(*zip(order_LK[:, 0], middle_L, strict=True))]
    most = max((c == middle_L).sum() for c in choices if latency.total(c) <= budget)
    assert (found_L == middle_L).sum() == most and ((found_L == middle_L) | (found_L == order_LK[:, 0])).all()
    first_L = np.diff([layer.stage for layer in space.layers], prepend=-1) > 0
    best = max(
        ((c == middle_L) & first_L).sum()
        for c in choices
        if latency.total(c) <= budget and (c == middle_L).sum() == most
    )
    assert ((found_L == middle_L) & first_L).sum() == best


def test_candidates_begin_with_the_most_probable_and_spread_to_faster_ones() -> None:
    space = get_space("micro32")
    latency, valid_LK = load_table("rpi4").cost(space), space.valid_LK
    alpha_LK = np.where(valid_LK, 0.5 * latency.unary_DK, 0.0)  # the slower the more probable
    budget = latency.median(valid_LK)
    found = candidates(alpha_LK, valid_LK, [latency], {"latency": budget}, 8, 0)
    first = list(itertools.islice(most_probable(alpha_LK, valid_LK, [latency], {"latency": budget}), 4))
    assert [tuple(a) for a in found[:4]] == [tuple(b) for b in first] and len({tuple(one) for one in found}) == 8
    ms = np.array([latency.total(one) for one in found])
    assert (ms <= budget).all() and ms[4:].max() < 0.98 * ms[:4].min()
    assert len(candidates(alpha_LK, valid_LK, [latency], {"latency": budget}, 1, 0)) == 1


def test_the_uniform_network_is_one_size_and_the_rest_of_the_budget_goes_to_the_last_layers() -> None:
    sizes_LK = np.tile([1.0, 2.0, 4.0], (4, 1))
    sizes_LK[0] = [np.nan, 3.0, np.nan]  # a layer with one size
    cost = Cost("ms", "ms", 0.0, np.nan_to_num(sizes_LK))
    expected = {
        5.9: None,
        6.0: [1, 0, 0, 0],
        7.5: [1, 0, 0, 1],
        9.0: [1, 1, 1, 1],
        11.0: [1, 1, 1, 2],
        15.0: [1, 2, 2, 2],
    }
    for budget, index_L in expected.items():
        found_L = uniform(sizes_LK, [cost], {"ms": budget})
        assert (None if found_L is None else found_L.tolist()) == index_L


def test_the_least_of_costs_that_are_next_to_nothing_is_found() -> None:
    tiny = np.zeros((K, K))
    tiny[0, 1] = 2e-309
    cost = Cost("cost", "ms", 0.0, np.zeros((L, K)), {(0, 1): tiny})
    assert cost.bounds(np.ones((L, K), bool)) == (0.0, 2e-309)


@pytest.mark.parametrize("small", [1e-5, 1e-7, 1e-10])
def test_small_scores_are_ranked_as_large_ones(small: float) -> None:
    """The solver takes what is within an absolute 1e-6 of the best for the best."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        cost, score_DK, valid_DK = Cost("latency", "ms", 0, rng.random((8, 5))), rng.random((8, 5)), np.ones((8, 5), bool)  # fmt: skip
        one, other = (next(best_first(s * score_DK, valid_DK, [cost], {"latency": 2.8})) for s in (1, small))
        assert one.tolist() == other.tolist()
