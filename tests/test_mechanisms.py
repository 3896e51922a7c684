"""The main mechanisms, on problems whose answer is known: each test fails where one of them is inert or has the wrong sign."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supernet.config import CommonConfig, SearchConfig, TrainConfig
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.data import Batch, GroupedData, load_data
from supernet.data.grouped import Split
from supernet.derive import most_probable
from supernet.engine.loop import train
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.fairness import soft_gap
from supernet.network import build_path
from supernet.objective import CostTerm, DataObjective, Loss, Multiplier, fair_objective
from supernet.problem import Problem
from supernet.spaces import get_space
from supernet.strategies.differentiable import DifferentiableSearch
from supernet.task import classification

SPACE = get_space("micro32")
L, K = SPACE.valid_LK.shape
PATHS_NL = np.array(list(itertools.product(*[np.flatnonzero(valid_K) for valid_K in SPACE.valid_LK])))


# --- the size and the sign of each penalty ---


def two_groups() -> tuple[Tensor, Batch]:
    """logits_BC and a batch in which group 1 is told apart less well."""
    label_B, group_B = torch.arange(32) % 2, (torch.arange(32) // 2) % 2
    logits_BC = torch.nn.functional.one_hot(label_B, 2) * (3.0 - 2.0 * group_B)[:, None]
    return logits_BC, Batch(torch.zeros(32, 1), label_B, group_B[:, None], torch.ones(32))


def two_group_objective(weight: float, max_gap: float | None = None) -> DataObjective:
    options = CommonConfig(fairness_weight=weight, max_gap=max_gap)
    return fair_objective(options, classification(2), [torch.tensor([[8, 8], [8, 8]])])


def seen(objective: DataObjective, logits_BC: Tensor, batch: Batch) -> Loss:
    """The batch's loss; then it is remembered."""
    loss = objective.value(logits_BC[None], batch)
    objective.update(logits_BC[None], batch)
    return loss


def test_the_loss_is_cross_entropy_plus_weight_times_the_soft_gap() -> None:
    logits_BC, batch = two_groups()
    gap = float(soft_gap(logits_BC.softmax(1), batch.label, batch.group[:, 0], 2, "accuracy_parity"))
    assert gap == pytest.approx(1 / (1 + np.exp(-3)) - 1 / (1 + np.exp(-1)), rel=1e-5)
    entropy = float(torch.nn.functional.cross_entropy(logits_BC, batch.label))
    for weight in (0.0, 0.7, 3.0):
        objective = two_group_objective(weight)
        for _ in range(3):  # the running rates are those of the batch from the first step on
            loss = seen(objective, logits_BC, batch)
            assert loss.task_N.item() == pytest.approx(entropy, rel=1e-5)
            assert loss.total_N.item() == pytest.approx(entropy + weight * gap, rel=1e-5)
        assert objective.weight_A() == pytest.approx([weight])


def test_a_cap_on_the_gap_is_held_by_dual_ascent() -> None:
    """λ ← λ + .1 · (gap − cap), and 5 · (gap − cap) more in force: sizes, and that it falls again under the cap."""
    logits_BC, batch = two_groups()
    gap = float(soft_gap(logits_BC.softmax(1), batch.label, batch.group[:, 0], 2, "accuracy_parity"))
    objective = two_group_objective(1.0, max_gap=0.05)
    for step in range(4):
        loss = seen(objective, logits_BC, batch)
        violation = (gap if step else 0.0) - 0.05  # the estimate is of the steps before
        weight = max(0.0, 0.1 * max(step - 1, 0) * (gap - 0.05) + 5 * violation)
        assert loss.total_N.item() - loss.task_N.item() == pytest.approx(weight * gap, rel=1e-4, abs=1e-7), step
    risen = objective.weight_A()[0]
    assert risen == pytest.approx(0.3 * (gap - 0.05), rel=1e-4)
    fair = torch.nn.functional.one_hot(batch.label, 2) * 3.0
    for _ in range(100):
        seen(objective, fair, batch)
    assert objective.weight_A()[0] < risen


def test_a_multiplier_is_an_augmented_lagrangian() -> None:
    fixed, adaptive = Multiplier(2.0), Multiplier(1.0, rate=0.5, damping=3.0)
    for violation, in_force, after in ((0.2, 1.6, 1.1), (-0.1, 0.8, 1.05), (-0.6, 0.0, 0.75), (-9.0, 0.0, 0.0)):
        told = torch.tensor(violation)
        assert adaptive(told).item() == pytest.approx(in_force)
        adaptive.update(told), fixed.update(told)
        assert adaptive.value.item() == pytest.approx(after) and fixed(told).item() == 2


