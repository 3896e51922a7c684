"""A sweep: the file is checked, trials are ordinary run folders, the joined front is per device. Ray itself only in one test."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from supernet.commands import sweep
from supernet.commands.main import main
from supernet.commands.sweep_front import join
from supernet.errors import UserError


def written(path: Path, **content: Any) -> Path:
    """JSON is YAML."""
    file = path / "sweep.yaml"
    file.write_text(json.dumps({"out": str(path / "out"), "devices": ["rpi4"], **content}), encoding="utf-8")
    return file


def trials(path: Path, **content: Any) -> list[sweep.Trial]:
    return sweep.plan(sweep.read_sweep(written(path, **content)))


def finish(trial: sweep.Trial, accuracy: float, gap: float, ms: float) -> None:
    trial.folder.mkdir(parents=True)
    best = {
        "ops": ["skip"],
        "accuracy": accuracy,
        "mean_group_accuracy": accuracy,
        "gap": gap,
        "costs": {"latency": ms},
    }
    (trial.folder / "front.json").write_text(json.dumps([best]))
    (trial.folder / "report.json").write_text("{}")


def test_every_combination_is_a_trial(tmp_path: Path) -> None:
    found = trials(
        tmp_path, devices=["rpi4", "pixel3"], budgets_ms=[10, 20.5], fairness_weights=[0, 1], seeds=[0, 1, 2]
    )
    assert len(found) == len({trial.folder for trial in found}) == 24
    assert found[0].folder.name == "rpi4-10ms-fair0-seed0"
    assert {(t.config.device, t.config.budget_ms, t.config.fairness_weight, t.config.seed) for t in found} >= {("pixel3", 20.5, 1, 2)}  # fmt: skip


def test_a_trial_begins_or_goes_on(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, options={"max_train": 64, "augment": False, "quick": True})
    assert trial.arguments() == ["search", "--max-train=64", "--no-augment", "--quick", "--device=rpi4", "--seed=0", "--out", str(trial.folder)]  # fmt: skip
    assert "quick" not in str(trials(tmp_path, options={"quick": False})[0].arguments())
    trial.folder.mkdir(parents=True)
    (trial.folder / "config.json").write_text(json.dumps({"max_train": 64, "augment": False}))
    assert trial.arguments() == ["search", "--resume", str(trial.folder), "--compute-device", "auto"] and not trial.done
    (trial.folder / "report.json").write_text("{}")
    assert trial.done
    with pytest.raises(UserError, match="another max_train"):
        trials(tmp_path, options={"max_train": 65, "augment": False})


def test_a_sweep_from_a_teacher_knows_its_trials_again(tmp_path: Path) -> None:
    """A search keeps what it took from its teacher's run, and the strategy that it chose by its budget."""
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    told = {"command": "train", "fingerprint": "f", "inputs": {}, "versions": {}, "data": "fashion", "max_train": 64}
    (teacher / "config.json").write_text(json.dumps(told))
    (trial,) = trials(tmp_path, options={"teacher": str(teacher)})
    assert (trial.config.data, trial.config.max_train) == ("fashion", 64) and "data" not in trial.options
    trial.folder.mkdir(parents=True)
    begun = asdict(trial.config) | {"out": str(trial.folder), "strategy": "uniform"}
    (trial.folder / "config.json").write_text(json.dumps(begun))
    assert trials(tmp_path, options={"teacher": str(teacher)})[0].arguments()[:2] == ["search", "--resume"]
    with pytest.raises(UserError, match=r"begun with another strategy:"):
        trials(tmp_path, options={"teacher": str(teacher), "strategy": "blockwise"})
    with pytest.raises(UserError, match=r"begun with another data, max_train:"):
        trials(tmp_path, options={"teacher": str(teacher), "data": "writers"})
    (teacher / "config.json").write_text(json.dumps(told | {"max_train": 65}))
    with pytest.raises(UserError, match=r"begun with another max_train:"):
        trials(tmp_path, options={"teacher": str(teacher)})


def test_fronts_of_before_are_joined_too(tmp_path: Path) -> None:
    """Their mean over groups was called balanced accuracy."""
    one, other = trials(tmp_path, seeds=[0, 1])
    finish(one, 0.9, 0.05, 10.0)
    finish(other, 0.8, 0.05, 10.0)
    front = one.folder / "front.json"
    front.write_text(front.read_text().replace("mean_group_accuracy", "balanced_accuracy"))
    assert "0.850 ± 0.071" in join([(t.folder, t.config) for t in (one, other)], tmp_path)
    assert [row["mean_group_accuracy"] for row in json.loads((tmp_path / "front.json").read_text())] == [0.9, 0.8]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"device": ["rpi4"]}, 'sweep.yaml: "device" is not known. Did you mean "devices"'),
        ({"devices": []}, "sweep.yaml: devices: "),
        ({"seeds": [0, "one"]}, r"sweep.yaml: seeds\[1\]: "),
        ({"seeds": [0, 0]}, "sweep.yaml: seeds: "),
        ({"options": {"epoch": 2}}, 'options: "epoch" is not to be set there. Did you mean "epochs"'),
        ({"options": {"seed": 2}}, 'options: "seed" is not to be set there'),
        ({"options": {"epochs": "two"}}, "options: epochs: 'two' is not of type int"),
        ({"options": {"epochs": True}}, "options: epochs: True is not of type int"),
        ({"options": {"max_train": "all"}}, "options: max_train: 'all' is not of type int"),
        ({"options": {"quick": "yes"}}, "options: quick: 'yes' is not of type bool"),
        ({"seeds": [1.0]}, r"seeds\[0\]: 1.0 is not of type 'integer'"),
        ({"options": {"epochs": 0}}, "options: epochs: must be at least 1"),
        ({"options": {"space": "fbnet33"}}, "fbnet33"),
        ({"devices": ["rpi5"]}, "rpi5"),
        ({"options": {"space": "bits32"}}, "options: space: bits32 has no device"),
        ({"budgets_ms": [10.00001, 10.00002]}, "two trials have one folder"),
        ({"budgets_ms": [-1]}, "options: budget_ms: must be above 0, not -1"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any], words: str) -> None:  # fmt: skip
    file = written(tmp_path, **content)
    with pytest.raises(UserError, match=words):
        sweep.plan(sweep.read_sweep(file))
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--config", str(file)])
    assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("text", ["devices: [", "- rpi4", "", "\tx: 1", "out: 2001-99-99", "[" * 3000])
