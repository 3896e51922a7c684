"""Soft gaps equal fairlearn's hard metrics at one-hot predictions; gradients and invariances are right."""

from __future__ import annotations

import itertools
import math

import fairret.loss
import fairret.statistic
import numpy as np
import pytest
import torch
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equalized_odds_difference,
    selection_rate,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import one_hot, random_probs, random_table
from sklearn.metrics import accuracy_score

from supernet.errors import UserError
from supernet.fairness import (
    EVENTS,
    GROUPS,
    NOTIONS,
    gap_of_sums,
    get_notion,
    group_sums,
    intersection,
    rates,
    soft_gap,
    soft_gap_per_attribute,
)
from supernet.metrics import evaluate_predictions

FOUR = ("accuracy_parity", "demographic_parity", "equal_opportunity", "equalized_odds")
HARD = {name: (name, "difference") for name in FOUR} | {
    "unfairness": ("accuracy_parity", "sum"),
    "worst_group_accuracy": ("accuracy_parity", "worst"),
    "accuracy_ratio": ("accuracy_parity", "ratio"),
}  # name → the rates compared, and how: `fairlearn_gap`'s words
FAIR_AT_ZERO = [name for name in NOTIONS if name != "worst_group_accuracy"]


def mmd_kernel(prob: torch.Tensor) -> torch.Tensor:
    """(B, B) of the random features by which it is computed."""
    features_BE, _ = NOTIONS["mmd"].scores(prob, torch.zeros(len(prob), dtype=torch.int64))
    return features_BE @ features_BE.T


def fairlearn_gap(name: str, label, predicted, group, num_classes: int, groups="difference", events="worst") -> float:
    """By fairlearn alone: one MetricFrame an event, on the event's samples, so that empty cells do not appear."""
    label, predicted, group = (x.numpy()[group.numpy() >= 0] for x in (label, predicted, group))
    everyone = np.ones(len(label), bool)
    scored = [1] if num_classes == 2 else range(num_classes)
    if name == "accuracy_parity":
        cases = [(everyone, label == predicted)]
    else:
        conditions = {
            "demographic_parity": lambda k: [everyone],
            "equal_opportunity": lambda k: [label == k],
            "equalized_odds": lambda k: [label == k, label != k],
        }[name]
        cases = [(mask, predicted == k) for k in scored for mask in conditions(k)]
    gaps = []
    for mask, hit in cases:
        if len(np.unique(group[mask])) >= 2:
            frame = MetricFrame(
                metrics=selection_rate, y_true=hit[mask], y_pred=hit[mask].astype(int), sensitive_features=group[mask]
            )
            to_overall = (frame.by_group - frame.overall).abs()
            by = {
                "difference": frame.difference(),
                "ratio": 1 - (frame.ratio() if frame.by_group.max() > 0 else 1.0),
                "mean": to_overall.mean(),
                "sum": to_overall.sum(),
                "worst": 1 - frame.group_min(),
                "square": (to_overall**2).mean(),
            }
            gaps.append(by[groups])
    combine = {"worst": max, "mean": np.mean, "sum": sum}[events]
    return float(combine(gaps)) if gaps else 0.0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 60),
    num_classes=st.integers(2, 5),
    num_groups=st.integers(1, 4),
    name=st.sampled_from(FOUR),
    groups=st.sampled_from(list(GROUPS)),
    events=st.sampled_from(list(EVENTS)),
)
def test_soft_gap_at_one_hot_predictions_is_fairlearns(seed, size, num_classes, num_groups, name, groups, events):
    label, predicted, group = random_table(seed, size, num_classes, num_groups, unknown=True)
    notion = get_notion(name, groups, events)
    ours = soft_gap(one_hot(predicted, num_classes), label, group, num_groups, notion)
    assert ours.item() == pytest.approx(
        fairlearn_gap(name, label, predicted, group, num_classes, groups, events), abs=1e-12
    )


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), num_groups=st.integers(2, 4))
def test_two_classes_are_fairlearns_own_binary_functions(seed, num_groups):
    label, predicted, group = random_table(seed, 200, 2, num_groups)
    cells = {(int(y), int(g)) for y, g in zip(label, group, strict=True)}
    if len(cells) < 2 * len(group.unique()):
        return  # fairlearn scores an empty cell 0, we leave it out
    prob = one_hot(predicted, 2)
    for name, function in {
        "demographic_parity": demographic_parity_difference,
        "equal_opportunity": equal_opportunity_difference,
        "equalized_odds": equalized_odds_difference,
    }.items():
        theirs = function(label.numpy(), predicted.numpy(), sensitive_features=group.numpy())
        assert soft_gap(prob, label, group, num_groups, name).item() == pytest.approx(theirs, abs=1e-12)
    frame = MetricFrame(metrics=accuracy_score, y_true=label, y_pred=predicted, sensitive_features=group)
    assert soft_gap(prob, label, group, num_groups, "accuracy_parity").item() == pytest.approx(frame.difference())
    ratio = demographic_parity_ratio(label.numpy(), predicted.numpy(), sensitive_features=group.numpy())
    ours = soft_gap(prob, label, group, num_groups, get_notion("demographic_parity", groups="ratio")).item()
    assert ours == pytest.approx(1 - (1.0 if np.isnan(ratio) else ratio))


