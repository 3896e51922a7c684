"""The objective that the options ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from supernet.config import CommonConfig
from supernet.data import GroupedData, Split
from supernet.errors import UserError
from supernet.fairness import METHODS, RunningGap, Setting, batch_floor, class_factors, parse_methods
from supernet.objective.terms import DataObjective, FairnessTerm, TaskTerm
from supernet.task import Task, classification


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
    task: Task | None = None,
    reduce_sums: Callable[[Tensor], Tensor] | None = None,
) -> DataObjective:
    """The objective that the options ask for, on the images of this split. Raises UserError as `class_weights`.

    task: classification of the data's classes if None; another one has no fairness terms.
    """
    task = task or classification(len(data.classes))
    if task.scores is not None:
        return DataObjective(TaskTerm(task, reduce_sums=reduce_sums))
    if getattr(config, "class_weight", None) == "logit-adjust":
        class_weights(config, data, split)  # says where it has no effect
        return fair_objective(config, logit_adjusted(task, class_counts(data, split)), cell_counts(data, split), None, reduce_sums)  # fmt: skip
    return fair_objective(config, task, cell_counts(data, split), class_weights(config, data, split), reduce_sums)


def fair_objective(
    config: CommonConfig,
    task: Task,
    count_AGC: Sequence[Tensor],
    class_factor_C: Tensor | None = None,
    reduce_sums: Callable[[Tensor], Tensor] | None = None,
) -> DataObjective:
    """The task's loss with the fairness that the options ask for. count_AGC: images of each group and class, by attribute.

    The methods (fairness.METHODS) give weights and penalties; a cap is on the soft gap, whichever the penalty is.
    """
    methods = parse_methods(config.fairness_method)
    weightings, terms = [], []
    for column, count_GC in enumerate(count_AGC):
        setting = Setting(len(count_GC), task.outputs, config.fairness, count_GC, reduce_sums)
        built = {name: METHODS[name].build(setting) for name in ("gap", *methods)}  # the gap is followed in any case
        gap = built["gap"]
        assert isinstance(gap, RunningGap)
        penalties = [built[name] for name in methods if METHODS[name].penalty]
        terms.append(FairnessTerm(column, task.predictions, gap, config.fairness_weight, config.max_gap, penalties))
        weightings.append([built[name] for name in methods if not METHODS[name].penalty])
    return DataObjective(TaskTerm(task, weightings, class_factor_C, reduce_sums), terms)


def class_weights(config: CommonConfig, data: GroupedData, split: Split) -> Tensor | None:
    """(C,) factors of --class-weight balanced, None without it. Raises UserError where the classes are of one size already."""
    if getattr(config, "class_weight", None) is None:  # an option of train alone
        return None
    count_C = class_counts(data, split)
    factor_C = class_factors(count_C)
    if bool((factor_C == 1).all()):
        raise UserError(f"--class-weight has no effect: each class has {int(count_C.max())} training images. Leave it out.")  # fmt: skip
    return factor_C


def class_counts(data: GroupedData, split: Split) -> Tensor:
    """(C,) images of each class."""
    return torch.bincount(torch.from_numpy(split.label_N), minlength=len(data.classes))


def logit_adjusted(task: Task, count_C: Tensor) -> Task:
    """The task whose loss sees logits + log π, π the classes' shares in training; predictions stay those of the logits.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, eq. 10 with τ = 1: the minimiser of the balanced error. A class without
    images counts as if it had one, so that its logit stays finite.
    """
    prior_C = count_C.clamp_min(1).double()
    log_prior_C = (prior_C / prior_C.sum()).log().float()
    return replace(task, loss=lambda output_BC, label_B: task.loss(output_BC + log_prior_C.to(output_BC), label_B))
