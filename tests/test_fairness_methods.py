"""Each method of reaching fairness follows its paper's formula, leaves unknown groups alone, and resumes exactly."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from methods_process import COUNTS, JOINED, methods_process, training
from torch import Tensor
from torch.nn import functional as F

from supernet.config import CommonConfig
from supernet.data import Batch
from supernet.errors import UserError
from supernet.fairness import METHODS, parse_methods
from supernet.fairness.independence import HSIC, Adversary, hsic
from supernet.fairness.methods import batch_floor
from supernet.fairness.weights import CellWeights, class_factors
from supernet.objective import DataObjective, Loss, fair_objective
from supernet.task import classification


def batch(seed: int, size: int = 24, known: float = 0.8, attributes: int = 2) -> tuple[Tensor, Batch]:
    """logits_BC and a batch of 3 classes with attributes of 2 and 3 groups, some unknown."""
    generator = torch.Generator().manual_seed(seed)
    group_BA = torch.stack([torch.randint(n, (size,), generator=generator) for n in (2, 3)][:attributes], 1)
    group_BA = torch.where(torch.rand(group_BA.shape, generator=generator) < known, group_BA, -1)
    label_B = torch.randint(3, (size,), generator=generator)
    weight_B = 0.5 + torch.rand(size, generator=generator)
    return torch.randn(size, 3, generator=generator), Batch(torch.zeros(size, 1), label_B, group_BA, weight_B)


def objective(methods: str, weight: float = 1.0, max_gap: float | None = None) -> DataObjective:
    torch.manual_seed(0)
    options = CommonConfig(fairness="accuracy_parity", fairness_method=methods, fairness_weight=weight, max_gap=max_gap)
    return fair_objective(options, classification(3), COUNTS)


def seen(asked: DataObjective, logits_NBC: Tensor, b: Batch) -> Loss:
    """The batch's loss; then it is remembered, as in a step of training."""
    loss = asked.value(logits_NBC, b)
    asked.update(logits_NBC, b)
    return loss


# --- all of them ---


@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_several_attributes_resumes_exactly(method: str) -> None:
    batches = [batch(seed) for seed in range(50)]
    straight, first, resumed = objective(method), objective(method), objective(method)
    whole = [seen(straight, logits[None], b).total_N.item() for logits, b in batches]
    assert [seen(first, logits[None], b).total_N.item() for logits, b in batches[:25]] == whole[:25]
    resumed.load_state_dict(first.state_dict())
    assert [seen(resumed, logits[None], b).total_N.item() for logits, b in batches[25:]] == whole[25:]
    assert all(math.isfinite(value) for value in whole)


@pytest.mark.parametrize("max_gap", [None, 0.05])
@pytest.mark.parametrize("method", METHODS)
def test_asking_for_a_value_changes_nothing(method: str, max_gap: float | None) -> None:
    if max_gap is not None and not METHODS[method].penalty:
        return
    asked, steps = objective(method, max_gap=max_gap), [batch(seed) for seed in range(25)]
    for logits, b in steps:
        before = {name: value.clone() for name, value in asked.state_dict().items() if isinstance(value, Tensor)}
        first, second = (asked.value(logits[None], b).total_N for _ in range(2))
        assert torch.equal(first, second)
        assert all(torch.equal(value, asked.state_dict()[name]) for name, value in before.items())
        asked.update(logits[None], b)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_groups_are_plain_training(method: str) -> None:
    logits, unknown = batch(0, known=0.0)
    logits.requires_grad_()
    asked = objective(method)
    for _ in range(45):
        loss = seen(asked, logits[None], unknown)
    assert torch.allclose(loss.total_N, loss.task_N)
    (gradient,) = torch.autograd.grad(loss.total_N.sum(), logits)
    plain = (unknown.weight * F.cross_entropy(logits, unknown.label, reduction="none")).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(plain, logits)[0])