COST = Cost("latency", "ms", 2.0, np.array([[1.0, 3.0], [2.0, 6.0]]))


def test_the_budget_penalty_is_weight_times_relative_excess() -> None:
    p_LK = torch.tensor([[0.5, 0.5], [0.25, 0.75]], requires_grad=True)  # expected: 2 + 2 + 5
    for weight in (0.5, 4.0):
        penalty = CostTerm(COST, 6.0, weight)
        assert penalty.value(p_LK).item() == penalty.value(p_LK).item() == pytest.approx(weight * 0.5)
        assert CostTerm(COST, 12.0, weight).value(p_LK).item() == pytest.approx(weight * -0.25)
    adaptive = CostTerm(COST, 6.0)
    for step in range(3):  # λ: 0, .02 · .5, 2 · .02 · .5; and 4 · .5 more in force
        value = adaptive.value(p_LK)
        adaptive.update(p_LK)
        assert value.item() == pytest.approx((0.01 * step + 2) * 0.5)
    (gradient_LK,) = torch.autograd.grad(value, p_LK)
    torch.testing.assert_close(gradient_LK, torch.tensor(COST.unary_DK / 6 * 2.02).float())
    assert CostTerm(COST, 12.0).value(p_LK).item() == 0


# --- λ_lat on a planted problem ---


