"""Figures by class are scikit-learn's; an area under a curve of few images is no certainty."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import (
    equal_opportunity_difference,
)
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from test_metrics import ATTRIBUTES, CLASSES, predictions

from supernet.class_metrics import auc
from supernet.fairness import NOTIONS
from supernet.gap_intervals import gap_interval
from supernet.intervals import Cells, cells
from supernet.metrics import evaluate_predictions


def test_figures_by_class_are_sklearns():
    prob, label, group = predictions(num_classes=2)
    label[label == 1] *= np.random.default_rng(1).random((label == 1).sum()) < 0.4  # the second class is rare
    classes = ("sound", "defective")
    predicted = prob.argmax(1)
    report = evaluate_predictions(prob, label, group, classes, ATTRIBUTES)
    assert report["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(label, predicted))
    assert report["auc"]["value"] == pytest.approx(roc_auc_score(label, prob[:, 1]))
    assert report["average_precision"]["value"] == pytest.approx(average_precision_score(label, prob[:, 1]))
    assert report["positive"] == "defective" and report["majority"]["class"] == "sound"
    assert report["majority"]["share"] == pytest.approx((label == 0).mean())
    for k, name in enumerate(classes):
        own = report["by_class"][name]
        assert (own["images"], own["predicted"]) == ((label == k).sum(), (predicted == k).sum())
        assert own["recall"]["value"] == pytest.approx(recall_score(label, predicted, pos_label=k))
        assert own["precision"]["value"] == pytest.approx(precision_score(label, predicted, pos_label=k))
    for g, name in enumerate(ATTRIBUTES["site"]):
        own, here = report["attributes"]["site"]["groups"][name], group[:, 1] == g
        assert own["auc"]["value"] == pytest.approx(roc_auc_score(label[here], prob[here, 1]))
        assert own["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(label[here], predicted[here]))
    for name in ("balanced_accuracy", "auc", "average_precision"):
        assert 0 <= report[name]["low"] < report[name]["value"] < report[name]["high"] <= 1


def test_of_more_classes_balanced_accuracy_alone_and_of_an_absent_class_nothing():
    prob, label, group = predictions()
    label[label == 2] = 0
    report = evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, n_boot=0)
    recalls = recall_score(label, prob.argmax(1), labels=[0, 1], average=None)
    assert report["balanced_accuracy"] == {"value": pytest.approx(recalls.mean()), "low": None, "high": None}
    assert "auc" not in report and report["by_class"]["eel"]["recall"]["value"] is None
    group[:, 1] = np.where(label == 1, 0, 1)  # binary: a group with one class has no AUC
    found = evaluate_predictions(prob[:, :2], label, group, CLASSES[:2], ATTRIBUTES)["attributes"]["site"]["groups"]
    assert found["a"]["auc"]["value"] is None and found["b"]["average_precision"]["value"] is None
    assert found["c"]["balanced_accuracy"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(("right", "exceeded"), [(0.905, False), (0.99, True), (0.8, False)])
def test_an_accuracy_is_held_against_always_naming_the_largest_class(right, exceeded):
    rng = np.random.default_rng(0)
    label = (np.arange(500) >= 454).astype(int)  # 90.8% of the first class
    wrong = rng.permutation(500)[: round(500 * (1 - right))]
    taken = label.copy()
    taken[wrong] = 1 - taken[wrong]
    prob = np.where(np.eye(2)[taken] > 0, 0.9, 0.1)
    found = evaluate_predictions(prob, label, rng.integers(2, size=(500, 1)), ("a", "b"), {"x": ("p", "q")}, n_boot=10)
    assert found["majority"] == {"class": "a", "share": pytest.approx(0.908), "exceeded": exceeded}
    plain = evaluate_predictions(prob, label, rng.integers(2, size=(500, 1)), ("a", "b"), {"x": ("p", "q")}, n_boot=0)
    assert plain["majority"]["exceeded"] == (right > 0.908), "without intervals the accuracy itself"


@pytest.mark.parametrize("per_cluster", [1, 5])
def test_the_interval_of_an_auc_covers(per_cluster):
    """Normal scores, 1 apart: the area is Φ(1/√2); samples of a cluster are alike."""
    truth, held, runs = norm.cdf(1 / 2**0.5), 0, 150
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        units = 200 // per_cluster
        unit = np.repeat(np.arange(units), per_cluster)
        positive = (np.arange(units) % 5 == 0)[unit]
        score = positive + (rng.normal(size=units)[unit] + rng.normal(size=200)) / 2**0.5 if per_cluster > 1 else positive + rng.normal(size=200)  # fmt: skip
        found = auc(positive, score, unit, intervals=True)
        held += found["low"] <= truth <= found["high"]
    assert held / runs >= 0.9


def test_a_perfect_ranking_of_few_images_is_no_certainty():
    found = auc(np.arange(40) < 12, np.arange(40, 0, -1.0), np.arange(40), intervals=True)
    assert found["value"] == found["high"] == 1 and 0.7 < found["low"] < 0.95
    assert auc(np.arange(40) < 3, np.arange(40, 0, -1.0), np.arange(40), intervals=True)["too_few"] == 3


def test_of_two_classes_equal_opportunity_is_told_of_both():
    prob, label, group = predictions(num_classes=2, harm=1.0)
    gaps = evaluate_predictions(prob, label, group, ("sound", "defective"), ATTRIBUTES)["attributes"]["site"]["gaps"]
    other = gaps["equal_opportunity"]["other_class"]
    theirs = equal_opportunity_difference(label == 0, prob.argmax(1) == 0, sensitive_features=group[:, 1])
    assert other["class"] == "sound" and other["value"] == pytest.approx(theirs) and other["low"] is not None
    assert [name for name, gap in gaps.items() if "other_class" in gap] == ["equal_opportunity"]
    gaps = evaluate_predictions(*predictions(), CLASSES, ATTRIBUTES, n_boot=0)["attributes"]["site"]["gaps"]
    assert not any("other_class" in gap for gap in gaps.values())


def test_the_upper_end_of_a_largest_gap_is_that_of_one_class_not_of_ten():
    """One class of ten differs, by much: its own upper end is the gap's; the lower end must hold for all of them."""
    rng = np.random.default_rng(0)
    group_N, label_N = np.repeat([0, 1], 4000), np.tile(np.arange(10), 800)
    p_NE = np.where((label_N == 3) & (group_N == 1), 0.6, 0.9)
    score_NE = np.eye(10)[label_N] * (rng.random(8000) < p_NE)[:, None]
    found = cells(score_NE, np.eye(10, dtype=bool)[label_N], group_N, 2, np.arange(8000), is_rate=True)
    low, high = gap_interval(found, NOTIONS["equal_opportunity"])
    alone = Cells(*(array[:, 3:4] for array in found))
    low_alone, high_alone = gap_interval(alone, NOTIONS["accuracy_parity"])
    assert high == pytest.approx(high_alone) and 0.1 < low < low_alone
