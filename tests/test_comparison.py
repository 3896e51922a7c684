"""Runs compared in pairs: only like with like, and a warning where one attribute pays for another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from supernet.commands.cap import derived_gap_notes, majority_notes, soft_gap_notes, trained_gap_notes
from supernet.commands.comparison import (
    against_baseline,
    comparison_words,
    postprocess,
    read_baseline,
    save_predictions,
    trade_warnings,
)
from supernet.commands.dominance import apart, dominated_notes
from supernet.config import SearchConfig, TrainConfig
from supernet.data import GroupedData, Split, with_intersections
from supernet.data.grouped import Augment
from supernet.errors import UserError
from supernet.postprocessing import Adjusted
from supernet.preprocessing import Preprocessing
from supernet.problem import Candidate, Outcome
from supernet.report.facts import Compared, Difference, Gap, Verdict
from supernet.scoring import marked

CONFIG = TrainConfig(bootstrap=60, baseline="runs/before")


def data(seed: int = 0, size: int = 400) -> GroupedData:
    """Three classes, two attributes, some groups unknown; images are blank."""
    rng = np.random.default_rng(seed)

    def split() -> Split:
        group_NA = np.column_stack([rng.integers(-1, 2, size), rng.integers(0, 3, size)])
        return Split(np.zeros((size, 1, 4, 4), np.uint8), rng.integers(3, size=size), group_NA)

    return GroupedData(
        "blank", split(), split(), split(), ("a", "b", "c"), {"sex": ("f", "m"), "age": ("1", "2", "3")}, Preprocessing(4, 1, (0.0,), (1.0,)),
        "0" * 16, Augment(), (),
    )  # fmt: skip


def predicted(split: Split, hard_for: dict[int, int], seed: int = 0) -> np.ndarray:
    """Right three times in four; hardly ever for the group `hard_for[attribute]` of an attribute."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(split)) < 0.75
    for attribute, group in hard_for.items():
        right &= (split.group_NA[:, attribute] != group) | (rng.random(len(split)) < 0.2)
    prob = np.full((len(split), 3), 0.1)
    prob[np.arange(len(split)), np.where(right, split.label_N, (split.label_N + 1) % 3)] = 0.8
    return prob


def test_a_run_against_itself_is_not_shown_to_differ(tmp_path: Path) -> None:
    d = data()
    prob = predicted(d.test, {0: 1})
    facts, adjusted = postprocess(CONFIG, d, predicted(d.val, {0: 1}), prob)
    assert set(facts) == {"sex", "age"} and set(facts["age"].groups) == {"1", "2", "3"}
    save_predictions(tmp_path, d, prob, adjusted)
    found = against_baseline(CONFIG, d, prob, read_baseline(str(tmp_path), d))
    assert found.accuracy.value == 0 and found.accuracy.verdict is Verdict.OPEN
    assert found.as_trained["sex"].gap.verdict is Verdict.OPEN and found.warnings == []
    assert set(found.adjusted) == {"sex", "age"}


def test_one_attribute_paying_for_another_is_warned_of(tmp_path: Path) -> None:
    d = data(size=1500)
    before, after = predicted(d.test, {0: 1}), predicted(d.test, {1: 2})
    save_predictions(tmp_path, d, before, {"sex": before, "age": before})
    found = against_baseline(CONFIG, d, after, read_baseline(str(tmp_path), d))
    assert (
        found.as_trained["sex"].gap.verdict is Verdict.FIRST and found.as_trained["age"].gap.verdict is Verdict.SECOND
    )
    (line,) = found.warnings
    assert "by sex became smaller" in line and "by age became larger" in line and "not shown" not in line
    assert "The accuracy parity gap by sex became smaller than the baseline's" in line
    assert trade_warnings({"age": found.as_trained["age"]}, "gap", "before") == []
    assert any(words == f"Warning: {line}" for words in comparison_words(found, "accuracy_parity"))