def optimised(effect_LK: Tensor, cost: Cost, budget: float, steps: int = 1500) -> tuple[float, float, Tensor]:
    """Expected cost, λ_lat and p at the end of descent on E_p[effect] + entropy term + λ_lat · (E_p[cost] / budget − 1)."""
    alpha_LK = torch.zeros(effect_LK.shape, requires_grad=True)
    penalty, optimizer = CostTerm(cost, budget), torch.optim.Adam([alpha_LK], 0.05)
    for _ in range(steps):
        p_LK = alpha_LK.softmax(-1)
        loss = (p_LK * effect_LK).sum() + 0.1 * (p_LK * alpha_LK.log_softmax(-1)).sum() + penalty.value(p_LK)
        penalty.update(p_LK.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    p_LK = alpha_LK.softmax(-1).detach()
    return float(cost.expected(p_LK)), float(penalty.multiplier.value), p_LK


def test_lambda_lat_converges_to_the_multiplier_of_the_budget() -> None:
    """Loss −cost / 10 of two layers plus .1 of negative entropy: at the budget p and λ are known by hand."""
    effect_LK, budget = torch.tensor(-COST.unary_DK / 10).float(), 8.0
    found, multiplier, p_LK = optimised(effect_LK, COST, budget)
    assert found == pytest.approx(budget, rel=2e-3)
    # stationary: p ∝ exp(−(effect + λ cost / budget) / .1) in each layer; λ so that the budget is met
    slope = (multiplier / budget - 0.1) / 0.1
    torch.testing.assert_close(p_LK, torch.tensor(-slope * COST.unary_DK).softmax(-1).float(), atol=5e-3, rtol=0)
    assert multiplier > 0.1
    loose, none, _ = optimised(effect_LK, COST, 20.0, 300)
    assert loose < 20 and none == 0, "a budget that nothing reaches has no weight"


# --- short curves, pinned ---

TRAINED, PENALTY = [2.3292, 2.0765, 1.8843, 1.7665], [0.0022, -0.0157, -0.0002, 0.0001]  # epochs 1, 4, 7, 10
RATES = [2.525e-3, 3.290e-3, 1.070e-3, 5e-5]
SEARCHED = {  # cross-entropy, expected ms, the first layer's probabilities
    "score": ([2.3487, 2.2962, 2.2314, 2.1400], [9.0, 9.0, 8.944, 8.930], [0.425, 0.0, 0.308, 0.267]),
    "gumbel-top2": ([2.3487, 2.2962, 2.2366, 2.0249], [9.0, 9.0, 8.949, 8.915], [0.228, 0.0, 0.157, 0.616]),
}
TOLERANCE = 0.01  # relative: one thread and two differ by .003 at the end
AT_THE_END = (
    0.06  # of a search, whose paths are drawn: two kinds of processor differ by .038, and its probabilities by .054
)


@pytest.fixture(scope="module")
def digits() -> GroupedData:
    return load_data(group_mix="student=0.2", max_train=64, max_eval=32, progress=False)


def trained_rows(data: GroupedData, folder: Path, **options: Any) -> list[dict[str, Any]]:
    """Ten epochs of two steps."""
    torch.manual_seed(0)
    network, run = build_path(SPACE, ["k3_e1"] * L, 10, 1), RunFolder(folder)
    train_network(TrainConfig(epochs=10, warmup_steps=4, threads=1, **options), data, network, run, torch.device("cpu"))
    return run.rows()


def test_the_trainings_curve_is_what_it_was(digits: GroupedData, tmp_path: Path) -> None:
    rows = trained_rows(digits, tmp_path)
    assert [row["cross_entropy"] for row in rows[::3]] == pytest.approx(TRAINED, rel=TOLERANCE)
    assert [row["loss"] - row["cross_entropy"] for row in rows[::3]] == pytest.approx(PENALTY, abs=0.01)
    assert [row["lr"] for row in rows[::3]] == pytest.approx(RATES, rel=1e-3)


def test_training_obeys_the_fairness_weight(digits: GroupedData, tmp_path: Path) -> None:
    """The penalty of the first step is the weight times the same gap; later ones move other weights."""
    first = {}
    for weight in (0.0, 1.0, 3.0):
        (tmp_path / str(weight)).mkdir()
        rows = trained_rows(digits, tmp_path / str(weight), fairness_weight=weight, lr=1e-8, batch_size=64)
        assert {row["lambda_gap_writer"] for row in rows} == {weight}
        first[weight] = rows[0]["loss"] - rows[0]["cross_entropy"]
    assert first[0.0] == pytest.approx(0, abs=1e-6) and abs(first[1.0]) > 1e-4
    assert first[3.0] == pytest.approx(3 * first[1.0], rel=1e-3)


@pytest.mark.parametrize("relaxation", SEARCHED)
def test_the_searchs_curve_is_what_it_was(digits: GroupedData, tmp_path: Path, relaxation: str) -> None:
    entropy, expected_ms, p_first = SEARCHED[relaxation]
    table = load_table("rpi4").cost(SPACE)
    config = SearchConfig(space="micro32", epochs=6, warmup_epochs=6, threads=1, relaxation=relaxation)
    problem = Problem(
        RunFolder(tmp_path), SPACE, digits, None, {"latency": table}, {"latency": 9.0}, 9.0,
        torch.device("cpu"), (),
    )  # type: ignore[arg-type]  # fmt: skip
    running = DifferentiableSearch(config, problem)
    train(running, problem.folder)
    rows = problem.folder.rows()
    *begun, ended = [row["cross_entropy"] for row in rows[::3]]
    assert begun == pytest.approx(entropy[:-1], rel=TOLERANCE) and ended == pytest.approx(entropy[-1], rel=AT_THE_END)
    assert [row["expected_latency"] for row in rows[::3]] == pytest.approx(expected_ms, rel=TOLERANCE)
    np.testing.assert_allclose(running.p_DK[0], p_first, atol=0.08)


# --- a planted optimum that the default search must find ---


class Planted(nn.Module):
    """In place of a supernet: what each operation adds to the margin of the right class (quality_LK) and takes from it for
    group 1 (unfair_LK). An image is its label and its group."""

    def __init__(self, quality_LK: np.ndarray, unfair_LK: np.ndarray) -> None:
        super().__init__()
        self.quality_LK, self.unfair_LK = torch.tensor(quality_LK).float(), torch.tensor(unfair_LK).float()
        self.idle = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, weights_LK: Tensor) -> Tensor:
        label_B, group_B = image[:, 0, 0, 0].round().long(), image[:, 0, 0, 1].round()
        margin_B = (weights_LK * self.quality_LK).sum() - group_B * (weights_LK * self.unfair_LK).sum()
        return nn.functional.one_hot(label_B, 2) * margin_B[:, None] + 0 * self.idle


