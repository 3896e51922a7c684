"""Ask/tell: budgets are never exceeded, every strategy beats random on an easy table, resumed is the same run."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from supernet.choices import Choices, Decision
from supernet.costs.factors import Cost
from supernet.engine.stopping import Interrupted
from supernet.errors import UserError
from supernet.front import hypervolume, non_dominated
from supernet.strategies import ASK_TELL
from supernet.strategies.diffusion import Diffusion
from supernet.strategies.driver import Run, Setting, drive, reference_point
from supernet.strategies.evaluators import table
from supernet.strategies.joint import VALUES, JointRegion
from supernet.strategies.optuna_samplers import OptunaStrategy
from supernet.strategies.region import ListedRegion, Region

L, K = 6, 4
EVERY = np.array(list(itertools.product(range(K), repeat=L)))
VALID_LK = np.ones((L, K), dtype=bool)
BOTH = ("error", "gap")
ALONE = sorted(set(ASK_TELL) - {"llm", "gp"})  # quick ones that ask nobody; the others have tests of their own


def additive(seed: int) -> dict[str, np.ndarray]:
    """error and gap of every architecture: sums over the layers, drawn at random, in [0, 1]; half of the gap is the error's."""
    rng = np.random.default_rng(seed)
    error_LK, own_LK = rng.random((L, K)), rng.random((L, K))
    rows = np.arange(L)
    error_N, own_N = (value_LK[rows, EVERY].sum(axis=1) / L for value_LK in (error_LK, own_LK))
    return {"error": error_N, "gap": (error_N + own_N) / 2}


def budgeted(share: float, seed: int = 0) -> Region:
    """A region of that share of the architectures, by a random latency and random parameters."""
    rng = np.random.default_rng(seed)
    costs = {name: Cost(name, "ms", 1.0, rng.random((L, K))) for name in ("latency", "params")}
    total_N = [costs["latency"].total(index_L) for index_L in EVERY]
    return Region(VALID_LK, costs, {"latency": float(np.quantile(total_N, share))})


def run(name: str, region: Region, objectives: tuple[str, ...] = BOTH, seed: int = 0, **more: Any) -> Run:
    evaluate = more.pop("evaluate", None) or table(EVERY, additive(0))
    strategy = ASK_TELL[name](Setting(region, objectives, seed))
    return drive(strategy, evaluate, region, **{"max_evaluations": 40, **more})


@st.composite
def regions(draw: st.DrawFn) -> Region:
    valid_LK = draw(arrays(bool, (L, K)))
    valid_LK[np.arange(L), draw(arrays(int, L, elements=st.integers(0, K - 1)))] = True
    costs = {
        f"cost{i}": Cost(f"cost{i}", "ms", 0.5, draw(arrays(float, (L, K), elements=st.floats(0, 9))))
        for i in range(draw(st.integers(0, 2)))
    }
    index_L = np.array([draw(st.sampled_from(np.flatnonzero(valid_K).tolist())) for valid_K in valid_LK])
    return Region(valid_LK, costs, {name: cost.total(index_L) for name, cost in costs.items()})


def brute_force(region: Region) -> np.ndarray:
    inside_N = region.valid_LK[np.arange(L), EVERY].all(axis=1)
    for name, budget in region.budgets.items():
        inside_N &= np.array([region.costs[name].total(index_L) for index_L in EVERY]) <= budget
    return EVERY[inside_N]


@given(regions(), st.integers(0, 99))
@settings(max_examples=20)
def test_a_region_gives_nothing_outside_the_budgets(region: Region, seed: int) -> None:
    inside, rng = brute_force(region), np.random.default_rng(seed)
    assert np.array_equal(list(region.every()), inside)
    every = {tuple(index_L) for index_L in inside.tolist()}
    drawn_L = region.random(rng)
    wish_L = np.where(region.valid_LK, rng.random((L, K)), -1).argmax(axis=1)
    assert {tuple(drawn_L), tuple(region.mutate(drawn_L, rng)), tuple(region.repair(wish_L, rng))} <= every
    assert np.array_equal(region.repair(drawn_L, rng), drawn_L)
    listed_L = ListedRegion(inside).repair(wish_L, rng)
    assert (listed_L != wish_L).sum() == (inside != wish_L).sum(axis=1).min()
    assert {tuple(n) for n in region.neighbours(drawn_L)} == {t for t in every if (np.array(t) != drawn_L).sum() == 1}


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("share", [0.0005, 0.3])
def test_budgets_are_never_exceeded(name: str, share: float) -> None:
    region = budgeted(share)
    found = run(name, region, max_evaluations=len(EVERY)) if name == "exhaustive" else run(name, region)
    assert all(record.objectives["latency"] <= region.budgets["latency"] for record in found.records)
    assert len({record.index_L for record in found.records}) == len(found.records) >= 1


