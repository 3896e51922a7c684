"""A closer look by group: curves against scikit-learn and counting, the surest mistakes, and no picture where none is wanted."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_content import WRITERS, train_content
from sklearn.metrics import roc_auc_score

from supernet.closer import closer, mistakes, reliability, roc, surest_mistakes, thumbnail
from supernet.commands.look import closer_facts
from supernet.report import render
from supernet.report.facts import Metrics, read

RNG = np.random.default_rng(0)


def test_reliability_counts_what_lies_in_each_range() -> None:
    prob_NC = np.array([[0.95, 0.05]] * 20 + [[0.6, 0.4]] * 12 + [[0.7, 0.3]] * 9 + [[1.0, 0.0]] * 5)
    label_N = np.array([0] * 15 + [1] * 5 + [0] * 6 + [1] * 6 + [0] * 9 + [1] * 5)
    low, high = reliability(prob_NC, label_N)
    assert low == {"confidence": pytest.approx(0.6), "accuracy": 0.5, "images": 12}
    assert high == {"confidence": pytest.approx((20 * 0.95 + 5) / 25), "accuracy": 15 / 25, "images": 25}
    assert reliability(prob_NC[:0], label_N[:0]) == [], "a range of nine images is not told either"


def test_roc_is_scikit_learns_and_thinning_keeps_its_area() -> None:
    positive_N = RNG.random(500) < 0.3
    score_N = np.clip(RNG.normal(0.4 + 0.2 * positive_N, 0.2), 0, 1)
    found = roc(score_N, positive_N)
    assert found is not None
    x, y = np.array(found["points"]).T
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(positive_N, score_N), abs=0.01) and len(x) <= 60
    assert found["at_half"] == [pytest.approx((score_N > 0.5)[~positive_N].mean()), pytest.approx((score_N > 0.5)[positive_N].mean())]  # fmt: skip
    assert roc(score_N[:12], np.arange(12) < 3) is None, "three positive images"


def test_groups_are_kept_apart_and_small_ones_left_out() -> None:
    prob_NC, label_N = np.tile([0.9, 0.1], (40, 1)), np.array([0] * 20 + [1] * 20)
    group_NA = np.array([[0]] * 20 + [[1]] * 15 + [[2]] * 4 + [[-1]])
    found = closer(prob_NC, label_N, group_NA, ("a", "b"), {"site": ("x", "y", "z")})
    assert {name: rows[0]["accuracy"] for name, rows in found["reliability"]["site"].items()} == {"x": 1.0, "y": 0.0}
    assert found["roc"] == {"site": {}}
    assert closer(np.tile([0.8, 0.1, 0.1], (40, 1)), label_N, group_NA, ("a", "b", "c"), {"site": ("x", "y", "z")})["roc"] == {}  # fmt: skip


def test_the_surest_mistakes_of_the_hardest_class_come_first() -> None:
    prob_NC = np.full((60, 3), 0.05)
    label_N, group_N = np.repeat([0, 1, 2], 20), np.tile([0, 1], 30)
    taken_N = label_N.copy()
    for position, taken in ((1, 1), (21, 2), (23, 2), (25, 0), (40, 0)):  # 40 is of the other group
        taken_N[position] = taken
    prob_NC[np.arange(60), taken_N] = 0.9
    prob_NC[23, 2], prob_NC[1, 1] = 0.99, 0.999
    assert surest_mistakes(prob_NC, label_N, group_N, 1).tolist() == [23, 21, 25, 1]
    assert surest_mistakes(prob_NC, label_N, group_N, 0).tolist() == [40]
    assert surest_mistakes(prob_NC, taken_N, group_N, 0).tolist() == [], "nothing is wrong"


def test_a_thumbnail_is_small_and_holds_the_pixels_alone() -> None:
    for shape, size in (((3, 32, 32), 32), ((1, 224, 224), 96)):
        head, _, code = thumbnail(np.full(shape, 200, np.uint8)).partition(",")
        with Image.open(io.BytesIO(base64.b64decode(code))) as picture:
            assert head == "data:image/jpeg;base64" and picture.size == (size, size) and not picture.getexif()
            assert abs(np.asarray(picture).mean() - 200) < 3


def test_pictures_end_where_there_are_too_many_bytes() -> None:
    prob_NC, label_N = np.tile([0.9, 0.1], (30, 1)), np.ones(30, np.int64)
    noise = RNG.integers(0, 256, (3, 96, 96), dtype=np.uint8)
    worst = [(0, "a", 0, "x"), (1, "b", 0, "y")]
    found = mistakes(prob_NC, label_N, np.zeros((30, 2), np.int64), ("n", "p"), worst, lambda n: noise)
    assert 0 < sum(len(image["src"]) for own in found for image in own["images"]) <= 60_000
    assert found[0]["images"][0] | {"src": ""} == {"src": "", "true": "p", "predicted": "n", "probability": 0.9}


def with_closer(pixels: Any) -> dict[str, Any]:
    content = train_content(classes=("benign", "malign"))
    metrics = content["metrics"]
    label_N, group_NA = RNG.integers(0, 2, 400), RNG.integers(0, 2, (400, 1))
    score_N = np.clip(RNG.normal(0.35 + 0.3 * label_N, 0.2), 0.01, 0.99)
    prob_NC = np.column_stack([1 - score_N, score_N])
    return content | {"closer": closer_facts(prob_NC, label_N, group_NA, read(Metrics, metrics), WRITERS, pixels)}


def test_the_page_shows_them_unless_no_images_are_wanted() -> None:
    page = render(with_closer(lambda n: np.full((3, 32, 32), 90, np.uint8)))
    assert "The surest mistakes" in page and 'src="data:image/jpeg' in page and "img-src data:" in page
    assert "Accuracy against confidence by writer" in page and "The threshold 0.5 by writer" in page
    without = render(with_closer(None))
    assert "<img" not in without and "data:image" not in without and "Accuracy against confidence" in without
    assert "The surest mistakes" not in render(train_content()), "a report of before"
