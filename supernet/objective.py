"""task + fairness + cost → one loss and its named parts. The only place that knows fairness and costs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.config import CommonConfig
from supernet.costs.factors import Cost
from supernet.data import Batch, GroupedData, Split
from supernet.errors import UserError
from supernet.fairness import METHODS, GroupSums, RunningGap, Setting, batch_floor, class_factors, parse_methods


class Multiplier(nn.Module):
    """Weight λ ≥ 0 of a constraint `violation ≤ 0`, found by dual ascent; rate and damping 0 make it a fixed weight.

    λ ← max(0, λ + rate · violation), and the weight in force is max(0, λ + damping · violation): the augmented
    Lagrangian of Hestenes (1969) and Powell (1969), whose damping keeps λ from swinging (Platt & Barr, NeurIPS 1987).
    """

    value: Tensor

    def __init__(self, start: float, rate: float = 0.0, damping: float = 0.0) -> None:
        super().__init__()
        self.rate, self.damping = rate, damping
        self.register_buffer("value", torch.tensor(float(start)))

    def forward(self, violation: Tensor) -> Tensor:
        """The weight in force, scalar without gradient."""
        return (self.value + self.damping * violation.detach()).clamp_min(0)

    def update(self, violation: Tensor) -> None:
        """One step of dual ascent."""
        self.value.copy_((self.value + self.rate * violation.detach()).clamp_min(0))


class Loss(NamedTuple):
    """Of N predictions for one batch: total_N and task_N with gradient, gap_NA (A attributes) in values."""

    total_N: Tensor
    task_N: Tensor
    gap_NA: Tensor


class DataObjective(nn.Module):
    """Cross-entropy, weighted by sample, + Σ over attributes of λ_fair · penalty; λ_fair is a weight or held by a cap.

    ``methods`` (fairness.METHODS) give the weights and the penalties; a cap is on the soft gap, whichever the penalty is.
    The soft gaps come from running group sums and are kept in any case; all state is saved with the module.
    Use one object for ω and another for α: they see different data. count_AGC: images of each group and class, by attribute.
    class_factor_C: how much a sample of each class counts, beside what the methods say; alike if None.
    """

    class_factor_C: Tensor | None

    def __init__(
        self,
        num_classes: int,
        count_AGC: Sequence[Tensor],
        notion: str,
        weight: float,
        max_gap: float | None = None,
        smoothing: float = 0.0,
        reduce_sums: Callable[[Tensor], Tensor] | None = None,
        methods: Sequence[str] = ("gap",),
        class_factor_C: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_factor_C", class_factor_C, persistent=False)  # known by the data
        self.max_gap, self.smoothing, self.reduce_sums = max_gap, smoothing, reduce_sums
        settings = [Setting(len(c_GC), num_classes, notion, c_GC, reduce_sums) for c_GC in count_AGC]
        gaps = [RunningGap(s.num_groups, num_classes, notion, reduce_sums=reduce_sums) for s in settings]
        multipliers = [
            Multiplier(weight) if max_gap is None else Multiplier(0.0, rate=0.1, damping=5.0) for _ in settings
        ]
        self.terms = list(zip(gaps, multipliers, strict=True))  # one of each an attribute
        self.gaps, self.multipliers = nn.ModuleList(gaps), nn.ModuleList(multipliers)
        self.penalise_gap = "gap" in methods
        others = [name for name in methods if name != "gap"]

        def built(penalty: bool) -> list[list[nn.Module]]:
            names = [name for name in others if METHODS[name].penalty == penalty]
            return [[METHODS[name].build(s) for name in names] for s in settings]

        self.penalties, self.weightings = built(penalty=True), built(penalty=False)  # by attribute
        self.others = nn.ModuleList(chain(*self.penalties, *self.weightings))

    def forward(self, logits_NBC: Tensor, batch: Batch, loss_NB: Tensor | None = None) -> Loss:
        """Losses of N ≥ 1 predictions for the same batch; then the batch joins the running sums, once.

        loss_NB: what counts as each sample's loss, the cross-entropy if None (a teacher's distance takes its place).
        """
        label_NB = batch.label.expand(len(logits_NBC), -1)
        entropy_NB = loss_NB
        if entropy_NB is None:
            entropy_NB = F.cross_entropy(
                logits_NBC.flatten(0, 1), label_NB.flatten(), reduction="none", label_smoothing=self.smoothing
            ).view(label_NB.shape)
        per_image = self._per_image(entropy_NB.shape[1])
        task_N = per_image * (batch.weight * entropy_NB).sum(1)
        factor_B = self._factor_B(entropy_NB.detach().mean(0), batch)
        total_N = per_image * (batch.weight * factor_B * entropy_NB).sum(1)
        prob_NBC = logits_NBC.softmax(-1)
        gaps = []
        for (gap, multiplier), penalties, group_B in zip(
            self.terms, self.penalties, batch.group.unbind(1), strict=True
        ):
            sums = [gap.sums(prob_BC, batch.label, group_B, batch.weight) for prob_BC in prob_NBC]
            gap_N = torch.stack([gap.value(s) for s in sums])
            violation = self._violation(gap)
            weight = multiplier(violation)
            if self.penalise_gap:
                total_N = total_N + weight * gap_N
            for penalty in penalties:
                total_N = total_N + weight * penalty(prob_NBC, batch.label, group_B)
            gap.update(GroupSums(*(torch.stack(parts).mean(0) for parts in zip(*sums, strict=True))))
            multiplier.update(violation)
            gaps.append(gap_N.detach())
        return Loss(total_N, task_N, torch.stack(gaps, dim=1))

    def _per_image(self, size: int) -> float:
        """1 / B; of several processes, whose slices may differ in size, what makes the mean over them the joint batch's mean."""
        here = torch.tensor([size, 1.0])  # on the CPU: no GPU is waited for
        images, processes = (here if self.reduce_sums is None else self.reduce_sums(here)).tolist()
        return float(processes / images)

    def _factor_B(self, loss_B: Tensor, batch: Batch) -> Tensor:
        """The class's factor times the mean over the attributes of the product of the methods' factors; 1 without either.

        A method that looks at losses sees them weighted by class.
        """
        class_B = torch.ones_like(loss_B) if self.class_factor_C is None else self.class_factor_C[batch.label]
        loss_B, factors = class_B * loss_B, []
        for weightings, group_B in zip(self.weightings, batch.group.unbind(1), strict=True):
            factor_B = torch.ones_like(loss_B)
            for weighting in weightings:
                factor_B = factor_B * weighting(loss_B, batch.label, group_B, batch.weight)
            factors.append(factor_B)
        return class_B * torch.stack(factors).mean(0)

    def _violation(self, gap: RunningGap) -> Tensor:
        return gap.estimate() - (self.max_gap or 0.0)

    def estimate_A(self) -> list[float | None]:
        """The running soft gap of each attribute; None (unknown) where no event has had two groups."""
        return [float(gap.estimate()) if gap.gap().defined else None for gap, _ in self.terms]

    def weight_A(self) -> list[float]:
        """λ_fair of each attribute as it stands."""
        return [float(multiplier.value) for _, multiplier in self.terms]