def test_no_budget_is_too_tight_without_a_word() -> None:
    cost = Cost("latency", "ms", 1.0, np.ones((L, K)))
    with pytest.raises(UserError, match="least possible is 7 ms"):
        Region(VALID_LK, {"latency": cost}, {"latency": 6.9})
    with pytest.raises(UserError, match="empty"):
        ListedRegion(EVERY[:0])


def test_a_repaired_trial_that_another_run_was_given_is_repaired_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region, taken = budgeted(0.0005), []
    setting = Setting(region, BOTH, storage=f"sqlite:///{tmp_path / 'shared.db'}")
    own, other = (OptunaStrategy(setting, "nsga2") for _ in range(2))
    enqueue = own.study.enqueue_trial

    def enqueue_and_lose(parameters: dict[str, Any]) -> None:
        enqueue(parameters)
        if len(taken) < 2:
            taken.append(other.ask())

    monkeypatch.setattr(own.study, "enqueue_trial", enqueue_and_lose)
    assert region.keeps(own.ask()) and len(taken) == 2 and all(map(region.keeps, taken))


def test_exhaustive_is_brute_force() -> None:
    values = additive(0)
    region = budgeted(0.4)
    found = run("exhaustive", region, max_evaluations=len(EVERY) + 1)
    inside_N = [region.keeps(index_L) for index_L in EVERY]
    assert found.ended == "all" and np.array_equal([r.index_L for r in found.records], EVERY[inside_N])
    value_NM = np.stack([values[name][inside_N] for name in BOTH], axis=1)
    front = {tuple(index_L) for index_L in EVERY[inside_N][non_dominated(value_NM)].tolist()}
    assert {record.index_L for record in found.front(BOTH)} == front


def test_exhaustive_says_how_many_are_too_many() -> None:
    with pytest.raises(UserError, match="1,048,576 architectures"):
        ASK_TELL["exhaustive"](Setting(Region(np.ones((10, 4), dtype=bool), {}, {}), BOTH))


@pytest.mark.parametrize("name", sorted(set(ALONE) - {"random", "exhaustive"}))
def test_every_strategy_beats_random_on_an_easy_table(name: str) -> None:
    """Nearly the best of 4,096 within 150 evaluations (one objective), and the larger hypervolume within 80 (two)."""
    region, regret, volume, bar = budgeted(0.5), [], [], []
    inside_N = np.array([region.keeps(index_L) for index_L in EVERY])
    for seed in range(2):
        values = additive(seed)
        found = run(name, region, ("error",), seed, evaluate=table(EVERY, values), max_evaluations=150)
        regret.append(found.values_NM(["error"]).min() - values["error"][inside_N].min())
        for strategy, into in ((name, volume), ("random", bar)):
            found = run(strategy, region, BOTH, seed, evaluate=table(EVERY, values), max_evaluations=80)
            into.append(found.hypervolume(reference_point(region, BOTH)))
    assert np.mean(regret) < 0.005, regret
    assert np.mean(volume) > np.mean(bar), (volume, bar)


@given(
    st.integers(1, 3).flatmap(
        lambda m: arrays(float, st.tuples(st.integers(1, 12), st.just(m)), elements=st.integers(0, 9))
    )
)
def test_hypervolume_and_front_are_moocores(point_NM: np.ndarray) -> None:
    reference_M = np.full(point_NM.shape[1], 8.0)
    inside = point_NM[(point_NM < reference_M).all(axis=1)]
    theirs = moocore.hypervolume(inside, ref=reference_M) if len(inside) else 0.0
    assert hypervolume(point_NM, reference_M) == pytest.approx(theirs)
    assert np.array_equal(non_dominated(point_NM), moocore.is_nondominated(point_NM, keep_weakly=True))


def test_a_repeat_is_no_evaluation() -> None:
    evaluated = []

    def evaluate(index_L: np.ndarray) -> dict[str, float]:
        evaluated.append(tuple(index_L))
        return {"error": 0.5, "gap": 0.1}

    region = ListedRegion(EVERY[:7])
    found = run("random", region, evaluate=evaluate, max_evaluations=50)
    assert found.ended == "repeats" and found.asked > len(evaluated) == len(set(evaluated)) == 7


def test_seconds_are_a_budget_too() -> None:
    evaluate = table(EVERY, {**additive(0), "seconds": np.full(len(EVERY), 10.0)})
    found = run("random", budgeted(1), evaluate=evaluate, max_seconds=35)
    assert found.ended == "seconds" and len(found.records) == 4 and found.seconds == 40


