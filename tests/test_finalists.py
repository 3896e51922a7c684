"""Successive halving of a search's candidates: the best when trained alone is derived, a killed round goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.choices import every
from supernet.commands.main import main
from supernet.commands.setting import prepare
from supernet.config import SearchConfig, with_epochs
from supernet.engine.stopping import Interrupted
from supernet.problem import Candidate
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.strategies import finalists, halving

SPACE = get_space("micro32")
QUICK = ["search", "--quick", "--max-train", "64", "--threads", "1"]
MICRO = [*QUICK, "--space", "micro32", "--budget-ms", "9"]


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_rounds_train_longer_and_longer_up_to_the_search_s_own_epochs(epochs: int, number: int) -> None:
    found = finalists.rounds(epochs, number)
    assert found == tuple(sorted(set(found))) and found[0] >= 1 and found[-1] == epochs
    assert len(found) == 1 or 2 ** (len(found) - 1) < number


def candidates(problem: Any, number: int) -> list[Candidate]:
    """The first architectures inside the budget; the last one is what one would build by hand."""
    costs = problem.costs
    inside = [index_L for index_L in every(SPACE.valid_LK) if costs["latency"].total(index_L) <= problem.budgets["latency"]]  # fmt: skip
    rows = [(SPACE.names(index_L), {name: cost.total(index_L) for name, cost in costs.items()}) for index_L in inside[:number]]  # fmt: skip
    return [Candidate(ops, cost, None, 0.5, 0.5, 0.1, True, 1.0, by_hand=n == number - 1) for n, (ops, cost) in enumerate(rows)]  # fmt: skip


class Planted:
    """In place of trainings: each candidate's loss is planted, and a round's worth counts; the `stop`-th training is interrupted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, loss: dict[tuple[str, ...], float]) -> None:
        self.rounds: dict[int, int] = {}
        self.stop = 10**9

        def alone(config: SearchConfig, problem: object, place: str) -> Callable[[np.ndarray], tuple[str, ...]]:
            assert config.epochs is not None and config.warmup_epochs == 0 and str(config.epochs) in place
            epochs = config.epochs

            def trained(index_L: np.ndarray) -> tuple[str, ...]:
                if sum(self.rounds.values()) == self.stop:
                    raise Interrupted("interrupted")
                self.rounds[epochs] = self.rounds.get(epochs, 0) + 1
                return SPACE.names(index_L)

            return trained

        def val_scores(config: object, problem: object) -> Callable[[tuple[str, ...]], dict[str, float]]:
            return lambda ops: {"accuracy": 0.5, "mean_group_accuracy": 0.5, "gap": 0.1, "cross_entropy": loss[ops]}

        monkeypatch.setattr(finalists, "alone", alone)
        monkeypatch.setattr(finalists, "val_scores", val_scores)


@pytest.fixture
def setting(tmp_path: Path, digits: str) -> tuple[SearchConfig, Any]:
    config = SearchConfig(space="micro32", budget_ms=9.0, data=digits, max_train=64, finalists=5, epochs=4, warmup_epochs=4,
                          threads=1, out=str(tmp_path / "run"))  # fmt: skip
    problem = prepare(config)
    return with_epochs(config, 64), problem


