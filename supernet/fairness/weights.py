"""Weights of groups instead of a penalty: the loss is Σ_i factor_i · loss_i with factors that speak for some groups more.

Each module here is (loss_B, label_B, group_B, weight_B) → factor_B ≥ 0 without gradient, and then updates itself; its state
is in buffers. ``weight_B`` is the sample's weight in the population (1, save where batches are stratified). A sample
whose group is −1 (unknown) has factor 1. Shapes: B batch, C classes, G groups.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Reduce = Callable[[Tensor], Tensor]  # makes the sums of this process those of all


def group_risks(
    loss_B: Tensor, group_B: Tensor, weight_B: Tensor, num_groups: int, reduce_sums: Reduce | None = None
) -> tuple[Tensor, Tensor]:
    """risk_G, the weighted mean loss of each group (0 where the batch has none of it), and count_G, its total weight."""
    member_BG = (group_B[:, None] == torch.arange(num_groups, device=group_B.device)).to(loss_B.dtype)
    sums_2G = torch.stack([(weight_B * loss_B) @ member_BG, weight_B @ member_BG])
    if reduce_sums is not None:
        sums_2G = reduce_sums(sums_2G)
    count_G = sums_2G[1]
    return sums_2G[0] / torch.where(count_G > 0, count_G, 1.0), count_G


def group_factors(share_G: Tensor, count_G: Tensor, group_B: Tensor) -> Tensor:
    """factor_B that turns the mean loss of the samples with a known group into Σ_g share_g · risk_g."""
    factor_G = share_G * count_G.sum() / torch.where(count_G > 0, count_G, 1.0)
    return torch.where(group_B >= 0, factor_G[group_B.clamp_min(0)], 1.0)


class GroupDRO(nn.Module):
    """Group DRO (Sagawa et al., ICLR 2020, algorithm 1): q_g ← q_g · exp(η · risk_g), normalised; loss Σ_g q_g · risk_g.

    The limit is the worst group's loss. A group that a batch has nobody of keeps its q up to the normalisation. Kept as
    log q: a q that fell to 0 in float32 could never rise again.
    """

    log_share_G: Tensor

    def __init__(self, num_groups: int, reduce_sums: Reduce | None = None, rate: float = 0.05) -> None:
        super().__init__()
        self.rate, self.reduce_sums = rate, reduce_sums
        self.register_buffer("log_share_G", torch.full((num_groups,), 1 / num_groups).log())

    @property
    def share_G(self) -> Tensor:
        """q."""
        return self.log_share_G.exp()

    @torch.no_grad()
    def value(self, loss_B: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor) -> Tensor:
        """factor_B with the q that this batch leads to, as in the paper."""
        log_share_G, count_G = self._moved(loss_B, group_B, weight_B)
        return group_factors(log_share_G.exp(), count_G, group_B)

    @torch.no_grad()
    def update(self, loss_B: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor) -> None:
        """q becomes what this batch leads to."""
        self.log_share_G.copy_(self._moved(loss_B, group_B, weight_B)[0])

    def _moved(self, loss_B: Tensor, group_B: Tensor, weight_B: Tensor) -> tuple[Tensor, Tensor]:
        risk_G, count_G = group_risks(loss_B, group_B, weight_B, len(self.log_share_G), self.reduce_sums)
        return (self.log_share_G + self.rate * risk_G).log_softmax(0), count_G


class MinimaxPareto(nn.Module):
    """Minimax Pareto fairness (Martinez et al., ICML 2020): of the classifiers whose worst group does best, one that
    harms nobody without need. Every group keeps a positive weight, which group DRO does not promise.

    Their APStar (algorithm 2), with the model trained on between two updates rather than to the end: after every ``every``
    batches, with the groups' mean risks since the last one and the least worst risk r̄ so far,

        μ ← (α μ + (1 − α) / (K · |M|) · 1[g ∈ M]) · K / ((K − 1) α + 1),   M = {g: risk_g ≥ r̄}

    and K ← K + 1, so that steps shrink. (Theirs sets K back whenever the worst risk falls, which in training it does by
    itself: the other groups' weights then vanish, and with them what keeps these groups from harm.)
    Groups start with the weight of their size in the first batches: plain training.

    num_groups: of the attribute.  reduce_sums: makes the sums of this process those of all.
    every: batches between two updates.  alpha, K: as in the formula; K is its first value.
    """

    share_G: Tensor
    sums_2G: Tensor  # weighted losses and weights since the last update
    best: Tensor  # r̄, scalar
    K: Tensor  # scalar
    step: Tensor  # scalar int64

    def __init__(
        self,
        num_groups: int,
        reduce_sums: Reduce | None = None,
        every: int = 20,
        alpha: float = 0.5,
        K: float = 5.0,
    ) -> None:
        super().__init__()
        assert 0 < alpha < 1 <= K and every >= 1
        self.reduce_sums, self.every, self.alpha = reduce_sums, every, alpha
        self.register_buffer("share_G", torch.zeros(num_groups))
        self.register_buffer("sums_2G", torch.zeros(2, num_groups))
        self.register_buffer("best", torch.tensor(torch.inf))
        self.register_buffer("K", torch.tensor(float(K)))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def value(self, loss_B: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor) -> Tensor:
        """factor_B with the weights as they are; 1 while none has moved."""
        if bool(self.best.isinf()):
            return torch.ones_like(loss_B)
        _, count_G = group_risks(loss_B, group_B, weight_B, len(self.share_G), self.reduce_sums)
        return group_factors(self.share_G, count_G, group_B)

    @torch.no_grad()
    def update(self, loss_B: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor) -> None:
        """The batch joins the sums; after every ``every`` of them the weights move."""
        risk_G, count_G = group_risks(loss_B, group_B, weight_B, len(self.share_G), self.reduce_sums)
        self.sums_2G += torch.stack([risk_G * count_G, count_G])
        self.step += 1
        if int(self.step) % self.every == 0 and bool((self.sums_2G[1] > 0).any()):
            if bool(self.best.isinf()):
                self.share_G.copy_(self.sums_2G[1] / self.sums_2G[1].sum())
            seen_G = self.sums_2G[1] > 0
            self.move(torch.where(seen_G, self.sums_2G[0] / self.sums_2G[1].clamp_min(1e-12), -torch.inf))
            self.sums_2G.zero_()

    @torch.no_grad()
    def move(self, risk_G: Tensor) -> None:
        """One step of APStar on the groups' risks; −∞ for a group that was not seen."""
        self.best.clamp_(max=risk_G.max())
        above_G = (risk_G >= self.best).to(self.share_G.dtype)
        step_G = (1 - self.alpha) / (self.K * above_G.sum()) * above_G
        self.share_G.copy_((self.alpha * self.share_G + step_G) * self.K / ((self.K - 1) * self.alpha + 1))
        self.K += 1


def class_factors(count_C: Tensor) -> Tensor:
    """(C,) factors under which every class weighs the same, mean 1 over the images: N / (C · n_c), scikit-learn's "balanced".

    count_C: images of each class. Only the classes that have any are counted; the others have factor 1.
    """
    present_C = count_C > 0
    return torch.where(present_C, count_C.sum() / (present_C.sum() * count_C.clamp_min(1)), 1.0).float()


class CellWeights(nn.Module):
    """A fixed factor for each cell of group × class, mean 1 over the training set.

    count_GC: the training set's images. ``equal=False`` is reweighing (Kamiran & Calders 2012): P(g) P(y) / P(g, y), under which
    group and class are independent and both keep their shares. ``equal=True``: every non-empty cell counts the same
    ("balancing", Idrissi et al. 2022). An empty cell has factor 1.
    """

    factor_GC: Tensor

    def __init__(self, count_GC: Tensor, equal: bool) -> None:
        super().__init__()
        share_GC = count_GC.double() / count_GC.sum()
        present_GC = share_GC > 0
        wanted_GC = present_GC / present_GC.sum() if equal else share_GC.sum(1, keepdim=True) * share_GC.sum(0)
        factor_GC = torch.where(present_GC, wanted_GC / share_GC.clamp_min(1e-12), 1.0)
        if not equal and not bool(present_GC.all()):  # P(g) P(y) also speaks of cells that nobody is in
            factor_GC = factor_GC / (factor_GC * share_GC).sum()
        self.register_buffer("factor_GC", torch.where(present_GC, factor_GC, 1.0).float())

    @torch.no_grad()
    def value(self, loss_B: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor) -> Tensor:
        """factor_B of these samples."""
        return torch.where(group_B >= 0, self.factor_GC[group_B.clamp_min(0), label_B], 1.0).to(loss_B.dtype)

    def update(self, loss_B: Tensor, label_B: Tensor, group_B: Tensor, weight_B: Tensor) -> None:
        """Nothing is learned."""
