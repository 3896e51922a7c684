"""Figures by class, which see what an accuracy hides where classes are rare: recall, precision, AUC, average precision.

Recall and precision of each class, balanced accuracy (scikit-learn's: the mean recall over the classes that have images), the largest
class's share, and of two classes the area under the ROC curve and the average precision. The last two have Wilson intervals: AUC at
the effective sample size of DeLong's variance (DeLong et al. 1988; in clusters Obuchowski 1997), average precision at the number of
images (clusters) of the positive class (Boyd, Eng & Page 2013).

Shapes: N samples, U units (samples or clusters), C classes, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from supernet.figures import NONE, Figure, figure, rates
from supernet.intervals import TOO_FEW, Cells, cells, mean_interval, rate_interval
from supernet.resampling import Array, Predictions


def class_cells(data: Predictions, group_N: Array, num_groups: int) -> dict[str, Cells]:
    """Selection rate, recall, precision and false-positive rate: the cells of C events each."""
    classes = np.arange(data.prob_NC.shape[1])
    predicted_NC, own_NC = data.predicted_N[:, None] == classes, data.label_N[:, None] == classes
    scores = {
        "selection_rate": (predicted_NC, np.ones_like(own_NC)),
        "recall": (predicted_NC, own_NC),
        "precision": (own_NC, predicted_NC),
        "false_positive_rate": (predicted_NC, ~own_NC),
    }
    return {
        name: cells(score_NC.astype(float), mask_NC, group_N, num_groups, data.unit_N, is_rate=True)
        for name, (score_NC, mask_NC) in scores.items()
    }


def class_figures(data: Predictions, classes: Sequence[str], intervals: bool) -> dict[str, Any]:
    """Of all samples: `by_class` (images, predicted, recall, precision), `balanced_accuracy`, `majority`, and of two classes
    `auc` and `average_precision` (of `positive`, the second).

    `majority`: the class with most images, their share, and `exceeded`: whether the accuracy's interval (or without one the
    accuracy) lies above that share, as always naming that class would.
    """
    everyone_N, number = np.zeros(len(data.label_N), int), len(classes)
    found = {name: rates(own, intervals)[0] for name, own in class_cells(data, everyone_N, 1).items()}
    images_C = np.bincount(data.label_N, minlength=number)
    predicted_C = np.bincount(data.predicted_N, minlength=number)
    largest = int(images_C.argmax())
    share = float(images_C[largest] / images_C.sum())
    right_N1 = (data.predicted_N == data.label_N).astype(float)[:, None]
    accuracy = rates(cells(right_N1, np.ones_like(right_N1), everyone_N, 1, data.unit_N, is_rate=True), intervals)[0][0]
    reached = accuracy["value"] if accuracy["low"] is None else accuracy["low"]
    told = {
        name: {
            "images": int(images_C[k]),
            "predicted": int(predicted_C[k]),
            "recall": found["recall"][k],
            "precision": found["precision"][k],
        }
        for k, name in enumerate(classes)
    }
    majority = {"class": classes[largest], "share": share, "exceeded": bool(reached > share)}
    return {"by_class": told, "majority": majority} | over_classes(data, everyone_N == 0, classes, intervals)


def over_classes(data: Predictions, member_N: Array, classes: Sequence[str], intervals: bool) -> dict[str, Any]:
    """Of some samples, by a mask: `balanced_accuracy`, and of two classes `auc`, `average_precision` and `positive`."""
    label_N, unit_N = data.label_N[member_N], data.unit_N[member_N]
    right_N1 = (data.predicted_N == data.label_N)[member_N].astype(float)[:, None]
    if not len(label_N):
        nothing = figure(np.nan, *NONE)
        binary = {"auc": nothing, "average_precision": nothing, "positive": classes[1]} if len(classes) == 2 else {}
        return {"balanced_accuracy": nothing, **binary}
    recalls = cells(right_N1, np.ones_like(right_N1), label_N, len(classes), unit_N, is_rate=True)  # a class as a group
    ends = mean_interval(recalls)
    mean = float(np.nanmean(recalls.rate_GE))
    least = int(recalls.size_GE[recalls.size_GE > 0].min())
    few = {"too_few": least} if least < TOO_FEW else {}
    found: dict[str, Any] = {
        "balanced_accuracy": figure(mean, *((ends.low[0], ends.high[0]) if intervals else NONE)) | few
    }
    if len(classes) == 2:
        score_N = data.prob_NC[member_N, 1]
        found |= {
            "positive": classes[1],
            "auc": auc(label_N == 1, score_N, unit_N, intervals),
            "average_precision": average_precision(label_N == 1, score_N, unit_N, intervals),
        }
    return found


def auc(positive_N: Array, score_N: Array, unit_N: Array, intervals: bool) -> Figure:
    """Area under the ROC curve; undefined where one of the classes has no images."""
    size = np.array([(~positive_N).sum(), positive_N.sum()])
    if not size.all():
        return figure(np.nan, *NONE)
    value = float(roc_auc_score(positive_N, score_N))
    # the share of the other class's samples that each one is ranked on the right side of (DeLong's structural components)
    place_N = np.empty(len(score_N))
    rank_N = rankdata(score_N)
    for own, others in ((True, size[0]), (False, size[1])):
        mine = positive_N == own
        above_N = (rank_N[mine] - rankdata(score_N[mine])) / others
        place_N[mine] = above_N if own else 1 - above_N
    weighted_N = np.where(positive_N, (place_N - value) / size[1], (place_N - value) / size[0])
    per_U = np.bincount(np.unique(unit_N, return_inverse=True)[1], weighted_N)
    variance = _unbiased(per_U, positive_N, weighted_N)
    spread = value * (1 - value)
    effective = spread / variance if variance > 0 and spread > 0 else float(size.min())
    return _wilson(
        value, min(effective, float(size.sum())), len(per_U) < len(score_N), len(per_U), size.min(), intervals
    )


def _unbiased(per_U: Array, positive_N: Array, weighted_N: Array) -> float:
    """Var of the sum of what each unit adds: of single samples each class by itself, of clusters all together."""
    if len(per_U) < len(weighted_N):
        return float((per_U**2).sum()) * len(per_U) / max(len(per_U) - 1, 1)
    sizes = [(weighted_N[positive_N == own], (positive_N == own).sum()) for own in (True, False)]
    return sum(float((part**2).sum()) * n / max(n - 1, 1) for part, n in sizes)


def average_precision(positive_N: Array, score_N: Array, unit_N: Array, intervals: bool) -> Figure:
    """Mean precision over the ranks of the positive samples; undefined without any. By chance it is their share."""
    number = int(positive_N.sum())
    if not number:
        return figure(np.nan, *NONE)
    value = float(average_precision_score(positive_N, score_N))
    units = len(np.unique(unit_N[positive_N]))
    return _wilson(value, float(units), units < number, units, number, intervals)


def _wilson(value: float, effective: float, clustered: bool, units: int, fewest: int, intervals: bool) -> Figure:
    """`rate_interval` of one cell; `fewest`: images that the figure rests on."""
    size = max(effective, float(units) + 1) if clustered else effective  # more samples than units: Student's quantile
    own = (value, size, effective, float(units) if clustered else size, np.nan, True, 1.0)
    cell = Cells(*(np.array([[x]]) for x in own))
    ends = rate_interval(cell)
    told = figure(value, *((ends.low[0, 0], ends.high[0, 0]) if intervals else NONE))
    return told | ({"too_few": int(fewest)} if fewest < TOO_FEW else {})
