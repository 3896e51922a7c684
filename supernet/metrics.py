"""Hard metrics of given predictions, overall and by group, with 95% intervals; JSON-ready.

Rates by group come from fairlearn's ``MetricFrame``, a notion's events as its control features; events and aggregations
are those of ``supernet.fairness``, so that what is reported is what was trained for.

Rates, their minimum, mean and ratio over groups, and every gap have the intervals of ``supernet.intervals``: they hold for few
images, near 0 and 1, and near a gap of 0, where a bootstrap does not (``benchmarks/interval_coverage.py``). Only the
cross-entropy (percentile interval) and the calibration error (basic interval, Davison & Hinkley 1997, 5.2) come from bootstrap
resamples, of whole clusters where they are known. ``mmd`` has no interval: none that covers is known to us.

Shapes: N samples, C classes, A attributes, G groups, E events, R bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fairlearn.metrics import MetricFrame, count
from sklearn.metrics import accuracy_score

from supernet.class_metrics import class_cells, class_figures, over_classes
from supernet.fairness import NOTIONS, Notion
from supernet.figures import NONE, figure, rates
from supernet.gap_figures import Shown, gap_figures
from supernet.gap_intervals import gap_interval
from supernet.intervals import LEVEL, Cells, cells, mean_interval
from supernet.resampling import Array, Predictions


def evaluate_predictions(
    prob_NC: Array,
    label_N: Array,
    group_NA: Array,
    classes: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    *,
    cluster: Array | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    notions: Mapping[str, Notion] = NOTIONS,
    margin: float | None = None,
) -> dict[str, Any]:
    """Everything the report says about these predictions, as a JSON-ready dict.

    prob_NC: probabilities. group_NA: int, −1 = unknown. attributes: name → names of its groups, in the order of the
    columns of group_NA. cluster: an id a sample; whole clusters are resampled. n_boot: resamples, 0 for no intervals.
    notions: those to report, by the name that they get there.

    margin: a gap that does not matter; each gap then says whether it is shown to be within it.

    A figure is ``{"value", "low", "high"}``, None where it is undefined: an empty group, or no intervals asked for. A rate
    of fewer than 10 images also has ``too_few``, their number. A gap counts its ``empty_cells`` (left out), names its
    ``worst_event`` ("class 3"), of two classes and a notion of one of them says it of the ``other_class`` too, and has ``within_margin`` (True where a one-sided 5% test shows it).
    ``confusion`` has counts, rows are true classes: of each group, or of all samples where the groups are the classes.
    Raises UserError for shapes or values that do not fit, and for an attribute with fewer than two groups present.
    """
    data = Predictions.checked(prob_NC, label_N, group_NA, classes, attributes, cluster, notions)
    point, draws = data.statistics(), data.bootstrap(n_boot, seed)
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
        "accuracy": rates(_right(data, np.zeros(len(data.label_N), int), 1), n_boot > 0)[0][0],
        **{name: _resampled(name, point, draws, 0) for name in ("cross_entropy", "ece")},
        **class_figures(data, classes, n_boot > 0),
        "attributes": {},
    }
    if any(_are_classes(data, column, classes) for column in range(len(attributes))):
        report["confusion"] = data.confusion_GCC(np.zeros(len(data.label_N), int), 1)[0].tolist()
    for column, attribute in enumerate(attributes):
        report["attributes"][attribute] = _attribute(data, column, classes, point, draws, margin)
    return report


def _are_classes(data: Predictions, column: int, classes: Sequence[str]) -> bool:
    """Whether an attribute's groups are the classes themselves, as in data without groups."""
    names = list(data.attributes.values())[column]
    return tuple(names) == tuple(classes) and np.array_equal(data.group_NA[:, column], data.label_N)