def test_no_warning_where_the_harm_is_not_shown() -> None:
    def gap(value: float, low: float | None, high: float | None, verdict: str) -> Compared:
        told = Difference(value=value, low=low, high=high, verdict=Verdict(verdict))
        return Compared(accuracy=told, gap=told, mean_group_accuracy=told, worst_group_accuracy=told)

    better, chance = gap(-0.1, -0.15, -0.05, "A"), gap(0.004, -0.01, 0.02, "not shown")
    assert (
        trade_warnings({"sex": better, "age": chance, "site": gap(0.1, None, None, "not shown")}, "gap", "as trained")
        == []
    )
    (line,) = trade_warnings({"sex": better, "age": chance, "site": gap(0.1, 0.05, 0.15, "B")}, "gap", "as trained")
    assert line.startswith("The gap by sex became smaller than as trained while that by site became larger")


def test_without_resamples_no_verdict_is_given(tmp_path: Path) -> None:
    d, config = data(size=1500), replace(CONFIG, bootstrap=0)
    before, after = predicted(d.test, {0: 1}), predicted(d.test, {1: 2})
    facts, adjusted = postprocess(config, d, before, before)
    save_predictions(tmp_path, d, before, adjusted)
    found = against_baseline(config, d, after, read_baseline(str(tmp_path), d))
    gaps = [found.as_trained[name].gap for name in ("sex", "age")]
    assert all(gap.low is None and gap.verdict is Verdict.OPEN for gap in gaps) and facts["sex"].gap.low is None
    assert found.warnings == comparison_words(found, "accuracy_parity") == []


def test_other_test_images_are_not_compared(tmp_path: Path) -> None:
    d, other = data(0), data(1)
    prob = predicted(d.test, {})
    save_predictions(tmp_path, d, prob, {"sex": prob, "age": prob})
    with pytest.raises(UserError, match="not those of this run"):
        read_baseline(str(tmp_path), other)
    save_predictions(tmp_path, d, prob, {"sex": prob[:, :2], "age": prob})
    with pytest.raises(UserError, match="adjusted_0 has the wrong shape"):
        read_baseline(str(tmp_path), d)
    save_predictions(tmp_path, d, prob, {"sex": prob, "age": prob * np.nan})
    with pytest.raises(UserError, match="adjusted_1 is not all finite"):
        read_baseline(str(tmp_path), d)
    for content in (b"nothing", b""):
        (tmp_path / "predictions.npz").write_bytes(content)
        with pytest.raises(UserError, match="not a readable"):
            read_baseline(str(tmp_path), d)
    with pytest.raises(UserError, match="finished train run"):
        read_baseline(str(tmp_path / "none"), d)


def test_intersections_are_one_more_attribute() -> None:
    d = data()
    joined = with_intersections(d)
    assert joined.attributes["sex × age"] == tuple(f"{s} × {a}" for s in "fm" for a in "123")
    names = joined.attributes["sex × age"]
    for split in ("train", "val", "test"):
        for sex, age, both in getattr(joined, split).group_NA:
            assert both == (-1 if sex < 0 else names.index(f"{'fm'[sex]} × {age + 1}"))
    assert (d.test.group_NA == joined.test.group_NA[:, :2]).all()


def test_combinations_that_nobody_is_in_are_left_out_and_said() -> None:
    d = data()
    for split in (d.train, d.val, d.test):  # no f × 3 anywhere, m × 3 not in test
        split.group_NA[(split.group_NA[:, 0] == 0) & (split.group_NA[:, 1] == 2), 1] = 1
    d.test.group_NA[d.test.group_NA[:, 1] == 2, 1] = 0
    joined = with_intersections(d)
    assert joined.attributes["sex × age"] == ("f × 1", "f × 2", "m × 1", "m × 2", "m × 3")
    (note,) = joined.notes
    assert "No image of test is m × 3" in note
    with pytest.raises(UserError, match="two attributes or more"):
        with_intersections(GroupedData(**{**d.__dict__, "attributes": {"sex": ("f", "m")}}))


def test_adjusting_by_one_attribute_is_scored_on_all_of_them() -> None:
    d = data(size=1500)
    facts, _ = postprocess(CONFIG, d, predicted(d.val, {0: 1}), predicted(d.test, {0: 1}))
    assert set(facts["sex"].others) == {"age"} and set(facts["age"].others) == {"sex"}
    other = facts["sex"].others["age"]
    assert set(other.groups) == {"1", "2", "3"} and other.gap.low is not None
    assert other.against_as_trained.gap.low is not None


