"""The report: every section for both commands, safe with hostile names, self-contained, small, whatever is missing."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_content import DIGITS, search_content, train_content
from report_page import (
    HOSTILE,
    TRAIN,
    check,
    closing_words,
    estimate,
    interval,
    lost,
    model_card,
    trained_facts,
)

from supernet.fairness import NOTIONS
from supernet.report import card as cards
from supernet.report import charts, plots, render, words, write_report
from supernet.report.facts import Layer, facts_of
from supernet.report.older import as_today
from supernet.report.svg import tag


def test_a_train_report_has_every_section_and_the_facts() -> None:
    content = train_content()
    page = check(render(content))
    assert [name for name in page.sections if name != "advice"] == TRAIN
    groups = content["metrics"]["attributes"]["writer"]["groups"]
    for fact in (
        interval(content["metrics"]["accuracy"]),
        interval(groups["student"]["accuracy"]),
        interval(content["metrics"]["ece"]),
        "pretrained=True",
        "runs/train-rpi4-1/model.json",
        "not shown",
    ):
        assert fact in page.text, fact


@pytest.mark.parametrize("make", [search_content, train_content])
def test_both_files_are_written_and_the_json_holds_the_facts(make, tmp_path: Path) -> None:
    content = make()
    write_report(tmp_path, content)
    card = ["model_card.md"] if content["command"] == "train" else []
    assert sorted(path.name for path in tmp_path.iterdir()) == [*card, "report.html", "report.json"]
    kept = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(content))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(kept)
    before = json.dumps(kept)
    render(kept)
    assert json.dumps(kept) == before  # drawing changes no fact


@pytest.mark.parametrize("make", [search_content, train_content, lambda: train_content(compared=True, n_boot=0)])
def test_facts_give_back_the_file_that_they_were_read_from(make: Any) -> None:
    content = json.loads(json.dumps(make()))
    facts = facts_of(content).to_json()
    assert lost(content, facts) == [] and lost(facts, facts_of(facts).to_json()) == []
    assert {"licence", "positive"} <= facts["data"].keys() and "evaluations" not in facts, (
        "null, or left out, as before"
    )


def test_facts_of_a_file_of_before_are_read_in_todays_names() -> None:
    content = json.loads((Path(__file__).parent / "golden" / "train" / "report.json").read_text(encoding="utf-8"))
    facts = trained_facts(content)
    assert lost(as_today(content), facts.to_json()) == []
    assert facts.metrics.attributes["group"].mean_group_accuracy.value == 0.5 and facts.int8 is None
    assert check(render(content)).sections and cards.model_card(facts)


def test_groups_without_images_are_named_in_page_and_card() -> None:
    content = json.loads(json.dumps(train_content()))
    found = content["metrics"]["attributes"]["writer"]
    nothing = {"value": None, "low": None, "high": None}
    found["groups"]["census"] = found["groups"]["student"] | {"count": 0, "accuracy": nothing, "cross_entropy": nothing}
    found |= {"empty_groups": ["census"], "unknown": 12}
    assert "No image of test is of census (writer)" in model_card(content)
    assert "The group is unknown for 12 test images" in model_card(content)
    assert "unknown for 12 test images" in check(render(content)).text


def test_a_field_that_is_missing_is_named() -> None:
    content = search_content()
    del content["derived"]["macs"]
    with pytest.raises(KeyError, match="Derived: macs"):
        facts_of(content)


def test_a_number_that_is_not_finite_is_refused_and_leaves_the_old_report(tmp_path: Path) -> None:
    write_report(tmp_path, search_content())
    before = (tmp_path / "report.html").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, search_content() | {"base_ms": float("nan")})
    assert (tmp_path / "report.html").read_bytes() == before


@pytest.mark.parametrize("make", [search_content, train_content])
def test_a_report_of_before_reads_as_one_of_today(make: Any) -> None:
    """The mean over groups was called balanced accuracy until scikit-learn's meaning got its name back."""
    content = make(compared=True) if make is train_content else make()
    own = {key: content[key] for key in ("candidates", "history", "adjusted", "baseline") if key in content}
    before = json.loads(json.dumps(content | own).replace("mean_group_accuracy", "balanced_accuracy"))
    if "metrics" in content:
        before["metrics"] = json.loads(json.dumps(content["metrics"]))
        for found in before["metrics"]["attributes"].values():
            found["balanced_accuracy"] = found.pop("mean_group_accuracy")
    kept = json.dumps(before)
    assert render(before) == render(content) and json.dumps(before) == kept
    assert "metrics" not in content or model_card(before) == model_card(content)