def least_share(config: CommonConfig) -> float:
    """Least share of each group in a batch, as the options' fairness methods need it (`fairness.batch_floor`)."""
    return batch_floor(parse_methods(config.fairness_method))


def cell_counts(data: GroupedData, split: Split) -> list[Tensor]:
    """(G, C) of each attribute: how many images of the split each group × class has."""
    counts = []
    for group_N, names in zip(split.group_NA.T, data.attributes.values(), strict=True):
        known_N, shape = group_N >= 0, (len(names), len(data.classes))
        cell_N = torch.from_numpy(group_N[known_N] * shape[1] + split.label_N[known_N])
        counts.append(torch.bincount(cell_N, minlength=shape[0] * shape[1]).view(shape))
    return counts


def data_objective(
    config: CommonConfig,
    data: GroupedData,
    split: Split,
    smoothing: float = 0.0,
    reduce_sums: Callable[[Tensor], Tensor] | None = None,
) -> DataObjective:
    """The objective that the options ask for, on the images of this split. Raises UserError as `class_weights`."""
    return DataObjective(
        len(data.classes),
        cell_counts(data, split),
        config.fairness,
        config.fairness_weight,
        config.max_gap,
        smoothing,
        reduce_sums,
        parse_methods(config.fairness_method),
        class_weights(config, data, split),
    )


def class_weights(config: CommonConfig, data: GroupedData, split: Split) -> Tensor | None:
    """(C,) factors of --class-weight, None without it. Raises UserError where the classes are of one size already."""
    if getattr(config, "class_weight", None) is None:  # an option of train alone
        return None
    count_C = torch.bincount(torch.from_numpy(split.label_N), minlength=len(data.classes))
    factor_C = class_factors(count_C)
    if bool((factor_C == 1).all()):
        raise UserError(f"--class-weight has no effect: each class has {int(count_C.max())} training images. Leave it out.")  # fmt: skip
    return factor_C


class BudgetPenalty(nn.Module):
    """λ · (expected cost / budget − 1), with the exact expectation under p: λ adapts itself, or is a fixed weight."""

    def __init__(self, cost: Cost, budget: float, weight: float | None = None) -> None:
        super().__init__()
        self.cost, self.budget = cost, budget
        self.multiplier = Multiplier(0.0, rate=0.02, damping=4.0) if weight is None else Multiplier(weight)

    def forward(self, p_LK: Tensor) -> Tensor:
        """Scalar with gradient; then one step of dual ascent."""
        violation = self.cost.expected(p_LK) / self.budget - 1
        penalty = self.multiplier(violation) * violation
        self.multiplier.update(violation)
        return penalty
