"""Soft gap from mini-batches without the batch bias: running group sums, cross-fitted.

**The bias.** A gap such as max_g r_g − min_g r_g is convex in the rates, so noise in them raises it: on a batch with
three samples of the rare group it is large even for a perfectly fair classifier. Choosing the extreme groups (and the
worst class) and valuing them on the same noise is the cause, as for the maximum in Q-learning (van Hasselt 2010,
"Double Q-learning"); choosing on one sample and valuing on another is the cure ("sample splitting").

**Ours.** f(r) is the gap as a function of the rates. Past batches are added to two halves in turn, with decayed sums
whose rates are r_0 and r_1. W_h = ∂f/∂r at r_h holds the choice: +1 at the group that half h saw as highest in its
worst class, −1 at the lowest. The batch's loss is

    ½ Σ_h [ f(r_h) + ⟨W_h, r̃_{1−h} − r_h⟩ ],   r̃_h = r_h + (Σ_{i∈cell} p̂_i − r_h · n) / max(n̄, 1)

with n the cell's count in this batch and n̄ its running mean per batch. f is positively homogeneous for max − min and
Σ|·−overall|, so that the bracket is ⟨W_h, r̃_{1−h}⟩: choice by one half, value by the other half and the new batch.

- Fair classifier: given W_h, all r̃ have the same mean, W_h sums to 0 over groups: expectation 0 at any batch size.
  (Notions that are curved keep a bias of second order in the *history's* noise, not the batch's.)
- Gradient: ∂/∂p̂_i = W_ge / max(n̄_ge, 1), at full strength and unbiased for given W, however the model drifts,
  since r_h only fills in. A cell that is empty in this batch adds its past and no gradient. A cell rarer than one
  sample a batch is not boosted beyond weight 1 a sample: its gradient is n̄ times the full one. So stratify batches.
- A cell is scored once both halves know it. While no event has two such cells (the first two batches), a missing
  past is filled in from the other half, or from the batch itself: the very first batch has the plain gap.

Why not simply mix past and present sums: the gradient would shrink with the length of history. On biased batch gaps
and relaxations that look fair see Lohaus et al. 2020 ("Too relaxed to be fair") and Roh et al. 2021 (FairBatch).
The value is an estimate around the true gap, so it can be negative. ``benchmarks/fairness_estimator.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from supernet.fairness.gaps import Gap, GroupSums, aggregate, gap_of_sums, group_sums, rates
from supernet.fairness.notions import Notion, get_notion


class RunningGap(nn.Module):
    """Running sums of one attribute and one notion, as buffers, so that checkpoints keep them.

    In training: ``loss = cross_entropy + weight * running(prob_BC, label_B, group_B)`` (values the batch, then adds it
    to the past). To value several sampled paths on one batch: ``value(sums)`` for each of them, which changes nothing,
    then one ``update(sums)``. For logs and constraints: ``estimate()``, and ``gap()`` for rates and empty cells.

    num_groups: G.  num_classes: C.  decay: what is left of the past after each batch; 1 / (1 − decay) batches count.
    reduce_sums: makes the (2, G, E) sums of this process those of all, e.g. ``all_reduce_sums`` under DDP.
    """

    past_HSGE: Tensor  # decayed sums: (2 halves, numerator and denominator, G, E)
    batches: Tensor  # decayed number of past batches, scalar
    step: Tensor  # number of past batches, scalar int64

    def __init__(
        self,
        num_groups: int,
        num_classes: int,
        notion: str | Notion,
        decay: float = 0.99,
        reduce_sums: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        assert 0 <= decay < 1
        self.num_groups, self.notion, self.decay, self.reduce_sums = (
            num_groups,
            get_notion(notion),
            decay,
            reduce_sums,
        )
        num_events = len(self.notion.event_names(num_classes))
        self.register_buffer("past_HSGE", torch.zeros(2, 2, num_groups, num_events))
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, prob_BC: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor | None = None) -> Tensor:
        """The batch's cross-fitted gap, scalar with gradient; then the batch joins the past."""
        sums = self.sums(prob_BC, label_B, group_B, weight_B)
        value = self.value(sums)
        self.update(sums)
        return value

    def sums(self, prob_BC: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor | None = None) -> GroupSums:
        """The batch's group sums, over all processes where ``reduce_sums`` is set."""
        sums = group_sums(prob_BC, label_B, group_B, self.num_groups, self.notion, weight_B)
        return sums if self.reduce_sums is None else GroupSums(*self.reduce_sums(torch.stack(sums)))

    def value(self, sums: GroupSums) -> Tensor:
        """The cross-fitted gap of a batch, scalar with gradient through ``sums``; linear in its numerators once each
        cell has a past. Changes nothing."""
        batch_rate_GE, _ = rates(GroupSums(*(part.detach() for part in sums)))
        rate_HGE, count_GE, scored_GE = self._past(batch_rate_GE, sums.denominator_GE)
        residual_HGE = sums.numerator_GE - rate_HGE * sums.denominator_GE
        return self._cross_fit(rate_HGE, rate_HGE + residual_HGE / count_GE.clamp_min(1), scored_GE)

    @torch.no_grad()
    def update(self, sums: GroupSums) -> None:
        """Let a batch's sums (those of ``self.sums``, so of all processes) join the past."""
        self.past_HSGE *= self.decay
        half = (self.step % 2)[None]  # an index on the device: reading it would stop a GPU
        self.past_HSGE.index_add_(0, half, torch.stack(sums).to(self.past_HSGE.dtype)[None])
        self.batches.mul_(self.decay).add_(1)
        self.step += 1

    @torch.no_grad()
    def estimate(self) -> Tensor:
        """The cross-fitted gap of the past, scalar: for logs and constraints; around 0 where fair."""
        nothing_GE = torch.zeros_like(self.past_HSGE[0, 0])
        rate_HGE, _, scored_GE = self._past(nothing_GE, nothing_GE)
        return self._cross_fit(rate_HGE, rate_HGE, scored_GE)

    def gap(self) -> Gap:
        """The plain gap of the running sums with its rates and empty cells; biased upwards, less with more history."""
        return gap_of_sums(GroupSums(*self.past_HSGE.sum(0)), self.notion)

    def _past(self, rate_GE: Tensor, count_GE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """rate_HGE of the two halves, the mean count_GE of a batch, and scored_GE: that count in the cells to score.

        Scored are the cells that both halves know, as long as they make up an event; the arguments fill in before.
        """
        past_HSGE = self.past_HSGE.to(rate_GE.dtype)
        rate_HGE, seen_HGE = rates(GroupSums(past_HSGE[:, 0], past_HSGE[:, 1]))
        joint_rate_GE, seen_GE = rates(GroupSums(*past_HSGE.sum(0)))
        rate_HGE = torch.where(seen_HGE, rate_HGE, torch.where(seen_GE, joint_rate_GE, rate_GE))
        mean_count_GE = past_HSGE[:, 1].sum(0) / self.batches.to(rate_GE.dtype).clamp_min(1e-9)
        count_GE = torch.where(seen_GE, mean_count_GE, count_GE)
        known_GE = seen_HGE.all(0)
        enough = (known_GE.sum(0) >= 2).any()
        return rate_HGE, count_GE, torch.where(known_GE | ~enough, count_GE, 0.0)

    def _cross_fit(self, rate_HGE: Tensor, fresh_HGE: Tensor, scored_GE: Tensor) -> Tensor:
        """½ Σ_h [f(r_h) + ⟨∂f/∂r at r_h, fresh_{1−h} − r_h⟩], with gradient through ``fresh_HGE`` only."""
        with torch.enable_grad():
            at_HGE = rate_HGE.detach().requires_grad_()
            gap_H, _ = aggregate(at_HGE, scored_GE.expand_as(at_HGE), self.notion)
            (choice_HGE,) = torch.autograd.grad(gap_H.sum(), at_HGE)
        moved_HGE = fresh_HGE.flip(0) - rate_HGE
        return (gap_H.detach() + (choice_HGE * moved_HGE).sum((-2, -1))).mean()