def test_names_from_users_files_are_text_wherever_they_stand() -> None:
    classes = (HOSTILE, '"><svg onload="x()">', *DIGITS[2:])
    attributes = {f"{HOSTILE}a": (f"{HOSTILE}g", "{{ 7 * 7 }}", "'; x(); '"), "b": ("p", "q")}
    content = train_content(classes=classes, attributes=attributes, n_boot=0)
    content |= {"notes": [HOSTILE], "name": f"{HOSTILE} n", "commit": HOSTILE}
    content["asked"]["out"] = f'run"{HOSTILE}'
    page = check(render(content))
    assert "{{ 7 * 7 }}" in page.text
    assert page.text.count(HOSTILE) > 5

    found = search_content()
    found["data"]["groups"] = {HOSTILE: [HOSTILE]}
    found["data"]["counts"] = {split: {HOSTILE: {HOSTILE: 3}} for split in ("train", "val", "test")}
    found["table"]["source"] = found["table"]["provenance"] = HOSTILE
    found["layers"][0]["op"] = HOSTILE
    found["asked"]["data"] = found["asked"]["fairness"] = HOSTILE
    check(render(found))


@given(st.text(max_size=40))
def test_any_text_in_a_picture_comes_back_as_it_was(word: str) -> None:
    word = "".join(c for c in word if c.isprintable())
    parser = HTMLParser()
    found: list[str] = []
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(tag("text", word, x=word))
    parser.close()
    assert "".join(found) == word


def test_print_unfolds_and_no_word_of_a_table_is_broken() -> None:
    style = render(search_content()).split("</style>")[0]
    assert "details::details-content{content-visibility:visible" in style.split("@media print")[1]
    assert "tbody th,td{overflow-wrap:break-word" in style


def test_what_is_unknown_is_said_or_left_out() -> None:
    content = search_content()
    for name in ("commit", "machine", "versions"):
        del content[name]
    content["history"] = []
    content["layers"] = [{**layer, "probabilities": None} for layer in content["layers"]]
    content["candidates"] = [{**content["candidates"][0], "log_probability": None}]
    content["derived"]["log_probability"] = None
    page = check(render(content))
    assert "error unknown" in page.text and "course" not in page.sections
    assert "Probability" not in page.text


def test_a_table_with_an_error_shows_it_as_an_interval() -> None:
    page = check(render(search_content(device="gold_6226")))
    assert "±" in page.text and "On 1,000 whole networks that were measured" in page.text


def test_a_baseline_has_no_predicted_latency() -> None:
    page = check(render(train_content(arch="mobilenetv2_050")))
    assert "latency" not in page.sections and "Its latency is not predicted" in page.text


def test_a_budget_beside_an_unknown_latency_is_said_to_be_open() -> None:
    content = train_content()
    content["arch"] |= {"predicted_ms": None, "budget_ms": 12.0, "estimated": "The table never timed it."}
    assert "Its latency is unknown, and so whether it keeps 12 ms: The table never timed it." in closing_words(content, Path("run"))  # fmt: skip
    content["arch"]["budget_ms"] = None
    assert "latency is unknown" not in closing_words(content, Path("run"))


def test_an_estimated_latency_is_called_so() -> None:
    content = train_content(arch="mobilenetv2_050")
    told = "estimated from the times of other networks' blocks"
    content["arch"] |= {"predicted_ms": 12.3, "predicted_error": 0.3, "device": "rpi4", "estimated": told}
    page = check(render(content))
    assert "12.30 ms ± 3.69 ms" in page.text and told in page.text
    card = model_card(content)
    assert "12.30 ms on rpi4, **estimated, not measured**; ± 30%; estimated from the times" in card


def test_a_table_that_is_gone_still_leaves_the_prediction() -> None:
    content = train_content()
    for name in ("table", "layers", "base_ms"):
        del content[name]
    page = check(render(content))
    assert "latency" in page.sections and "ms on gold_6226" in page.text


def test_a_table_that_is_wider_than_the_page_is_reached_by_keyboard_and_has_named_columns() -> None:
    for page in (render(search_content()), render(train_content(compared=True))):
        assert (
            page.count('class="scroll"')
            == page.count('class="scroll" tabindex="0" role="group" aria-label="Table"')
            > 0
        )
        assert '<th scope="col"></th>' not in page
    assert "@media (max-width:600px)" in page and "thead th{color" in page


@pytest.mark.parametrize(
    ("value", "scale", "said"),
    [(9.156, None, "9.16"), (0.36472, None, "0.365"), (0.0123456, None, "0.0123"), (0.02, 9.0, "0.02"), (0.02, 0.3, "0.020"),
     (0.0, None, "0.00"), (0.0, 0.3, "0.000"), (1.0, None, "1.00"), (0.1, None, "0.100")],
)  # fmt: skip
def test_a_fast_device_has_three_digits(value: float, scale: float | None, said: str) -> None:
    assert words.milliseconds(value, scale) == said


@pytest.mark.parametrize(("number", "said"), [(7, False), (24, True)])
def test_the_names_of_many_operations_stand_upright(number: int, said: bool) -> None:
    ops = [f"op_{k}" for k in range(number)]
    layer = Layer(
        layer=0,
        stage=0,
        op="op_0",
        c_in=16,
        c_out=16,
        stride=1,
        resolution=32,
        ms=1.0,
        probabilities={op: 1 / number for op in ops},
    )
    assert ("vertical-rl" in str(charts.probabilities([layer], ops))) == said


