"""What page, card and terminal say: verdicts, what to do next, whether a gap is shown."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from report_content import search_content, train_content
from report_page import (
    advice,
    check,
    closing_words,
    estimate,
    imbalanced,
    interval,
    model_card,
    table,
    trained_facts,
)

from supernet.config import SearchConfig, TrainConfig, with_epochs
from supernet.report import render, words
from supernet.report.asked import asked_words, changed_options, command_line
from supernet.report.classes import always, overall_words
from supernet.report.facts import Difference, Figure, GapFigure, read
from supernet.report.facts.measured import Majority
from supernet.report.words import (
    event_words,
    latency_verdict,
    number_name,
)


@pytest.mark.parametrize("epochs", [1, 2, 500])
def test_any_number_of_epochs(epochs: int) -> None:
    check(render(search_content(epochs=epochs, warmup_epochs=1 if epochs > 1 else 0)))
    check(render(train_content(epochs=epochs)))


def test_no_intervals_without_a_bootstrap() -> None:
    content = train_content(n_boot=0)
    assert "not shown (" not in check(render(content)).text
    assert "not shown" not in closing_words(content, Path("run"))


@pytest.mark.parametrize(("low", "said"), [(0.0, "not shown"), (0.01, "shown")])
def test_page_card_and_terminal_say_whether_the_gap_is_shown(low: float, said: str) -> None:
    content = json.loads(json.dumps(train_content()))
    gap = {"value": 0.04, "low": low, "high": 0.06}
    content["metrics"]["attributes"]["writer"]["gaps"]["accuracy_parity"] |= gap
    content["adjusted"]["writer"]["gap"] = gap
    told = f"{estimate(gap)}, {said}"
    assert f"accuracy parity gap {told}" in closing_words(content, Path("run"))
    card = model_card(content)
    assert card.count(f"accuracy parity gap {told}.") == 2  # as trained, and adjusted by group
    assert f"| accuracy parity (asked for) | {estimate(gap)} | {said} |" in card
    page = check(render(content)).text
    assert f"accuracy parity gap {interval(gap, unit=' points')}, {said}." in page


def test_a_number_that_is_no_gap_is_not_called_one() -> None:
    assert number_name("accuracy_parity") == "accuracy parity gap"
    assert number_name("worst_group_accuracy") == "1 − worst group accuracy"
    assert number_name("accuracy_ratio") == "1 − accuracy ratio"
    assert number_name("equal_opportunity:worst") == "equal opportunity (1 − lowest group)"
    for notion in ("worst_group_accuracy", "accuracy_ratio"):
        content = train_content(fairness=notion, compared=True)
        for told in (render(content), model_card(content), closing_words(content, Path("run"))):
            assert number_name(notion) in told and not re.search(rf"({notion}|{notion.replace('_', ' ')}) gap", told)
        assert f"| {number_name(notion)} (asked for) | " in model_card(content)
        assert f"{number_name(notion)[4:]} gap" not in check(render(search_content(fairness=notion))).text
    assert words.verdict("worst_group_accuracy", GapFigure(value=0.03, low=0.02, high=0.04)) == "", (
        "no accuracy of 1 is asked about"
    )


def test_a_gap_is_in_its_own_unit() -> None:
    gap = Figure(value=0.35, low=0.2, high=0.5)
    assert (
        words.gap(gap, "accuracy_parity") == "35.0% (20.0 to 50.0)"
        and words.gap_value(0.35, "equalized_odds") == "35.0%"
    )
    assert (
        words.gap(gap, "loss_parity") == "0.3500 (0.2000 to 0.5000)"
        and words.gap_value(0.35, "loss_parity") == "0.3500"
    ), "nats"


def test_what_few_images_do_not_show_is_not_said_to_be_so() -> None:
    """80% right where the largest class is 60%: not shown to be better, which is not the same as no better."""
    few = Majority(name="cat", share=0.6, exceeded=False)
    assert (
        always(few, 0.8) == 'not shown to be better than always "cat"'
        and always(few, 0.6) == 'no better than always "cat"'
    )
    content = imbalanced(6)
    content["metrics"]["majority"]["share"], content["metrics"]["auc"]["low"] = 0.5, 0.4
    assert any("do not show it to be better" in line for line in advice(content)) and not any(
        "does as well" in line for line in advice(content)
    )


def test_a_broken_budget_is_said_at_the_end_of_a_training_too() -> None:
    for ms, over in ((12.004, True), (11.996, False)):
        content = train_content()
        content["arch"] |= {"predicted_ms": ms, "budget_ms": 12.0}
        assert ("OVER the budget" in closing_words(content, Path("run"))) is over


def test_a_network_that_finds_hardly_any_of_the_rare_class_is_called_no_better_than_naming_the_other() -> None:
    content = imbalanced(6)
    page, card, terminal = check(render(content)).text, model_card(content), closing_words(content, Path("run"))
    assert content["metrics"]["by_class"]["defective"]["recall"]["value"] == 0.125
    for told in (page, card, terminal):
        assert 'no better than always "sound", the class of 90.9% of these images.' in told.replace("\\", "")
        assert interval(content["metrics"]["by_class"]["defective"]["recall"]) in told
        assert "Balanced accuracy, the mean recall of the classes: 56.2%" in told and "average precision" in told
    assert "  class defective: 48 images (9.1%), recall 12.5%" in terminal
    better = imbalanced(46)
    for told in (check(render(better)).text, model_card(better), closing_words(better, Path("run"))):
        assert "no better than" not in told.lower()


def test_what_to_do_next_follows_from_the_figures() -> None:
    told = advice(imbalanced(6))
    assert any(line.startswith("The network ranks") or line.startswith("Do not ship it") for line in told)
    assert "What to do next" in check(render(imbalanced(6))).text
    content = imbalanced(48)
    assert not any("ship it" in line or "Too few" in line for line in advice(content))
    content["metrics"]["attributes"]["writer"]["groups"]["student"]["recall"]["sound"]["too_few"] = 7
    assert any('"sound" with writer student (7)' in line for line in advice(content))
    gap = content["metrics"]["attributes"]["writer"]["gaps"]["accuracy_parity"]
    gap |= {"value": 0.1, "low": 0.0, "high": 0.35}
    assert any("may be 0 and may be 0.35" in line for line in advice(content))
    gap |= {"low": 0.01}
    assert not any("is open" in line for line in advice(content)), "it is shown"
    shown = next(line for line in advice(content) if "is shown" in line)
    worst = content["metrics"]["attributes"]["writer"]["worst_group"]
    assert (
        f'"{worst}" has the lowest accuracy' in shown
        and f"is {content['data']['counts']['train']['writer'][worst]:,} of 12,0" in shown
    )
    for low, said in ((0.04, False), (0.06, True)):
        content["metrics"]["ece"] = {"value": 0.08, "low": low, "high": 0.1}
        assert any("off by 8 points on average" in line for line in advice(content)) == said
    for high, said in ((0.85, False), (0.95, True)):
        content["metrics"]["accuracy"] = {"value": 0.8, "low": 0.7, "high": high}
        assert any("may be 70% and may be 95%: " in line for line in advice(content)) == said
    for budget_ms, said in ((12.0, False), (5.0, True)):
        content["arch"] |= {"predicted_ms": 9.0, "budget_ms": budget_ms}
        assert any("9.00 ms, as predicted, is over the budget of 5 ms" in line for line in advice(content)) == said


def test_what_to_do_next_stands_before_the_figures() -> None:
    sections = check(render(imbalanced(6))).sections
    assert sections[:2] == ["advice", "asked"]


@pytest.mark.parametrize(
    ("accuracy", "gap", "said"),
    [
        ("not shown", "not shown", "ship the cheaper one"),
        ("B", "not shown", "ship that one"),
        ("A", "B", None),
        ("A", "A", None),
    ],
)
def test_a_baseline_that_is_as_good_is_said_to_be(accuracy: str, gap: str, said: str | None) -> None:
    content = json.loads(json.dumps(train_content(compared=True)))
    content["baseline"]["accuracy"]["verdict"] = accuracy
    content["baseline"]["as_trained"]["writer"]["gap"]["verdict"] = gap
    told = [line for line in advice(content) if "ship" in line]
    assert (len(told) == 1 and said in told[0]) if said else told == []


def test_an_int8_file_that_loses_is_said_to() -> None:
    content = imbalanced(48)
    for lost, said in ((0.05, True), (0.005, False)):
        scores = {
            kind: {"accuracy": found, "attributes": {}} for kind, found in (("float32", 0.9), ("int8", 0.9 - lost))
        }
        both = {"images": 528, "agreement": 1.0, **scores}
        int8 = {"setting": "", "tried": {}, "val": both, "test": both, "warnings": []}
        assert any("The int8 file loses 5.0 points" in line for line in advice(content | {"int8": int8})) == said


def test_what_was_written_before_classes_were_told_still_has_a_report() -> None:
    content = json.loads(json.dumps(train_content()))
    for name in ("by_class", "balanced_accuracy", "majority"):
        del content["metrics"][name]
    for name in ("class_counts", "positive"):
        del content["data"][name]
    assert "classes" not in check(render(content)).sections
    assert "By class" not in model_card(content) and "Balanced" not in closing_words(content, Path("run"))


def test_of_many_classes_those_of_lowest_recall_are_told() -> None:
    content = train_content(classes=tuple(f"kind {i}" for i in range(16)), n_boot=0)
    lowest = min(content["metrics"]["by_class"].items(), key=lambda item: item[1]["recall"]["value"])[0]
    terminal = closing_words(content, Path("run"))
    assert f"class {lowest}: " in terminal and "(of 16 classes, those of lowest recall" in terminal
    assert "Shown are the 12 of 16 classes" in check(render(content)).text


def test_it_is_said_which_class_is_positive_and_of_both_where_nobody_chose() -> None:
    content = imbalanced(30, fairness="equal_opportunity")
    other = content["metrics"]["attributes"]["writer"]["gaps"]["equal_opportunity"]["other_class"]
    for told in (check(render(content)).text, model_card(content), closing_words(content, Path("run"))):
        assert f'(of "sound"; of "defective" {estimate(other)}' in told
    for told in (check(render(content)).text, model_card(content)):
        assert "sound, the second of two (--positive chooses)" in told
    chosen = imbalanced(30, positive="defective", fairness="equal_opportunity")
    for told in (check(render(chosen)).text, model_card(chosen)):
        assert "defective, as asked" in told and '; of "sound"' not in told
    assert 'of "defective"' in closing_words(chosen, Path("run"))


@pytest.mark.parametrize(
    ("predicted", "error", "budget", "said"),
    [
        (10.0, None, 12.0, "predicted to fit the budget of 12 ms, with 2.00 ms to spare."),
        (11.9, 0.05, 12.0, "The table's error is larger than that."),
        (12.5, None, 12.0, "predicted not to fit the budget of 12 ms, by 0.50 ms."),
        (12.5, None, None, "no budget was set"),
    ],
)
def test_the_verdict_is_a_prediction(predicted: float, error: float | None, budget: float | None, said: str) -> None:
    assert said in latency_verdict(predicted, error, budget, "rpi4")


def test_every_provenance_of_the_schema_has_its_words() -> None:
    schema = json.loads((Path(__file__).parents[1] / "latency_luts" / "schema.json").read_text(encoding="utf-8"))
    for provenance in schema["properties"]["provenance"]["enum"]:
        assert "Provenance:" not in words.table_words(table(provenance))
    assert "Provenance: new." in words.table_words(table("new"))


@pytest.mark.parametrize(
    ("command", "budget", "said"),
    [
        ("search", 10.0, "10 ms"),
        ("search", None, "10 ms, by default"),
        ("train", 10.0, "10 ms"),
        ("train", None, "10 ms, the search's"),
    ],
)
def test_a_budget_is_by_default_only_where_nobody_asked(command: str, budget: float | None, said: str) -> None:
    content = search_content(budget_ms=10.0) if command == "search" else train_content()
    assert asked_words(command, content["asked"] | {"budget_ms": budget}, 10.0)["budget"] == said


def test_every_budget_is_told_of_a_search_and_of_the_training_after_it() -> None:
    asked = search_content(budget_ms=10.0)["asked"] | {"budget_ms": 10.0, "max_params": 1e6, "max_mj": 2.5}
    assert asked_words("search", asked, 10.0)["budget"] == "10 ms; 1 M parameters; 2.5 mJ"
    bits = asked | {"max_params": None, "max_mj": None, "max_bops": 1.2e8, "budget_ms": None}
    assert asked_words("search", bits, None)["budget"] == "120 M bit operations"
    trained = train_content()["asked"] | {"budget_ms": None}
    assert asked_words("train", trained, None, {"bops": 1.2e8})["budget"] == "120 M bit operations, the search's"
    assert asked_words("train", trained, None)["budget"] == "none"


def test_halving_tells_the_epochs_of_its_longest_trainings() -> None:
    asked = search_content(budget_ms=10.0)["asked"] | {"strategy": "halving", "epochs": 3, "warmup_epochs": 2}
    assert asked_words("search", asked, 10.0)["effort"].startswith("5 epochs in the last round, batches")


def test_a_figure_has_one_interval_wherever_it_stands() -> None:
    """The lowest accuracy is a group's: the interval that holds for the minimum of all groups may be another one."""
    content = json.loads(json.dumps(train_content()))
    found = content["metrics"]["attributes"]["writer"]
    own, least = found["groups"][found["worst_group"]]["accuracy"], found["worst_group_accuracy"]
    assert own["value"] == least["value"]
    least |= {"low": 0.123, "high": 0.987}
    page = check(render(content | {"adjusted": {}})).text
    for told in (page, model_card(content)):
        assert interval(own) in told and interval(least) not in told


