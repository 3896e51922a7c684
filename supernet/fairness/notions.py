"""What "fair" means: a notion is its conditioning events, and how their rates are made into one number.

For a prediction p̂ (softmax probability, or one-hot for the hard metric) the rate of group g under event e is

    r_ge = Σ_i 1[g_i = g, i ∈ e] p̂_ie / Σ_i 1[g_i = g, i ∈ e]

(Agarwal et al. 2018, and fairlearn's ``Moment`` classes: a notion is its events.) More than two classes are scored
one-vs-rest, one event a class. With exactly two classes only class 1 is scored, as fairlearn does: demographic parity
and equalized odds have the same gap for either class, and equal opportunity is about the positive class alone.

Shapes: B batch, C classes, G groups, E events; "..." is any number of leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.errors import UserError, nearest

GROUP_WORDS = {
    "difference": "highest − lowest group",
    "mean": "mean distance of a group from all images",
    "sum": "summed distances of the groups from all images",
    "ratio": "1 − lowest / highest group",
    "worst": "1 − lowest group",
    "square": "mean squared distance of a group from all images",
}
EVENT_WORDS = {"worst": "worst class", "mean": "mean over the classes", "sum": "sum over the classes"}
Scores = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_FAR = 1e30  # stands for infinity where infinity would make 0 · ∞ in a gradient
_FEATURES, _BANDWIDTH = 32, 0.5


@dataclass(frozen=True)
class Notion:
    """One entry of ``NOTIONS``; every notion is smaller when fairer and 0 when perfectly fair (but "worst": 1 − min).

    meaning: one line for help texts and reports.
    scores: (prob_BC, label_B) → score_BE, the p̂ of each event, and mask_BE (bool), who is in the event.
    event_names: number of classes → what each event is about: ("class 3", …).
    groups: how the rates of an event's groups become one gap, a key of ``GROUPS``.
    events: how the gaps of the events become one number, a key of ``EVENTS``.
    hard: whether it has a meaning for hard predictions.
    rate: what an event's rates are called among a group's figures (``evaluate_predictions``), "" where they are not there;
        over the samples that are not of a class they are its false_positive_rate.
    """

    meaning: str
    scores: Scores
    event_names: Callable[[int], tuple[str, ...]]
    groups: str = "difference"
    events: str = "worst"
    hard: bool = True
    rate: str = "accuracy"

    @property
    def one_sided(self) -> bool:
        """Whether of two classes it is about the second alone: the first may have another number."""
        by_class = self.event_names in (_per_class, _per_class_and_rest)
        return self.scores is _own_class or (by_class and self.groups in ("ratio", "worst"))


def get_notion(notion: str | Notion, groups: str | None = None, events: str | None = None) -> Notion:
    """The named notion, with its aggregation over groups or over events changed if asked.

    The name may say it too: "equalized_odds:mean" (over groups), "equalized_odds:ratio:mean" (over groups, over classes).
    Raises UserError for a name that is not in ``NOTIONS``, ``GROUPS`` or ``EVENTS``.
    """
    if isinstance(notion, str):
        name, *changed = notion.split(":")
        if name not in NOTIONS or len(changed) > 2:
            raise UserError(f'No fairness notion is called "{notion}".{nearest(name, NOTIONS)}')
        notion = NOTIONS[name]
        groups, events = (asked or said for asked, said in zip((groups, events), [*changed, "", ""], strict=False))
    groups, events = groups or notion.groups, events or notion.events
    if groups not in GROUPS:
        raise UserError(f'No aggregation over groups is called "{groups}".{nearest(groups, GROUPS)}')
    if events not in EVENTS:
        raise UserError(f'No aggregation over classes is called "{events}".{nearest(events, EVENTS)}')
    return replace(notion, groups=groups, events=events)


def speaks_of_all_samples(notion: str | Notion) -> bool:
    """Whether its only event is all samples, so that it also compares groups which are the classes themselves."""
    return get_notion(notion).event_names(2) == _all_samples(2)


def _scored_classes(num_classes: int) -> list[int]:
    return [1] if num_classes == 2 else list(range(num_classes))


def _all_samples(num_classes: int) -> tuple[str, ...]:
    return ("all samples",)


def _per_class(num_classes: int) -> tuple[str, ...]:
    return tuple(f"class {k}" for k in _scored_classes(num_classes))


def _per_class_and_rest(num_classes: int) -> tuple[str, ...]:
    return _per_class(num_classes) + tuple(f"not class {k}" for k in _scored_classes(num_classes))


def _per_feature(num_classes: int) -> tuple[str, ...]:
    return tuple(f"feature {d}" for d in range(2 * _FEATURES))


def _true_class(prob_BC: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    score_BE = prob_BC.gather(1, label_B[:, None])
    return score_BE, torch.ones_like(score_BE, dtype=torch.bool)


def _loss(prob_BC: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    score_BE, mask_BE = _true_class(prob_BC, label_B)
    return -score_BE.clamp_min(1e-12).log(), mask_BE


def _every_sample(prob_BC: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    score_BE = prob_BC[:, _scored_classes(prob_BC.shape[1])]
    return score_BE, torch.ones_like(score_BE, dtype=torch.bool)


def _own_class(prob_BC: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    scored = _scored_classes(prob_BC.shape[1])
    return prob_BC[:, scored], F.one_hot(label_B, prob_BC.shape[1]).bool()[:, scored]


def _own_class_and_rest(prob_BC: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    score_BK, own_BK = _own_class(prob_BC, label_B)
    return torch.cat([score_BK, score_BK], 1), torch.cat([own_BK, ~own_BK], 1)


def _kernel_features(prob_BC: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    """Random Fourier features of a Gaussian kernel (Rahimi & Recht 2007), the same ones at every call."""
    generator = torch.Generator().manual_seed(0)
    frequency_CD = torch.randn(prob_BC.shape[1], _FEATURES, generator=generator) / _BANDWIDTH
    phase_BD = prob_BC @ frequency_CD.to(prob_BC)
    score_BE = torch.cat([phase_BD.cos(), phase_BD.sin()], 1) / _FEATURES**0.5
    return score_BE, torch.ones_like(score_BE, dtype=torch.bool)


NOTIONS: dict[str, Notion] = {
    "accuracy_parity": Notion("equal accuracy in every group", _true_class, _all_samples),
    "demographic_parity": Notion(
        "each class predicted equally often in every group", _every_sample, _per_class, rate="selection_rate"
    ),
    "equal_opportunity": Notion(
        "equal recall of each class (Hardt et al. 2016)", _own_class, _per_class, rate="recall"
    ),
    "equalized_odds": Notion(
        "equal recall and equal false-positive rate of each class (Hardt et al. 2016)",
        _own_class_and_rest,
        _per_class_and_rest,
        rate="recall",
    ),
    "loss_parity": Notion("equal cross-entropy in every group", _loss, _all_samples, hard=False, rate="cross_entropy"),
    "worst_group_accuracy": Notion(
        "1 − accuracy of the worst group (Sagawa et al. 2020)", _true_class, _all_samples, groups="worst"
    ),
    "unfairness": Notion("U = Σ_g |acc_g − acc| (FaHaNa: Sheng et al. 2022)", _true_class, _all_samples, groups="sum"),
    "accuracy_ratio": Notion("1 − PQD, PQD = min_g acc_g / max_g acc_g", _true_class, _all_samples, groups="ratio"),
    "mmd": Notion(
        "mean over groups of the squared maximum mean discrepancy between a group's predicted probabilities and "
        "those of all images, Gaussian kernel (Gretton et al. 2012); 0 when predictions are independent of the group",
        _kernel_features,
        _per_feature,
        groups="square",
        events="sum",
        hard=False,
        rate="",
    ),
}


def _lowest(rate: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, rate, _FAR).amin(-2)


def _highest(rate: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, rate, -_FAR).amax(-2)


def _ratio(rate: Tensor, mask: Tensor, overall: Tensor) -> Tensor:
    highest = _highest(rate, mask)
    positive = highest > 0
    return torch.where(positive, 1 - _lowest(rate, mask) / torch.where(positive, highest, 1.0), 0.0)


def _mean_over_groups(value: Tensor, mask: Tensor) -> Tensor:
    return (value * mask).sum(-2) / mask.sum(-2).clamp_min(1)


# (rate_...GE, mask_...GE of the non-empty cells, overall_...1E) → gap_...E
GROUPS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "difference": lambda rate, mask, overall: _highest(rate, mask) - _lowest(rate, mask),
    "mean": lambda rate, mask, overall: _mean_over_groups((rate - overall).abs(), mask),
    "sum": lambda rate, mask, overall: ((rate - overall).abs() * mask).sum(-2),
    "ratio": _ratio,
    "worst": lambda rate, mask, overall: 1 - _lowest(rate, mask),
    "square": lambda rate, mask, overall: _mean_over_groups((rate - overall).square(), mask),
}

# (gap_...E, defined_...E) → gap_...
EVENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "worst": lambda gap, defined: torch.where(defined, gap, -_FAR).amax(-1),
    "mean": lambda gap, defined: (gap * defined).sum(-1) / defined.sum(-1).clamp_min(1),
    "sum": lambda gap, defined: (gap * defined).sum(-1),
}
