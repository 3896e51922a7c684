"""A binary task in the CSV form of CelebA or ISIC, from search to training. The images are GENERATED: noise with a bright
square; they stand for no real data set and say nothing about any."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.commands.main import main

TINY = ["--budget-ms", "12", "--batch-size", "32", "--threads", "1"]


def generate(folder: Path, images: int = 240, seed: int = 0) -> Path:
    """DIR/metadata.csv with file_name, split, label, sex, age, patient: the square is fainter in one group (a real gap)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "split", "label", "sex", "age", "patient"])
        for number in range(images):
            label, sex, age = rng.integers(2), rng.integers(2), rng.integers(2)
            pixels = rng.integers(0, 90, (32, 32, 3))
            if label:
                row, column = rng.integers(4, 20, 2)
                pixels[row : row + 8, column : column + 8] += 60 if sex else 160
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
            split = ("train", "train", "val", "test")[number // 8 % 4]  # by patient
            known = "unknown" if number % 20 == 0 else ("under 60", "60 or over")[age]
            row = [f"{number}.png", split, ("benign", "malignant")[label], ("female", "male")[sex], known, number // 8]
            writer.writerow(row)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("generated")
    data = [
        "--data",
        str(generate(base / "data")),
        "--group-cols",
        "sex,age",
        "--cluster-col",
        "patient",
        "--intersections",
    ]
    asked = ["--fairness", "equalized_odds", "--max-gap", "0.0001"]
    search = ["search", "--quick", "--space", "micro32", "--eval-images", "60", "--out", str(base / "search")]
    main([*search, *data, *asked, *TINY])
    train = ["train", "--quick", "--arch", str(base / "search"), "--export", "none", "--bootstrap", "20"]
    main([*train, "--threads", "1", "--out", str(base / "first")])
    main(
        [
            *train,
            "--threads",
            "1",
            "--fairness-method",
            "minimax,gap",
            "--baseline",
            str(base / "first"),
            "--out",
            str(base / "second"),
        ]
    )
    return base


def test_search_and_training_go_through_with_two_attributes_and_their_combinations(trained: Path) -> None:
    report = json.loads((trained / "second" / "report.json").read_text())
    assert list(report["metrics"]["attributes"]) == ["sex", "age", "sex × age"]
    assert report["metrics"]["bootstrap"]["unit"] == "cluster"
    assert report["data"]["classes"] == ["benign", "malignant"]


def test_what_post_processing_gives_is_fairlearns_and_in_the_report(trained: Path) -> None:
    report = json.loads((trained / "first" / "report.json").read_text())
    for attribute in ("sex", "age"):
        assert "ThresholdOptimizer, constraint equalized_odds" in report["adjusted"][attribute]["method"]
        assert report["adjusted"][attribute]["gap"]["low"] is not None
    page = (trained / "first" / "report.html").read_text()
    assert "must be known at prediction time" in page and "<h2>Adjusting this network" in page
    assert set(report["adjusted"]["sex"]["others"]) == {"age", "sex × age"}
    assert "by age: equalized odds gap" in page


def test_the_second_run_is_compared_with_the_first(trained: Path) -> None:
    report = json.loads((trained / "second" / "report.json").read_text())
    assert set(report["baseline"]["as_trained"]) == {"sex", "age", "sex × age"}
    assert 'id="baseline"' in (trained / "second" / "report.html").read_text()
    assert report["asked"]["fairness_method"] == "minimax,gap"


def test_a_cap_out_of_reach_is_said_in_report_and_card(trained: Path) -> None:
    reports = [json.loads((trained / run / "report.json").read_text()) for run in ("search", "first", "second")]
    said = [note for report in reports for note in report["notes"] if note.startswith("--max-gap 0.0001 was not held")]
    assert said and all("may be infeasible" in note or " on " in note for note in said)
    for report in reports[1:]:  # of each attribute, on test
        above = {a for a, m in report["metrics"]["attributes"].items() if m["gaps"]["equalized_odds"]["value"] > 0.0001}
        hard = [note for note in report["notes"] if note.startswith("--max-gap 0.0001 was not held on test")]
        assert above and len(hard) == len(above)
    card = (trained / "first" / "model_card.md").read_text()
    assert "| female |" in card and "not held on test" in card


def test_the_report_shows_which_group_is_worse_off_in_what_was_asked(trained: Path) -> None:
    metrics = json.loads((trained / "first" / "report.json").read_text())["metrics"]["attributes"]["sex"]
    event = metrics["gaps"]["equalized_odds"]["worst_event"]
    what = "false positive rate" if event.startswith("not") else "recall"
    card, page = ((trained / "first" / name).read_text() for name in ("model_card.md", "report.html"))
    assert f"Where the groups differ most in equalized odds, {what} of malignant: female " in card
    assert f"{what.capitalize()} of malignant by sex, %" in page
