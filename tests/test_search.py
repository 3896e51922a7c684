"""The differentiable search: both penalties reach α in every relaxation, a resumed run is the same run."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from report_content import search_content

from supernet.alpha.relaxation import RELAXATIONS
from supernet.blocks.sharing import SharedBlock
from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.costs.latency import load_table
from supernet.derive import hand_made
from supernet.engine.loop import train
from supernet.engine.stopping import Interrupted
from supernet.errors import UserError
from supernet.problem import Problem
from supernet.report import render
from supernet.scoring import FEWEST, compare, compared_images, val_scores
from supernet.spaces import get_space
from supernet.strategies import ASK_TELL, asktell, differentiable
from supernet.strategies.differentiable import DifferentiableSearch

TINY = SearchConfig(
    space="micro32", max_train=96, batch_size=32, epochs=2, warmup_epochs=1, eval_images=256, candidates=2, budget_ms=11.0,
    augment=True, threads=1,
)  # fmt: skip


def problem(folder: Path, config: SearchConfig) -> tuple[SearchConfig, Problem]:
    config = replace(config, out=str(folder))
    return config, prepare(config)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_huge_latency_weight_picks_the_fastest(tmp_path: Path, relaxation: str) -> None:
    """In NNI the latency penalty is detached from α and does nothing, unnoticed."""
    config, asked = problem(
        tmp_path / "run", replace(TINY, relaxation=relaxation, latency_weight=1e4, alpha_lr=0.5, budget_ms=30.0)
    )
    best = differentiable.search(config, asked).candidates[0]
    assert set(best.ops) == {"skip"}


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_huge_fairness_weight_changes_the_operations(tmp_path: Path, relaxation: str) -> None:
    found = []
    for weight in (0.0, 1e4):
        config, asked = problem(
            tmp_path / f"{weight:g}",
            replace(
                TINY, relaxation=relaxation, fairness_weight=weight, alpha_lr=0.5, budget_ms=30.0, latency_weight=0.0
            ),
        )
        running = DifferentiableSearch(config, asked)
        for step in range(6):
            # ω stays as it is: only α may feel the difference
            running.alpha_step(running.val.at(step), running.warmup_steps)
        found.append(tuple(running.p_DK.argmax(1).tolist()))
    assert found[0] != found[1]


@pytest.mark.parametrize("stop_at", [4, 6, 7])
def test_interrupted_and_resumed_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> None:
    whole_config, whole_problem = problem(tmp_path / "whole", TINY)
    whole = DifferentiableSearch(whole_config, whole_problem)
    train(whole, whole_problem.folder)

    config, asked = problem(tmp_path / "parts", TINY)
    first = DifferentiableSearch(config, asked)
    one_step = first.one_step

    def interrupted(step: int) -> object:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(step)

    monkeypatch.setattr(first, "one_step", interrupted)
    with pytest.raises(Interrupted):
        train(first, asked.folder)
    second = DifferentiableSearch(config, prepare(replace(config, resume=config.out, out=None)))
    assert train(second, asked.folder) == stop_at + 1

    for (name, ours), (_, theirs) in zip(
        second.modules.state_dict().items(), whole.modules.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert asked.folder.rows() == whole_problem.folder.rows()


def test_the_derived_one_has_the_smallest_loss_of_the_candidates(tmp_path: Path) -> None:
    config, asked = problem(tmp_path / "run", replace(TINY, candidates=4, epochs=1))
    found = differentiable.search(config, asked).candidates
    losses = [candidate.cross_entropy for candidate in found]
    assert 4 <= len(found) <= 5 and losses == sorted(losses)
    assert all(candidate.costs["latency"] <= asked.budget_ms for candidate in found)
    by_hand = hand_made(asked.space, asked.costs, asked.budgets)
    assert [c.ops for c in found if c.by_hand] == [asked.space.names(by_hand)], "what a search must beat"


def with_groups(asked: Problem, attributes: dict[str, tuple[str, ...]], *group_N: np.ndarray) -> Problem:
    """The same, with these groups on search-val; search-train has the groups in turn."""
    data = asked.data
    turn_N = np.arange(len(data.train))
    train_NA = np.column_stack([turn_N % len(names) for names in attributes.values()])
    splits = {
        "train": replace(data.train, group_NA=train_NA),
        "val": replace(data.val, group_NA=np.column_stack(group_N)),
    }
    return replace(asked, data=replace(data, attributes=attributes, **splits))


class Threes(torch.nn.Module):
    """Says 3 to every image, and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image)
        return 99 * torch.eye(10)[[3]].expand(len(image), -1)