@pytest.mark.parametrize("method", METHODS)
def test_the_group_of_a_sample_that_is_unknown_has_no_say(method: str) -> None:
    """What a method does to the known samples is the same whether the others are there or not."""
    logits, b = batch(1, attributes=1)
    known = b.group[:, 0] >= 0
    only = Batch(*(part[known] for part in b))
    gradients = []
    for x, these in ((logits.clone().requires_grad_(), b), (logits[known].clone().requires_grad_(), only)):
        torch.manual_seed(0)
        asked = fair_objective(CommonConfig(fairness_method=method), classification(3), COUNTS[:1])
        for _ in range(41):
            loss = seen(asked, x[None], these)
        (gradient,) = torch.autograd.grad((loss.total_N - loss.task_N).sum(), x)
        gradients.append(gradient)
    # a mean over more samples is smaller by their number; what is added to the loss by groups is not
    scale = 1.0 if METHODS[method].penalty else len(known) / int(known.sum())
    torch.testing.assert_close(gradients[0][known] * scale, gradients[1], rtol=1e-4, atol=1e-6)
    assert gradients[0][~known].abs().max() < 1e-7


@pytest.mark.parametrize("method", METHODS)
def test_without_gradient_as_the_score_estimator_needs_it(method: str) -> None:
    logits, b = batch(2)
    asked = objective(method)
    with torch.no_grad():
        for _ in range(25):
            loss = seen(asked, torch.stack([logits, logits + 1, -logits]), b)
    assert loss.total_N.shape == (3,)
    assert loss.total_N[0].item() == pytest.approx(loss.total_N[1].item(), abs=1e-5)  # softmax is the same


def test_two_processes_are_one_with_the_joint_batch(tmp_path: Path) -> None:
    """17 images, so that the slices differ in size: risks, the adversary's steps and the mean loss are global."""
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    other = context.Process(target=methods_process, args=(1, str(tmp_path / "store"), queue))
    other.start()
    ours, theirs = methods_process(0, str(tmp_path / "store")), queue.get()
    other.join()
    for methods in JOINED:
        np.testing.assert_array_equal(ours[methods], theirs[methods], err_msg=methods)
        np.testing.assert_allclose(ours[methods], training(methods, 0, 1), rtol=1e-6, err_msg=methods)


def test_methods_are_named_and_joined() -> None:
    assert parse_methods("reweigh, gap") == ("reweigh", "gap")
    with pytest.raises(UserError, match='Did you mean "minimax"'):
        parse_methods("minmax")
    logits, b = batch(3)
    both, gap, weights = (objective(m).value(logits[None], b).total_N.item() for m in ("balance,gap", "gap", "balance"))
    plain = objective("gap", weight=0.0).value(logits[None], b).total_N.item()
    assert both == pytest.approx(gap + weights - plain, abs=1e-5)


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].penalty])
def test_a_cap_raises_the_weight_of_any_penalty_while_the_soft_gap_is_above_it(method: str) -> None:
    logits, b = batch(4)
    low, high = objective(method, max_gap=0.0), objective(method, max_gap=1.0)
    for _ in range(5):
        seen(low, logits[None], b), seen(high, logits[None], b)
    assert min(low.weight_A()) > 0 == max(high.weight_A())


# --- group DRO ---


# --- minimax Pareto ---


# --- fixed weights ---


