"""Exports come after the report, never take it along, and can be made again."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path

import onnx
import pytest
from filelock import FileLock

from supernet.commands import export_run, exports
from supernet.commands.export_run import run_config
from supernet.commands.main import main
from supernet.engine.claim import LOCK
from supernet.errors import UserError

TRAIN = ["train", "--quick", "--space", "micro32", "--max-train", "64", "--bootstrap", "20", "--threads", "1"]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    """A timm baseline with a budget, not exported."""
    folder = tmp_path_factory.mktemp("exports") / "run"
    main(
        [
            *TRAIN,
            "--data",
            digits,
            "--arch",
            "test_resnet",
            "--budget-ms",
            "10",
            "--export",
            "none",
            "--out",
            str(folder),
        ]
    )
    return folder


@pytest.fixture
def run(baseline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(baseline, tmp_path / "run"))


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_files_are_made_later_and_told_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run)["files"] == {}
    main(["export", str(run), "--format", "onnx"])
    assert set(report(run)["files"]) == {"model.onnx"} and report(run)["int8"] is None
    capsys.readouterr()
    main(["export", str(run), "--format", "int8"])
    printed = capsys.readouterr().out
    found = report(run)
    assert set(found["files"]) == {"model.onnx", "model-int8.onnx"} and "search-val images" in printed
    assert all(f"Warning: {line}" in printed for line in found["int8"]["warnings"])
    page, card = (run / "report.html").read_text(), (run / "model_card.md").read_text()
    for text in (page, card):
        assert "The int8 file" in text and f"{found['int8']['test']['int8']['accuracy']:.1%}" in text
        assert "middle square" in text


def test_int8_is_made_of_a_network_that_began_with_other_weights_mean_and_std(run: Path) -> None:
    """As --pretrained leaves it: pictures are shown at the scale that the weights are used to, and the data is the same."""
    model = json.loads((run / "model.json").read_text())
    model["input"] |= {"mean": [0.449], "std": [0.226]}
    (run / "model.json").write_text(json.dumps(model))
    main(["export", str(run), "--format", "int8"])
    assert report(run)["files"]["model-int8.onnx"].startswith("int8, batch 1") and report(run)["int8"] is not None


def test_verify_knows_the_budget_of_a_baseline(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(run), "--format", "onnx"])
    metadata = {p.key: p.value for p in onnx.load(str(run / "model.onnx")).metadata_props}
    assert float(metadata["budget_ms"]) == 10
    capsys.readouterr()
    main(["verify", "--model", str(run / "model.onnx"), "--quick"])
    assert "budget     10 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [RuntimeError("aten::what is not\nsupported"), MemoryError(), OSError(28, "No space")]
)
def test_an_exporter_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, digits: str
) -> None:
    seen = []

    def fails(*args: object) -> float:
        seen.append(report(tmp_path / "run"))  # the report is there before
        raise error

    monkeypatch.setattr(exports, "export_onnx", fails)
    main(
        [*TRAIN, "--data", digits, "--arch", "test_resnet", "--export", "onnx,int8", "--out", str(tmp_path / "run")]
    )  # exit code 0
    assert seen[0]["metrics"] == report(tmp_path / "run")["metrics"] and seen[0]["exports_pending"]
    files = report(tmp_path / "run")["files"]
    assert "\n" not in files["model.onnx"] and files["model.onnx"].startswith("not written: ")
    assert "model.onnx, which is missing" in files["model-int8.onnx"]
    assert "Warning: model.onnx was not written" in capsys.readouterr().out
    assert "not written" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "model.safetensors").exists() and "exports_pending" not in report(tmp_path / "run")


def test_an_export_that_kills_the_process_leaves_the_report_and_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: str
) -> None:
    command = [*TRAIN, "--data", digits, "--arch", "test_resnet", "--export", "onnx", "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(exports, "export_onnx", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        main(command)
    assert "supernet export" in (tmp_path / "run" / "report.html").read_text()
    main(command)  # the same command again goes on
    assert set(report(tmp_path / "run")["files"]) == {"model.onnx"}
    with pytest.raises(SystemExit):
        main(command)  # and is then finished


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder: give the folder of a finished train run"):
        run_config(tmp_path)
    with pytest.raises(UserError, match="does not exist: give the folder of a finished train run"):
        run_config(tmp_path / "nowhere")


def test_an_export_that_fails_leaves_the_folder_free(run: Path) -> None:
    (run / "model.json").unlink()
    with pytest.raises(
        UserError, match=r"model\.json"
    ) as kept:  # as a notebook keeps the last error, with what it refers to
        export_run.run(Namespace(folder=run, format="onnx"))
    with FileLock(run / LOCK, timeout=0):
        assert kept.value


def test_what_cannot_be_exported_again_is_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*argv: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["export", *argv])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    assert 'unknown format "onxn"' in error(str(run), "--format", "onxn")
    assert "does not exist" in error(str(run / "nowhere"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "max_train": 50}))
    error(str(run), "--format", "int8")
    assert "no longer what the model was trained on" in report(run)["files"]["model-int8.onnx"]
    (run / "config.json").write_text(json.dumps({**config, "command": "search"}))
    assert "not a run of train" in error(str(run))
    del config["export"], config["smoothing"]  # a version that did not have them
    (run / "config.json").write_text(json.dumps(config))
    main(["export", str(run), "--format", "onnx"])
