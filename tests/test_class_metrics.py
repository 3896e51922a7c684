"""Intervals of AUC and average precision, against their formulas written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from supernet.class_metrics import auc, average_precision
from supernet.intervals import Cells, rate_interval
from supernet.metrics import evaluate_predictions


def ends(value: float, effective: float, size: float, units: float) -> tuple[float, float]:
    """The interval of one rate at an effective sample size."""
    found = rate_interval(Cells(*(np.array([[x]]) for x in (value, size, effective, units, np.nan, True, 1.0))))
    return float(found.low[0, 0]), float(found.high[0, 0])


def delong(positive: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """(area, (N,) what each sample adds to its error): DeLong et al. (1988), eqs. 4 and 5, pair by pair."""
    ahead = (score[:, None] > score) + 0.5 * (score[:, None] == score)  # [i, j]: i is ranked above j
    area = ahead[np.ix_(positive, ~positive)].mean()
    own = np.where(positive, ahead[:, ~positive].mean(1), ahead[positive].mean(0))
    return area, (own - area) / np.where(positive, positive.sum(), (~positive).sum())


def scores(seed: int, size: int, rare: int) -> tuple[np.ndarray, np.ndarray]:
    """One in `rare` is positive; scores have ties."""
    rng = np.random.default_rng(seed)
    positive = np.arange(size) % rare == 0
    return positive, np.round(positive + rng.normal(size=size), 1)


@pytest.mark.parametrize(("size", "rare"), [(72, 6), (40, 2), (25, 12)])
def test_an_aucs_interval_is_that_of_a_rate_at_delongs_variance(size: int, rare: int) -> None:
    positive, score = scores(size, size, rare)
    area, error = delong(positive, score)
    variance = sum(
        (error[own] ** 2).sum() * own.sum() / (own.sum() - 1) for own in (positive, ~positive)
    )  # each class's sample variance over its size
    found = auc(positive, score, np.arange(size), intervals=True)
    effective = min(area * (1 - area) / variance, size)
    assert found["value"] == pytest.approx(area)
    assert (found["low"], found["high"]) == pytest.approx(ends(area, effective, effective, effective))


def test_of_clusters_it_is_at_obuchowskis_variance_with_students_quantile() -> None:
    positive, score = scores(1, 60, 4)
    unit = np.repeat(np.arange(15), 4) // 2 * 3  # seven clusters of eight, one of four; their names have holes
    area, error = delong(positive, score)
    per_unit = np.array([error[unit == name].sum() for name in np.unique(unit)])
    units = len(per_unit)
    effective = area * (1 - area) / ((per_unit**2).sum() * units / (units - 1))
    found = auc(positive, score, unit, intervals=True)
    expected = ends(area, min(effective, 60), max(effective, units + 1), units)
    assert (found["low"], found["high"]) == pytest.approx(expected)


@pytest.mark.parametrize("score", [np.zeros(40), np.where(np.arange(40) < 12, 1.0, 0.0)])
def test_where_the_variance_says_nothing_the_smaller_class_is_the_sample(score: np.ndarray) -> None:
    positive = np.arange(40) < 12
    value = 0.5 if score.max() == 0 else 1.0
    found = auc(positive, score, np.arange(40), intervals=True)
    assert (found["low"], found["high"]) == pytest.approx(ends(value, 12, 12, 12))
    assert "too_few" not in found


def test_an_average_precision_rests_on_the_positive_images_or_their_clusters() -> None:
    positive, score = scores(2, 96, 4)
    found = average_precision(positive, score, np.arange(96), intervals=True)
    assert (found["low"], found["high"]) == pytest.approx(ends(found["value"], 24, 24, 24))
    unit = np.arange(96) // 8  # two positive ones in each of twelve
    clustered = average_precision(positive, score, unit, intervals=True)
    assert (clustered["low"], clustered["high"]) == pytest.approx(ends(found["value"], 12, 13, 12))
    assert average_precision(positive & (np.arange(96) < 9), score, unit, intervals=True)["too_few"] == 3


def test_twenty_right_of_twenty_are_not_shown_to_exceed_a_majority_of_nine_tenths() -> None:
    label = (np.arange(20) < 2).astype(int)
    prob = np.where(np.eye(2)[label] > 0, 0.9, 0.1)
    found = evaluate_predictions(prob, label, np.arange(20)[:, None] % 2, ("a", "b"), {"x": ("p", "q")}, n_boot=10)
    assert found["accuracy"]["value"] == 1 and found["majority"]["exceeded"] is False