def test_reweighing_makes_group_and_class_independent_and_keeps_their_shares() -> None:
    count = COUNTS[0].double()
    weighed = CellWeights(COUNTS[0], equal=False).factor_GC.double() * count
    torch.testing.assert_close(weighed.sum(1), count.sum(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weighed.sum(0), count.sum(0), rtol=1e-5, atol=1e-5)
    share = weighed / weighed.sum()
    torch.testing.assert_close(share, share.sum(1, keepdim=True) * share.sum(0), rtol=1e-5, atol=1e-6)


def test_balancing_weighs_every_cell_alike_and_has_mean_one() -> None:
    weighed = CellWeights(COUNTS[0], equal=True).factor_GC * COUNTS[0]
    torch.testing.assert_close(weighed, torch.full((2, 3), 100 / 6))


@pytest.mark.parametrize("equal", [True, False])
def test_an_empty_cell_costs_nobody_anything(equal: bool) -> None:
    count = torch.tensor([[10, 0], [5, 5]])
    weights = CellWeights(count, equal)
    assert (weights.factor_GC * count).sum().item() == pytest.approx(20, rel=1e-5)
    factor_B = weights.value(torch.ones(3), torch.tensor([0, 1, 1]), torch.tensor([0, 1, -1]), torch.ones(3))
    assert factor_B[2] == 1 and torch.isfinite(factor_B).all()


# --- independence ---


def test_hsic_is_zero_on_average_over_all_pairings() -> None:
    """Exactly: the mean over every permutation of the groups, which is what independence is."""
    torch.manual_seed(0)
    x, group = torch.randn(6).double(), torch.tensor([0, 0, 0, 1, 1, 2])
    kernel = (-((x[:, None] - x) ** 2)).exp()
    values = [
        hsic(kernel, (group[list(order)][:, None] == group[list(order)]).double())
        for order in itertools.permutations(range(6))
    ]
    assert torch.stack(values).mean().item() == pytest.approx(0, abs=1e-12) and torch.stack(values).std() > 1e-3


def test_hsic_of_the_same_predictions_for_all_is_zero_and_grows_with_the_gap() -> None:
    label, group = torch.zeros(40, dtype=torch.int64), torch.arange(40) % 2
    term = HSIC("accuracy_parity")
    found = []
    for gap in (0.0, 0.1, 0.3):
        own = 0.8 - gap * group
        found.append(term.value(torch.stack([own, 1 - own], 1)[None], label, group).item())
    assert found[0] == pytest.approx(0, abs=1e-6) and found[1] == pytest.approx(0.01, rel=0.2)
    assert found[2] > found[1]


@pytest.mark.parametrize("notion", ["accuracy_parity", "demographic_parity", "equalized_odds"])
def test_hsic_has_the_gradient_of_its_value(notion: str) -> None:
    logits, b = batch(5, size=16)
    term = HSIC(notion)
    x = logits.double()[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term.value(x.softmax(-1), b.label, b.group[:, 0]), (x,))


def test_the_adversarys_gradient_is_reversed() -> None:
    """What comes back to the classifier is minus the gradient of the adversary's own loss, and the adversary learns."""
    torch.manual_seed(0)
    logits, b = batch(6, known=1.0)
    group = b.group[:, 0]
    adversary = Adversary(2, 3, "demographic_parity").double()
    prob = logits.double().softmax(1).requires_grad_()
    before = [p.detach().clone() for p in adversary.guess.parameters()]
    adversary.update(prob[None], b.label, group)
    (reversed_gradient,) = torch.autograd.grad(adversary.value(prob[None], b.label, group).sum(), prob)
    assert any(not torch.equal(p, q) for p, q in zip(adversary.guess.parameters(), before, strict=True))
    ones = torch.ones(prob.shape, dtype=torch.double)  # the mask: everybody is in every event
    guessed = adversary.guess(torch.cat([prob, ones], 1))
    own = (
        F.cross_entropy(guessed[group == 0], group[group == 0])
        + F.cross_entropy(guessed[group == 1], group[group == 1])
    ) / 2
    (gradient,) = torch.autograd.grad(own, prob)
    torch.testing.assert_close(reversed_gradient, -gradient)


def test_the_adversary_finds_what_there_is_and_no_more() -> None:
    torch.manual_seed(0)
    label, group = torch.zeros(64, dtype=torch.int64), torch.arange(64) % 2
    told = torch.stack([0.2 + 0.6 * group, 0.8 - 0.6 * group], 1).float()
    same = torch.full((64, 2), 0.5)
    found = []
    for prob in (told, same):
        adversary = Adversary(2, 2, "accuracy_parity")
        for _ in range(200):
            adversary.update(prob[None], label, group)
        found.append(adversary.value(prob[None], label, group).item())
    assert found[0] > 0.6 and found[1] == pytest.approx(0, abs=0.02)  # at most log 2 = .693


@pytest.mark.parametrize(("method", "rate", "left"), [("gap", 0.3, 0.1), ("hsic", 1.0, 0.02), ("adversary", 0.03, 0.4)])
def test_a_penalty_closes_a_gap(method: str, rate: float, left: float) -> None:
    """Descent on the penalty alone, from a classifier with a gap of .46; a game with an adversary is a slow one."""
    torch.manual_seed(0)
    group = torch.arange(64) % 2
    b = Batch(torch.zeros(64, 1), torch.zeros(64, dtype=torch.int64), group[:, None], torch.ones(64))
    shift = torch.tensor([1.0, -1.0], requires_grad=True)
    asked = fair_objective(CommonConfig(fairness_method=method), classification(2), [torch.tensor([[32, 0], [32, 0]])])
    for _ in range(100):
        logits = torch.stack([shift[group], torch.zeros(64)], 1)
        loss = seen(asked, logits[None], b)
        (gradient,) = torch.autograd.grad((loss.total_N - loss.task_N).sum(), shift)
        with torch.no_grad():
            shift -= rate * gradient
    rate_G = shift.sigmoid()
    assert abs(rate_G[0] - rate_G[1]) < left


@pytest.mark.parametrize(("number", "told"), [(3, False), (4, True)])
def test_hsic_needs_four_samples_of_an_event(number: int, told: bool) -> None:
    prob = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])[:number]
    group = torch.tensor([0, 1, 0, 1])[:number]
    penalty = HSIC("demographic_parity").value(prob[None], torch.zeros(number, dtype=torch.long), group)
    assert bool(penalty.abs().item() > 0) is told