def planted_data() -> GroupedData:
    data = load_data(max_train=64, max_eval=64, progress=False)

    def split(size: int) -> Split:
        label_N, group_N = np.arange(size) % 2, np.arange(size) // 2 % 2
        images = np.zeros((size, 1, 32, 32), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = label_N, group_N
        return Split(images, label_N, group_N[:, None])

    as_is = replace(data.preprocessing, mean=(0.0,), std=(1 / 255,))
    parts = {name: split(3200) for name in ("train", "val", "test")}
    return replace(data, classes=("a", "b"), attributes={"g": ("x", "y")}, preprocessing=as_is, **parts)


def found_by_search(
    folder: Path, quality_LK: np.ndarray, unfair_LK: np.ndarray, cost: Cost, budget: float, **options: Any
) -> tuple[np.ndarray, DifferentiableSearch]:
    """(L,) the most probable architecture inside the budget after the default search."""
    asked: dict[str, Any] = {"epochs": 3, "warmup_epochs": 1, "augment": False, "space": "micro32", **options}
    data = planted_data()
    problem = Problem(
        RunFolder(folder), SPACE, data, None, {"latency": cost}, {"latency": budget}, budget,
        torch.device("cpu"), (),
    )  # type: ignore[arg-type]  # fmt: skip
    running = DifferentiableSearch(SearchConfig(**asked), problem)
    running.supernet = Planted(quality_LK, unfair_LK)  # type: ignore[assignment]
    running.weights = list(running.supernet.parameters())
    train(running, problem.folder)
    return next(most_probable(running.alpha().detach().double().numpy(), SPACE.valid_LK, [cost], {"latency": budget})), running  # fmt: skip


def best_by_enumeration(value_LK: np.ndarray, cost: Cost, budget: float) -> np.ndarray:
    inside = [path_L for path_L in PATHS_NL if cost.total(path_L) <= budget]
    return max(inside, key=lambda path_L: value_LK[np.arange(L), path_L].sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_where_accuracy_decides_the_best_of_all_is_found(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality_LK = np.stack([rng.permutation(K) for _ in range(L)]) * 0.15
    cost = Cost("latency", "ms", 1.0, np.where(SPACE.valid_LK, 1.0, 0.0))
    index_L, running = found_by_search(tmp_path, quality_LK, np.zeros((L, K)), cost, 100.0, seed=seed)
    assert index_L.tolist() == best_by_enumeration(quality_LK, cost, 100.0).tolist()
    assert float(running.cost_terms[0].multiplier.value) == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_where_the_budget_decides_the_best_inside_it_is_found(tmp_path: Path, seed: int) -> None:
    """Better is slower, at a price that differs by layer: what pays is bought."""
    rng = np.random.default_rng(seed)
    size_LK = np.where(SPACE.valid_LK, SPACE.valid_LK.cumsum(1) - 1, 0)
    price_L = rng.permutation([1.0, 1.0, 4.0, 4.0, 4.0])
    quality_LK, cost = 0.4 * size_LK, Cost("latency", "ms", 1.0, size_LK * price_L[:, None])
    cheap_L = price_L == 1
    budget = 1.0 + float((size_LK.max(1) * price_L)[cheap_L].sum())
    index_L, running = found_by_search(tmp_path, quality_LK, np.zeros((L, K)), cost, budget, seed=seed)
    assert index_L.tolist() == best_by_enumeration(quality_LK, cost, budget).tolist()
    assert cost.total(index_L) == pytest.approx(budget), "the whole budget is used"
    expected = float(cost.expected(running.p_DK))
    assert expected < 1.05 * budget, "the search itself is held at the budget"
    assert float(running.cost_terms[0].multiplier.value) > 0.05


def test_where_the_gap_decides_the_fair_operation_is_taken_for_its_weight_alone(tmp_path: Path) -> None:
    """In each layer the last operation is a little better for group 0 and much worse for group 1."""
    last_L = np.array([np.flatnonzero(valid_K)[-1] for valid_K in SPACE.valid_LK])
    fair_L = np.array([np.flatnonzero(valid_K)[0] for valid_K in SPACE.valid_LK])
    quality_LK, unfair_LK = np.full((L, K), -0.5), np.zeros((L, K))
    quality_LK[np.arange(L), fair_L], quality_LK[np.arange(L), last_L] = 0.5, 0.9
    unfair_LK[np.arange(L), last_L] = 0.4
    cost = Cost("latency", "ms", 1.0, np.where(SPACE.valid_LK, 1.0, 0.0))
    for weight, wanted_L in ((0.0, last_L), (3.0, fair_L)):
        (tmp_path / str(weight)).mkdir()
        index_L, _ = found_by_search(tmp_path / str(weight), quality_LK, unfair_LK, cost, 100.0, fairness_weight=weight)
        assert index_L.tolist() == wanted_L.tolist(), weight
