"""The whole way of a network whose layers' bits are searched: search, resume, train, evaluate, export, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array
from stop_at import StopAt

from supernet.commands.bits import counted
from supernet.commands.main import main
from supernet.costs.latency import table_path
from supernet.engine import loop
from supernet.errors import UserError
from supernet.models import read_model
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

LIMIT = 110e6
SEARCH = ["search", "--space", "bits32", "--max-bops", f"{LIMIT:g}", "--batch-size", "16", "--epochs", "1", "--warmup-epochs", "1",
          "--candidates", "3", "--eval-images", "64", "--threads", "1"]  # fmt: skip
TRAIN = ["train", "--epochs", "1", "--batch-size", "16", "--threads", "1", "--bootstrap", "0"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    out = tmp_path_factory.mktemp("bits") / "search"
    main([*SEARCH, "--data", digits, "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def trained(searched: Path) -> Path:
    out = searched.parent / "train"
    main([*TRAIN, "--arch", str(searched), "--out", str(out)])
    return out


def test_a_search_keeps_its_budget_and_says_that_there_is_no_time(searched: Path) -> None:
    arch, front = Architecture.load(searched), json.loads((searched / "front.json").read_text())
    assert {option for option in arch.ops} <= set(get_space("bits32").ops)
    assert all(one["costs"]["bops"] <= LIMIT and "latency" not in one["costs"] for one in front)
    assert front[0]["costs"]["bops"] == counted(arch)
    assert [one["ops"] for one in front if one["by_hand"]] == [["w2a2"] * 6], "the most uniform bits inside"
    unknown = (arch.device, arch.budget_ms, arch.predicted_ms, arch.table, arch.peak_activation_bytes)
    assert unknown == (None,) * 5 and arch.config["device"] == "none"
    page = (searched / "report.html").read_text()
    assert "BOPS only, no measured time" in page and "latency, ms" not in page
    assert not (searched / "quality.json").exists()


def test_an_interrupted_search_ends_as_an_uninterrupted_one(
    searched: Path, digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(6))
        with pytest.raises(SystemExit):
            main([*SEARCH, "--data", digits, "--out", str(tmp_path / "half")])
    main(["search", "--resume", str(tmp_path / "half")])
    for file in ("front.json", "metrics.jsonl"):
        assert (tmp_path / "half" / file).read_text() == (searched / file).read_text()


def test_the_file_of_its_options_makes_the_same_run(searched: Path, tmp_path: Path) -> None:
    main(["search", "--config", str(searched / "run.yaml"), "--out", str(tmp_path / "again")])
    assert (tmp_path / "again" / "front.json").read_text() == (searched / "front.json").read_text()


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    searched: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(2))
        with pytest.raises(SystemExit):
            main([*TRAIN, "--arch", str(searched), "--export", "none", "--out", str(tmp_path / "half")])
    main(["train", "--resume", str(tmp_path / "half")])
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "half" / file).read_bytes() == (trained / file).read_bytes()


def test_the_least_budget_that_is_offered_is_accepted(digits: str, tmp_path: Path) -> None:
    main([*SEARCH[:3], "--max-bops", "64090000", *SEARCH[5:], "--data", digits, "--out", str(tmp_path / "run")])
    assert Architecture.load(tmp_path / "run").ops == ("w1a1",) * 6


def test_training_leaves_float32_files_on_the_levels_and_no_int8(trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text())
    arch = Architecture.load(trained)
    assert report["arch"]["bops"] == counted(arch) and report["arch"]["bits"] == "each layer's own bits"
    assert report["arch"]["predicted_ms"] is None and "peak_activation_bytes" not in report["arch"]
    assert report["files"]["model-int8.onnx"].startswith("not written: each layer has bits of its own")
    assert "rounded to each layer's bits" in report["files"]["model.onnx"]
    assert not (trained / "model-int8.onnx").exists() and report["int8"] is None
    assert "BOPS only, no measured time" in (trained / "model_card.md").read_text()
    found = onnx.load(str(trained / "model.onnx"))
    assert {p.key: p.value for p in found.metadata_props}["bits"] == "float32 numbers on each layer's levels"
    weights = [to_array(one) for one in found.graph.initializer if to_array(one).ndim == 4]
    assert len(weights) == 13
    for bits, weight in zip((b for b in get_space("bits32").bits_of(arch.ops) for _ in range(2)), weights[1:], strict=True):  # fmt: skip
        levels = max(len(np.unique((channel / abs(channel).max()).round(4))) for channel in weight)
        assert levels <= {8: 255, 4: 15, 2: 3, 1: 2}[bits.weights]


def test_the_saved_model_is_the_trained_one(trained: Path, digits: str, tmp_path: Path) -> None:
    main(["evaluate", "--model", str(trained), "--data", digits, "--split", "test", "--bootstrap", "0", "--out", str(tmp_path / "run")])  # fmt: skip
    own, other = (json.loads((where / "report.json").read_text())["metrics"] for where in (trained, tmp_path / "run"))
    assert own["accuracy"]["value"] == other["accuracy"]["value"]
    network = read_model(trained / "model.json").network
    assert {b.weight_bits for block in network.blocks for b in (block[0].conv_exp, block[1].conv_pwl)} <= {8, 4, 2, 1}
    main(["export", str(trained), "--format", "onnx,int8"])
    assert not (trained / "model-int8.onnx").exists()


def test_two_trainings_are_compared_by_bit_operations(trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:  # fmt: skip
    shutil.copytree(trained, tmp_path / "other")
    main(["compare", str(trained), str(tmp_path / "other"), "--out", str(tmp_path / "compare.html")])
    assert "M bit operations and no latency" in capsys.readouterr().out
    assert "M bit operations" in (tmp_path / "compare.html").read_text()


def refused(words: str, *arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and words in " ".join(told.split()), told
    assert told.count("\n") == 1, "one line"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--device", "rpi4"],
            "--device has no meaning for --space bits32: no runtime here executes fewer than 8 bits",
        ),
        (["--budget-ms", "5"], "--budget-ms has no meaning for --space bits32"),
        (
            ["--bits", "4/4", "--max-bops", "1e9"],
            "--bits has no meaning for --space bits32: each layer's bits are what",
        ),
        (["--dtype", "int8"], "--dtype has no meaning"),
        (["--max-mj", "5"], "--max-mj has no meaning for --space bits32"),
        (["--max-sram-kb", "64"], "--max-sram-kb has no meaning for --space bits32: it counts whole bytes"),
        (["--strategy", "random"], "--space bits32 is searched by --strategy differentiable"),
        (["--max-bops", "6e7"], "keeps 6e+07 bit operations: the least possible is 64090000"),
        (["--max-bops", "1e9", "--max-macs", "1e6"], "the least possible is"),
    ],
)
def test_what_has_no_meaning_is_refused_at_the_start(
    options: list[str], words: str, digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(words, "search", "--space", "bits32", "--data", digits, "--out", str(tmp_path / "no"), *options, capsys=capsys)  # fmt: skip
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("options", [["--device", "rpi4"], ["--qat-epochs", "2"], ["--exits", "1"], ["--budget-ms", "5"]])  # fmt: skip
def test_a_training_refuses_them_too(options: list[str], searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    words = f"{options[0]} has no meaning for an architecture of bits32"
    refused(words, *TRAIN, "--arch", str(searched), "--out", str(tmp_path / "no"), *options, capsys=capsys)


def test_other_bits_than_the_budget_holds_are_a_changed_file(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    content = json.loads((searched / "derived.json").read_text())
    (tmp_path / "derived.json").write_text(json.dumps(content | {"ops": ["w8a8"] * 6}))
    refused("bit operations are over max_bops, 1.1e+08: one was changed", *TRAIN, "--arch", str(tmp_path / "derived.json"), capsys=capsys)  # fmt: skip


def test_another_budget_is_another_search(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("search again with another --max-bops", "derive", "--run", str(searched), "--device", "rpi4", "--budget-ms", "5", capsys=capsys)  # fmt: skip


def test_without_a_budget_it_is_half_way_to_the_median(digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    main([*SEARCH[:3], *SEARCH[5:], "--finalists", "2", "--data", digits, "--device", "none", "--out", str(tmp_path / "run")])  # fmt: skip
    assert "No --max-bops was given: 1.3e+08 was taken" in capsys.readouterr().out
    assert list((tmp_path / "run").glob("finalists-*.jsonl")), "compared alone, too"
    assert Architecture.load(tmp_path / "run").config["max_bops"] == 1.3e8


def test_a_device_none_is_none_elsewhere() -> None:
    with pytest.raises(UserError, match='Unknown device "none"'):
        table_path("none")