def test_one_attribute_paying_for_another_when_adjusted_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    d = data(size=1500)
    before, after = predicted(d.test, {0: 1}), predicted(d.test, {1: 2})
    adjusted = Adjusted(after, "by hand")
    monkeypatch.setattr("supernet.commands.comparison.adjust_by_group", lambda *args, **how: adjusted)
    (line,) = postprocess(CONFIG, d, before, before)[0]["sex"].warnings
    assert "by sex became smaller than as trained while that by age became larger" in line


@pytest.mark.parametrize("asked", [{"fairness_weight": 0.0}, {"fairness_weight": 0.0, "max_gap": 0.02}, {}])
def test_a_plain_run_is_adjusted_for_fairness_too(asked: dict[str, Any]) -> None:
    """Of three classes: the outputs of a run without a penalty are what a user would adjust."""
    d = data(size=1500)
    facts, _ = postprocess(replace(CONFIG, **asked), d, predicted(d.val, {0: 1}), predicted(d.test, {0: 1}))
    assert "cross-entropy + 1 · soft gap" in facts["sex"].method


def test_a_cap_that_is_not_held_is_said_with_its_weight() -> None:
    config, d = TrainConfig(max_gap=0.02), data()
    rows = [
        {"phase": "warm-up", "gap_sex": 0.01, "gap_age": 0.01, "lambda_gap_sex": 0.0, "lambda_gap_age": 0.0},
        {"phase": "search", "gap_sex": 0.05, "gap_age": 0.01, "lambda_gap_sex": 0.4, "lambda_gap_age": 0.0},
        {"phase": "search", "gap_sex": 0.04, "gap_age": 0.015, "lambda_gap_sex": 1.2, "lambda_gap_age": 0.0},
    ]
    (line,) = soft_gap_notes(config, d, rows)
    assert (
        line.startswith("--max-gap 0.02 was not held") and "by sex stayed above it, at 0.0400" in line and "1.2" in line
    )
    assert soft_gap_notes(TrainConfig(), d, rows) == [] and soft_gap_notes(config, d, []) == []


@pytest.mark.parametrize(
    ("course", "missed"),
    [
        ((0.03, 0.019, 0.0201), False),  # hovers at the cap
        ((0.019, 0.018, 0.028), False),  # above in the end by chance: not on average
        ((0.08, 0.05, 0.019), False),  # fell under it
        ((0.019, 0.03, 0.04), True),
        ((0.0201,), False),
        ((0.03,), True),
    ],
)
def test_a_soft_gap_at_its_cap_is_not_reported_as_missed(course: tuple[float, ...], missed: bool) -> None:
    rows = [{"gap_sex": gap, "gap_age": 0.0, "lambda_gap_sex": 1.0, "lambda_gap_age": 0.0} for gap in course]
    assert bool(soft_gap_notes(TrainConfig(max_gap=0.02), data(), rows)) == missed


def test_a_derived_architecture_that_names_one_class_is_said_to() -> None:
    d = data()
    share = np.bincount(d.val.label_N).max() / len(d.val)
    for accuracy, said in ((share, True), (share - 0.1, True), (share + 0.01, False)):
        best = Candidate(("skip",), {"latency": 1.0}, None, accuracy, accuracy, gap=0.0, non_dominated=True)
        told = majority_notes(d, Outcome((best,), None, {}, 0))
        assert bool(told) is said and all("no better than always" in line and f"{share:.1%}" in line for line in told)


