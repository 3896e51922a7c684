"""A finished model on labelled pictures: the figures of the training's test split, whatever runs the model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_preprocessing import folder, photo

from supernet.commands.main import main

FEW_CORRUPTIONS = ("contrast", "motion_blur")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 3 × 24 photos in a folder beside it."""
    path = tmp_path_factory.mktemp("evaluate")
    photos = folder(path / "photos", photo(60, 50), per_split=24)
    options = ["--data", str(photos), "--resolution", "32", "--batch-size", "8", "--threads", "1", "--bootstrap", "20"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("supernet.corrupted.NAMES", FEW_CORRUPTIONS)
        main(["train", "--quick", "--arch", "mobilenetv3_small_050", *options, "--corruptions", "--export", "onnx", "--out", str(path / "run")])  # fmt: skip
    return path / "run"


def evaluated(model: Path, data: Path | str, out: Path, *options: str) -> dict[str, Any]:
    main(["evaluate", "--model", str(model), "--data", str(data), "--out", str(out), "--bootstrap", "20", *options])
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


def error(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_test_split_has_the_figures_of_the_training(trained: Path, tmp_path: Path) -> None:
    before = json.loads((trained / "report.json").read_text(encoding="utf-8"))["metrics"]
    for number, model in enumerate((trained, trained / "model.onnx")):
        found = evaluated(model, trained.parent / "photos", tmp_path / str(number))
        assert found["data"]["split"] == "test" and found["metrics"]["samples"] == 24
        ours, theirs = (m["attributes"]["group"]["groups"] for m in (found["metrics"], before))
        assert {g: own["confusion"] for g, own in ours.items()} == {g: own["confusion"] for g, own in theirs.items()}
        assert found["metrics"]["accuracy"] == before["accuracy"]
        gap, other = (m["attributes"]["group"]["gaps"]["equalized_odds"] for m in (found["metrics"], before))
        assert gap == pytest.approx(other)
        loss, was = (m["cross_entropy"]["value"] for m in (found["metrics"], before))
        assert loss == pytest.approx(was, abs=1e-4)
    page = (tmp_path / "0" / "report.html").read_text(encoding="utf-8")
    assert "What is taken for what" in page and "its test split" in page and "supernet evaluate --model" in page
    with (tmp_path / "0" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert right / 24 == pytest.approx(before["accuracy"]["value"]) and {row["group"] for row in rows} == {"u", "v"}


def test_corrupted_pictures_are_those_of_the_training(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 24, the same corruptions, by torch and by onnxruntime; the page and the card have them."""
    monkeypatch.setattr("supernet.corrupted.NAMES", FEW_CORRUPTIONS)
    before = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    photos = trained.parent / "photos"
    found = evaluated(trained / "model.onnx", photos, tmp_path / "run", "--corruptions", "24")
    assert found["corruptions"] == before["corruptions"]
    own = found["corruptions"]
    assert own["images"] == 24 and own["clean"]["accuracy"] == before["metrics"]["accuracy"]["value"]
    assert [row["name"] for row in own["rows"]] == list(FEW_CORRUPTIONS)
    told = capsys.readouterr().out
    assert "2 at 5 severities on 24 test images. That is 264 forward passes" in told and "mean error" in told
    for page in (trained / "report.html", tmp_path / "run" / "report.html"):
        text = page.read_text(encoding="utf-8")
        assert "Under corruptions" in text and "motion blur *" in text and "filter, written anew" in text
    assert "Under corruptions" in (trained / "model_card.md").read_text(encoding="utf-8")
    told = error(
        capsys, "evaluate", "--model", trained, "--data", photos, "--corruptions", "9", "--out", tmp_path / "b"
    )
    assert "at least 10" in told and not (tmp_path / "b").exists()


def test_pictures_that_were_trained_on_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--model", trained, "--data", trained.parent / "photos", "--split", "train", "--out"]
    assert "24 of 24 pictures were in the training's" in error(capsys, *command, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    found = evaluated(trained, trained.parent / "photos", tmp_path / "run", "--split", "val", "--allow-duplicates")
    assert any("24 of 24" in note for note in found["notes"])


def test_columns_and_notion_are_the_trainings_unless_given(trained: Path, tmp_path: Path) -> None:
    new = folder(tmp_path / "new", photo(40, 70, seed=9))
    table = (new / "metadata.csv").read_text().replace("label,group,split", "label,site,part")
    (new / "metadata.csv").write_text(table)
    found = evaluated(trained, new, tmp_path / "run", "--group-cols", "site", "--fairness", "equalized_odds")
    assert found["data"]["split"] == "all" and found["metrics"]["samples"] == 12, "no column split: all rows"
    assert list(found["metrics"]["attributes"]) == ["site"] and found["asked"]["fairness"] == "equalized_odds"


def test_what_the_training_has_can_be_left_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Groups and clusters by "", intersections by --no-intersections, or by themselves where nothing is there to combine."""
    model, photos = tmp_path / "model", trained.parent / "photos"
    shutil.copytree(trained, model)
    asked = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(asked | {"intersections": True}))
    found = evaluated(model, photos, tmp_path / "one", "--cluster-col", "")
    assert not found["asked"]["intersections"] and any("it was left out" in note for note in found["notes"])
    assert list(found["metrics"]["attributes"]) == ["group"]
    found = evaluated(model, photos, tmp_path / "none", "--group-cols", "", "--no-intersections")
    assert found["data"]["by_class"] and not any("left out" in note or "No column" in note for note in found["notes"])
    told = error(capsys, "evaluate", "--model", model, "--data", photos, "--intersections", "--out", tmp_path / "two")
    assert "--intersections needs two attributes" in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("test1.png,b", "test1.png,c"), 'has the class "c", which the model does not know: its classes are a, b'),
        (("test1.png", "gone.png"), "row 11: no image file"),
        (("test3.png,b,v", "test0.png,b,v"), "The same picture has two labels"),
    ],
)
def test_what_would_give_a_wrong_figure_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], words: str
) -> None:
    new = folder(tmp_path / "new", photo(40, 70, seed=9))
    (new / "metadata.csv").write_text((new / "metadata.csv").read_text().replace(*change))
    assert words in error(capsys, "evaluate", "--model", trained, "--data", new, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_groups_without_another_to_compare_with_are_a_note(trained: Path, tmp_path: Path) -> None:
    new = folder(tmp_path / "new", photo(40, 70, seed=9))
    lone = (new / "metadata.csv").read_text().replace(",u,test", ",v,test")
    (new / "metadata.csv").write_text(lone)
    found = evaluated(trained, new, tmp_path / "run")
    assert 'Attribute "group" has only the group "v" here: there is no gap by it.' in found["notes"]
    assert list(found["metrics"]["attributes"]) == ["class"] and found["data"]["by_class"]
    (new / "metadata.csv").write_text(lone.replace(",v,test", ",unknown,test"))
    found = evaluated(trained, new, tmp_path / "run2")
    assert 'Attribute "group" has no known group here: there is no gap by it.' in found["notes"]


def test_the_positive_class_is_the_trainings_and_its_notion_may_have_no_meaning(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    asked = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(asked | {"positive": "b", "fairness": "equal_opportunity"}))
    found = evaluated(model, trained.parent / "photos", tmp_path / "run")
    assert found["data"]["positive"] == "b"
    terminal = capsys.readouterr().out
    assert '(of "b")' in terminal and 'of "a"' not in terminal
    new = folder(tmp_path / "new", photo(40, 70, seed=9))
    (new / "metadata.csv").write_text((new / "metadata.csv").read_text().replace(",u,test", ",v,test"))
    found = evaluated(model, new, tmp_path / "run2")
    assert found["asked"]["fairness"] == "accuracy_parity" and any("is told" in note for note in found["notes"])
    told = error(capsys, "evaluate", "--model", model, "--data", new, "--fairness", "equal_opportunity", "--out", tmp_path / "run3")  # fmt: skip
    assert "--fairness equal_opportunity compares groups" in told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fairness", "fairness: 3 is not of type str"),
        ("group_cols", "group_cols: 3 is not of type str"),
        ("seen", "seen.npz is damaged"),
    ],
)
def test_a_damaged_file_beside_the_model_is_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    if name == "seen":
        np.savez(model / "seen.npz", other=np.zeros(3))
    else:
        asked = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(asked | {name: 3}))
    told = error(capsys, "evaluate", "--model", model, "--data", trained.parent / "photos", "--out", tmp_path / "run")
    assert words in told


def test_digits_of_the_package_are_prepared_as_in_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--space", "micro32", "--max-train", "64", "--threads", "1", "--export", "none"]
    main(["train", "--quick", "--arch", "mobilenetv3_small_050", *options, "--out", str(tmp_path / "run")])
    before = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["metrics"]
    again = [
        "evaluate",
        "--model",
        tmp_path / "run",
        "--data",
        "writers",
        "--split",
        "train",
        "--out",
        tmp_path / "train",
    ]
    assert "pictures were in the training's search-train" in error(capsys, *again), "a built-in set, too"
    found = evaluated(tmp_path / "run", "writers", tmp_path / "again")["metrics"]
    assert found["samples"] == 7000
    assert found["accuracy"]["value"] == pytest.approx(before["accuracy"]["value"], abs=2 / 7000)