@pytest.mark.parametrize("name", ALONE)
def test_resumed_is_the_same_run(name: str, tmp_path: Path) -> None:
    region, known, calls = budgeted(0.5), table(EVERY, {**additive(0), "seconds": np.ones(len(EVERY))}), []
    whole = run(name, region, evaluate=known, journal=tmp_path / "whole.jsonl")

    def stopped(index_L: np.ndarray) -> dict[str, float]:
        calls.append(index_L)
        if len(calls) == 25:
            os.kill(os.getpid(), signal.SIGTERM)
        return known(index_L)

    journal = tmp_path / "parts.jsonl"
    with pytest.raises(Interrupted, match="25 of 40"):
        run(name, region, evaluate=stopped, journal=journal)
    with journal.open("a") as file:
        file.write('{"index_L": [1, ')  # and a power cut
    assert run(name, region, evaluate=stopped, journal=journal) == whole
    assert len(calls) == 40 and journal.read_text() == (tmp_path / "whole.jsonl").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"index_L": [0] * (L - 1)}, "row 2: index_L"),
        ({"index_L": [K] + [0] * (L - 1)}, "row 2: index_L"),
        ({"seconds": "long"}, "row 2: seconds"),
        ({"objectives": {"error": float("nan")}}, "row 2 is not valid JSON: NaN"),
        ({"other": 1}, "row 2"),
    ],
)
def test_a_broken_journal_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    journal = tmp_path / "evaluations.jsonl"
    run("random", budgeted(1), journal=journal, max_evaluations=3)
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    rows[1] |= change
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=words):
        run("random", budgeted(1), journal=journal)


def test_a_gaussian_process_keeps_the_budget_and_is_resumed_as_the_same_run(tmp_path: Path) -> None:
    """Its first 10 are at random; each later one costs a fit."""
    region, known, calls = budgeted(0.3), table(EVERY, {**additive(0), "seconds": np.ones(len(EVERY))}), []
    whole = run("gp", region, evaluate=known, journal=tmp_path / "whole.jsonl", max_evaluations=14)
    assert all(region.keeps(np.array(record.index_L)) for record in whole.records)

    def stopped(index_L: np.ndarray) -> dict[str, float]:
        calls.append(index_L)
        if len(calls) == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return known(index_L)

    with pytest.raises(Interrupted, match="12 of 14"):
        run("gp", region, evaluate=stopped, journal=tmp_path / "parts.jsonl", max_evaluations=14)
    assert run("gp", region, evaluate=stopped, journal=tmp_path / "parts.jsonl", max_evaluations=14) == whole


def test_options_are_decisions_that_cost_nothing() -> None:
    plain = budgeted(0.3)
    pairs = {(0, 1): np.arange(K * K, dtype=float).reshape(K, K) / 100}
    costs = {name: Cost(name, "ms", cost.base, cost.unary_DK, pairs) for name, cost in plain.costs.items()}
    joint, rng = JointRegion(VALID_LK, costs, plain.budgets, ("augment", "lr")), np.random.default_rng(0)
    assert joint.valid_LK.shape == (L + 2, 5) and joint.count() == plain.count() * 2 * 5
    for _ in range(20):
        index_D = joint.random(rng)
        assert joint.measured(index_D) == pytest.approx(Region(VALID_LK, costs, plain.budgets).measured(index_D[:L]))
        assert joint.options(index_D) == {"augment": [True, False][index_D[L]], "lr": VALUES["lr"][index_D[L + 1]]}
    wish_D = np.array([*[K - 1] * L, 1, 4])
    assert joint.keeps(joint.repair(wish_D, rng)) and joint.repair(wish_D, rng)[L:].tolist() == [1, 4]
    own = Choices("toy", tuple(Decision(f"ops[{n}]", tuple("abcd")) for n in range(L)))
    named = joint.choices(own)
    assert named.names(wish_D)[L:] == ("False", "0.02") and np.array_equal(named.valid_DK, joint.valid_LK)
    assert JointRegion(VALID_LK, plain.costs, plain.budgets, ()).options(wish_D[:L]) == {}


def test_the_generator_draws_what_it_has_seen_and_follows_its_guide() -> None:
    region = budgeted(0.1)
    made = Diffusion(Setting(region, ("error",), 0))
    inside = [region.keeps(index_L) for index_L in made.sample(200)]
    assert np.mean(inside) > 0.3  # of architectures drawn evenly, a tenth
    worse_LK = np.tile(np.arange(K, dtype=float), (L, 1))
    assert made.sample(200, worse_LK).mean() < made.sample(200).mean() - 0.3 < made.sample(200, -worse_LK).mean() - 0.6


def test_another_runs_journal_is_refused(tmp_path: Path) -> None:
    run("random", budgeted(1), seed=1, journal=tmp_path / "evaluations.jsonl")
    with pytest.raises(UserError, match="row 1 is not what this run asks"):
        run("random", budgeted(1), seed=2, journal=tmp_path / "evaluations.jsonl")


def test_a_table_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"4096 finite numbers \(gap\)"):
        table(EVERY, {"error": np.zeros(len(EVERY)), "gap": np.zeros(3)})
    with pytest.raises(UserError, match="twice"):
        table(EVERY[[0, 0]], {"error": np.zeros(2)})
    with pytest.raises(UserError, match="no architecture"):
        table(EVERY[:5], {"error": np.zeros(5)})(EVERY[9])