@pytest.mark.parametrize("where", [0, 1234, 3999])
def test_a_group_of_one_image_in_4000_is_compared_and_every_seed_sees_the_same(tmp_path: Path, where: int) -> None:
    config, asked = problem(tmp_path / "run", TINY)
    rare_N = (np.arange(4000) == where).astype(np.int64)
    asked = with_groups(asked, {"site": ("many", "one")}, rare_N)
    network, right = Threes(), float(asked.data.val.label_N[where] == 3)
    for seed in (0, 1):
        scores = val_scores(replace(config, seed=seed), asked)(network)
        assert scores["gap"] == pytest.approx(abs(right - (scores["accuracy"] * 256 - right) / 255))
    first, second = torch.cat(network.seen).chunk(2)
    assert len(first) == config.eval_images == 256 and torch.equal(first, second)


def test_images_compared_are_in_proportion_and_every_group_is_there() -> None:
    rng = np.random.default_rng(0)
    sex_N, age_N = rng.integers(0, 2, 4000), np.zeros(4000, np.int64)
    age_N[:40], age_N[40:45], age_N[45:300] = 1, 2, -1
    group_NA = rng.permutation(np.column_stack([sex_N, age_N]))
    for most in (64, 256, 2048, 4000, 9999):
        index_N = compared_images(group_NA, most)
        assert len(np.unique(index_N)) == len(index_N) == min(most, 4000)
        sex_N, age_N = group_NA[index_N].T
        assert (age_N == 1).sum() >= FEWEST and (age_N == 2).sum() == 5
        if most >= 256:
            assert (sex_N == 1).mean() == pytest.approx((group_NA[:, 0] == 1).mean(), abs=0.03)
            assert (age_N == -1).mean() == pytest.approx(255 / 4000, abs=0.01)
    assert len(compared_images(np.arange(4000)[:, None] % 10, 32)) == 10 * FEWEST, "every group, above the number"


def test_of_several_attributes_each_ones_gap_is_told(tmp_path: Path) -> None:
    config, one = problem(tmp_path / "run", replace(TINY, strategy="random", evaluations=2, epochs=0))
    label_N = one.data.val.label_N
    groups = {"parity": label_N % 2, "rest": label_N % 5}
    several = with_groups(one, {"parity": tuple("01"), "rest": tuple("01234")}, *groups.values())
    index_N = compared_images(several.data.val.group_NA, config.eval_images)
    share = {
        name: [(label_N[index_N][g_N[index_N] == g] == 3).mean() for g in set(g_N)] for name, g_N in groups.items()
    }
    scores = val_scores(config, several)(Threes())
    assert {name: scores[f"gap_{name}"] for name in groups} == pytest.approx({n: max(s) for n, s in share.items()})
    assert scores["gap"] == max(scores["gap_parity"], scores["gap_rest"])

    running = DifferentiableSearch(config, several)
    compared = compare(config, several, running.supernet, [running.hand_made_L], None)
    for candidate in (*compared, *asktell.search(config, several, ASK_TELL["random"]).candidates):
        assert set(candidate.gaps) == set(groups) and max(candidate.gaps.values()) == candidate.gap
    (candidate,) = compare(config, one, running.supernet, [running.hand_made_L], None)
    assert candidate.gaps == {}, "`gap` is that of the only one"


def test_the_report_has_a_column_for_each_of_several_attributes() -> None:
    content = search_content()
    rows = [{**row, "gaps": {"sex": 0.77, "age": row["gap"]}} for row in content["candidates"]]
    page = render(content | {"candidates": rows})
    assert "by sex</th>" in page and page.count(">77.0%</td>") == len(rows)
    assert "by sex" not in render(content | {"candidates": [{**row, "gaps": {}} for row in rows]})


@pytest.mark.parametrize("budget_ms", [8.0, 10.0, 15.0, 30.0, 1000.0])
@pytest.mark.parametrize("device", ["rpi4", "gold_6226"])
def test_the_hand_made_network_fills_the_budget_with_one_operation(device: str, budget_ms: float) -> None:
    space = get_space("fbnet32")
    cost = load_table(device).cost(space)
    budget_ms = max(budget_ms, cost.bounds(space.valid_LK)[0])
    index_L = hand_made(space, {"latency": cost}, {"latency": budget_ms})
    assert cost.total(index_L) <= budget_ms
    order_LK = cost.unary_DK.argsort(axis=1, kind="stable")
    rows = np.arange(len(index_L))
    middle_L, fastest_L = order_LK[:, 3], order_LK[:, 0]
    assert np.isin(index_L, space.ops.index("skip")).all() or (index_L == middle_L).any()
    assert ((index_L == middle_L) | (index_L == fastest_L)).all()
    more_L = cost.unary_DK[rows, middle_L] - cost.unary_DK[rows, index_L]
    assert device != "rpi4" or budget_ms != 10 or np.flatnonzero(index_L == middle_L).tolist() == [9, 13, 17], "stages"
    room = budget_ms - cost.total(index_L)
    assert (index_L == middle_L).all() or more_L[index_L != middle_L].min() > room, "one more would not fit"