def test_a_derived_architecture_above_the_cap_is_said_of_every_strategy() -> None:
    best = Candidate(("skip",), {"latency": 1.0}, None, 0.9, 0.9, gap=0.05, non_dominated=True)
    by_asking = {"strategy": "random", "evaluator": "scratch", "hypervolume": 0.5}
    halved = {"strategy": "halving", "evaluator": "scratch"}  # no front: the least cross-entropy is derived
    for facts, told in (
        (None, "with the supernet's weights, is"),
        (by_asking, "trained alone, the smallest of the front, is"),
        (halved, "trained alone, is"),
    ):
        (line,) = derived_gap_notes(SearchConfig(max_gap=0.02), Outcome((best,), None, {}, 0, facts))
        assert line.startswith("--max-gap 0.02 was not held") and "0.0500" in line and told in line
        for config in (SearchConfig(max_gap=0.05), SearchConfig()):
            assert derived_gap_notes(config, Outcome((best,), None, {}, 0, facts)) == []
    several = replace(best, gaps={"sex": 0.01, "age": 0.05})
    (line,) = derived_gap_notes(SearchConfig(max_gap=0.02), Outcome((several,), None, {}, 0))
    assert "gap by age of" in line


def test_a_dominated_architecture_is_derived_with_its_reason() -> None:
    def one(error: float, gap: float | None, ms: float, entropy: float | None = None) -> Candidate:
        return Candidate(("skip",), {"latency": ms}, None, 1 - error, 1 - error, gap, True, entropy)

    plain = SearchConfig()

    def notes(*candidates: Candidate, config: SearchConfig = plain, **facts: Any) -> list[str]:
        return dominated_notes(config, Outcome(marked(candidates), None, {}, 0, facts or None))

    assert notes(one(0.1, 0.02, 9.0, 0.3), one(0.2, 0.02, 8.0, 0.4)) == []
    (line,) = notes(
        one(0.1, 0.02, 9.0, 0.3), one(0.09, 0.01, 8.0, 0.4), one(0.1, 0.02, 8.5, 0.5), one(0.5, 0.5, 1.0, 9.0)
    )
    assert "2 other candidates are as good in error, gap and latency" in line
    assert "smallest cross-entropy there: its cross-entropy is 0.3000, the least of theirs 0.4000" in line
    (line,) = notes(one(0.1, None, 9.0, 0.3), one(0.09, 0.9, 9.0, 0.4))
    assert "1 other candidate is as good in error and latency" in line, "an unknown gap is not compared"
    weighed = SearchConfig(latency_weight=0.5)
    assert "+ 0.5 · latency / budget" in notes(one(0.1, 0.0, 9.0, 0.3), one(0.09, 0.0, 9.0, 0.4), config=weighed)[0]
    capped = SearchConfig(max_gap=0.1)
    (line,) = notes(one(0.1, 0.02, 9.0), one(0.1, 0.01, 9.0), config=capped, objectives=["error", "latency"])
    assert "smallest error of those that exceed the cap least on the front of error, latency" in line


def test_a_hard_gap_on_test_above_the_cap_is_said_for_each_attribute_with_its_interval() -> None:
    def metrics(*gaps: tuple[float | None, float | None]) -> Any:
        found = [Gap(value=value, low=low, high=low and 0.09) for value, low in gaps]
        named = zip(("sex", "age", "site"), found, strict=False)
        return SimpleNamespace(attributes={a: SimpleNamespace(gaps={"accuracy_parity": gap}) for a, gap in named})

    shown, by_chance = trained_gap_notes(TrainConfig(max_gap=0.02), metrics((0.05, 0.03), (0.01, 0.001), (0.03, 0.004)))
    assert shown.startswith("--max-gap 0.02 was not held on test") and "by sex is 0.0500 (0.0300 to 0.0900)." in shown
    assert "chance" not in shown and "by site" in by_chance and "The interval holds the cap, too" in by_chance
    assert trained_gap_notes(TrainConfig(), metrics((0.05, 0.03))) == []
    unknown, line = trained_gap_notes(TrainConfig(max_gap=0.02), metrics((None, None), (0.05, None)))
    assert unknown.startswith("--max-gap 0.02 was not checked on test") and "by sex" in unknown
    assert line.endswith("by age is 0.0500.")


def test_figures_that_decide_are_told_apart() -> None:
    assert apart(0.625214, 0.625236) == ("0.62521", "0.62524")
    assert apart(0.1, 0.2) == ("0.1000", "0.2000")
