"""--max-gap: whether the cap was held, by the soft gap that it caps and by the hard gap of what came out.

The terminal shows these notes at the end, report and card beside all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from supernet.config import CommonConfig, SearchConfig
from supernet.data import GroupedData
from supernet.problem import Outcome, Problem
from supernet.report import words
from supernet.report.facts import Metrics
from supernet.scoring import undefined_gaps

# dual ascent hovers at an active cap: missed is what ends a tenth above it, and was so on average over the last rows
MARGIN, LAST = 0.1, 3


def scored_how(config: SearchConfig) -> str:
    """Whose weights the candidates had on search-val."""
    return "after a short training towards the teacher" if config.teacher is not None else "with the supernet's weights"


def soft_gap_notes(config: CommonConfig, data: GroupedData, rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each attribute whose soft gap ends above the cap: there dual ascent found no way to hold it."""
    if config.max_gap is None or not rows:
        return []
    lines = []
    for attribute in data.attributes:
        key = f"gap_{attribute}"
        course = [row[key] for row in rows if row.get("phase") != "warm-up" and row.get(key) is not None]
        if course and min(course[-1], np.mean(course[-LAST:])) > (1 + MARGIN) * config.max_gap:
            stayed = "stayed above" if min(course) > config.max_gap else "fell under, and ended above"
            lines.append(
                f"--max-gap {config.max_gap:g} was not held: the soft {words.number_name(config.fairness)} by {attribute} "
                f"{stayed} it, at {course[-1]:.4f} in the end, with its weight risen to {rows[-1][f'lambda_{key}']:.2g}. "
                f"With this data, budget and number of epochs the cap may be infeasible."
            )
    return lines


def unknown_gap_notes(config: SearchConfig, data: GroupedData) -> list[str]:
    """Said before a search whose search-val does not define the gap."""
    unknown = undefined_gaps(data, config.fairness)
    return [
        f"Search-val does not define the {words.number_name(config.fairness)} by {name}: too few of its groups have images of the "
        "classes it is about. It is unknown there: neither minimised on search-val, nor held, nor ranked by."
        for name in unknown
    ]


def derived_gap_notes(config: SearchConfig, outcome: Outcome) -> list[str]:
    """A line where the derived architecture's hard gap on search-val, the worst over the attributes, is above the cap."""
    best, found = outcome.candidates[0], outcome.evaluations
    if config.max_gap is None:
        return []
    if best.gap is None:
        where = [name for name, gap in best.gaps.items() if gap is None]
        by = f" by {', '.join(where)}" if where else ""
        return [
            f"--max-gap {config.max_gap:g} was not checked: search-val does not define the {words.number_name(config.fairness)}{by} "
            "(too few groups have images of the classes it is about). The gap is unknown."
        ]
    if best.gap <= config.max_gap:
        return []
    scored = "trained alone" if found is not None and found["evaluator"] == "scratch" else scored_how(config)
    least = ", the smallest of the front" if found is not None and "hypervolume" in found else ""
    by = f" by {max(best.gaps, key=lambda name: best.gaps[name] or 0.0)}" if best.gaps else ""
    return [
        f"--max-gap {config.max_gap:g} was not held on search-val: the {words.number_name(config.fairness)}{by} of the "
        f"derived architecture there, {scored}{least}, is {best.gap:.4f}. Its retraining has the last word."
    ]


def trained_cap_notes(
    config: CommonConfig, data: GroupedData, rows: Sequence[dict[str, Any]], metrics: Metrics
) -> list[str]:
    """Of a training: by the soft gap, then by the hard one."""
    return [*soft_gap_notes(config, data, rows), *trained_gap_notes(config, metrics)]


def searched_notes(config: SearchConfig, problem: Problem, outcome: Outcome) -> list[str]:
    """Of a search: by the soft gap, by the hard one, and by the largest class of search-val."""
    soft = soft_gap_notes(config, problem.data, problem.folder.rows())
    return [*soft, *derived_gap_notes(config, outcome), *majority_notes(problem.data, outcome)]


def majority_notes(data: GroupedData, outcome: Outcome) -> list[str]:
    """A line where the derived candidate is no better on search-val than always naming its largest class, which has no gap either."""
    count_C = np.bincount(data.val.label_N, minlength=len(data.classes))
    best, share = outcome.candidates[0], float(count_C.max() / count_C.sum())
    if best.accuracy > share:
        return []
    return [
        f'On search-val the derived candidate ({words.percent(best.accuracy)}) is no better than always "{data.classes[int(count_C.argmax())]}", the '
        f"class of {words.percent(share)} of its images. A small gap of such a network says nothing: search for more --epochs."
    ]


def trained_gap_notes(config: CommonConfig, metrics: Metrics) -> list[str]:
    """A line for each attribute whose hard gap on test is above the cap, with its interval and what that shows, or unknown."""
    lines = []
    for attribute, found in metrics.attributes.items():
        gap = found.gaps[config.fairness]
        if config.max_gap is None or (gap.value is not None and gap.value <= config.max_gap):
            continue
        if gap.value is None:
            lines.append(
                f"--max-gap {config.max_gap:g} was not checked on test: its images do not define the "
                f"{words.number_name(config.fairness)} by {attribute}. The gap is unknown."
            )
            continue
        line = (
            f"--max-gap {config.max_gap:g} was not held on test: the {words.number_name(config.fairness)} by {attribute} "
            f"is {words.estimate(gap)}."
        )
        if gap.low is not None and gap.low <= config.max_gap:
            line += " The interval holds the cap, too: chance may have put it above."
        lines.append(line)
    return lines