def test_without_an_anchor_every_layer_draws_from_the_first_step(tmp_path: Path) -> None:
    config, asked = problem(tmp_path / "run", replace(TINY, anchor=0.0, budget_ms=30.0))
    running = DifferentiableSearch(config, asked)
    paths = torch.stack([running.warmup.weights(running.p_DK, 0, running.generator).argmax(1) for _ in range(28)])
    for row, valid_K in enumerate(asked.space.valid_LK):
        assert len(paths[:, row].unique()) == valid_K.sum()


@pytest.mark.parametrize(
    ("method", "least"), [("gap", 2), ("reweigh", 2), ("balance", 8), ("gap,dro", 8), ("minimax", 8)]
)
def test_a_rare_group_fills_the_batch_where_it_is_weighed_up(tmp_path: Path, method: str, least: int) -> None:
    """One image of 32 with 16 times the weight would be the whole gradient."""
    config, asked = problem(tmp_path / "run", replace(TINY, group_mix="student=0.05", fairness_method=method))
    running = DifferentiableSearch(config, asked)
    for step in range(len(running.train)):
        batch = running.train.at(step)
        rare_B = batch.group[:, 0] == asked.data.attributes["writer"].index("student")
        assert rare_B.sum() >= least
        assert batch.weight[rare_B].sum() / batch.weight.sum() == pytest.approx(0.05, abs=0.03)


def test_alpha_is_in_the_state(tmp_path: Path) -> None:
    config, asked = problem(tmp_path / "run", TINY)
    state = DifferentiableSearch(config, asked).modules.state_dict()
    assert state["alpha.logits_DK"].shape == asked.space.valid_LK.shape


def test_only_sampled_operations_move(tmp_path: Path) -> None:
    config, asked = problem(tmp_path / "run", replace(TINY, weight_decay=0.1))
    running = DifferentiableSearch(config, asked)
    step = running.warmup_steps - 1  # where every layer draws its operation
    running.one_step(step)  # draws the paths
    path = running.warmup.paths[0]
    running.warmup.paths.insert(0, path)  # twice: in a block's first step only its last batch norm moves, from 0
    running.one_step(step)
    before = {name: value.clone() for name, value in running.supernet.named_parameters()}
    running.one_step(step)
    for row, layer in enumerate(running.supernet.layers):
        for k, op in enumerate(layer):
            for name, value in op.named_parameters(f"layers.{row}.{k}"):
                assert torch.equal(value, before[name]) == (k != path[row]), name
        for name, value in running.supernet.shared[row].named_parameters(f"shared.{row}"):
            drawn = isinstance(layer[int(path[row])], SharedBlock)
            assert torch.equal(value, before[name]) != drawn, name


def test_nan_loss_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, asked = problem(tmp_path / "run", TINY)
    running = DifferentiableSearch(config, asked)
    one_step = running.one_step

    def broken(step: int) -> dict[str, torch.Tensor]:
        parts = one_step(step)
        return parts | {"loss": parts["loss"] * (torch.nan if step == 4 else 1)}

    monkeypatch.setattr(running, "one_step", broken)
    with pytest.raises(UserError, match=r"loss is nan at step 6.*lower --lr"):
        train(running, asked.folder)
    checkpoint = asked.folder.load_checkpoint()
    assert checkpoint is not None and checkpoint["step"] == 3


def test_nan_weights_do_not_reach_the_next_path(tmp_path: Path) -> None:
    config, asked = problem(tmp_path / "run", replace(TINY, warmup_epochs=0))
    running = DifferentiableSearch(config, asked)
    running.supernet.conv_stem.weight.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite at step 1: stopped"):
        train(running, asked.folder)


def test_other_data_is_refused_on_resume(tmp_path: Path) -> None:
    config, _ = problem(tmp_path / "run", TINY)
    with pytest.raises(UserError, match="fingerprint"):
        prepare(replace(config, max_train=64, resume=config.out))


def test_another_versions_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    config, asked = problem(tmp_path / "run", TINY)
    running = DifferentiableSearch(config, asked)
    checkpoint = {"step": 0, "sums": {}, "modules": running.modules.state_dict(), "rest": running.rest()}
    del checkpoint["modules"]["supernet.conv_stem.weight"]
    asked.folder.save_checkpoint(checkpoint)
    with pytest.raises(UserError, match="written by another version of supernet: start a new run"):
        train(running, asked.folder)