def test_what_is_no_sweep(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(UserError, match=r"sweep\.yaml"):
        sweep.read_sweep(tmp_path / "sweep.yaml")
    with pytest.raises(UserError, match="does not exist"):
        sweep.read_sweep(tmp_path / "none.yaml")


def test_names_and_numbers_that_only_yaml_has(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("out: x\ndevices: [rpi4]\noptions: {1: 2}")
    with pytest.raises(UserError, match='options: "1" is not to be set there'):
        sweep.plan(sweep.read_sweep(file))
    file.write_text("out: x\ndevices: [rpi4]\nbudgets_ms: [.inf]")
    with pytest.raises(UserError, match="finite number, not inf"):
        sweep.plan(sweep.read_sweep(file))


def test_without_ray_the_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'supernet\[ray\]'"):
        sweep.run_trials(trials(tmp_path), {}, None)


def test_fronts_are_per_device_and_seeds_are_averaged(tmp_path: Path) -> None:
    found = trials(tmp_path, devices=["rpi4", "pixel3"], fairness_weights=[0, 1], seeds=[0, 1])
    for trial in found:
        slow = 1 if trial.config.device == "rpi4" else 50
        finish(trial, 0.9 - 0.1 * trial.config.fairness_weight, 0.1, slow * (1 + trial.config.seed))
    text = join([(t.folder, t.config) for t in found], tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "front.json").read_text())
    assert [row["trial"] for row in rows if row["non_dominated"]] == [
        "rpi4-default-fair0-seed0", "pixel3-default-fair0-seed0"
    ]  # fmt: skip
    assert "| rpi4 | default | 0 | 2 | 1.50 ± 0.71 | 0.900 ± 0.000 | 0.100 ± 0.000 | 1 |" in text
    assert (tmp_path / "out" / "report.md").read_text() == text + "\n"


def test_a_finished_sweep_needs_no_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(trials(tmp_path)[0], 0.9, 0.1, 20.0)
    main(["sweep", "--config", str(tmp_path / "sweep.yaml")])
    assert "1 trials, 1 of them done" in capsys.readouterr().out


def test_a_failed_trial_says_its_last_line(tmp_path: Path) -> None:
    trial = {"folder": str(tmp_path / "run"), "arguments": ["search", "--nothing"], "directory": str(tmp_path)}
    with pytest.raises(RuntimeError, match=r"run: .*unrecognized arguments: --nothing"):
        sweep.search_trial({"trial": trial})


@pytest.mark.slow
def test_ray_runs_the_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")  # some 200 MB: not among the tests' own needs
    quick = {"space": "micro32", "quick": True, "max_train": 128}
    file = written(tmp_path, cpus=1000)
    with pytest.raises(SystemExit):
        main(["sweep", "--config", str(file)])
    assert "lower cpus or gpus" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sweep", "--config", str(file), "--ray-address", "nowhere"])
    assert "Ray cannot be used at nowhere" in capsys.readouterr().err
    file = written(tmp_path, budgets_ms=[10, 0.001], options=quick)
    with pytest.raises(SystemExit):  # nothing is that fast: one trial fails, the other is kept
        main(["sweep", "--config", str(file)])
    rows = json.loads((tmp_path / "out" / "front.json").read_text())
    assert [row["trial"] for row in rows] == ["rpi4-10ms-fair1-seed0"] and rows[0]["predicted_ms"] <= 10


def test_one_search_on_a_cluster_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for options, words in (
        (["--ray-workers", "2"], r"pip install 'supernet[ray]'"),
        (["--ray-address", "auto"], "--ray-workers N"),
        (["--ray-workers", "0"], "from 1 to 10000"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["search", "--device", "rpi4", *options, "--out", str(tmp_path / "run")])
        assert stopped.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_workers_of_a_cluster_are_one_process(tmp_path: Path, digits: str, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    pytest.importorskip("ray")
    asked = ["search", "--quick", "--space", "micro32", "--max-train", "64", "--threads", "1", "--data", digits]
    main([*asked, "--out", str(tmp_path / "one")])
    main([*asked, "--out", str(tmp_path / "two"), "--ray-workers", "2"])
    one, two = (json.loads((tmp_path / name / "derived.json").read_text()) for name in ("one", "two"))
    assert one["ops"] == two["ops"] and one["predicted_ms"] == two["predicted_ms"]
    with pytest.raises(SystemExit) as stopped:
        main([*asked, "--budget-ms", "1", "--out", str(tmp_path / "three"), "--ray-workers", "2"])
    assert stopped.value.code == 2 and "fastest possible" in capsys.readouterr().err