def test_the_planted_best_is_first_and_each_round_trains_half_of_them(
    setting: tuple[SearchConfig, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, problem = setting
    ranked = candidates(problem, 9)
    loss = {one.ops: 1 + 0.1 * n for n, one in enumerate(ranked)} | {ranked[3].ops: 0.1, ranked[8].ops: 9.0}
    planted = Planted(monkeypatch, loss)
    order, (note,) = finalists.chosen_alone(config, problem, ranked)
    # four by the supernet's ranking and the hand-made one, which is in every round
    assert planted.rounds == {2: 5, 4: 4, 8: 3}
    # the last round's order, then as the supernet has them
    assert [ranked.index(one) for one in order] == [3, 0, 8, 1, 2, 4, 5, 6, 7]
    assert note.startswith("5 networks were each trained alone, the better half for longer (2, 4, 8 epochs): ")


def test_an_interrupted_round_goes_on_where_it_was(
    setting: tuple[SearchConfig, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, problem = setting
    ranked = candidates(problem, 6)
    planted = Planted(monkeypatch, {one.ops: 1 - 0.1 * n for n, one in enumerate(ranked)})
    planted.stop = 6
    with pytest.raises(Interrupted):
        finalists.chosen_alone(config, problem, ranked)
    planted.stop = 10**9
    order, _ = finalists.chosen_alone(config, problem, ranked)
    assert planted.rounds == {2: 5, 4: 3, 8: 2}
    assert [ranked.index(one) for one in order][:2] == [5, 3]


def test_a_region_of_few_networks_gives_them_all_and_no_draws_for_ever(
    setting: tuple[SearchConfig, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, problem = setting
    costs, drawn = problem.costs, []
    latency = costs["latency"]
    inside = sorted((index_L for index_L in every(SPACE.valid_LK)), key=latency.total)[:6]
    few = replace(problem, budgets={"latency": latency.total(inside[-1])})
    own = halving.Region.random
    monkeypatch.setattr(halving.Region, "random", lambda self, rng: drawn.append(1) or own(self, rng))
    found = halving.pool(few, inside[0], 1000, seed=0)
    assert {index_L.tobytes() for index_L in found} == {index_L.tobytes() for index_L in every(SPACE.valid_LK) if latency.total(index_L) <= few.budgets["latency"]}  # fmt: skip
    assert len(drawn) < 2000


def test_as_many_finalists_are_trained_as_were_asked_for(
    tmp_path: Path, digits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [*MICRO, "--data", digits, "--finalists", "6", "--out", str(tmp_path / "run")]
    )  # --quick compares two candidates
    assert len(evaluations(tmp_path / "run", 1)) == 6
    assert "6 networks were each trained alone, the better half for longer (1, 2 epochs)" in capsys.readouterr().out


def evaluations(run: Path, epochs: int) -> list[dict[str, Any]]:
    """What a round trained."""
    return [json.loads(line) for line in (run / f"finalists-{epochs}.jsonl").read_text().splitlines()]


def test_a_search_derives_the_finalist_that_did_best(tmp_path: Path, digits: str) -> None:
    main([*MICRO, "--data", digits, "--finalists", "3", "--out", str(tmp_path / "run")])
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (note,) = [note for note in report["notes"] if "were each trained alone" in note]
    rows, last = evaluations(tmp_path / "run", 1), evaluations(tmp_path / "run", 2)
    best = min(last, key=lambda row: row["objectives"]["cross_entropy"])
    assert list(Architecture.load(tmp_path / "run").ops) == list(SPACE.names(best["index_L"]))
    assert note.startswith(f"{len(rows)} networks") and report["seconds"]["finalists"] > 0
    assert "did best when 3 of them were trained alone" in (tmp_path / "run" / "report.html").read_text()


def test_halving_derives_the_best_of_hand_made_families_and_random(tmp_path: Path, digits: str) -> None:
    run = tmp_path / "run"
    asked = ["--space", "flex24", "--budget-ms", "6"]
    main([*QUICK, *asked, "--data", digits, "--strategy", "halving", "--finalists", "12", "--out", str(run)])
    rows, last = evaluations(run, 1), evaluations(run, 2)
    space = get_space("flex24")
    named = [space.names(row["index_L"]) for row in rows]
    plain = {ops for family in space.families for ops in family}
    assert len(set(named)) == len(rows) == 12 and 3 <= sum(ops in plain for ops in named) <= 9
    assert all(row["objectives"]["latency"] <= 6 for row in rows)
    best = min(last, key=lambda row: row["objectives"]["cross_entropy"])
    assert {tuple(row["index_L"]) for row in last} <= {tuple(row["index_L"]) for row in rows} and 6 <= len(last) <= 7
    assert Architecture.load(run).ops == space.names(best["index_L"])
    page = (run / "report.html").read_text()
    assert "The networks of the last round" in page and "12 networks, the better half for longer (1, 2 epochs)" in page


@pytest.mark.parametrize("more, told", [
    (["--strategy", "score"], "--finalists has no effect"),
    (["--finalists", "1"], "--finalists: must be at least 2"),
])  # fmt: skip
def test_finalists_that_nothing_would_train_are_refused(
    more: list[str], told: str, tmp_path: Path, digits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*MICRO, "--data", digits, "--finalists", "3", *more, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2 and told in capsys.readouterr().err
