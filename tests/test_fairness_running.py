"""The running estimate of a gap: no bias in small batches, full gradients, exact when resumed and of several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from fairness_process import gap_process, gap_steps
from random_tables import one_hot, random_probs, random_table

from supernet.engine.distributed import all_reduce_sums
from supernet.fairness import (
    NOTIONS,
    RunningGap,
    soft_gap,
)


def batch(generator: torch.Generator, size: int, minority: float, accuracy_G=(0.9, 0.9), num_classes: int = 5):
    """One-hot predictions of a classifier with a known accuracy for either group."""
    label = torch.randint(num_classes, (size,), generator=generator)
    group = (torch.rand(size, generator=generator) < minority).long()
    right = torch.rand(size, generator=generator) < torch.tensor(accuracy_G)[group]
    other = (label + torch.randint(1, num_classes, (size,), generator=generator)) % num_classes
    return one_hot(torch.where(right, label, other), num_classes).float(), label, group


def mean_value(name: str, runs: int = 24, steps: int = 20, **kwargs) -> tuple[float, float, float]:
    """Means over independent runs: the plain batch gap, ours, and our estimate from the past."""
    plain, ours, estimates = [], [], []
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        running = RunningGap(2, 5, name)
        for _ in range(steps):
            prob, label, group = batch(generator, 64, **kwargs)
            ours.append(running(prob, label, group).item())
            plain.append(soft_gap(prob, label, group, 2, name).item())
        ours = ours[:-steps] + ours[len(ours) - steps + 3 :]  # the first batches have no past to choose with
        estimates.append(running.estimate().item())
    return float(np.mean(plain)), float(np.mean(ours)), float(np.mean(estimates))


@pytest.mark.parametrize("name", ["accuracy_parity", "equalized_odds"])
def test_a_fair_classifier_has_mean_zero_in_small_batches(name):
    plain, ours, estimate = mean_value(name, minority=0.1)
    assert plain > 0.09 and abs(ours) < 0.02 and abs(estimate) < 0.02


def test_an_unfair_classifier_keeps_its_gap():
    _, ours, estimate = mean_value("accuracy_parity", minority=0.1, accuracy_G=(0.9, 0.7))
    assert ours == pytest.approx(0.2, abs=0.02) and estimate == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", NOTIONS)
@pytest.mark.parametrize("history", [0, 1, 4])
def test_the_batch_value_has_its_own_gradient_and_changes_nothing(name, history):
    label, _, group = random_table(4, 12, 3, 3)
    running = RunningGap(3, 3, name).double()
    for seed in range(history):
        running(random_probs(seed, 12, 3), label, group)
    before = {key: value.clone() for key, value in running.state_dict().items()}
    logits = torch.randn(12, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: running.value(running.sums(x.softmax(1), label, group)), (logits,))
    assert all((before[key] == value).all() for key, value in running.state_dict().items())


def test_the_first_batch_has_the_plain_gap_and_gradients_keep_full_strength_with_history():
    label, _, group = random_table(4, 60, 3, 2)
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (plain,) = torch.autograd.grad(soft_gap(logits.softmax(1), label, group, 2, "accuracy_parity"), logits)
    running = RunningGap(2, 3, "accuracy_parity")
    first = running.value(running.sums(logits.softmax(1), label, group))
    exact = soft_gap(logits.softmax(1), label, group, 2, "accuracy_parity").item()
    assert first.item() == pytest.approx(exact, abs=1e-6)
    for _ in range(20):
        value = running(logits.softmax(1), label, group)
        (gradient,) = torch.autograd.grad(value, logits)
        torch.testing.assert_close(gradient, plain)
    assert running.gap().value.item() == pytest.approx(first.item(), abs=1e-6)
    assert running.estimate().item() == pytest.approx(first.item(), abs=1e-6)


def test_values_are_linear_in_the_predictions_once_there_is_a_past():
    """So that sampled paths can be compared on one batch."""
    label, _, group = random_table(4, 24, 3, 2)
    running = RunningGap(2, 3, "equalized_odds")
    for seed in range(3):
        running(random_probs(seed, 24, 3), label, group)
    one, two = random_probs(10, 24, 3), random_probs(11, 24, 3)
    values = [running.value(running.sums(prob, label, group)).item() for prob in (one, two, (one + two) / 2)]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-6)


def test_a_cell_without_members_in_the_batch_adds_its_past_and_no_gradient():
    running = RunningGap(2, 2, "accuracy_parity")
    prob = torch.tensor([[0.8, 0.2], [0.5, 0.5]])
    for _ in range(2):
        running(prob, torch.tensor([0, 0]), torch.tensor([0, 1]))
    only = torch.tensor([[0.6, 0.4]], requires_grad=True)
    value = running(only, torch.tensor([0]), torch.tensor([0]))
    assert value.item() == pytest.approx(0.6 - 0.5)
    nobody = running(only, torch.tensor([0]), torch.tensor([-1]))
    assert torch.autograd.grad(nobody, only)[0].abs().sum() == 0


def test_state_dict_resumes_exactly():
    generator = torch.Generator().manual_seed(0)
    batches = [batch(generator, 32, 0.2) for _ in range(6)]
    straight, resumed = RunningGap(2, 5, "equalized_odds"), RunningGap(2, 5, "equalized_odds")
    expected = [straight(*b).item() for b in batches]
    first = RunningGap(2, 5, "equalized_odds")
    assert [first(*b).item() for b in batches[:3]] == expected[:3]
    resumed.load_state_dict(first.state_dict())
    assert [resumed(*b).item() for b in batches[3:]] == expected[3:]


def test_two_processes_equal_one_with_the_joint_batch(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(30, 4, generator=generator), *batch(generator, 30, 0.3, num_classes=3)[1:]) for _ in range(4)
    ]
    torch.manual_seed(0)
    model, running = torch.nn.Linear(4, 3), RunningGap(2, 3, "equalized_odds")
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    values = gap_steps(model, running, batches)
    context = mp.get_context("spawn")
    queue = context.Queue()
    store = str(tmp_path / "store")
    other = context.Process(target=gap_process, args=(1, store, weights, batches, queue))
    other.start()
    mine = gap_process(0, store, weights, batches)
    for joint in (mine, queue.get(timeout=120)):
        assert joint["values"] == pytest.approx(values, abs=1e-6)
        np.testing.assert_allclose(joint["gradient"], model.weight.grad.numpy(), atol=1e-6)
        np.testing.assert_allclose(joint["past"], running.past_HSGE.numpy(), rtol=1e-5)
    other.join(timeout=60)
    assert other.exitcode == 0


def test_without_processes_the_sum_over_processes_is_the_tensor_itself():
    ones = torch.ones(2, requires_grad=True)
    assert all_reduce_sums(ones) is ones


def test_of_batches_that_are_all_alike_the_running_gap_has_the_batchs_own_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(24, 3, dtype=torch.float64)
    label, group = torch.randint(0, 3, (24,)), torch.arange(24) % 2
    running = RunningGap(2, 3, "accuracy_parity", decay=0.9)
    for _ in range(200):
        running.update(running.sums(logits.softmax(-1), label, group))

    def gradient(gap: object) -> torch.Tensor:
        x = logits.clone().requires_grad_()
        return torch.autograd.grad(gap(x.softmax(-1)), x)[0]

    ours = gradient(lambda prob: running.value(running.sums(prob, label, group)))
    theirs = gradient(lambda prob: soft_gap(prob, label, group, 2, "accuracy_parity"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_only_cells_that_both_halves_know_are_scored_once_they_make_up_an_event() -> None:
    """Class 0 has both groups in every batch, class 1 both in the even batches alone: recall of class 1 is not scored."""
    running = RunningGap(2, 3, "equal_opportunity", decay=0.9)
    prob = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
    label, group = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    for step in range(2):
        here = torch.tensor([True, True, step == 0, step == 0])
        running.update(running.sums(prob[here], label[here], group[here]))
    assert float(running.estimate()) == pytest.approx(0.3, abs=1e-6)