def _attribute(
    data: Predictions,
    column: int,
    classes: Sequence[str],
    point: Mapping[str, Array],
    draws: Mapping[str, Array],
    margin: float | None,
) -> dict[str, Any]:
    """What the report says of the groups of one attribute."""
    attribute, names = list(data.attributes.items())[column]
    group_N, intervals = data.group_NA[:, column], bool(draws)
    known_N = group_N >= 0
    frame = MetricFrame(
        metrics={"accuracy": accuracy_score, "count": count},
        y_true=data.label_N[known_N],
        y_pred=data.predicted_N[known_N],
        sensitive_features=group_N[known_N],
    ).by_group
    right = _right(data, group_N, len(names))
    accuracy_G = [row[0] for row in rates(right, intervals)]
    by_class = {name: rates(found, intervals) for name, found in class_cells(data, group_N, len(names)).items()}
    # a class's own is one row of the confusion of all samples, and C tables of C × C would make a file that no command reads
    confusion_GCC = None if _are_classes(data, column, classes) else data.confusion_GCC(group_N, len(names))
    groups: dict[str, Any] = {}
    for g, group in enumerate(names):
        present = g in frame.index
        groups[group] = {
            "count": int(frame["count"][g]) if present else 0,
            "accuracy": accuracy_G[g] | {"value": float(frame["accuracy"][g]) if present else None},
            **{name: _resampled(name, point, draws, g, of=attribute) for name in ("cross_entropy", "ece")},
            **{name: dict(zip(classes, figures[g], strict=True)) for name, figures in by_class.items()},
            **over_classes(data, group_N == g, classes, intervals),
            **({} if confusion_GCC is None else {"confusion": confusion_GCC[g].tolist()}),
        }
    means = {name: float(point[f"{attribute}/{name}"][0]) for name in _OVER_GROUPS}
    return {
        "groups": groups,
        "unknown": int((~known_N).sum()),
        "empty_groups": [group for g, group in enumerate(names) if g not in frame.index],
        **{name: figure(value, *(_OVER_GROUPS[name](right) if intervals else NONE)) for name, value in means.items()},
        "worst_group": names[int(frame["accuracy"].idxmin())],
        "gaps": gap_figures(data, group_N, names, classes, Shown(intervals, margin)),
    }


def _right(data: Predictions, group_N: Array, num_groups: int) -> Cells:
    """Accuracy by group: the cells of one event, all samples."""
    right_N1 = (data.predicted_N == data.label_N).astype(float)[:, None]
    return cells(right_N1, np.ones_like(right_N1), group_N, num_groups, data.unit_N, is_rate=True)


def _worst_interval(right: Cells) -> tuple[float, float]:
    worst = gap_interval(right, NOTIONS["worst_group_accuracy"])
    return 1 - worst[1], 1 - worst[0]


def _ratio_interval(right: Cells) -> tuple[float, float]:
    ratio = gap_interval(right, NOTIONS["accuracy_ratio"])
    return 1 - ratio[1], 1 - ratio[0]


def _mean_interval(right: Cells) -> tuple[float, float]:
    ends = mean_interval(right)
    return float(ends.low[0]), float(ends.high[0])


_OVER_GROUPS = {"mean_group_accuracy": _mean_interval, "worst_group_accuracy": _worst_interval, "pqd": _ratio_interval}


def _resampled(
    statistic: str, point: Mapping[str, Array], draws: Mapping[str, Array], group: int, of: str | None = None
) -> dict[str, Any]:
    """The figure of a statistic that has its interval from resamples: cross_entropy, ece."""
    name = statistic if of is None else f"{of}/{statistic}"
    exact, draws_R = point[name], draws.get(name, np.full_like(point[name], np.nan))
    if of is not None:
        exact, draws_R = exact[:, group], draws_R[:, group]
    low, high = interval(float(exact[0]), draws_R, basic=statistic == "ece")
    if not low < high:  # one sample, or one cluster: no width is known
        low, high = NONE
    return figure(float(exact[0]), max(low, 0.0), high if statistic == "cross_entropy" else min(high, 1.0))


def interval(value: float, draws_R: Array, basic: bool) -> tuple[float, float]:
    """The basic or the percentile interval of a value; resamples in which it is undefined are left out, NaN if all."""
    draws_R = draws_R[np.isfinite(draws_R)]
    if not len(draws_R):
        return np.nan, np.nan
    low, high = np.quantile(draws_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (2 * value - high, 2 * value - low) if basic else (low, high)
