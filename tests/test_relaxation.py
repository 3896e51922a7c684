"""Operation weights and their gradients: what is unbiased is shown to be, what is not is measured."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from supernet.alpha.generator import FreeAlpha
from supernet.alpha.relaxation import (
    PATHWISE,
    RELAXATIONS,
    ScoreFunction,
    balanced_paths,
    fair_paths,
    gumbel_softmax,
    gumbel_top2,
    one_hot,
    sample_paths,
    softmax,
    straight_through,
)
from supernet.alpha.warmup import WarmUp
from supernet.network import Supernet
from supernet.spaces import LayerSpec, SearchSpace

VALID_LK = torch.tensor([[True, True, True], [True, False, True], [False, True, True], [True, True, True]])
L, K = VALID_LK.shape
PATHS_NL = torch.tensor(
    [path for path in itertools.product(range(K), repeat=L) if all(VALID_LK[row, k] for row, k in enumerate(path))]
)


def some_alpha(seed: int, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(L, K, generator=generator(seed))).masked_fill(~VALID_LK, -torch.inf)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def true_gradient(alpha_LK: Tensor, paths_NL: Tensor, loss_N: Tensor) -> Tensor:
    """∇_α Σ_path p(path) loss(path), by enumeration."""
    alpha = alpha_LK.clone().requires_grad_()
    log_p_N = alpha.log_softmax(-1)[torch.arange(len(alpha)), paths_NL].sum(-1)
    return torch.autograd.grad((log_p_N.exp() * loss_N).sum(), alpha)[0]


@pytest.mark.parametrize("name", PATHWISE)
@given(seed=st.integers(0, 2**31), temperature=st.floats(0.05, 20), scale=st.floats(0, 30))
def test_weights_sum_to_one_and_forbidden_operations_get_none(
    name: str, seed: int, temperature: float, scale: float
) -> None:
    weights_LK = PATHWISE[name](some_alpha(seed, scale), temperature, generator(seed))
    torch.testing.assert_close(weights_LK.sum(-1), torch.ones(L))
    assert (weights_LK[~VALID_LK] == 0).all()
    assert (weights_LK >= 0).all()


@given(st.integers(0, 2**31), st.floats(0.05, 20))
def test_straight_through_is_one_hot_to_the_last_bit(seed: int, temperature: float) -> None:
    weights_LK = straight_through(some_alpha(seed), temperature, generator(seed))
    assert set(weights_LK.flatten().tolist()) == {0.0, 1.0}
    assert (weights_LK == 1).sum(-1).tolist() == [1] * L


def test_gumbel_softmax_draws_operations_with_their_probability() -> None:
    alpha_LK, draw = some_alpha(1), generator(0)
    counts_LK = sum(one_hot(gumbel_softmax(alpha_LK, 1.0, draw).argmax(-1), alpha_LK) for _ in range(4000))
    torch.testing.assert_close(counts_LK / 4000, alpha_LK.softmax(-1), atol=0.03, rtol=0)


def test_temperature_goes_from_uniform_to_one_hot() -> None:
    alpha_LK = some_alpha(2)
    hot, cold = softmax(alpha_LK, 1e4, generator(0)), softmax(alpha_LK, 1e-3, generator(0))
    torch.testing.assert_close(hot, VALID_LK / VALID_LK.sum(-1, keepdim=True), atol=1e-3, rtol=0)
    torch.testing.assert_close(cold, one_hot(alpha_LK.argmax(-1), alpha_LK))


@pytest.mark.parametrize("relaxation", [softmax, gumbel_softmax])
def test_gradcheck(relaxation: object) -> None:
    logits_LK = torch.randn(L, K, dtype=torch.float64, generator=generator(3), requires_grad=True)
    masked = VALID_LK.logical_not()

    def weights(logits: Tensor) -> Tensor:
        return relaxation(logits.masked_fill(masked, -torch.inf), 0.7, generator(5))  # type: ignore[operator]

    assert torch.autograd.gradcheck(weights, logits_LK)


def test_straight_through_has_the_gumbel_softmax_gradient_of_the_sampled_operation() -> None:
    alpha = some_alpha(4).requires_grad_()
    factor_LK = torch.randn(L, K, generator=generator(6))
    hard_LK = straight_through(alpha, 0.8, generator(7))
    (found,) = torch.autograd.grad((hard_LK * factor_LK).sum(), alpha)
    soft_LK = gumbel_softmax(alpha, 0.8, generator(7))
    (expected,) = torch.autograd.grad((soft_LK * factor_LK * hard_LK.detach()).sum(), alpha)
    torch.testing.assert_close(found, expected)


def test_architecture_parameters_start_uniform_and_forbid() -> None:
    alpha_LK = FreeAlpha(VALID_LK)()
    torch.testing.assert_close(alpha_LK.softmax(-1), VALID_LK / VALID_LK.sum(-1, keepdim=True))
    assert torch.isinf(alpha_LK[~VALID_LK]).all()


def test_sampled_paths_are_allowed_and_follow_p() -> None:
    alpha_LK = some_alpha(8)
    path_NL = sample_paths(alpha_LK, 5000, generator(9))
    assert path_NL.shape == (5000, L)
    torch.testing.assert_close(one_hot(path_NL, alpha_LK).mean(0), alpha_LK.softmax(-1), atol=0.03, rtol=0)


@given(st.integers(0, 2**31))
def test_fair_paths_run_each_operation_equally_often(seed: int) -> None:
    path_NL = fair_paths(VALID_LK, generator(seed))
    counts_LK = one_hot(path_NL, torch.zeros(L, K)).sum(0)
    assert path_NL.shape == (K, L)
    assert (counts_LK[~VALID_LK] == 0).all()
    for counts_K, valid_K in zip(counts_LK, VALID_LK, strict=True):
        assert counts_K[valid_K].max() - counts_K[valid_K].min() <= (1 if valid_K.sum() < K else 0)


@given(st.integers(0, 2**31), st.integers(1, 40))
def test_balanced_paths_hold_each_operation_as_often_as_p_says(seed: int, number: int) -> None:
    p_LK = F.softmax(FreeAlpha(VALID_LK)().detach() + torch.randn(L, K, generator=generator(seed)), dim=-1)
    counts_LK = one_hot(balanced_paths(p_LK, number, generator(seed)), p_LK).sum(0)
    assert (counts_LK[~VALID_LK] == 0).all()
    assert ((counts_LK - number * p_LK).abs() < 1 + 1e-4).all()


def test_one_seed_gives_one_result() -> None:
    for name in PATHWISE:
        assert torch.equal(
            PATHWISE[name](some_alpha(1), 1.0, generator(2)), PATHWISE[name](some_alpha(1), 1.0, generator(2))
        )
    assert set(RELAXATIONS) == {"score", *PATHWISE}


class TestScoreFunction:
    def mean_gradient(self, alpha_LK: Tensor, paths_NL: Tensor, loss_N: Tensor, steps: int, fit: bool = True) -> Tensor:
        """Mean over `steps` of what one step with four drawn paths gives."""
        loss_by_path = {tuple(path.tolist()): loss for path, loss in zip(paths_NL, loss_N, strict=True)}
        estimator, draw, total = ScoreFunction(torch.isfinite(alpha_LK)), generator(0), torch.zeros(alpha_LK.shape)
        for _ in range(steps):
            alpha = alpha_LK.clone().requires_grad_()
            path_NL = sample_paths(alpha, 4, draw)
            drawn_N = torch.stack([loss_by_path[tuple(path.tolist())] for path in path_NL])
            total += torch.autograd.grad(estimator.surrogate_loss(alpha, path_NL, drawn_N), alpha)[0]
            if fit:
                estimator.fit(path_NL, drawn_N, alpha_LK.softmax(-1))
        return total / steps

    @pytest.mark.parametrize("fit", [True, False])
    def test_is_unbiased_on_a_table_of_losses(self, fit: bool) -> None:
        """Losses that no additive model fits, far from 0: with and without the control variate."""
        alpha_LK = some_alpha(10)
        loss_N = 5 + torch.randn(len(PATHS_NL), generator=generator(11))
        truth = true_gradient(alpha_LK, PATHS_NL, loss_N)
        found = self.mean_gradient(alpha_LK, PATHS_NL, loss_N, 2500, fit)
        assert cosine(found, truth) > 0.98
        assert float(found.norm() / truth.norm()) == pytest.approx(1, abs=0.1)

    def test_every_operation_gets_a_gradient_in_each_step_and_additive_losses_are_learnt(self) -> None:
        effect_LK = torch.randn(L, K, generator=generator(12))
        alpha_LK = some_alpha(13, 0.3)
        loss_N = effect_LK[torch.arange(L), PATHS_NL].sum(-1)
        truth = true_gradient(alpha_LK, PATHS_NL, loss_N)
        estimator, draw = ScoreFunction(VALID_LK), generator(1)
        for _ in range(300):
            path_NL = sample_paths(alpha_LK, 2, draw)
            estimator.fit(path_NL, effect_LK[torch.arange(L), path_NL].sum(-1), alpha_LK.softmax(-1))
        alpha = alpha_LK.clone().requires_grad_()
        path_NL = sample_paths(alpha_LK, 2, draw)
        one_step = torch.autograd.grad(
            estimator.surrogate_loss(alpha, path_NL, effect_LK[torch.arange(L), path_NL].sum(-1)), alpha
        )[0]
        assert (one_step[VALID_LK] != 0).all()
        assert (one_step[~VALID_LK] == 0).all()
        assert cosine(one_step, truth) > 0.999  # a fitted model leaves no variance

    def test_a_batch_that_is_harder_for_all_paths_changes_nothing(self) -> None:
        estimator, alpha = ScoreFunction(VALID_LK), some_alpha(14).requires_grad_()
        path_NL = sample_paths(alpha, 4, generator(2))
        loss_N = torch.randn(4, generator=generator(3))
        easy, hard = (
            torch.autograd.grad(estimator.surrogate_loss(alpha, path_NL, loss_N + shift), alpha)[0] for shift in (0, 1)
        )
        torch.testing.assert_close(easy, hard, atol=1e-6, rtol=1e-5)

    def test_decided_parameters_give_no_nan(self) -> None:
        alpha = torch.tensor([[80.0, 0.0, 0.0], [0.0, -torch.inf, 80.0], [-torch.inf, 0.0, 80.0], [80.0, 0.0, 0.0]])
        alpha.requires_grad_()
        estimator = ScoreFunction(VALID_LK)
        path_NL = sample_paths(alpha, 2, generator(4))
        for loss_N in (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])):
            estimator.fit(path_NL, loss_N, alpha.detach().softmax(-1))
            gradient = torch.autograd.grad(estimator.surrogate_loss(alpha, path_NL, loss_N), alpha)[0]
            assert torch.isfinite(gradient).all() and torch.isfinite(estimator.effect_LK).all()

    def test_gradcheck(self) -> None:
        estimator = ScoreFunction(torch.ones(L, K, dtype=torch.bool)).double()
        estimator.effect_LK.normal_(generator=generator(5))
        path_NL = torch.randint(K, (3, L), generator=generator(6))
        loss_N = torch.randn(3, dtype=torch.float64, generator=generator(7))
        alpha = torch.randn(L, K, dtype=torch.float64, generator=generator(8), requires_grad=True)
        assert torch.autograd.gradcheck(lambda a: estimator.surrogate_loss(a, path_NL, loss_N), alpha)


def test_two_operations_a_layer_run_and_they_are_drawn_without_replacement() -> None:
    """P(the set {i, j}) = p_i p_j / (1 − p_i) + p_j p_i / (1 − p_j): Plackett–Luce."""
    alpha_LK = torch.tensor([[0.0, 1.0, -0.5], [0.3, -torch.inf, 2.0]])
    draw, counts = generator(0), torch.zeros(2, 3)
    for _ in range(4000):
        weights_LK = gumbel_top2(alpha_LK, 1.0, draw)
        assert (weights_LK > 0).sum(-1).tolist() == [2, 2] and weights_LK[1, 1] == 0
        counts += weights_LK > 0
    p = alpha_LK[0].softmax(0)
    left_out = [
        sum(p[i] * p[j] / (1 - p[i]) for i in range(3) for j in range(3) if len({i, j, k}) == 3) for k in range(3)
    ]
    assert torch.allclose(counts[0] / 4000, 1 - torch.stack(left_out), atol=0.03)
    alone_LK = gumbel_top2(torch.tensor([[-torch.inf, 1.0]]), 0.5, draw)
    assert alone_LK.tolist() == [[0.0, 1.0]], "a layer with one operation"


@pytest.mark.parametrize("seed", range(3))
def test_top2_points_where_the_enumerated_gradient_points(seed: int) -> None:
    """A planted loss with pairs of layers; nearer at low temperature, where the weights are nearly one-hot."""
    draw = generator(seed)
    unary_LK, pairs = torch.randn(L, K, generator=draw), 0.3 * torch.randn(L * K, L * K, generator=draw)

    def loss(weights_LK: Tensor) -> Tensor:
        return (weights_LK * unary_LK).sum() + weights_LK.flatten() @ pairs @ weights_LK.flatten()

    alpha_LK = some_alpha(seed, 0.7)
    loss_N = torch.stack([loss(one_hot(path_L, unary_LK)) for path_L in PATHS_NL])
    truth = true_gradient(alpha_LK, PATHS_NL, loss_N)
    for temperature, least in ((0.3, 0.98), (1.0, 0.93)):
        alpha = alpha_LK.clone().requires_grad_()
        total = sum(loss(gumbel_top2(alpha, temperature, draw)) for _ in range(400))
        assert isinstance(total, Tensor)
        assert cosine(torch.autograd.grad(total, alpha)[0], truth) > least


OPS3 = ("k3_e1", "k5_e3", "skip")
TINY = SearchSpace(
    "tiny",
    OPS3,
    (LayerSpec(8, 8, 1, 8, 0, OPS3), LayerSpec(8, 8, 1, 8, 0, OPS3), LayerSpec(8, 16, 2, 8, 1, OPS3)),
    resolution=8,
    stem_channels=8,
    stem_stride=1,
    head_channels=16,
)


def test_on_a_real_supernet_the_score_function_is_unbiased_and_straight_through_is_not() -> None:
    """Against the enumerated gradient of the expected loss of 27 paths; figures: benchmarks/gradient_estimators.py."""
    torch.manual_seed(0)
    supernet = Supernet(TINY, num_classes=3, in_chans=1).requires_grad_(False)
    images, labels = torch.randn(16, 1, 8, 8), torch.arange(16) % 3
    paths_NL = torch.tensor(list(itertools.product(range(3), repeat=3)))
    alpha_LK = 0.5 * torch.randn(3, 3)

    def loss(weights_LK: Tensor) -> Tensor:
        return F.cross_entropy(supernet(images, weights_LK), labels)

    loss_N = torch.stack([loss(one_hot(path_L, alpha_LK)) for path_L in paths_NL])
    truth = true_gradient(alpha_LK, paths_NL, loss_N)
    assert cosine(TestScoreFunction().mean_gradient(alpha_LK, paths_NL, loss_N, 1000), truth) > 0.95

    total, draw = torch.zeros(3, 3), generator(3)
    for _ in range(100):
        alpha = alpha_LK.clone().requires_grad_()
        total += torch.autograd.grad(loss(straight_through(alpha, 1.0, draw)), alpha)[0] / 100
    assert cosine(total, truth) < 0.9
    assert total.norm() < 0.5 * truth.norm()  # batch norm hides the weight's scale


def test_the_warm_up_goes_from_the_anchor_to_drawn_paths() -> None:
    """A quarter of the steps the anchor alone, two quarters more and more layers drawn, a quarter all drawn."""
    p_LK, anchor_L = torch.tensor([[0.0, 0.5, 0.5]]).repeat(40, 1), torch.zeros(40, dtype=torch.long)
    warmup, generator = WarmUp(anchor_L, 400), torch.Generator().manual_seed(0)
    drawn = torch.tensor(
        [[step, float((warmup.weights(p_LK, step, generator)[:, 0] == 0).sum())] for step in range(400)]
    )
    assert drawn[:100, 1].max() == 0 and drawn[300:, 1].min() == 40
    for start, share in ((100, 0.125), (150, 0.375), (200, 0.625), (250, 0.875)):
        assert drawn[start : start + 50, 1].mean() / 40 == pytest.approx(share, abs=0.06)
    free = WarmUp(None, 400)
    assert all(free.weights(p_LK, step, generator)[:, 0].sum() == 0 for step in range(60)), (
        "without an anchor all are drawn"
    )
