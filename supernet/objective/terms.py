"""task + fairness + cost → one loss, as terms. The only place that knows fairness and costs together.

Every term has value() and update(): asking for a value twice changes nothing, and the batch is remembered by update() alone.
Shapes: N predictions for a batch of B samples with C outputs, A sensitive attributes of G groups; D decisions, K options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from supernet.data import Batch
from supernet.fairness import GroupSums, RunningGap
from supernet.task import Task


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
    """Of N predictions for one batch: total_N, and task_N, the task's own mean loss; both with gradient."""

    total_N: Tensor
    task_N: Tensor


class Term(Protocol):
    """A part of a loss: `value` has no effect on what it gives later; `update` lets the batch join what the term remembers."""

    def value(self, output_NBC: Tensor, batch: Batch) -> Tensor: ...

    def update(self, output_NBC: Tensor, batch: Batch) -> None: ...


class TaskTerm(nn.Module):
    """Mean loss of the task, its samples weighted: by the batch, by class, and by those fairness methods that are weights.

    task:           gives a loss to each sample
    weightings:     of each attribute, the methods that weigh samples; their product counts, and its mean over the attributes
    class_factor_C: how much a sample of each class counts, beside what the methods say; alike if None
    reduce_sums:    makes the sums of this process those of all
    """

    class_factor_C: Tensor | None

    def __init__(
        self,
        task: Task,
        weightings: Sequence[Sequence[nn.Module]] = (),
        class_factor_C: Tensor | None = None,
        reduce_sums: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_factor_C", class_factor_C, persistent=False)  # known by the data
        self.task, self.reduce_sums = task, reduce_sums
        self.weightings: list[list[Any]] = [list(methods) for methods in weightings]  # by attribute
        self.methods = nn.ModuleList(chain(*self.weightings))

    def losses_NB(self, output_NBC: Tensor, batch: Batch) -> Tensor:
        """Loss of each sample, with gradient."""
        label_NB = batch.label.expand(len(output_NBC), *batch.label.shape)  # of another task a label may be a picture
        return self.task.loss(output_NBC.flatten(0, 1), label_NB.flatten(0, 1)).view(label_NB.shape[:2])

    def plain(self, loss_NB: Tensor, batch: Batch) -> Tensor:
        """(N,) mean over the images, by the batch's weights alone."""
        return self._per_image(loss_NB.shape[1]) * (batch.weight * loss_NB).sum(1)

    def weighted(self, loss_NB: Tensor, batch: Batch) -> Tensor:
        """(N,) mean over the images, all weights counted."""
        return self._per_image(loss_NB.shape[1]) * (batch.weight * self._factor_B(loss_NB, batch) * loss_NB).sum(1)

    def value(self, output_NBC: Tensor, batch: Batch) -> Tensor:
        """(N,) with gradient."""
        return self.weighted(self.losses_NB(output_NBC, batch), batch)

    def update(self, output_NBC: Tensor, batch: Batch, loss_NB: Tensor | None = None) -> None:
        """The weights that follow the losses do so."""
        if len(self.methods):
            loss_NB = self.losses_NB(output_NBC.detach(), batch) if loss_NB is None else loss_NB
            loss_B = self._by_class(loss_NB.mean(0), batch)
            for methods, group_B in zip(self.weightings, batch.group.unbind(1), strict=True):
                for method in methods:
                    method.update(loss_B, batch.label, group_B, batch.weight)

    def _per_image(self, size: int) -> float:
        """1 / B; of several processes, whose slices may differ in size, what makes the mean over them the joint batch's mean."""
        here = torch.tensor([size, 1.0])  # on the CPU: no GPU is waited for
        images, processes = (here if self.reduce_sums is None else self.reduce_sums(here)).tolist()
        return float(processes / images)

    def _by_class(self, value_B: Tensor, batch: Batch) -> Tensor:
        return value_B if self.class_factor_C is None else self.class_factor_C[batch.label] * value_B

    def _factor_B(self, loss_NB: Tensor, batch: Batch) -> Tensor:
        """A method that looks at losses sees them weighted by class, and of several predictions their mean."""
        loss_B = self._by_class(loss_NB.detach().mean(0), batch)
        factors = [torch.ones_like(loss_B)] if not self.weightings else []
        for methods, group_B in zip(self.weightings, batch.group.unbind(1), strict=False):
            factor_B = torch.ones_like(loss_B)
            for method in methods:
                factor_B = factor_B * method.value(loss_B, batch.label, group_B, batch.weight)
            factors.append(factor_B)
        return self._by_class(torch.stack(factors).mean(0), batch)


class FairnessTerm(nn.Module):
    """λ_fair · Σ penalties of one sensitive attribute; λ_fair is a fixed weight, or found so that the soft gap keeps a cap.

    The soft gap comes from running group sums, which are kept whether it is penalised or not.

    column:      of the attribute in a batch's groups
    predictions: of the task: outputs → what the notion looks at
    gap:         the notion's running gap of this attribute
    weight:      λ_fair, where there is no cap
    max_gap:     the cap; None: none
    penalties:   what is penalised; the running gap itself may be among them
    """

    def __init__(
        self,
        column: int,
        predictions: Callable[[Tensor], Tensor],
        gap: RunningGap,
        weight: float,
        max_gap: float | None,
        penalties: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.column, self.predictions, self.max_gap = column, predictions, max_gap
        self.gap = gap
        self.multiplier = Multiplier(weight) if max_gap is None else Multiplier(0.0, rate=0.1, damping=5.0)
        self.penalise_gap = any(penalty is gap for penalty in penalties)
        self.penalties: list[Any] = [penalty for penalty in penalties if penalty is not gap]
        self.others = nn.ModuleList(self.penalties)

    def value(self, output_NBC: Tensor, batch: Batch) -> Tensor:
        """(N,) with gradient."""
        prob_NBC, group_B = self.predictions(output_NBC), batch.group[:, self.column]
        weight = self.multiplier(self._violation())
        total_N = output_NBC.new_zeros(len(output_NBC))
        if self.penalise_gap:
            total_N = weight * torch.stack([self.gap.value(sums) for sums in self._sums(prob_NBC, batch)])
        for penalty in self.penalties:
            total_N = total_N + weight * penalty.value(prob_NBC, batch.label, group_B)
        return total_N

    @torch.no_grad()
    def update(self, output_NBC: Tensor, batch: Batch) -> None:
        """The batch joins the running sums, once; λ_fair follows the gap as it was before; an adversary learns."""
        prob_NBC, violation = self.predictions(output_NBC), self._violation()
        sums = self._sums(prob_NBC, batch)
        self.gap.update(GroupSums(*(torch.stack(parts).mean(0) for parts in zip(*sums, strict=True))))
        self.multiplier.update(violation)
        for penalty in self.penalties:
            penalty.update(prob_NBC, batch.label, batch.group[:, self.column])

    def _sums(self, prob_NBC: Tensor, batch: Batch) -> list[GroupSums]:
        group_B = batch.group[:, self.column]
        return [self.gap.sums(prob_BC, batch.label, group_B, batch.weight) for prob_BC in prob_NBC]

    def _violation(self) -> Tensor:
        return self.gap.estimate() - (self.max_gap or 0.0)


class DataObjective(nn.Module):
    """The task's term and any others: the loss of predictions for a batch, as a sum.

    Use one object for ω and another for α: they see different data. All that the terms remember is saved with the module.
    """

    def __init__(self, task: TaskTerm, fairness: Sequence[FairnessTerm] = (), others: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.task, self.fairness = task, list(fairness)
        self.others: list[Any] = list(others)
        self.terms = nn.ModuleList([*fairness, *others])

    def value(self, output_NBC: Tensor, batch: Batch, loss_NB: Tensor | None = None) -> Loss:
        """Losses of N ≥ 1 predictions for the same batch.

        loss_NB: what counts as each sample's loss; the task's own if None (a teacher's distance takes its place).
        """
        loss_NB = self.task.losses_NB(output_NBC, batch) if loss_NB is None else loss_NB
        total_N = self.task.weighted(loss_NB, batch)
        for term in (*self.fairness, *self.others):
            total_N = total_N + term.value(output_NBC, batch)
        return Loss(total_N, self.task.plain(loss_NB, batch))

    def update(self, output_NBC: Tensor, batch: Batch, loss_NB: Tensor | None = None) -> None:
        """The batch joins what the terms remember; call it once a batch, with what `value` was given."""
        self.task.update(output_NBC.detach(), batch, None if loss_NB is None else loss_NB.detach())
        for term in (*self.fairness, *self.others):
            term.update(output_NBC.detach(), batch)

    def estimate_A(self) -> list[float | None]:
        """The running soft gap of each attribute; None (unknown) where no event has had two groups."""
        return [float(term.gap.estimate()) if term.gap.gap().defined else None for term in self.fairness]

    def weight_A(self) -> list[float]:
        """λ_fair of each attribute as it stands."""
        return [float(term.multiplier.value) for term in self.fairness]
