"""Architecture parameters → operation weights, and the gradient estimators that go with them.

Legend: L layers, K operations, N sampled paths. α is `alpha_LK` (logits); p = softmax(α) over the allowed operations.
Everything here is small and lives on the CPU, so that a GPU is never asked for it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def softmax(alpha_LK: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """p at a temperature: no sampling, every operation runs (DARTS, Liu et al. 2019)."""
    return F.softmax(alpha_LK / temperature, dim=-1)


def gumbel_softmax(alpha_LK: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Gumbel-softmax weights: every operation runs (Jang et al. 2017, eq. 2; FBNet, Wu et al. 2019, eq. 6)."""
    exponential_LK = torch.empty_like(alpha_LK).exponential_(generator=generator)
    return F.softmax((alpha_LK - exponential_LK.log()) / temperature, dim=-1)


def straight_through(alpha_LK: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One-hot forward, Gumbel-softmax backward: one operation a layer runs (Jang et al. 2017; GDAS, Dong & Yang 2019).

    Operations that are not run get no gradient of their own; α's gradient comes through the sampled one's weight alone,
    as in GDAS. Batch norm after it takes its scale out again, so little is left: the mean over draws has a cosine of
    only .2 with the true gradient, its norm is below a tenth (benchmarks/gradient_estimators.py). For comparison only.
    """
    soft_LK = gumbel_softmax(alpha_LK, temperature, generator)
    hard_LK = one_hot(soft_LK.argmax(dim=-1), alpha_LK)
    # in this order, so that the forward is 1 to the last bit
    return torch.where(hard_LK > 0, 1 + (soft_LK - soft_LK.detach()), 0)


def gumbel_top2(alpha_LK: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Gumbel-softmax weights over two operations a layer, drawn without replacement: the cost of two paths.

    The two with the greatest α + Gumbel noise are such a draw from p (Kool et al., ICML 2019, section 2.3); the same noisy logits are
    then relaxed over these two, as ProxylessNAS (Cai et al., ICLR 2019, section 3.2.1) updates two paths at a time. The other
    operations get no gradient, and which two are drawn is taken as given: a bias (benchmarks/gradient_estimators.py).
    """
    exponential_LK = torch.empty_like(alpha_LK).exponential_(generator=generator)
    noisy_LK = alpha_LK - exponential_LK.log()
    drawn_LK = torch.zeros_like(noisy_LK, dtype=torch.bool).scatter(-1, noisy_LK.topk(min(2, noisy_LK.shape[-1])).indices, True)  # fmt: skip
    return F.softmax(noisy_LK.masked_fill(~drawn_LK, -torch.inf) / temperature, dim=-1)


def one_hot(index_L: Tensor, like_LK: Tensor) -> Tensor:
    """(..., L) indices → (..., L, K) one-hot weights without gradient."""
    return F.one_hot(index_L, like_LK.shape[-1]).to(like_LK.dtype)


def sample_paths(alpha_LK: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """(N, L) paths drawn independently from p."""
    p_LK = F.softmax(alpha_LK.detach(), dim=-1)
    return torch.multinomial(p_LK, number, replacement=True, generator=generator).T


def balanced_paths(p_LK: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """(N, L) paths in which operation k of layer l comes ⌊N p⌋ or ⌈N p⌉ times: systematic sampling, shuffled by layer.

    Each path by itself is drawn from p; together they have less variance than independent ones. At uniform p and N = K it
    is the strict fairness of FairNAS (Chu et al., ICCV 2021, algorithm 1): each operation exactly once.
    """
    columns = []
    for cumulative_K in p_LK.double().cumsum(-1):
        offset = torch.rand((), generator=generator, dtype=torch.double)
        points_N = (torch.arange(number) + offset) / number * cumulative_K[-1]
        index_N = torch.searchsorted(cumulative_K, points_N, right=True).clamp_max(len(cumulative_K) - 1)
        columns.append(index_N[torch.randperm(number, generator=generator)])
    return torch.stack(columns, dim=1)


def fair_paths(valid_LK: Tensor, generator: torch.Generator) -> Tensor:
    """(K, L) balanced paths at uniform p over the allowed operations."""
    return balanced_paths(valid_LK / valid_LK.sum(-1, keepdim=True), valid_LK.shape[1], generator)


class ScoreFunction(nn.Module):
    """The one-path estimator: unbiased, and it needs forward passes only.

    ∇_α E_p[f(path)] = E_p[(f − b) ∇ log p] (REINFORCE, Williams 1992) with two control variates. The mean of the *other*
    paths on the same batch takes out the batch (leave-one-out, Kool et al. 2019). An additive model of the loss,
    b(path) = Σ_l effect_LK[l, path_l], takes out what each layer's choice does on average, and its own expectation is put
    back exactly as Σ_lk p_lk effect_lk (RELAX, Grathwohl et al. 2018, with a linear surrogate). Each α_lk so gets a
    gradient in each step, run or not. The effects are fitted to *earlier* paths only (a stochastic
    least-squares step), which keeps the estimator free of bias; a poor fit costs variance alone.
    What bias is left with respect to the derived networks' own loss is the supernet's: shared weights, batch statistics.
    """

    effect_LK: Tensor

    def __init__(self, valid_LK: Tensor, rate: float = 0.2) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("effect_LK", torch.zeros(valid_LK.shape))

    def surrogate_loss(self, alpha_LK: Tensor, path_NL: Tensor, loss_N: Tensor) -> Tensor:
        """Scalar whose gradient with respect to α estimates ∇_α E_p[loss]; N ≥ 2 paths. Call `fit` afterwards."""
        log_p_LK = F.log_softmax(alpha_LK, dim=-1)
        residual_N = self._residual(path_NL, loss_N)
        number = len(loss_N)
        log_p_N = log_p_LK.expand(number, -1, -1).gather(2, path_NL[..., None]).sum((1, 2))
        # N/(N−1)·(f − mean) is f minus the mean of the others
        advantage_N = (residual_N - residual_N.mean()) * number / (number - 1)
        expected_effect = (log_p_LK.exp() * self.effect_LK).sum()
        return (advantage_N * log_p_N).mean() + expected_effect

    def fit(self, path_NL: Tensor, loss_N: Tensor, p_LK: Tensor) -> None:
        """Moves the additive model towards the losses just seen (normalised least mean squares), centred under p."""
        residual_N = self._residual(path_NL, loss_N)
        hit_NLK = one_hot(path_NL, self.effect_LK) - p_LK
        correlation_LK = ((residual_N - residual_N.mean())[:, None, None] * hit_NLK).sum(0)
        size = hit_NLK.square().sum((1, 2)).mean().clamp_min(1e-6)  # 0 where p is one-hot to rounding
        moved_LK = self.effect_LK + self.rate * correlation_LK / size
        self.effect_LK = moved_LK - (p_LK * moved_LK).sum(-1, keepdim=True)

    def _residual(self, path_NL: Tensor, loss_N: Tensor) -> Tensor:
        chosen_N = self.effect_LK.expand(len(path_NL), -1, -1).gather(2, path_NL[..., None]).sum((1, 2))
        return loss_N - chosen_N


PATHWISE: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "softmax": softmax,
    "gumbel": gumbel_softmax,
    "gumbel-top2": gumbel_top2,
    "gumbel-hard": straight_through,
}
RELAXATIONS = ("score", *PATHWISE)
