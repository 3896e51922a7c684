"""Group sums → rates → one gap; exact on a whole data set, and differentiable.

A (group, event) cell without members is empty: it is left out and counted, never scored 0 (fairlearn scores it 0). An
event with fewer than two non-empty groups is left out. Where no event is left the gap is 0 and ``Gap.defined`` False.
Group −1 means "unknown": such a sample is left out. Shapes as in ``notions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from supernet.fairness.notions import EVENTS, GROUPS, Notion, get_notion


class GroupSums(NamedTuple):
    """Σ p̂ and the number (or total weight) of samples of every cell; they add up over batches and processes."""

    numerator_GE: Tensor
    denominator_GE: Tensor


class Gap(NamedTuple):
    """A gap and what it rests on.

    value: scalar (leading dimensions stay), with gradient; 0 where it is not defined.
    rate_GE: r_ge, NaN in empty cells, no gradient.  empty_cells: how many.
    defined_E: the events that were scored.  defined: whether there was any.
    """

    value: Tensor
    rate_GE: Tensor
    empty_cells: Tensor
    defined_E: Tensor
    defined: Tensor


def group_sums(
    prob_BC: Tensor,
    label_B: Tensor,
    group_B: Tensor,
    num_groups: int,
    notion: str | Notion,
    weight_B: Tensor | None = None,
) -> GroupSums:
    """Sums of every (group, event) cell, numerator_GE with gradient and denominator_GE, in float32 or wider.

    ``weight_B`` ≥ 0 counts each sample that many times (fairlearn's ``sample_weight``).
    """
    assert group_B.shape == label_B.shape
    assert group_B.device.type != "cpu" or bool((group_B < num_groups).all())  # reading it would stop a GPU
    with torch.autocast(prob_BC.device.type, enabled=False):  # bfloat16 cannot count beyond 256
        prob_BC = prob_BC.to(torch.promote_types(prob_BC.dtype, torch.float32))
        score_BE, mask_BE = get_notion(notion).scores(prob_BC, label_B)
        member_BG = (group_B[:, None] == torch.arange(num_groups, device=group_B.device)).to(prob_BC.dtype)
        if weight_B is not None:
            member_BG = member_BG * weight_B[:, None].to(prob_BC.dtype)
        mask_BE = mask_BE.to(prob_BC.dtype)
        return GroupSums(member_BG.T @ (score_BE * mask_BE), member_BG.T @ mask_BE)


def rates(sums: GroupSums) -> tuple[Tensor, Tensor]:
    """rate_GE, 0 in empty cells, and the bool mask_GE of cells that are not empty."""
    mask_GE = sums.denominator_GE > 0
    return sums.numerator_GE / torch.where(mask_GE, sums.denominator_GE, 1.0), mask_GE


def aggregate(rate_GE: Tensor, denominator_GE: Tensor, notion: str | Notion) -> tuple[Tensor, Tensor]:
    """The gap as a function of the rates, at given counts, and defined_E; any leading dimensions.

    The overall rate, which some aggregations compare with, is that of the samples whose group is known.
    """
    notion = get_notion(notion)
    mask_GE = denominator_GE > 0
    defined_E = mask_GE.sum(-2) >= 2
    total_1E = denominator_GE.sum(-2, keepdim=True)
    overall_1E = (rate_GE * denominator_GE).sum(-2, keepdim=True) / torch.where(total_1E > 0, total_1E, 1.0)
    gap_E = torch.where(defined_E, GROUPS[notion.groups](rate_GE, mask_GE, overall_1E), 0.0)
    value = torch.where(defined_E.any(-1), EVENTS[notion.events](gap_E, defined_E), 0.0)
    return value, defined_E


def gap_of_sums(sums: GroupSums, notion: str | Notion) -> Gap:
    """The gap of these sums, with what it rests on; leading dimensions of the sums stay."""
    rate_GE, mask_GE = rates(sums)
    value, defined_E = aggregate(rate_GE, sums.denominator_GE, notion)
    shown_GE = rate_GE.detach().masked_fill(~mask_GE, torch.nan)
    return Gap(value, shown_GE, (~mask_GE).sum((-2, -1)), defined_E, defined_E.any(-1))


def soft_gap(
    prob_BC: Tensor,
    label_B: Tensor,
    group_B: Tensor,
    num_groups: int,
    notion: str | Notion,
    weight_B: Tensor | None = None,
) -> Tensor:
    """The soft gap of these samples as a scalar with gradient; at one-hot ``prob_BC`` fairlearn's hard metric.

    Exact for a whole data set. On a mini-batch it is biased upwards (max − min of noisy rates): train with
    ``RunningGap``. 0 where undefined: ``gap_of_sums(group_sums(...), notion)`` also tells whether it is.
    """
    return gap_of_sums(group_sums(prob_BC, label_B, group_B, num_groups, notion, weight_B), notion).value


def soft_gap_per_attribute(
    prob_BC: Tensor, label_B: Tensor, group_BA: Tensor, num_groups_A: Sequence[int], notion: str | Notion
) -> Tensor:
    """gap_A: the soft gap of each sensitive attribute by itself."""
    assert group_BA.shape[1] == len(num_groups_A)
    columns = zip(group_BA.unbind(1), num_groups_A, strict=True)
    return torch.stack([soft_gap(prob_BC, label_B, group_B, num, notion) for group_B, num in columns])


def intersection(group_BA: Tensor, num_groups_A: Sequence[int]) -> tuple[Tensor, int]:
    """Intersectional groups: group_B in the order of itertools.product over the attributes, and how many there are.

    −1 where any attribute is unknown.
    """
    assert group_BA.shape[1] == len(num_groups_A)
    group_B = torch.zeros_like(group_BA[:, 0])
    for column_B, num in zip(group_BA.unbind(1), num_groups_A, strict=True):
        group_B = group_B * num + column_B
    return torch.where((group_BA < 0).any(1), -1, group_B), prod(num_groups_A)
