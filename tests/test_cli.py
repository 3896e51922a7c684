"""The commands as a user runs them: search → train → timm, and one clear line with exit code 2 after a mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from supernet.commands.inherited import inherit
from supernet.commands.main import main
from supernet.config import SearchConfig, TrainConfig, with_epochs
from supernet.costs.memory import peak_activation_bytes
from supernet.fairness import METHODS, NOTIONS
from supernet.fairness.notions import EVENTS, GROUPS
from supernet.network import build_network
from supernet.spaces.architecture import Architecture

TINY = ["--space", "micro32", "--max-train", "64", "--batch-size", "32", "--threads", "1"]
SEARCH = ["search", "--quick", *TINY, "--eval-images", "256"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "search"
    main([*SEARCH, "--data", digits, "--budget-ms", "10", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def trained(searched: Path) -> Path:
    folder = searched.parent / "train"
    main(["train", "--quick", "--arch", str(searched), "--max-train", "64", "--bootstrap", "20",
          "--export", "none", "--out", str(folder)])  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("images", "search", "train"), [(100, (120, 120), 360), (2000, (6, 6), 18), (12_000, (1, 1), 3), (10**6, (1, 1), 3)]
)
def test_few_images_are_seen_more_often(images: int, search: tuple[int, int], train: int) -> None:
    searching, training = with_epochs(SearchConfig(), images), with_epochs(TrainConfig(), images)
    assert (searching.warmup_epochs, searching.epochs) == search and training.epochs == train
    assert with_epochs(TrainConfig(epochs=7), images).epochs == 7, "what is asked for stays"


def test_search_leaves_what_it_promises(searched: Path) -> None:
    arch = Architecture.load(searched / "derived.json")
    assert arch.predicted_ms is not None and arch.predicted_ms <= 10 == arch.budget_ms
    front = json.loads((searched / "front.json").read_text())
    assert tuple(front[0]["ops"]) == arch.ops and any(row["non_dominated"] for row in front)
    assert {"report.html", "report.json", "metrics.jsonl", "config.json", "checkpoint.pt"} <= {
        path.name for path in searched.iterdir()
    }


def test_several_budgets_are_held_at_once(tmp_path: Path, digits: str) -> None:
    main([*SEARCH, "--data", digits, "--budget-ms", "20", "--max-params", "8e5", "--max-macs", "12e6", "--max-sram-kb", "60",
          "--max-flash-kb", "3000",          "--out", str(tmp_path / "run")])  # fmt: skip
    front = json.loads((tmp_path / "run" / "front.json").read_text())
    costs, arch = front[0]["costs"], Architecture.load(tmp_path / "run" / "derived.json")
    assert costs["latency"] <= 20 and costs["params"] <= 8e5 and costs["macs"] <= 12e6
    assert all(one["costs"]["peak_memory"] <= 60 for one in front), "no candidate is over it"
    network = build_network(arch)
    assert costs["weights"] == 4 * sum(one.numel() for one in network.parameters()) / 1024 <= 3000
    assert arch.peak_activation_bytes == peak_activation_bytes(network, 1, 32) == 1024 * costs["peak_memory"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["derived"]["peak_activation_bytes"] == arch.peak_activation_bytes


def test_trained_model_loads_through_timm(trained: Path) -> None:
    model = timm.create_model("supernet_derived", model_json=str(trained / "model.json"), pretrained=True)
    report = json.loads((trained / "report.json").read_text())
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) == report["arch"]["params"]
    assert Architecture.load(trained / "derived.json") == Architecture.load(report["asked"]["arch"])


def test_timm_baseline_takes_the_same_path(tmp_path: Path, digits: str) -> None:
    options = [*TINY, "--data", digits, "--bootstrap", "20", "--fairness-weight", "3", "--out", str(tmp_path / "run")]
    main(["train", "--quick", "--arch", "mobilenetv2_050", *options])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["lambda_gap_writer"] for row in rows} == {3.0}, "the weight that was asked for"
    model = timm.create_model("supernet_derived", model_json=str(tmp_path / "run" / "model.json"), pretrained=True)
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    assert (tmp_path / "run" / "model.onnx").exists() and (tmp_path / "run" / "model-int8.onnx").exists()
    arch = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["arch"]
    assert arch["device"] == "rpi4" and arch["predicted_ms"] > 1 and "estimated" in arch["estimated"]


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(argv))
    assert stopped.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("supernet: error: ")
    return message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "rpi5"], ["rpi5", "rpi4", "--device ./my-board.json"]),
        (["--device", "nowhere.json"], ["nowhere.json", "does not exist"]),
        (["--space", "fbnet23"], ["fbnet23", 'Did you mean "fbnet32"']),
        (["--device", "rpi4", "--space", "fbnet224"], ["rpi4", "fbnet32", "supernet lut build"]),
        (["--data", "writer"], ["writer", "writers"]),
        (["--budget-ms", "3"], ["3 ms", "7.799 ms"]),
        (["--budget-ms", "nan"], ["budget-ms"]),
        (["--max-params", "1e3"], ["params", "1000", "least possible"]),
        (["--max-flash-kb", "40"], ["weights of 40 KiB", "the least possible is", "Raise --max-flash-kb."]),
        (["--max-sram-kb", "40"], ["peak_memory of 40 KiB", "the least possible is 48 KiB"]),
        (["--max-mj", "50"], ["rpi4", "states no power", "--max-mj", "power_watts"]),
        (["--fairness", "acuracy_parity"], ["accuracy_parity"]),
        (["--fairness-method", "minmax"], ["minimax"]),
        (["--fairness-method", "dro", "--max-gap", "0.1"], ["--max-gap", "dro"]),
        (["--group-mix", "pupil=0.1"], ["pupil", "student"]),
        (["--latency-quantile", "0.9"], ["rpi4", "supernet lut adapt"]),
        (["--latency-quantile", "2"], ["--latency-quantile", "below 1"]),
        (["--accept-poor-table"], ["--accept-poor-table has no effect", "rpi4"]),
        (["--strategy", "magic"], ["magic", "differentiable"]),
        (["--relaxation", "magic"], ["magic", "score"]),
        (["--compute-device", "warp"], ["warp"]),
        (["--epochs", "0"], ["--epochs", "at least 1"]),
        (["--batch-size", "-4"], ["--batch-size"]),
    ],
)
def test_search_mistakes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], words: list[str]
) -> None:
    message = error(capsys, "search", *TINY, "--out", str(tmp_path / "run"), *options)
    assert all(word in message for word in words), message
    assert not (tmp_path / "run" / "derived.json").exists()


def test_existing_run_is_not_overwritten(capsys: pytest.CaptureFixture[str], searched: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in searched.iterdir()}
    assert "--resume" in error(capsys, *SEARCH, "--budget-ms", "10", "--out", str(searched))
    assert before == {path.name: path.stat().st_mtime_ns for path in searched.iterdir()}


def test_resume_mistakes(capsys: pytest.CaptureFixture[str], searched: Path, tmp_path: Path) -> None:
    assert "leave out --epochs" in error(capsys, "search", "--resume", str(searched), "--epochs", "9")
    assert "not a run of train" in error(capsys, "train", "--resume", str(searched))
    assert "does not exist" in error(capsys, "search", "--resume", str(tmp_path / "none"))
    for name, value in (
        ("epochs", "many"),
        ("epochs", True),
        ("max_train", "all"),
        ("device", 5),
        ("precision", "fp16"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"command": "search", name: value}))
        assert name in error(capsys, "search", "--resume", str(tmp_path))


def test_train_mistakes(capsys: pytest.CaptureFixture[str], searched: Path, tmp_path: Path) -> None:
    assert "--arch is needed" in error(capsys, "train")
    assert "mobilenetv2_050" in error(capsys, "train", "--arch", "mobilenetv2_05")
    broken = json.loads((searched / "derived.json").read_text())
    broken["input"]["size"] = "large"
    (tmp_path / "derived.json").write_text(json.dumps(broken))
    assert "input.size" in error(capsys, "train", "--arch", str(tmp_path / "derived.json"))
    broken = json.loads((searched / "derived.json").read_text())
    broken["config"]["fairness_method"] = "dro"
    (tmp_path / "derived.json").write_text(json.dumps(broken))
    assert "--max-gap has no effect with --fairness-method dro" in error(
        capsys, "train", "--arch", str(tmp_path / "derived.json"), "--max-gap", "0.1"
    )


def test_corrupt_weights_are_named(trained: Path, tmp_path: Path) -> None:
    for name in ("model.json", "derived.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        timm.create_model("supernet_derived", model_json=str(tmp_path / "model.json"), pretrained=True)


def test_full_disk_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr("supernet.engine.claim.write_json", full)
    assert "No space left on device" in error(capsys, *SEARCH, "--out", str(tmp_path / "run"))


@pytest.mark.parametrize("command", ["search", "train", "lut", "verify"])
def test_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0 and "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "cap", "weight"),
    [
        ({}, 0.02, 1.0),
        ({"fairness_weight": 0.0}, None, 0.0),  # "no fairness term" is not the search's cap
        ({"fairness_method": "balance"}, None, 1.0),  # there is nothing to cap
        ({"fairness_method": "balance,gap"}, 0.02, 1.0),
        ({"max_gap": 0.05, "fairness_weight": 3.0}, 0.05, 3.0),
    ],
)
def test_a_training_takes_over_the_searchs_cap_unless_told_otherwise(
    given: dict[str, Any], cap: float | None, weight: float
) -> None:
    searched = SimpleNamespace(
        space="fbnet32", training={}, config={"max_gap": 0.02, "fairness_weight": 1.0, "fairness_method": "gap"}
    )
    found = inherit(TrainConfig(**given), searched, set(given), quick=False)
    assert (found.max_gap, found.fairness_weight) == (cap, weight)


def test_the_help_names_every_notion_method_and_aggregation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["search", "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert {*NOTIONS, *METHODS, *GROUPS, *EVENTS} <= words


def test_the_classifier_is_fitted_anew_where_asked(searched: Path, trained: Path) -> None:
    folder = searched.parent / "refit"
    quick = ["--quick", "--max-train", "64", "--bootstrap", "20", "--export", "none"]
    main(
        [
            "train",
            *quick,
            "--arch",
            str(searched),
            "--refit-classifier",
            "--baseline",
            str(trained),
            "--out",
            str(folder),
        ]
    )
    report = json.loads((folder / "report.json").read_text())
    (note,) = [note for note in report["notes"] if note.startswith("--refit-classifier")]
    assert "300 images of search-val" in note and "not held out any more" in note
    before, after = (load_file(run / "model.safetensors") for run in (trained, folder))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_images_that_were_trained_on_do_not_refit_the_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    said = error(capsys, "train", "--arch", "x.json", "--train-on-val", "--refit-classifier")
    assert "needs images that were not trained on" in said


def test_the_package_is_a_command_too() -> None:
    told = subprocess.run([sys.executable, "-m", "supernet", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("supernet ")
