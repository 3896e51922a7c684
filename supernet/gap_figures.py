"""Hard gaps of given predictions, by every notion, with 95% intervals; JSON-ready.

Rates by group come from fairlearn's ``MetricFrame``, a notion's events as its control features.
Shapes: N samples, G groups, E events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from fairlearn.metrics import MetricFrame, mean_prediction

from supernet.fairness import GroupSums, Notion, aggregate, gap_of_sums
from supernet.figures import NONE, figure
from supernet.gap_intervals import gap_interval
from supernet.intervals import LEVEL, Cells, cells
from supernet.resampling import Array, Predictions


class Shown(NamedTuple):
    """What is told beside a gap's value: its interval, and whether it is within a margin that does not matter."""

    intervals: bool
    margin: float | None


def gap_figures(
    data: Predictions, group_N: Array, names: Sequence[str], classes: Sequence[str], how: Shown
) -> dict[str, dict[str, Any]]:
    """By notion, of one attribute whose groups have these names; see ``metrics.evaluate_predictions``."""
    gaps = {
        name: _gap_figure(data, group_N, len(names), data.notions[name], value, how) | details
        for name, (value, details) in _gaps(data, group_N, len(names)).items()
    }
    for name, gap in _of_other_class(data, group_N, len(names), how).items():
        gaps[name]["other_class"] = gap | {"class": classes[0]}
    return gaps


def _gap_cells(data: Predictions, group_N: Array, num_groups: int, notion: Notion) -> Cells:
    score_NE, mask_NE = data.scores(notion)
    return cells(score_NE, mask_NE, group_N, num_groups, data.unit_N, is_rate=notion.hard)


def _gap_figure(
    data: Predictions,
    group_N: Array,
    num_groups: int,
    notion: Notion,
    value: float,
    how: Shown,
) -> dict[str, Any]:
    if not how.intervals:
        return figure(value, *NONE)
    found = _gap_cells(data, group_N, num_groups, notion)
    told = figure(value, *gap_interval(found, notion))
    if how.margin is None:
        return told
    _, high = gap_interval(found, notion, level=2 * LEVEL - 1)  # two one-sided tests (Schuirmann 1987)
    return told | {"margin": how.margin, "within_margin": bool(high <= how.margin)}


def _of_other_class(data: Predictions, group_N: Array, num_groups: int, how: Shown) -> dict[str, dict[str, Any]]:
    """Of two classes, the gaps that are about the second alone (equal opportunity), of the first: by notion."""
    if data.prob_NC.shape[1] != 2:
        return {}
    own = {name: notion for name, notion in data.notions.items() if notion.one_sided}
    swapped = replace(data, prob_NC=data.prob_NC[:, [1, 0]], label_N=1 - data.label_N, notions=own)
    return {
        name: _gap_figure(swapped, group_N, num_groups, own[name], value, how)
        for name, (value, _) in _gaps(swapped, group_N, num_groups).items()
    }


def _gaps(data: Predictions, group_N: Array, num_groups: int) -> dict[str, tuple[float, dict[str, Any]]]:
    """Every notion's gap and its empty cells and worst event, hard ones from fairlearn's rates."""
    found, cells = {}, {}
    for name, notion in data.notions.items():
        if notion.scores not in cells:  # several notions aggregate the same rates
            cells[notion.scores] = _cells(data, notion, group_N, num_groups)
        rate_GE, count_GE = cells[notion.scores]
        value, defined_E = aggregate(rate_GE, count_GE, notion)
        each_E, _ = aggregate(rate_GE.T[..., None], count_GE.T[..., None], notion)  # every event by itself
        events = notion.event_names(data.prob_NC.shape[1])
        worst = events[int(torch.where(defined_E, each_E, -torch.inf).argmax())] if defined_E.any() else None
        details = {"empty_cells": int((count_GE == 0).sum()), "worst_event": worst}
        found[name] = (float(value) if defined_E.any() else np.nan, details)
    return found


def _cells(data: Predictions, notion: Notion, group_N: Array, num_groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """rate_GE and count_GE; of a hard notion by one MetricFrame with a row for each sample of each event."""
    score_NE, mask_NE = data.scores(notion)
    member_NG = (group_N[:, None] == np.arange(num_groups)).astype(float)
    count_GE = member_NG.T @ mask_NE
    if not notion.hard:  # not in fairlearn
        sums = GroupSums(*map(torch.from_numpy, (member_NG.T @ (score_NE * mask_NE), count_GE)))
        return gap_of_sums(sums, notion).rate_GE.nan_to_num(), sums.denominator_GE
    sample, event = np.nonzero(mask_NE & (group_N >= 0)[:, None])
    rate_GE = np.zeros_like(count_GE)
    if len(sample):
        score = score_NE[sample, event]
        by_group = MetricFrame(
            metrics=mean_prediction,
            y_true=score,
            y_pred=score,
            sensitive_features=pd.Series(group_N[sample], name="group"),  # fairlearn squeezes an array of one row away
            control_features=pd.Series(event, name="event"),
        ).by_group
        for (e, g), rate in by_group.dropna().items():
            rate_GE[g, e] = rate
    return torch.from_numpy(rate_GE), torch.from_numpy(count_GE)
