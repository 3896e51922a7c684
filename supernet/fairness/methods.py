"""How fairness is reached: a penalty on the loss with a weight or a cap, or weights of the groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from supernet.errors import UserError, nearest
from supernet.fairness.independence import HSIC, Adversary
from supernet.fairness.running import RunningGap
from supernet.fairness.weights import CellWeights, GroupDRO, MinimaxPareto


class Setting(NamedTuple):
    """What a method may need to know of one sensitive attribute; count_GC: images of each group and class.

    num_groups, num_classes: of the attribute and the predictions.  notion: the one asked for.
    reduce_sums: makes the sums of this process those of all; None: there is one process.
    """

    num_groups: int
    num_classes: int
    notion: str
    count_GC: Tensor
    reduce_sums: Callable[[Tensor], Tensor] | None


class Method(NamedTuple):
    """meaning: one line for help texts and reports. penalty: is weighted or capped, else it weighs samples."""

    meaning: str
    penalty: bool
    build: Callable[[Setting], nn.Module]


METHODS: dict[str, Method] = {
    "gap": Method(
        "a penalty on the notion's soft gap",
        True,
        lambda s: RunningGap(s.num_groups, s.num_classes, s.notion, reduce_sums=s.reduce_sums),
    ),
    "hsic": Method(
        "a penalty on how much the notion's predictions depend on the group (HSIC)", True, lambda s: HSIC(s.notion)
    ),
    "adversary": Method(
        "a penalty on what an adversary can tell of the group (Zhang et al. 2018, by gradient reversal)",
        True,
        lambda s: Adversary(s.num_groups, s.num_classes, s.notion, s.reduce_sums),
    ),
    "dro": Method(
        "the worst group's loss (group DRO: Sagawa et al. 2020)", False, lambda s: GroupDRO(s.num_groups, s.reduce_sums)
    ),
    "minimax": Method(
        "the worst group's loss with no more harm to the others than needed (Martinez et al. 2020)",
        False,
        lambda s: MinimaxPareto(s.num_groups, s.reduce_sums),
    ),
    "reweigh": Method(
        "weights under which group and class are independent (Kamiran & Calders 2012)",
        False,
        lambda s: CellWeights(s.count_GC, equal=False),
    ),
    "balance": Method("every group × class weighs the same", False, lambda s: CellWeights(s.count_GC, equal=True)),
}


RAISING = ("balance", "dro", "minimax")  # may weigh a rare group's images up manifold


def batch_floor(methods: tuple[str, ...]) -> float:
    """Least share of each group in a batch: where its images would get large weights, more of them with smaller ones
    give the same objective with less noise."""
    return 1 / 4 if set(methods) & set(RAISING) else 1 / 16


def parse_methods(text: str) -> tuple[str, ...]:
    """The methods named in "a,b". Raises UserError for an unknown name."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in METHODS:
            raise UserError(f'No fairness method is called "{name}".{nearest(name, METHODS)}')
    return names