@pytest.mark.parametrize("name", HARD)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 60),
    num_classes=st.integers(2, 5),
    num_groups=st.integers(1, 5),
)
def test_training_and_report_have_fairlearns_value_of_every_hard_notion(name, seed, size, num_classes, num_groups):
    label, predicted, group = random_table(seed, size, num_classes, num_groups, unknown=True)
    prob = one_hot(predicted, num_classes)
    rates_of, groups = HARD[name]
    expected = fairlearn_gap(rates_of, label, predicted, group, num_classes, groups)
    assert soft_gap(prob, label, group, num_groups, name).item() == pytest.approx(expected, abs=1e-12)
    if len(group[group >= 0].unique()) >= 2:
        classes, attributes = [str(k) for k in range(num_classes)], {"site": [str(g) for g in range(num_groups)]}
        notions = {name: NOTIONS[name]}
        report = evaluate_predictions(prob, label, group[:, None], classes, attributes, n_boot=0, notions=notions)
        reported = report["attributes"]["site"]["gaps"][name]["value"]
        assert (reported or 0.0) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 60),
    num_classes=st.integers(2, 5),
    num_groups=st.integers(1, 5),
    hard=st.booleans(),
)
def test_the_notions_of_probabilities_are_their_formulas(seed, size, num_classes, num_groups, hard):
    """Of the samples whose group is known: loss by group, and MMD² = mean k(own, own) − 2 k(own, all) + k(all, all)."""
    label, predicted, group = random_table(seed, size, num_classes, num_groups, unknown=True)
    prob = one_hot(predicted, num_classes) if hard else random_probs(seed, size, num_classes)
    loss_B = -np.log(np.maximum(prob.numpy()[np.arange(size), label], 1e-12))
    kernel_BB = mmd_kernel(prob).numpy()
    known = np.flatnonzero(group >= 0)
    present = [np.flatnonzero(group == g) for g in range(num_groups) if (group == g).any()]
    expected = {"loss_parity": 0.0, "mmd": 0.0}
    if len(present) >= 2:
        mean_G = [loss_B[own].mean() for own in present]
        expected["loss_parity"] = max(mean_G) - min(mean_G)
        everybody = kernel_BB[np.ix_(known, known)].mean()
        expected["mmd"] = np.mean(
            [
                kernel_BB[np.ix_(own, own)].mean() - 2 * kernel_BB[np.ix_(own, known)].mean() + everybody
                for own in present
            ]
        )
    for name, value in expected.items():
        assert soft_gap(prob, label, group, num_groups, name).item() == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_mmds_kernel_is_nearly_gaussian(num_classes):
    prob = random_probs(1, 120, num_classes)
    gaussian_BB = (-(torch.cdist(prob, prob) ** 2) / (2 * 0.5**2)).exp()
    assert (mmd_kernel(prob) - gaussian_BB).abs().mean() < 0.1


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", NOTIONS)
def test_every_notion_has_the_gradient_of_its_value(name, num_classes):
    label, _, group = random_table(3, 12, num_classes, 3)
    logits = torch.randn(12, num_classes, dtype=torch.double, requires_grad=True)

    def gap(x):
        return soft_gap(x.softmax(1), label, group, 3, name)

    assert torch.autograd.gradcheck(gap, (logits,))


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("events", EVENTS)
def test_every_aggregation_has_the_gradient_of_its_value(groups, events):
    label, _, group = random_table(5, 12, 3, 3)
    logits = torch.randn(12, 3, dtype=torch.double, requires_grad=True)
    notion = get_notion("equalized_odds", groups, events)
    assert torch.autograd.gradcheck(lambda x: soft_gap(x.softmax(1), label, group, 3, notion), (logits,))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 40),
    num_classes=st.integers(2, 4),
    num_groups=st.integers(1, 4),
    name=st.sampled_from(list(NOTIONS)),
)
def test_names_of_groups_and_order_of_samples_do_not_matter(seed, size, num_classes, num_groups, name):
    label, _, group = random_table(seed, size, num_classes, num_groups, unknown=True)
    prob = random_probs(seed, size, num_classes)
    gap = soft_gap(prob, label, group, num_groups, name).item()
    generator = torch.Generator().manual_seed(seed)
    order, names = torch.randperm(size, generator=generator), torch.randperm(num_groups, generator=generator)
    renamed = torch.where(group < 0, -1, names[group])
    assert soft_gap(prob[order], label[order], renamed[order], num_groups, name).item() == pytest.approx(gap, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    num_classes=st.integers(2, 4),
    num_groups=st.integers(2, 4),
    notion=st.sampled_from(FAIR_AT_ZERO),
)
def test_groups_that_are_served_alike_have_gap_zero(seed, num_classes, num_groups, notion):
    label, _, _ = random_table(seed, 15, num_classes, 1)
    prob = random_probs(seed, 15, num_classes)
    group = torch.arange(num_groups).repeat_interleave(15)
    gap = soft_gap(prob.repeat(num_groups, 1), label.repeat(num_groups), group, num_groups, notion)
    assert gap.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", NOTIONS)
