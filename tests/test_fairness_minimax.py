"""DRO and minimax: their weights go to the groups that they should, as the papers say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from supernet.fairness.weights import GroupDRO, MinimaxPareto, group_factors, group_risks


def test_dro_weights_and_loss_follow_the_paper() -> None:
    loss_B, group_B = torch.tensor([1.0, 3.0, 2.0, 0.5]), torch.tensor([0, 1, 1, 0])
    weight_B = torch.tensor([1.0, 2.0, 1.0, 1.0])
    dro = GroupDRO(3, rate=0.5)
    factor_B = dro.value(loss_B, torch.zeros(4), group_B, weight_B)
    dro.update(loss_B, torch.zeros(4), group_B, weight_B)
    risk = torch.tensor([0.75, (6 + 2) / 3, 0.0])
    q = (0.5 * risk).exp() / (0.5 * risk).exp().sum()
    torch.testing.assert_close(dro.share_G, q)
    # the batch's weighted sum, as the objective takes it, is Σ q_g risk_g times the weight of the known samples
    assert (factor_B * weight_B * loss_B).sum().item() == pytest.approx(((q * risk).sum() * 5).item())


def test_dro_ends_at_the_worst_group() -> None:
    dro = GroupDRO(2)
    for _ in range(400):
        dro.update(torch.tensor([0.2, 0.9]), torch.zeros(2), torch.tensor([0, 1]), torch.ones(2))
    assert dro.share_G[1] > 0.999


def test_dro_takes_up_again_a_group_that_it_had_long_forgotten() -> None:
    dro, groups = GroupDRO(2, rate=1.0), torch.tensor([0, 1])
    for losses, steps in ((torch.tensor([0.0, 1.0]), 200), (torch.tensor([1.0, 0.0]), 210)):
        for _ in range(steps):
            dro.update(losses, torch.zeros(2), groups, torch.ones(2))
    assert dro.share_G[0] > 0.99
    assert dro.value(torch.tensor([1e4, 0.0]), torch.zeros(2), groups, torch.ones(2)).isfinite().all()


def minimax(risks, optimum, steps: int = 400) -> tuple[Tensor, Tensor]:
    """Their algorithm with the weighted problem solved exactly: θ = optimum(μ), risks(θ) → risk_G."""
    rule = MinimaxPareto(2)
    rule.share_G.fill_(0.5)
    for _ in range(steps):
        rule.move(risks(optimum(rule.share_G)))
        assert rule.share_G.sum().item() == pytest.approx(1.0, abs=1e-5) and rule.share_G.min() > 0
    return rule.share_G, risks(optimum(rule.share_G))


def test_minimax_equalises_where_groups_trade_off() -> None:
    # risks θ² and (θ − 1)²: the weighted optimum is θ = μ_1
    share, risk = minimax(lambda t: torch.stack([t**2, (t - 1) ** 2]), lambda mu: mu[1])
    torch.testing.assert_close(share, torch.tensor([0.5, 0.5]), atol=0.03, rtol=0)
    assert risk.max().item() == pytest.approx(0.25, abs=0.03)


def test_minimax_does_no_more_harm_than_needed() -> None:
    """One group cannot be helped by harming the other: that one keeps its own best, at which equal risks would not be."""
    # group 0: θ_0² + .1, group 1: θ_1² + .5; plain descent on the weighted loss, from (1, 1)
    theta = {"minimax": torch.ones(2), "dro": torch.ones(2)}
    rules = {"minimax": MinimaxPareto(2, every=5), "dro": GroupDRO(2, rate=1.0)}
    floor = torch.tensor([0.1, 0.5])
    for name, rule in rules.items():
        for _ in range(300):
            risk = theta[name] ** 2 + floor
            known = (risk, torch.zeros(2), torch.tensor([0, 1]), torch.ones(2))
            factor = rule.value(*known)
            rule.update(*known)
            theta[name] = theta[name] - 0.1 * factor * theta[name]
    risk = theta["minimax"] ** 2 + floor
    torch.testing.assert_close(risk, floor, atol=0.02, rtol=0)
    assert rules["minimax"].share_G.min() > 0.01
    # group DRO forgets the group that is not the worst: no harm by itself, but nothing holds it where it is
    assert rules["dro"].share_G[0] < 1e-10


def test_minimax_is_plain_training_until_it_has_seen_risks() -> None:
    rule = MinimaxPareto(2, every=3)
    group_B, loss_B = torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 1.0, 1.0, 2.0])
    factors = []
    for _ in range(4):
        factors.append(rule.value(loss_B, torch.zeros(4), group_B, torch.ones(4)))
        rule.update(loss_B, torch.zeros(4), group_B, torch.ones(4))
    assert all((factor == 1).all() for factor in factors[:3])
    assert factors[3][3] > 1 > factors[3][0]  # from ¾ and ¼ towards the worse group


def test_group_dro_moves_at_its_papers_rate_and_small_weights_are_divided_by() -> None:
    method = GroupDRO(2)
    loss, group, one = torch.tensor([2.0, 1.0]), torch.tensor([0, 1]), torch.ones(2)
    method.update(loss, group, group, one)
    moved = torch.tensor([0.05 * 2.0, 0.05 * 1.0]).exp()
    torch.testing.assert_close(method.share_G, moved / moved.sum())
    factor = group_factors(torch.tensor([0.7, 0.3]), torch.tensor([0.5, 0.25]), torch.tensor([0, 1, -1]))
    torch.testing.assert_close(factor, torch.tensor([0.7 * 0.75 / 0.5, 0.3 * 0.75 / 0.25, 1.0]))
    risk, count = group_risks(torch.tensor([4.0]), torch.tensor([1]), torch.tensor([0.5]), 2)
    assert risk.tolist() == [0, 4] and count.tolist() == [0, 0.5]


def test_minimax_waits_for_images_with_a_group_and_then_moves_from_their_shares() -> None:
    method = MinimaxPareto(2, every=2)
    nobody = torch.full((3,), -1)
    for _ in range(4):
        method.update(torch.ones(3), nobody, nobody, torch.ones(3))
    assert method.best.isinf() and method.share_G.sum() == 0, "nothing was seen"
    group = torch.tensor([0, 0, 1])
    method.update(torch.tensor([1.0, 1.0, 2.0]), group, group, torch.ones(3))
    assert method.best.isinf()
    method.update(torch.tensor([1.0, 1.0, 2.0]), group, group, torch.ones(3))
    share, K, alpha = torch.tensor([2 / 3, 1 / 3]), 5.0, 0.5
    expected = (alpha * share + (1 - alpha) / K * torch.tensor([0.0, 1.0])) * K / ((K - 1) * alpha + 1)
    torch.testing.assert_close(method.share_G, expected)
    assert method.best == 2


def test_minimax_moves_for_images_of_any_weight() -> None:
    method, group = MinimaxPareto(2, every=1), torch.tensor([0, 1])
    method.update(torch.tensor([1.0, 2.0]), group, group, torch.full((2,), 0.1))
    assert method.best == 2 and method.share_G.sum() == pytest.approx(1)
