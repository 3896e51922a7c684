"""Reported figures are fairlearn's; intervals hold the truth, also of few images, and are never of width zero."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    recall_score,
)

from supernet.errors import UserError
from supernet.fairness import NOTIONS
from supernet.gap_intervals import gap_interval
from supernet.intervals import cells, rate_interval
from supernet.metrics import evaluate_predictions, interval
from supernet.paired import paired_differences
from supernet.paired_intervals import paired_rate_interval
from supernet.report import words
from supernet.report.facts import Figure, Gap, read
from supernet.resampling import Predictions

CLASSES = ("cat", "dog", "eel")
ATTRIBUTES = {"age": ("young", "old"), "site": ("a", "b", "c")}


def predictions(seed: int = 0, size: int = 300, num_classes: int = 3, harm: float = 0.0):
    """prob_NC, label_N, group_NA; ``harm`` takes evidence from the second group of the first attribute."""
    rng = np.random.default_rng(seed)
    label_N = rng.integers(num_classes, size=size)
    group_NA = np.stack([rng.integers(-1, 2, size), rng.integers(0, 3, size)], 1)
    logit_NC = rng.normal(size=(size, num_classes))
    logit_NC[np.arange(size), label_N] += 2 - harm * (group_NA[:, 0] == 1)
    prob_NC = np.exp(logit_NC)
    return prob_NC / prob_NC.sum(1, keepdims=True), label_N, group_NA


def test_figures_are_fairlearns_and_sklearns():
    prob, label, group = predictions()
    predicted = prob.argmax(1)
    report = evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, n_boot=0)
    assert report["accuracy"]["value"] == pytest.approx(accuracy_score(label, predicted))
    assert report["cross_entropy"]["value"] == pytest.approx(log_loss(label, prob))
    for a, (attribute, names) in enumerate(ATTRIBUTES.items()):
        found, known = report["attributes"][attribute], group[:, a] >= 0
        assert found["unknown"] == (~known).sum()
        y, p, g = label[known], predicted[known], group[known, a]
        frame = MetricFrame(metrics=accuracy_score, y_true=y, y_pred=p, sensitive_features=g)
        for i, name in enumerate(names):
            own = found["groups"][name]
            assert own["count"] == (g == i).sum()
            assert own["accuracy"]["value"] == pytest.approx(frame.by_group[i])
            assert own["confusion"] == confusion_matrix(y[g == i], p[g == i], labels=range(3)).tolist()
            assert [own["recall"][c]["value"] for c in CLASSES] == pytest.approx(
                recall_score(y[g == i], p[g == i], average=None).tolist()
            )
            falsely = [false_positive_rate(y[g == i] == k, p[g == i] == k, pos_label=True) for k in range(len(CLASSES))]
            assert [own["false_positive_rate"][c]["value"] for c in CLASSES] == pytest.approx(falsely)
            assert sum(own["selection_rate"][c]["value"] for c in CLASSES) == pytest.approx(1)
        assert found["mean_group_accuracy"]["value"] == pytest.approx(frame.by_group.mean())
        assert found["worst_group_accuracy"]["value"] == pytest.approx(frame.group_min())
        assert found["worst_group"] == names[int(frame.by_group.idxmin())]
        assert found["pqd"]["value"] == pytest.approx(frame.ratio())
        assert found["gaps"]["accuracy_parity"]["value"] == pytest.approx(frame.difference())
        unfairness = (frame.by_group - frame.overall).abs().sum()
        assert found["gaps"]["unfairness"]["value"] == pytest.approx(unfairness)
        worst = max(demographic_parity_difference(y == k, p == k, sensitive_features=g) for k in range(3))
        assert found["gaps"]["demographic_parity"]["value"] == pytest.approx(worst)
        odds = [equalized_odds_difference(y == k, p == k, sensitive_features=g) for k in range(3)]
        assert found["gaps"]["equalized_odds"]["value"] == pytest.approx(max(odds))


def test_two_classes_are_fairlearns_own_functions():
    prob, label, group = predictions(num_classes=2)
    gaps = evaluate_predictions(prob, label, group, ("no", "yes"), ATTRIBUTES, n_boot=0)["attributes"]["site"]["gaps"]
    for name, function in {
        "demographic_parity": demographic_parity_difference,
        "equal_opportunity": equal_opportunity_difference,
        "equalized_odds": equalized_odds_difference,
    }.items():
        theirs = function(label, prob.argmax(1), sensitive_features=group[:, 1])
        assert gaps[name]["value"] == pytest.approx(theirs)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(8, 60), num_classes=st.integers(2, 4))
def test_gaps_from_the_table_of_counts_equal_those_from_fairlearns_rates(seed, size, num_classes):
    """Empty cells, unknown groups and all; so intervals are about the reported figures."""
    prob, label, group = predictions(seed, size, num_classes)
    group[:2, 0], group[:2, 1] = (0, 1), (0, 1)
    classes = [str(k) for k in range(num_classes)]
    report = evaluate_predictions(prob, label, group, classes, ATTRIBUTES, n_boot=0)
    table = Predictions.checked(prob, label, group, classes, ATTRIBUTES).statistics()
    for attribute in ATTRIBUTES:
        for name in NOTIONS:
            exact = report["attributes"][attribute]["gaps"][name]["value"]
            from_table = table[f"{attribute}/gap/{name}"][0]
            assert from_table == pytest.approx(np.nan if exact is None else exact, nan_ok=True, abs=1e-9)


def test_calibration_error_is_the_weighted_distance_of_confidence_and_accuracy():
    prob, label, group = predictions()
    table = Predictions.checked(prob, label, group, CLASSES, ATTRIBUTES).statistics()
    for g in range(3):
        own = group[:, 1] == g
        confidence, right = prob[own].max(1), prob[own].argmax(1) == label[own]
        bins = np.ceil(confidence * 15 + 1e-12)
        expected = sum(
            (bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean()) for b in np.unique(bins)
        )
        assert table["site/ece"][0, g] == pytest.approx(expected)


@pytest.mark.parametrize("clustered", [False, True])
def test_a_resample_is_the_statistic_of_the_data_drawn_again(clustered):
    prob, label, group = predictions(size=60)
    cluster = np.random.default_rng(0).integers(9, size=60) if clustered else None
    data = Predictions.checked(prob, label, group, CLASSES, ATTRIBUTES, cluster)
    weights = np.random.default_rng(1).multinomial(data.num_units, np.full(data.num_units, 1 / data.num_units))
    drawn = np.repeat(np.arange(60), weights[data.unit_N])
    again = Predictions.checked(prob[drawn], label[drawn], group[drawn], CLASSES, ATTRIBUTES).statistics()
    resampled = data.statistics(weights[None].astype(float))
    assert again.keys() == resampled.keys()
    for name, value in again.items():
        np.testing.assert_allclose(resampled[name], value, err_msg=name)


def test_intervals_are_repeatable_and_of_the_right_width():
    prob, label, group = predictions(size=400)
    reports = [evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, n_boot=150, seed=3) for _ in range(2)]
    assert reports[0] == reports[1]
    accuracy = reports[0]["accuracy"]
    expected = 2 * 1.96 * np.sqrt(accuracy["value"] * (1 - accuracy["value"]) / 400)
    assert accuracy["high"] - accuracy["low"] == pytest.approx(expected, rel=0.25)


def test_whole_clusters_widen_the_interval_where_their_samples_are_alike():
    prob, label, group = (np.repeat(x, 10, 0) for x in predictions(size=60))
    writer = np.repeat(np.arange(60), 10)
    widths = []
    for cluster in (None, writer):
        found = evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, cluster=cluster, n_boot=150)
        widths.append(found["accuracy"]["high"] - found["accuracy"]["low"])
    assert widths[1] == pytest.approx(widths[0] * np.sqrt(10), rel=0.3)
    assert found["bootstrap"]["unit"] == "cluster" and found["bootstrap"]["units"] == 60


def test_a_gap_of_noise_alone_has_an_interval_that_reaches_zero():
    prob, label, group = predictions(seed=1, size=2000)
    gaps = evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, n_boot=60)["attributes"]["age"]["gaps"]
    assert gaps["equalized_odds"]["low"] == 0 < gaps["equalized_odds"]["value"]
    harmed, label, group = predictions(seed=1, size=2000, harm=1.5)
    gaps = evaluate_predictions(harmed, label, group, CLASSES, ATTRIBUTES, n_boot=60)["attributes"]["age"]["gaps"]
    assert gaps["accuracy_parity"]["low"] > 0.1


def test_the_report_is_json_with_empty_groups_marked():
    prob, label, group = predictions(size=40)
    group[group[:, 1] == 2, 1] = 1
    report = evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, n_boot=20)
    site = json.loads(json.dumps(report, allow_nan=False))["attributes"]["site"]
    assert site["empty_groups"] == ["c"]
    assert site["groups"]["c"]["count"] == 0
    assert site["groups"]["c"]["accuracy"] == {"value": None, "low": None, "high": None}
    assert site["gaps"]["accuracy_parity"]["empty_cells"] == 1


def test_an_attribute_named_with_a_slash_is_a_name_like_any_other():
    prob, label, group = predictions(size=40)
    report = evaluate_predictions(prob, label, group[:, 1:], CLASSES, {"a/gap/b": ("x", "y", "z")}, n_boot=5)
    assert report["attributes"]["a/gap/b"]["groups"]["x"]["count"] == (group[:, 1] == 0).sum()


def test_the_fairer_of_two_models_is_shown_only_where_it_is():
    (a, label, group), (b, _, _) = predictions(size=3000), predictions(size=3000, harm=1.5)
    found = paired_differences(a, b, label, group, CLASSES, ATTRIBUTES, n_boot=100)
    age = found["attributes"]["age"]
    assert age["gaps"]["accuracy_parity"]["verdict"] == "A" and age["gaps"]["accuracy_parity"]["high"] < 0
    assert found["accuracy"]["verdict"] == age["mean_group_accuracy"]["verdict"] == "A"
    swapped = paired_differences(b, a, label, group, CLASSES, ATTRIBUTES, n_boot=100)
    assert swapped["attributes"]["age"]["gaps"]["accuracy_parity"]["verdict"] == "B"
    alike = paired_differences(a, a, label, group, CLASSES, ATTRIBUTES, n_boot=50)
    assert (
        alike["accuracy"]["verdict"] == alike["attributes"]["age"]["gaps"]["equalized_odds"]["verdict"] == "not shown"
    )


def test_the_basic_interval_mirrors_the_percentile_interval():
    draws = np.linspace(0, 1, 1001)
    assert interval(0.2, draws, basic=False) == pytest.approx((0.025, 0.975))
    assert interval(0.2, draws, basic=True) == pytest.approx((0.4 - 0.975, 0.4 - 0.025))
    assert np.isnan(interval(0.2, np.full(3, np.nan), basic=True)).all()


@pytest.mark.parametrize(
    "change,message",
    [
        ({"group_NA": np.zeros((40, 2), int)}, 'only the group "young"'),
        ({"group_NA": np.full((40, 2), -1)}, "no known group"),
        ({"group_NA": np.full((40, 2), 7)}, "outside 0 to 1"),
        ({"group_NA": np.zeros((40, 1), int)}, "shape"),
        ({"label_N": np.full(40, 3)}, "label lies outside 0 to 2"),
        ({"label_N": np.zeros(39, int)}, "shape"),
        ({"prob_NC": np.full((40, 3), np.nan)}, "not finite"),
        ({"prob_NC": np.zeros((0, 3))}, "empty"),
        ({"cluster": np.zeros(39)}, "39 cluster ids for 40"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    prob, label, group = predictions(size=40)
    given_ = {"prob_NC": prob, "label_N": label, "group_NA": group, "classes": CLASSES, "attributes": ATTRIBUTES}
    with pytest.raises(UserError, match=message):
        evaluate_predictions(**(given_ | change))


def test_without_resamples_nothing_is_shown():
    (a, label, group), (b, _, _) = predictions(), predictions(harm=1.5)
    found = paired_differences(a, b, label, group, CLASSES, ATTRIBUTES, n_boot=0)
    gap = found["attributes"]["age"]["gaps"]["accuracy_parity"]
    assert gap["value"] < 0 and gap["low"] is gap["high"] is None
    assert gap["verdict"] == found["accuracy"]["verdict"] == "not shown"


@pytest.mark.parametrize(("right", "size"), [(1, 1), (0, 3), (12, 12), (499, 500)])
def test_a_rate_is_never_certain_and_wilsons(right, size):
    score_N1 = (np.arange(size) < right).astype(float)[:, None]
    found = cells(score_N1, np.ones((size, 1)), np.zeros(size, int), 1, np.arange(size), is_rate=True)
    ends = rate_interval(found)
    low, high = float(ends.low[0, 0]), float(ends.high[0, 0])
    assert 0 <= low < high <= 1 and low <= right / size <= high
    wilson = binomtest(right, size).proportion_ci(method="wilson")
    assert low <= wilson.low + 1e-9 and high >= wilson.high - 1e-9
    assert high - low < 1.25 * (wilson.high - wilson.low), "wider only where the exact bound asks for it"


def test_one_image_is_no_evidence_of_a_gap():
    """A group of one image that is right, beside one that is right half the time."""
    label = np.zeros(41, int)
    predicted = np.r_[np.zeros(21, int), np.ones(20, int)]
    group = np.r_[1, np.zeros(40, int)][:, None]
    prob = np.eye(3)[predicted]
    report = evaluate_predictions(prob, label, group, CLASSES, {"g": ("common", "rare")}, n_boot=50)
    rare, gap = (
        report["attributes"]["g"]["groups"]["rare"]["accuracy"],
        report["attributes"]["g"]["gaps"]["accuracy_parity"],
    )
    assert rare["too_few"] == 1 and rare["high"] - rare["low"] > 0.5
    assert gap["low"] == 0 < gap["value"] < gap["high"] <= 1
    figure = read(Figure, rare)
    assert words.interval(figure) == words.estimate(figure) == "too few images (1)"


def test_equal_small_groups_have_no_gap_of_width_zero():
    prob, label, group = np.eye(3)[np.zeros(40, int)], np.zeros(40, int), np.repeat([[0], [1]], 20, 0)
    gaps = evaluate_predictions(prob, label, group, CLASSES, {"g": ("a", "b")}, n_boot=50)["attributes"]["g"]["gaps"]
    for name, gap in gaps.items():
        if name not in ("mmd", "loss_parity"):
            assert gap["value"] == gap["low"] == 0 or name == "worst_group_accuracy"
            assert gap["high"] is None or 0.05 < gap["high"] <= 1, name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(6, 80), clustered=st.booleans())
def test_intervals_hold_their_value_inside_the_possible(seed, size, clustered):
    prob, label, group = predictions(seed, size)
    group[:2] = [[0, 0], [1, 1]]
    cluster = np.arange(size) // 3 if clustered else None
    report = evaluate_predictions(prob, label, group, CLASSES, ATTRIBUTES, cluster=cluster, n_boot=5)
    for found in report["attributes"].values():
        assert list(found["gaps"]) == list(NOTIONS)
        for name, gap in found["gaps"].items():
            if gap["low"] is not None:
                assert 0 <= gap["low"] <= gap["value"] <= gap["high"], name
                assert gap["low"] < gap["high"], name
                assert gap["high"] <= 1 or name in ("loss_parity", "unfairness")
        for name in ("mean_group_accuracy", "worst_group_accuracy", "pqd"):
            figure = found[name]
            assert figure["value"] is None or 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1, name
    other = prob[np.random.default_rng(seed).permutation(size)]
    paired = paired_differences(prob, other, label, group, CLASSES, ATTRIBUTES, cluster=cluster, n_boot=5)
    assert -1 <= paired["accuracy"]["low"] < paired["accuracy"]["high"] <= 1


def test_coverage_of_the_intervals():
    """A short form of benchmarks/interval_coverage.py: 95% is promised, 90% asked for in 300 draws of a hard cell."""
    rng, hits = np.random.default_rng(0), {"rate": 0, "gap": 0, "clustered": 0}
    for _ in range(300):
        group_N = np.repeat([0, 1], 60)
        p_N = np.array([0.97, 0.95])[group_N]
        score_N1 = (rng.random(120) < p_N).astype(float)[:, None]
        found = cells(score_N1, np.ones((120, 1)), group_N, 2, np.arange(120), is_rate=True)
        ends, (low, high) = rate_interval(found), gap_interval(found, NOTIONS["accuracy_parity"])
        hits["rate"] += ends.low[1, 0] <= 0.95 <= ends.high[1, 0]
        hits["gap"] += low <= 0.02 <= high
        writer = rng.beta(4, 1, size=24)  # mean .8, strongly alike within a writer
        score_N1 = (rng.random(120) < np.repeat(writer, 5)).astype(float)[:, None]
        ends = rate_interval(
            cells(score_N1, np.ones((120, 1)), np.zeros(120, int), 1, np.repeat(np.arange(24), 5), True)
        )
        hits["clustered"] += ends.low[0, 0] <= 0.8 <= ends.high[0, 0]
    assert min(hits.values()) >= 0.9 * 300, hits


def test_a_margin_is_an_equivalence_test():
    label, group = np.zeros(4000, int), np.repeat([[0], [1]], 2000, 0)
    prob = np.eye(3)[(np.arange(4000) % 100 < 5).astype(int)]  # both groups are right 95% of the time
    report = evaluate_predictions(prob, label, group, CLASSES, {"g": ("a", "b")}, n_boot=5, margin=0.03)
    gap = report["attributes"]["g"]["gaps"]["accuracy_parity"]
    assert gap["within_margin"] and words.estimate_and_verdict("accuracy_parity", read(Gap, gap)).endswith(
        "within 0.03: shown"
    )
    few = evaluate_predictions(
        prob[1900:2100], label[:200], group[1900:2100], CLASSES, {"g": ("a", "b")}, n_boot=5, margin=0.03
    )
    assert not few["attributes"]["g"]["gaps"]["accuracy_parity"]["within_margin"]


def test_the_paired_difference_is_bonett_and_prices():
    """Their formula by hand: 9 images won, 2 lost, of 50."""
    a, b = np.ones(50), np.ones(50)
    b[:9], a[9:11] = 0, 0
    low, high = paired_rate_interval(a, b, np.arange(50))
    up, down = 10 / 52, 3 / 52
    half = 1.959964 * np.sqrt((up + down - (up - down) ** 2) / 52)
    assert (low, high) == pytest.approx((up - down - half, up - down + half))
    low, high = paired_rate_interval(a, a, np.arange(50))
    assert low < 0 < high, "the same predictions are no proof that two networks are the same"