def test_hsic_is_the_mean_over_the_events() -> None:
    """Of three classes: a class whose probability says nothing of the group halves nothing away by itself."""
    torch.manual_seed(0)
    prob, group = torch.softmax(3 * torch.randn(12, 3), -1), torch.arange(12) % 2
    label = torch.zeros(12, dtype=torch.long)
    method = HSIC("demographic_parity")
    whole = method.value(prob[None], label, group)
    score_BE, _ = method.notion.scores(prob, label)
    each = [8 * method.bandwidth**2 * hsic((-((s[:, None] - s) ** 2) / (2 * method.bandwidth**2)).exp(), (group[:, None] == group).float()) for s in score_BE.unbind(1)]  # fmt: skip
    assert len(each) == 3
    torch.testing.assert_close(whole[0], torch.stack(each).mean())


def test_an_adversary_is_silent_where_there_is_one_group_and_speaks_of_three() -> None:
    torch.manual_seed(0)
    adversary = Adversary(3, 2, "demographic_parity")
    prob = torch.softmax(torch.randn(2, 9, 2), -1)
    label = torch.arange(9) % 2
    assert adversary.value(prob, label, torch.zeros(9, dtype=torch.long)).tolist() == [0, 0]
    before = [p.detach().clone() for p in adversary.guess.parameters()]
    adversary.update(prob, label, torch.full((9,), 1))
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.guess.parameters(), strict=True))
    assert adversary.value(prob, label, torch.arange(9) % 3).abs().min() > 0
    adversary.update(prob, label, torch.arange(9) % 3)
    assert not all(torch.equal(a, b) for a, b in zip(before, adversary.guess.parameters(), strict=True))


def test_rare_groups_have_a_sixteenth_of_a_batch_and_a_quarter_where_their_weights_may_be_large() -> None:
    assert batch_floor(("gap", "reweigh")) == 1 / 16
    assert {batch_floor((name,)) for name in ("balance", "dro", "minimax")} == {1 / 4}


def test_class_factors_are_scikit_learns_balanced() -> None:
    found = class_factors(torch.tensor([10, 30, 0]))
    torch.testing.assert_close(found, torch.tensor([40 / (2 * 10), 40 / (2 * 30), 1.0]))
