"""The report: every section for both commands, safe with hostile names, self-contained, small, whatever is missing."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report_content import DIGITS, WRITERS, search_content, train_content

from latency_luts.sheets import csv_text
from supernet.commands import trained
from supernet.config import SearchConfig, TrainConfig, with_epochs
from supernet.fairness import NOTIONS
from supernet.metrics import evaluate_predictions
from supernet.report import advice as advices
from supernet.report import card as cards
from supernet.report import charts, plots, render, words, write_report
from supernet.report.asked import asked_words, changed_options, command_line
from supernet.report.classes import overall_words
from supernet.report.facts import Difference, Figure, GapFigure, Layer, Table, TrainFacts, facts_of, read
from supernet.report.older import as_today
from supernet.report.svg import Scale, scale_of, spread, tag
from supernet.report.words import (
    event_words,
    latency_verdict,
    number_name,
)


def trained_facts(content: dict[str, Any]) -> TrainFacts:
    facts = facts_of(content)
    assert isinstance(facts, TrainFacts)
    return facts


def model_card(content: dict[str, Any]) -> str:
    return cards.model_card(trained_facts(content))


def advice(content: dict[str, Any]) -> list[str]:
    return advices.advice(trained_facts(content))


def closing_words(content: dict[str, Any], folder: Path) -> str:
    return trained.closing_words(trained_facts(content), folder)


def interval(figure: dict[str, Any], **how: Any) -> str:
    return words.interval(read(Figure, figure), **how)


def estimate(figure: dict[str, Any], **how: Any) -> str:
    return words.estimate(read(Figure, figure), **how)


HOSTILE = '<script>alert("1")</script>'
VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags nest; gathers sections, tags, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sections: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.sections.append(found["id"] or "")
        self.addresses += [v or "" for k, v in found.items() if k in ("href", "src", "data", "action", "xlink:href")]
        self.handlers += [k for k in found if k.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check(html: str) -> Page:
    """What holds for every page."""
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "foreignobject"} & set(page.tags)
    assert page.addresses == [] and page.handlers == []
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    assert "nan" not in re.findall(r"[a-z]+", " ".join(re.findall(r'(?:x|y|width|cx|cy|d)="([^"]*)"', html)))
    assert page.tags.count("title") > page.tags.count("desc") > 0
    assert len(html.encode()) < 200_000
    return page


SEARCH = ["asked", "latency", "architecture", "layers", "course", "front", "data", "next", "again"]
TRAIN = [
    "asked",
    "groups",
    "classes",
    "confusions",
    "adjusted",
    "latency",
    "architecture",
    "course",
    "data",
    "next",
    "again",
]


def test_a_search_report_has_every_section_and_the_facts() -> None:
    content = search_content()
    page = check(render(content))
    assert page.sections == SEARCH
    for fact in (
        f"{content['derived']['predicted_ms']:.2f} ms on rpi4: predicted to fit the budget of 15 ms",
        "not measured end to end",
        "No --budget-ms was given",
        "foretell retrained networks roughly",
        "supernet train --arch runs/search-rpi4-1/derived.json",
        content["table"]["hash"],
        content["data"]["fingerprint"],
        "torch 2.14.1",
    ):
        assert fact in page.text, fact
    assert "met" not in re.findall(r"\w+", page.text)  # a prediction never meets a budget
    for candidate in content["candidates"]:  # both numbers of each: probability and supernet score
        assert f"{candidate['log_probability']:.2f}".replace("-", "−") in page.text
        assert f"{100 * candidate['accuracy']:.1f}%" in page.text
        assert f" {candidate['cross_entropy']:.4f} " in page.text, "what decided"


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


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Where the second lacks something of the first, or has another value."""
    if isinstance(before, dict):
        if not isinstance(after, dict):
            return [path]
        return [line for key in before for line in lost(before[key], after.get(key, "missing"), f"{path}/{key}")]
    if isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            return [path]
        return [line for n, pair in enumerate(zip(before, after, strict=True)) for line in lost(*pair, f"{path}/{n}")]
    return [] if before == after else [path]


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