def test_the_words_are_neutral_where_groups_are_of_things() -> None:
    for content in (search_content(), train_content(compared=True), train_content(arch="mobilenetv2_050")):
        told = check(render(content)).text + (model_card(content) if content["command"] == "train" else "")
        assert not re.findall(r"\b(everybody|nobody|everyone|people|persons?|who|whom)\b", told.lower())


def test_the_command_gives_what_was_asked() -> None:
    asked = search_content(epochs=7, augment=False, group_mix="student=0.05", data="my photos")["asked"]
    told = "supernet search --data 'my photos' --group-mix student=0.05 --no-augment --epochs 7"
    assert command_line("search", asked | {"out": "x", "resume": "y"}, images=12_000) == told
    assert command_line("search", asked, images=6_000) == f"{told} --warmup-epochs 1", "usual is 2 there"
    quick = {"distil_steps": 4, "evaluations": 4}  # of --quick, for other strategies: refused where they are given
    assert command_line("search", asked | quick, images=12_000) == told


def test_a_value_of_another_type_is_named() -> None:
    content = {"value": 1, "low": None, "high": 0.5}
    assert read(Figure, content) == Figure(value=1, low=None, high=0.5)
    for wrong in ("0.5", [0.5], True, {}):
        with pytest.raises(TypeError, match="Figure: high"):
            read(Figure, content | {"high": wrong})
    with pytest.raises(KeyError, match="Figure: low"):
        read(Figure, {"value": 1.0, "high": None})
    with pytest.raises(TypeError, match="Difference: verdict"):
        read(Difference, content | {"verdict": "C"})


def test_balanced_accuracy_says_of_how_many_classes() -> None:
    metrics = trained_facts(train_content()).metrics
    assert metrics.by_class is not None and "the mean recall of the classes:" in overall_words(metrics)
    first, *_ = metrics.by_class
    one_less = {name: replace(own, images=0) if name == first else own for name, own in metrics.by_class.items()}
    number = len(one_less)
    assert f"the mean recall of the {number - 1} of {number} classes that are here:" in overall_words(replace(metrics, by_class=one_less))  # fmt: skip


def test_epochs_that_were_left_open_are_no_changed_options() -> None:
    for kind, command in ((SearchConfig, "search"), (TrainConfig, "train")):
        for images in (500, 12_000):
            assert changed_options(command, asdict(with_epochs(kind(), images)), images) == {}


def test_events_are_named_by_their_class() -> None:
    assert event_words("class 1", ("no", "yes")) == "yes"
    assert event_words("not class 0", ("no", "yes")) == "not no"
    assert (
        event_words("all samples", ("no", "yes")) == event_words("feature 3", ("a", "b")) == event_words(None, ()) == ""
    )
