"""A finished model on labelled pictures: the figures of the training's test split, whatever runs the model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from test_preprocessing import folder, photo

from supernet.commands.main import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 3 × 24 photos in a folder beside it."""
    path = tmp_path_factory.mktemp("evaluate")
    photos = folder(path / "photos", photo(60, 50), per_split=24)
    options = ["--data", str(photos), "--resolution", "32", "--batch-size", "8", "--threads", "1", "--bootstrap", "20"]
    main(["train", "--quick", "--arch", "mobilenetv3_small_050", *options, "--export", "onnx", "--out", str(path / "run")])  # fmt: skip
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("test1.png,b", "test1.png,c"), 'has the class "c", which the model does not know: its classes are a, b'),
        (("test1.png", "gone.png"), "row 11: no image file"),
        (("test3.png,b,v", "test0.png,b,v"), "The same picture has two labels"),
        ((",u,test", ",v,test"), "only the group"),
    ],
)
def test_what_would_give_a_wrong_figure_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], words: str
) -> None:
    new = folder(tmp_path / "new", photo(40, 70, seed=9))
    (new / "metadata.csv").write_text((new / "metadata.csv").read_text().replace(*change))
    assert words in error(capsys, "evaluate", "--model", trained, "--data", new, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_digits_of_the_package_are_prepared_as_in_training(tmp_path: Path) -> None:
    options = ["--space", "micro32", "--max-train", "64", "--threads", "1", "--export", "none"]
    main(["train", "--quick", "--arch", "mobilenetv3_small_050", *options, "--out", str(tmp_path / "run")])
    before = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["metrics"]
    found = evaluated(tmp_path / "run", "writers", tmp_path / "again")["metrics"]
    assert found["samples"] == 7000
    assert found["accuracy"]["value"] == pytest.approx(before["accuracy"]["value"], abs=2 / 7000)