def test_class_names_have_the_room_that_few_classes_leave() -> None:
    matrix = str(plots.confusion("x", ["benign", "malignant"], [[3, 1], [2, 4]]))
    assert ">benign<" in matrix and ">malignant<" in matrix and "…" not in matrix
    assert "…" in str(plots.confusion("x", ["a long name"] * 12, [[1] * 12] * 12))


@pytest.mark.parametrize(
    ("notion", "event", "rate", "what"),
    [
        ("demographic_parity", "class 3", "selection_rate", "selection rate of 3"),
        ("equal_opportunity", "class 3", "recall", "recall of 3"),
        ("equalized_odds", "class 3", "recall", "recall of 3"),
        ("equalized_odds", "not class 3", "false_positive_rate", "false positive rate of 3"),
    ],
)
def test_the_groups_rates_are_shown_where_the_asked_gap_is_worst(notion: str, event: str, rate: str, what: str) -> None:
    content = json.loads(json.dumps(train_content(fairness=notion)))
    found = content["metrics"]["attributes"]["writer"]
    found["gaps"][notion]["worst_event"] = event
    page, card = check(render(content)).text, model_card(content)
    assert f"{what.capitalize()} by writer, %" in page and what in card
    for group, row in found["groups"].items():
        assert interval(row[rate]["3"], unit="") in page
        assert f"{group} {estimate(row[rate]['3'])}" in card


def test_every_notion_has_a_report_and_losses_their_intervals() -> None:
    for notion in NOTIONS:
        content = train_content(fairness=notion)
        page = check(render(content)).text
        for row in content["metrics"]["attributes"]["writer"]["groups"].values():
            assert estimate(row["cross_entropy"], digits=3) in page
        several = notion in ("demographic_parity", "equal_opportunity", "equalized_odds")
        assert ("The largest of several differences" in page) == several
        assert ("Cross entropy by writer" in page) == (notion == "loss_parity")


def test_adjusting_by_one_attribute_shows_what_the_others_get() -> None:
    content = train_content(attributes={"sex": ("f", "m"), "age": ("1", "2")})
    page, card = check(render(content)).text, model_card(content)
    for told in ("by age: worst group", "by age: accuracy parity gap", "By sex it became worse.", "By age it became"):
        assert told in page
    assert "**By age it became worse.**" in card


def test_only_a_network_that_was_not_searched_is_what_one_gets_without_searching() -> None:
    title, searched = "What you would get without searching", "Adjusting this network's outputs by group"
    found, baseline = check(render(train_content())).text, check(render(train_content(arch="mobilenetv2_050"))).text
    assert searched in found and title not in found
    assert title in baseline and searched not in baseline


def test_many_groups_attributes_and_classes() -> None:
    attributes = {
        "skin": tuple(f"type {i}" for i in range(30)),
        "sex": ("female", "male"),
        "a very long name of an attribute indeed": ("one group with a very long name that goes on", "other"),
    }
    page = check(render(train_content(attributes=attributes, n_boot=0)))
    assert "6 more in the table" in page.text and "type 29" in page.text
    check(render(train_content(classes=tuple(f"kind {i}" for i in range(16)), n_boot=0)))
    check(render(train_content(classes=("no", "yes"), n_boot=2)))


def test_empty_and_unknown_groups_are_reported_not_scored() -> None:
    content = json.loads(json.dumps(train_content()))
    found = content["metrics"]["attributes"]["writer"]
    nothing = {"value": None, "low": None, "high": None}
    found["groups"]["nobody"] = {
        **found["groups"]["student"], "count": 0, "accuracy": nothing, "ece": nothing, "cross_entropy": nothing,
        "confusion": [[0] * 10] * 10,
    }  # fmt: skip
    found["empty_groups"], found["unknown"] = ["nobody"], 12
    page = check(render(content))
    assert "No test image of writer: nobody" in page.text and "unknown for 12 test images" in page.text


def test_comparisons_are_sections_where_there_are_any() -> None:
    page = check(render(train_content(compared=True)))
    assert {"adjusted", "baseline"} <= set(page.sections) and "One gap for another." in page.text
    assert "this run is better" in page.text and "must be known at prediction time" in page.text
    without = check(render({**train_content(), "adjusted": {}}))
    assert not {"adjusted", "baseline"} & set(without.sections)


def test_a_distilled_trainings_course_is_no_cross_entropy() -> None:
    content = train_content()
    assert "Cross-entropy, training" in render(content)
    content["asked"] |= {"teacher": "runs/teacher"}
    told = render(content)
    assert "Distance to the teacher" in told and "Cross-entropy, training" not in told
    content["asked"] |= {"from_scratch": True}
    assert "Cross-entropy, training" in render(content)


def test_an_estimated_latency_is_told_as_one_everywhere(tmp_path: Path) -> None:
    content = train_content()
    content["arch"] |= {"predicted_error": 0.3, "estimated": "estimated from the times of other networks' blocks"}
    assert "Estimated latency" in closing_words(content, tmp_path) and "(± 30%)" in closing_words(content, tmp_path)
    assert "on whole networks that were measured" not in model_card(content)