def imbalanced(found: int, positive: str | None = None, **more: Any) -> dict[str, Any]:
    """A training whose network finds `found` of 48 defective among 528, and calls nothing sound defective."""
    content = train_content(classes=("defective", "sound") if positive is None else ("sound", "defective"), **more)
    at = content["data"]["classes"].index("defective")
    label = np.where(np.arange(528) < 48, at, 1 - at)
    taken = np.where(np.arange(528) < found, at, 1 - at)
    metrics = evaluate_predictions(
        np.where(np.eye(2)[taken] > 0, 0.8, 0.2), label, np.arange(528)[:, None] % 2, content["data"]["classes"],
        WRITERS, n_boot=100,
    )  # fmt: skip
    content["data"]["positive"] = positive
    return json.loads(json.dumps(content | {"metrics": metrics}))


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


def test_layers_may_differ_in_what_they_offer() -> None:
    """As in the flex spaces: every layer's operations have a column."""
    content = search_content()
    content["layers"][3] |= {"probabilities": {"res_k3": 0.4, "skip": 0.6}}
    assert ">res_k3<" in render(content)


def test_class_names_have_the_room_that_few_classes_leave() -> None:
    matrix = str(plots.confusion("x", ["benign", "malignant"], [[3, 1], [2, 4]]))
    assert ">benign<" in matrix and ">malignant<" in matrix and "…" not in matrix
    assert "…" in str(plots.confusion("x", ["a long name"] * 12, [[1] * 12] * 12))


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


def test_many_candidates_stay_readable() -> None:
    content = search_content()
    first = content["candidates"][0]
    more = [{**first, "derived": False, "costs": {**first["costs"], "latency": 9 + i / 50}} for i in range(200)]
    page = check(render(content | {"candidates": [first, *more]}))
    assert "31 of 201" in page.text


@pytest.mark.parametrize(("evaluator", "shared"), [("supernet", True), ("scratch", False)])
def test_an_ask_tell_search_says_how_it_got_its_front(evaluator: str, shared: bool) -> None:
    evaluations = {
        "strategy": "nsga2", "evaluator": evaluator, "objectives": ["error", "gap"], "evaluated": 1200, "asked": 1234,
        "seconds": 61.2, "ended": "seconds", "hypervolume": 0.87654, "reference": {"error": 1.0, "gap": 1.0},
    }  # fmt: skip
    page = check(render(search_content(strategy="nsga2") | {"evaluations": evaluations}))
    for word in ("nsga2", "error, gap", "1,200 in 61 s (the time was used up)", "0.8765 of 1"):
        assert word in page.text
    assert ("supernet accuracy" in page.text) == shared and "most probable that fits" not in page.text


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


def table(provenance: str) -> Table:
    return Table(device="board", provenance=provenance, source="", licence=None, validation=None, hash="", error=None)


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


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))


@given(st.lists(numbers, min_size=1, max_size=8), st.booleans())
def test_a_scale_holds_its_values_and_few_round_ticks(values: list[float], zero: bool) -> None:
    scale = scale_of(values, zero)
    assert scale.low < scale.high
    assert all(-1e-6 <= scale.share(value) <= 1 + 1e-6 for value in values)
    assert not zero or scale.low <= 0 <= scale.high
    assert 2 <= len(scale.ticks()) <= 12


def test_ticks_are_round() -> None:
    assert Scale(0, 15).ticks() == [0, 5, 10, 15]
    assert Scale(0.93, 0.97).ticks() == [0.93, 0.94, 0.95, 0.96, 0.97]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_are_moved_apart(wanted: list[float]) -> None:
    placed = sorted(spread(wanted, 13))
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(placed))


# --- the model card ---


def test_the_card_states_every_group_with_its_interval_and_where_the_latency_comes_from() -> None:
    content = train_content(compared=True)
    card = model_card(content)
    assert card == model_card(content)  # a pure function of the facts
    for group, row in content["metrics"]["attributes"]["writer"]["groups"].items():
        assert f"| {group} | {row['count']:,} | {interval(row['accuracy'])} | {interval(row['ece'])} |" in card
    assert content["data"]["fingerprint"] in card and "predicted, not measured" in card
    assert words.table_words(read(Table, content["table"])) in card and "One gap for another." in card
    assert "needs the group at" in card and "licence: not known" in card
    assert (
        "Without searching" not in card and "same source" not in card
    )  # of this network: it may have been searched for


