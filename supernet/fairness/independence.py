"""Penalties that are zero where the notion's predictions do not depend on the group: HSIC, and an adversary.

Both look at what the notion looks at: p̂ of each event, among the samples in the event. So under demographic parity they
ask for predictions independent of the group; under equalized odds, given the class; under accuracy parity that p̂ of the true
class is. Independence is more than equal means, which is all that a gap asks for.

Each module is (prob_NBC, label_B, group_B) → penalty_N with gradient, for N predictions of one batch. Samples whose
group is −1 are left out. Shapes: N predictions, B batch, C classes, G groups, E events.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from supernet.fairness.notions import Notion, get_notion


def hsic(kernel_BB: Tensor, other_BB: Tensor) -> Tensor:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion of two kernels on B ≥ 4 samples, scalar.

    Song et al., JMLR 2012, equation 5: its mean over all permutations of either side is exactly 0, so that, unlike the
    biased one, it is not above 0 in small batches. It can be negative.
    """
    size = len(kernel_BB)
    assert size >= 4
    k_BB, l_BB = (m - m.diag().diag() for m in (kernel_BB, other_BB))
    together = (k_BB * l_BB).sum()
    apart = k_BB.sum() * l_BB.sum() / ((size - 1) * (size - 2))
    mixed = k_BB.sum(0) @ l_BB.sum(0) * 2 / (size - 2)
    return (together + apart - mixed) / (size * (size - 3))


class HSIC(nn.Module):
    """HSIC of each event's p̂ (Gaussian kernel) with the group (equal or not), times 8 σ², mean over the events.

    Independence by HSIC as a penalty: Pérez-Suay et al., ECML 2017; Li et al., "Kernel dependence regularizers" (2019).
    The scale makes it, for two groups of one size each and small differences, close to the squared gap; no state, and under
    distributed training each process has its own batch's, of which the mean over processes is as unbiased.
    """

    def __init__(self, notion: str | Notion, bandwidth: float = 0.5) -> None:
        super().__init__()
        self.notion, self.bandwidth = get_notion(notion), bandwidth

    def value(self, prob_NBC: Tensor, label_B: Tensor, group_B: Tensor) -> Tensor:
        """penalty_N; 0 where no event has four samples of two groups."""
        return torch.stack([self._one(prob_BC, label_B, group_B) for prob_BC in prob_NBC])

    def update(self, prob_NBC: Tensor, label_B: Tensor, group_B: Tensor) -> None:
        """Nothing is remembered."""

    def _one(self, prob_BC: Tensor, label_B: Tensor, group_B: Tensor) -> Tensor:
        score_BE, mask_BE = self.notion.scores(prob_BC, label_B)
        found = []
        for score_B, mask_B in zip(score_BE.unbind(1), (mask_BE & (group_B >= 0)[:, None]).unbind(1), strict=True):
            score_S, group_S = score_B[mask_B], group_B[mask_B]
            if len(group_S) >= 4 and bool((group_S != group_S[0]).any()):
                kernel_SS = (-((score_S[:, None] - score_S) ** 2) / (2 * self.bandwidth**2)).exp()
                same_SS = (group_S[:, None] == group_S).to(prob_BC.dtype)
                found.append(8 * self.bandwidth**2 * hsic(kernel_SS, same_SS))
        return torch.stack(found).mean() if found else (prob_BC * 0).sum()


class Adversary(nn.Module):
    """An adversary that guesses the group from what the notion looks at, its gradient reversed for the classifier.

    Gradient reversal: Ganin et al., JMLR 2016; for fairness, and given the class: Zhang et al., AIES 2018. The adversary
    takes a step of Adam of its own after each batch, on detached predictions; the penalty is log G − its cross-entropy (groups
    weighted alike), a lower bound of what the predictions tell of the group, in nats: 0 where it can only guess.
    Weights and the optimiser's state are in the state_dict.

    num_groups, num_classes: of the attribute and the predictions.  notion: what it looks at.
    reduce_sums: makes the sums of this process those of all.  hidden: units of its one layer.  rate: Adam's.
    """

    def __init__(
        self,
        num_groups: int,
        num_classes: int,
        notion: str | Notion,
        reduce_sums: Callable[[Tensor], Tensor] | None = None,
        hidden: int = 32,
        rate: float = 1e-2,
    ) -> None:
        super().__init__()
        self.num_groups, self.notion, self.reduce_sums = num_groups, get_notion(notion), reduce_sums
        num_events = len(self.notion.event_names(num_classes))
        self.guess = nn.Sequential(nn.Linear(2 * num_events, hidden), nn.ReLU(), nn.Linear(hidden, num_groups))
        self.optimizer = torch.optim.Adam(self.guess.parameters(), rate, betas=(0.5, 0.999))

    def value(self, prob_NBC: Tensor, label_B: Tensor, group_B: Tensor) -> Tensor:
        """penalty_N, by what the adversary learned from earlier batches; 0 where the batch has fewer than two groups."""
        present, share_B = self._shares(group_B)
        if present < 2:
            return (prob_NBC * 0).sum((1, 2))
        as_it_is = {name: weight.detach().clone() for name, weight in self.guess.named_parameters()}
        guess = partial(functional_call, self.guess, as_it_is)  # a later `update` does not reach into this graph
        return log(present) - self._sum(self._loss_N(guess, prob_NBC, label_B, group_B, share_B))

    def update(self, prob_NBC: Tensor, label_B: Tensor, group_B: Tensor) -> None:
        """One step of the adversary on these predictions."""
        present, share_B = self._shares(group_B)
        if present < 2:
            return
        with torch.enable_grad():
            loss = self._loss_N(self.guess, prob_NBC.detach(), label_B, group_B, share_B).mean()
        parameters = list(self.guess.parameters())
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = self._sum(grad)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _shares(self, group_B: Tensor) -> tuple[int, Tensor]:
        """How many groups the batch has, and the weight of each sample under which these groups weigh alike."""
        count_G = self._sum((group_B[:, None] == torch.arange(self.num_groups, device=group_B.device)).sum(0).float())
        present_G = count_G > 0
        share_B = torch.where(group_B >= 0, 1 / (present_G.sum() * count_G[group_B.clamp_min(0)].clamp_min(1)), 0.0)
        return int(present_G.sum()), share_B

    def _loss_N(
        self, guess: Callable[[Tensor], Tensor], prob_NBC: Tensor, label_B: Tensor, group_B: Tensor, share_B: Tensor
    ) -> Tensor:
        """This process's part of the adversary's cross-entropy on each prediction."""
        found = []
        for prob_BC in prob_NBC:
            score_BE, mask_BE = self.notion.scores(prob_BC, label_B)
            mask_BE = mask_BE.to(prob_BC.dtype)
            guessed_BG = guess(torch.cat([score_BE * mask_BE, mask_BE], 1))
            found.append(
                share_B.to(guessed_BG.dtype) @ F.cross_entropy(guessed_BG, group_B.clamp_min(0), reduction="none")
            )
        return torch.stack(found)

    def _sum(self, local: Tensor) -> Tensor:
        return local if self.reduce_sums is None else self.reduce_sums(local)

    def get_extra_state(self) -> dict[str, Any]:
        """The optimiser's state, so that a resumed run goes on exactly."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)