def test_nothing_to_compare_is_gap_zero_reported_as_undefined_and_has_gradient_zero(name):
    label = torch.tensor([0, 1, 2, 0])
    for group in (torch.tensor([1, 1, 1, -1]), torch.full((4,), -1)):
        logits = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
        gap = gap_of_sums(group_sums(logits.softmax(1), label, group, 2, name), name)
        assert gap.value.item() == 0 and not gap.defined
        (gradient,) = torch.autograd.grad(gap.value, logits)
        assert (gradient == 0).all()


def test_empty_cells_are_counted_and_left_out():
    label, group = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 1])
    prob = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    gap = gap_of_sums(group_sums(prob, label, group, 2, "equal_opportunity"), "equal_opportunity")
    assert gap.empty_cells == 2 and gap.defined_E.tolist() == [True, False, False]
    assert gap.value.item() == pytest.approx(0.3)
    assert gap.rate_GE.isnan().tolist() == [[False, False, True], [False, True, False]]


def test_weights_count_samples_several_times():
    label, predicted, group = random_table(7, 50, 3, 2)
    weight = torch.randint(1, 4, (50,))
    repeated = [x.repeat_interleave(weight, 0) for x in (one_hot(predicted, 3), label, group)]
    for name in NOTIONS:
        weighted = soft_gap(one_hot(predicted, 3), label, group, 2, name, weight)
        assert weighted.item() == pytest.approx(soft_gap(*repeated, 2, name).item())


