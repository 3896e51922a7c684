"""Fairness notions, soft gaps and their estimation from mini-batches."""

from supernet.fairness.gaps import (
    Gap,
    GroupSums,
    aggregate,
    gap_of_sums,
    group_sums,
    intersection,
    rates,
    soft_gap,
    soft_gap_per_attribute,
)
from supernet.fairness.methods import METHODS, Setting, batch_floor, parse_methods
from supernet.fairness.notions import EVENT_WORDS, EVENTS, GROUP_WORDS, GROUPS, NOTIONS, Notion, get_notion
from supernet.fairness.running import RunningGap
from supernet.fairness.weights import class_factors

__all__ = [
    "EVENTS",
    "EVENT_WORDS",
    "GROUPS",
    "GROUP_WORDS",
    "METHODS",
    "NOTIONS",
    "Gap",
    "GroupSums",
    "Notion",
    "RunningGap",
    "Setting",
    "aggregate",
    "batch_floor",
    "class_factors",
    "gap_of_sums",
    "get_notion",
    "group_sums",
    "intersection",
    "parse_methods",
    "rates",
    "soft_gap",
    "soft_gap_per_attribute",
]
