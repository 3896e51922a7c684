"""Hard metrics of given predictions, overall and by group, with bootstrap intervals; JSON-ready.

Rates by group come from fairlearn's ``MetricFrame``, a notion's events as its control features; events and aggregations
are those of ``supernet.fairness``, so that what is reported is what was trained for. The intervals are ours
(``supernet.resampling``): fairlearn's own bootstrap draws samples only, never whole writers or patients, and takes a
frame of some 10 ms a resample.

95% intervals are percentile intervals for means (accuracies, rates, loss). A gap, a minimum over groups, an ECE are
pushed one way by noise, and a resample has that noise twice: there the percentile interval of a worst-class gap can
miss the truth almost always, and never holds 0. These figures have the basic interval [2v − q_hi, 2v − q_lo] (Davison &
Hinkley 1997, 5.2), which takes most of that bias out, cut to what is possible. ``benchmarks/fairness_estimator.py``
measures both: the basic one holds the truth in 69% to 96% of trials, less often than 95% where a gap is the worst of
many classes that are close to each other.

Shapes: N samples, C classes, A attributes, G groups, E events, R bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from fairlearn.metrics import MetricFrame, count, mean_prediction
from sklearn.metrics import accuracy_score

from supernet.fairness import NOTIONS, GroupSums, Notion, aggregate, gap_of_sums
from supernet.resampling import Array, Predictions

LEVEL = 0.95
_BASIC = ("ece", "worst_group_accuracy", "pqd", "gap/")  # figures that noise pushes one way
_UNBOUNDED = ("cross_entropy", "gap/")


def evaluate_predictions(
    prob_NC: Array,
    label_N: Array,
    group_NA: Array,
    classes: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    cluster: Array | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    notions: Mapping[str, Notion] = NOTIONS,
) -> dict[str, Any]:
    """Everything the report says about these predictions, as a JSON-ready dict.

    prob_NC: probabilities. group_NA: int, −1 = unknown. attributes: name → names of its groups, in the order of the
    columns of group_NA. cluster: an id a sample; whole clusters are resampled. n_boot: resamples, 0 for no intervals.
    notions: those to report, by the name that they get there.

    A figure is ``{"value", "low", "high"}``, None where it is undefined: an empty group, or no resample. A gap
    also counts its ``empty_cells`` (left out) and names its ``worst_event`` ("class 3").
    Raises UserError for shapes or values that do not fit, and for an attribute with fewer than two groups present.
    """
    data = Predictions.checked(prob_NC, label_N, group_NA, classes, attributes, cluster, notions)
    point, draws = data.statistics(), data.bootstrap(n_boot, seed)

    def figure(
        statistic: str, *index: int, of: str | None = None, value: float | None = None
    ) -> dict[str, float | None]:
        name = statistic if of is None else f"{of}/{statistic}"
        exact, draws_R = point[name], draws.get(name, np.full_like(point[name], np.nan))
        for i in index:
            exact, draws_R = exact[:, i], draws_R[:, i]
        return _figure(statistic, float(exact[0]) if value is None else value, draws_R)

    report: dict[str, Any] = {
        "samples": len(data.label_N),
        "classes": list(classes),
        "bootstrap": {
            "resamples": n_boot,
            "unit": "sample" if cluster is None else "cluster",
            "units": data.num_units,
            "level": LEVEL,
            "seed": seed,
        },
        **{name: figure(name) for name in ("accuracy", "cross_entropy", "ece")},
        "attributes": {},
    }
    for a, (attribute, names) in enumerate(attributes.items()):
        group_N = data.group_NA[:, a]
        known = group_N >= 0
        frame = MetricFrame(
            metrics={"accuracy": accuracy_score, "count": count},
            y_true=data.label_N[known],
            y_pred=data.predicted_N[known],
            sensitive_features=group_N[known],
        ).by_group
        groups: dict[str, Any] = {}
        for g, group in enumerate(names):
            present = g in frame.index
            accuracy = float(frame["accuracy"][g]) if present else np.nan
            groups[group] = {
                "count": int(frame["count"][g]) if present else 0,
                "accuracy": figure("accuracy", g, of=attribute, value=accuracy),
                **{name: figure(name, g, of=attribute) for name in ("cross_entropy", "ece")},
                **{
                    name: {label: figure(name, g, k, of=attribute) for k, label in enumerate(classes)}
                    for name in ("selection_rate", "recall", "false_positive_rate")
                },
                # counts; rows: true class, columns: predicted class
                "confusion": point[f"{attribute}/confusion"][0, g].astype(int).tolist(),
            }
        exact = _gaps(data, group_N, len(names))
        report["attributes"][attribute] = {
            "groups": groups,
            "unknown": int((~known).sum()),
            "empty_groups": [group for g, group in enumerate(names) if g not in frame.index],
            "balanced_accuracy": figure("balanced_accuracy", of=attribute),
            "worst_group_accuracy": figure("worst_group_accuracy", of=attribute),
            "worst_group": names[int(frame["accuracy"].idxmin())],
            "pqd": figure("pqd", of=attribute),
            "gaps": {
                name: {**figure(f"gap/{name}", of=attribute, value=value), **details}
                for name, (value, details) in exact.items()
            },
        }
    return report


def paired_bootstrap(
    prob_a_NC: Array,
    prob_b_NC: Array,
    label_N: Array,
    group_NA: Array,
    classes: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    cluster: Array | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    notions: Mapping[str, Notion] = NOTIONS,
) -> dict[str, Any]:
    """A against B on the same samples, every resample drawn for both: differences A − B with 95% intervals.

    ``{"accuracy": d, "attributes": {name: {"balanced_accuracy": d, "worst_group_accuracy": d, "gaps": {notion: d}}}}``
    with d = ``{"value", "low", "high", "verdict"}``; the verdict is "A" or "B", the better or fairer one, and "not
    shown" where the interval spans 0, or there is none (n_boot 0). Arguments and errors as in ``evaluate_predictions``.
    """
    pair = [
        Predictions.checked(prob, label_N, group_NA, classes, attributes, cluster, notions)
        for prob in (prob_a_NC, prob_b_NC)
    ]
    point, draws = [data.statistics() for data in pair], [data.bootstrap(n_boot, seed) for data in pair]

    def compare(statistic: str, less_is_better: bool, of: str | None = None) -> dict[str, Any]:
        name = statistic if of is None else f"{of}/{statistic}"
        difference = float(point[0][name][0] - point[1][name][0])
        draws_R = draws[0][name] - draws[1][name] if n_boot else np.array([np.nan])
        found = _figure(statistic, difference, draws_R, cut=False)
        low, high = found["low"], found["high"]
        if low is None or high is None or low <= 0 <= high:
            return {**found, "verdict": "not shown"}
        return {**found, "verdict": "A" if (high < 0) == less_is_better else "B"}

    return {
        "accuracy": compare("accuracy", less_is_better=False),
        "attributes": {
            attribute: {
                "balanced_accuracy": compare("balanced_accuracy", less_is_better=False, of=attribute),
                "worst_group_accuracy": compare("worst_group_accuracy", less_is_better=False, of=attribute),
                "gaps": {name: compare(f"gap/{name}", less_is_better=True, of=attribute) for name in notions},
            }
            for attribute in attributes
        },
    }


def interval(value: float, draws_R: Array, basic: bool) -> tuple[float, float]:
    """The basic or the percentile interval of a value; resamples in which it is undefined are left out, NaN if all."""
    draws_R = draws_R[np.isfinite(draws_R)]
    if not len(draws_R):
        return np.nan, np.nan
    low, high = np.quantile(draws_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (2 * value - high, 2 * value - low) if basic else (low, high)


def _figure(statistic: str, value: float, draws_R: Array, cut: bool = True) -> dict[str, float | None]:
    low, high = interval(value, draws_R, basic=statistic.startswith(_BASIC))
    if cut:
        low, high = max(low, 0.0), high if statistic.startswith(_UNBOUNDED) else min(high, 1.0)
    return {key: float(x) if np.isfinite(x) else None for key, x in {"value": value, "low": low, "high": high}.items()}


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