def test_without_resamples_the_card_speaks_of_no_intervals() -> None:
    content = train_content(n_boot=0)
    card = model_card(content)
    assert "95%" not in card and "without intervals" in card
    assert "95% intervals from" not in check(render(content)).text


def test_the_cards_front_matter_is_yaml_that_invents_nothing() -> None:
    front = yaml.safe_load(model_card(train_content(classes=("a: b", '"', "- c")))[4:].split("\n---\n")[0])
    assert front["library_name"] == "timm" and "license" not in front
    (result,) = front["model-index"][0]["results"]
    assert (
        result["metrics"][0]["value"] == pytest.approx(random_accuracy(), abs=1e-4)
        and result["dataset"]["split"] == "test"
    )


def random_accuracy() -> float:
    return train_content(classes=("a: b", '"', "- c"))["metrics"]["accuracy"]["value"]


def test_the_card_of_a_baseline_claims_no_latency() -> None:
    card = model_card(train_content(arch="mobilenetv2_050"))
    assert "Not predicted" in card and " ms on " not in card


def test_hostile_names_stay_text_in_the_card() -> None:
    names = (HOSTILE, "a | b", "[x](y)", "two\nlines")
    card = model_card(train_content(classes=names, attributes={"a|b": ("<b>", "`x`")}))
    assert "<script>" not in card and "<b>" not in card and "two lines" in card and "[x](y)" not in card
    heads = [line for line in card.splitlines() if line.startswith("| a\\|b ")]
    assert heads and all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in heads)


@pytest.mark.parametrize("name", ["```\n# no heading", "a`b\n````\n<b>", "x\u2028```", "````"])
def test_no_name_leaves_a_code_block_of_the_card(name: str) -> None:
    content = json.loads(json.dumps(train_content()))
    content["asked"] |= {"device": name, "data": name, "out": name, "arch": name}
    content["arch"]["device"] = content["table"]["device"] = content["name"] = name
    fence, inside = "", []
    for line in model_card(content).splitlines():
        run = re.match("`{3,}", line)
        if run and not fence:
            fence = run[0]
        elif fence and line.strip() == fence:
            fence = ""
        elif fence:
            inside.append(line)
        else:
            assert not line.lstrip().startswith("# no heading")
    assert not fence and any(line.startswith("import supernet") for line in inside)
    assert sum(line.startswith(("supernet train", "supernet predict")) for line in inside) == 2


def test_no_cell_of_a_csv_is_a_formula() -> None:
    rows = [["=1+1", "+cmd", "-2+3", "@sum", "\tx", "\rx"], ["-1", "+.5", "-1e3", "a=b", "", "é"], [-1, 0.5, None]]
    told = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert told[0] == [f"'{text}" for text in rows[0]]
    assert told[1] == rows[1] and told[2] == ["-1", "0.5", ""], "numbers, and what is none of either, stay"


def test_comparisons_are_sections_where_there_are_any() -> None:
    page = check(render(train_content(compared=True)))
    assert {"adjusted", "baseline"} <= set(page.sections) and "One gap for another." in page.text
    assert "this run is better" in page.text and "must be known at prediction time" in page.text
    without = check(render({**train_content(), "adjusted": {}}))
    assert not {"adjusted", "baseline"} & set(without.sections)


def test_a_search_from_a_teacher_is_not_told_as_a_supernets() -> None:
    content = search_content()
    content["asked"] = asdict(SearchConfig(teacher="runs/teacher", distil_steps=7, epochs=1, warmup_epochs=1))
    content["history"] = []
    content["candidates"][0]["by_hand"] = False
    text = " ".join(Page(render(content)).words)
    assert "learned the teacher's outputs for 7 steps" in text and "7 steps towards the teacher" in text
    assert "supernet's shared weights" not in text and "warm-up" not in text and "penalty" not in asked(content)
    assert ("uniform control" in text) == any(one["by_hand"] for one in content["candidates"])


def asked(content: dict[str, Any]) -> str:
    return asked_words("search", content["asked"], 9.0)["fairness is held by"]


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