def test_sums_stay_exact_under_autocast():
    label, group = torch.zeros(1001, dtype=torch.int64), torch.zeros(1001, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = group_sums(torch.full((1001, 2), 0.5, dtype=torch.bfloat16), label, group, 2, "accuracy_parity")
    assert sums.denominator_GE[0, 0] == 1001 and sums.numerator_GE[0, 0] == 500.5


def test_unknown_names_are_user_errors_with_the_nearest_name():
    with pytest.raises(UserError, match="equalized_odds"):
        get_notion("equalised_odds")
    with pytest.raises(UserError, match="difference"):
        get_notion("accuracy_parity", groups="differences")
    with pytest.raises(UserError, match="worst"):
        get_notion("accuracy_parity", events="wurst")


def test_a_name_may_say_how_to_aggregate() -> None:
    assert get_notion("equalized_odds:mean") == get_notion("equalized_odds", groups="mean")
    assert get_notion("equalized_odds::mean") == get_notion("equalized_odds", events="mean")
    assert get_notion("equalized_odds:ratio:mean") == get_notion("equalized_odds", "ratio", "mean")
    for wrong in ("equalized_odds:maen", "equalized_odds:ratio:maen", "equalized_odds:a:b:c"):
        with pytest.raises(UserError):
            get_notion(wrong)


def test_attributes_and_intersections():
    rng = np.random.default_rng(0)
    group_BA = torch.tensor(np.stack([rng.integers(-1, 2, 90), rng.integers(0, 3, 90)], 1))
    label, _, _ = random_table(0, 90, 3, 1)
    prob = random_probs(0, 90, 3)
    gap_A = soft_gap_per_attribute(prob, label, group_BA, [2, 3], "accuracy_parity")
    assert gap_A.tolist() == [
        soft_gap(prob, label, group_BA[:, a], num, "accuracy_parity").item() for a, num in enumerate([2, 3])
    ]
    group_B, num_groups = intersection(group_BA, [2, 3])
    assert num_groups == 6
    for index, pair in enumerate(itertools.product(range(2), range(3))):
        assert ((group_B == index) == (group_BA == torch.tensor(pair)).all(1)).all()
    assert ((group_B == -1) == (group_BA < 0).any(1)).all()


@pytest.mark.parametrize(
    "name,statistics",
    [
        ("demographic_parity", [fairret.statistic.PositiveRate()]),
        ("equal_opportunity", [fairret.statistic.TruePositiveRate()]),
        ("equalized_odds", [fairret.statistic.TruePositiveRate(), fairret.statistic.FalsePositiveRate()]),
        ("accuracy_parity", [fairret.statistic.Accuracy()]),
    ],
)
def test_binary_rates_and_gap_agree_with_fairret(name, statistics):
    label, _, group = random_table(2, 80, 2, 3)
    prob = random_probs(2, 80, 2)
    arguments = () if name == "demographic_parity" else (label[:, None].double(),)
    sensitive_BG = torch.nn.functional.one_hot(group, 3).double()
    rate_GE, _ = rates(group_sums(prob, label, group, 3, name))
    summed = 0.0
    for event, statistic in enumerate(statistics):
        theirs_G = statistic(prob[:, 1:], sensitive_BG, *arguments).squeeze()
        torch.testing.assert_close(rate_GE[:, event], theirs_G)
        overall = statistic.overall_statistic(prob[:, 1:], *arguments).item()
        relative = fairret.loss.NormLoss(statistic)(prob[:, 1:], sensitive_BG, *arguments, pred_as_logit=False)
        summed += overall * relative.item()
    ours = soft_gap(prob, label, group, 3, get_notion(name, groups="sum", events="sum"))
    assert ours.item() == pytest.approx(summed)


def test_groups_are_aggregated_as_their_names_say() -> None:
    """Accuracies of three groups .9, .6, .3 and of all .7 (groups of 6, 1 and 2 samples would do)."""
    rate, mask, overall = torch.tensor([[0.9], [0.6], [0.3]]), torch.ones(3, 1, dtype=torch.bool), torch.tensor([[0.7]])
    expected = {
        "difference": 0.6,
        "mean": (0.2 + 0.1 + 0.4) / 3,
        "sum": 0.7,
        "ratio": 1 - 0.3 / 0.9,
        "worst": 0.7,
        "square": (0.04 + 0.01 + 0.16) / 3,
    }
    assert {name: pytest.approx(float(of(rate, mask, overall))) for name, of in GROUPS.items()} == expected
    without = torch.tensor([[True], [True], [False]])
    assert float(GROUPS["mean"](rate, without, overall)) == pytest.approx(0.15)
    assert float(GROUPS["sum"](rate, without, overall)) == pytest.approx(0.3)


def test_the_gap_of_losses_is_of_the_losses_themselves() -> None:
    prob = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    label, group = torch.tensor([0, 0]), torch.tensor([0, 1])
    soft_only = {name for name, notion in NOTIONS.items() if not notion.hard}
    assert "loss_parity" in soft_only and not soft_only & {"accuracy_parity", "equalized_odds", "demographic_parity"}
    assert float(soft_gap(prob, label, group, 2, "loss_parity")) == pytest.approx(math.log(0.9 / 0.6), rel=1e-5)
