"""The page of a search: its sections, candidates and front."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from report_content import search_content
from report_page import (
    SEARCH,
    Page,
    asked,
    check,
)

from supernet.config import SearchConfig
from supernet.report import render


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


def test_layers_may_differ_in_what_they_offer() -> None:
    """As in the flex spaces: every layer's operations have a column."""
    content = search_content()
    content["layers"][3] |= {"probabilities": {"res_k3": 0.4, "skip": 0.6}}
    assert ">res_k3<" in render(content)


@pytest.mark.parametrize(
    ("space", "said"),
    [("fbnet32", "the layers' middle operation"), ("flex32", "MobileNetV2's block in each layer"), ("sensor32-grey", "MobileNetV2's block in each layer")],
)  # fmt: skip
def test_the_network_built_by_hand_is_told_as_its_space_builds_it(space: str, said: str) -> None:
    content = search_content()
    content["asked"] = {**content["asked"], "space": space}
    assert f"one would build by hand: {said}" in check(render(content)).text


def test_fewer_candidates_than_finalists_are_told_as_so_many() -> None:
    content = search_content()
    content["asked"] = {**content["asked"], "finalists": 100}
    assert f"when {len(content['candidates'])} of them were trained alone" in check(render(content)).text


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


def test_a_search_from_a_teacher_is_not_told_as_a_supernets() -> None:
    content = search_content()
    content["asked"] = asdict(SearchConfig(teacher="runs/teacher", distil_steps=7, epochs=1, warmup_epochs=1))
    content["history"] = []
    content["candidates"][0]["by_hand"] = False
    text = " ".join(Page(render(content)).words)
    assert "learned the teacher's outputs for 7 steps" in text and "7 steps towards the teacher" in text
    assert "supernet's shared weights" not in text and "warm-up" not in text and "penalty" not in asked(content)
    assert ("uniform control" in text) == any(one["by_hand"] for one in content["candidates"])
