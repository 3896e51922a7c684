"""The model card: every figure with its interval, nothing invented, hostile names stay text."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
import yaml
from report_content import train_content
from report_page import HOSTILE, check, interval, model_card, random_accuracy

from latency_luts.sheets import csv_text
from supernet.report import render, words
from supernet.report.facts import Table, read


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
