"""The command line with ask/tell strategies: the same files as the default search, resumable, mistakes named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from supernet.commands.inherited import inherit, tuned_notes
from supernet.commands.main import main
from supernet.config import SearchConfig, TrainConfig
from supernet.errors import UserError
from supernet.spaces.architecture import Architecture
from supernet.strategies.asktell import merit, parse_objectives
from supernet.strategies.joint import VALUES

SEARCH = ["search", "--quick", "--space", "micro32", "--max-train", "64", "--batch-size", "32", "--threads", "1"]
BRIEF = [*SEARCH, "--eval-images", "256", "--evaluations", "4"]


def rows(folder: Path) -> list[dict[str, Any]]:
    """Every evaluation but for its seconds."""
    found = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "nsga2 100%?"  # an awkward name, also for a database's URL
    main([*BRIEF, "--data", digits, "--strategy", "nsga2", "--out", str(folder)])
    return folder


def test_nsga2_leaves_what_the_default_leaves(searched: Path) -> None:
    arch = Architecture.load(searched / "derived.json")
    front = json.loads((searched / "front.json").read_text())
    report = json.loads((searched / "report.json").read_text())
    assert arch.predicted_ms is not None and arch.budget_ms is not None and arch.predicted_ms <= arch.budget_ms
    assert tuple(front[0]["ops"]) == arch.ops and (searched / "optuna.db").exists()
    assert len(rows(searched)) == report["evaluations"]["evaluated"] == 4
    assert 0 < report["evaluations"]["hypervolume"] < 1
    assert min(front, key=lambda row: 1 - row["mean_group_accuracy"] + row["gap"]) == front[0]
    page = (searched / "report.html").read_text()
    assert all(word in page for word in ("The evaluations", "nsga2", "hypervolume", "4 in"))


def test_a_resumed_search_is_the_same_search(searched: Path) -> None:
    before, derived = rows(searched), (searched / "derived.json").read_text()
    journal = searched / "evaluations.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:2]))
    main(["search", "--resume", str(searched)])
    assert rows(searched) == before
    assert json.loads((searched / "derived.json").read_text())["ops"] == json.loads(derived)["ops"]


def test_random_with_networks_trained_from_scratch(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    main(
        [
            *BRIEF,
            "--strategy",
            "random",
            "--evaluator",
            "scratch",
            "--evaluations",
            "1",
            "--max-train",
            "32",
            "--out",
            str(folder),
        ]
    )
    assert len(rows(folder)) == 1 == len(list((folder / "scratch").iterdir()))
    assert not list(folder.rglob("checkpoint.pt"))
    assert "each trained alone" in (folder / "report.html").read_text()


def test_training_options_are_chosen_with_the_network(tmp_path: Path, digits: str) -> None:
    folder = tmp_path / "run"
    main([*SEARCH, "--data", digits, "--eval-images", "64", "--max-train", "32", "--strategy", "gp", "--evaluator", "scratch", "--tune", "lr,augment",
          "--evaluations", "3", "--out", str(folder)])  # fmt: skip
    before = rows(folder)
    for row in before:
        lr, augment = row["index_L"][-2:]
        assert len(row["index_L"]) == 7 and row["options"] == {
            "lr": VALUES["lr"][lr],
            "augment": VALUES["augment"][augment],
        }
    arch, front = Architecture.load(folder), json.loads((folder / "front.json").read_text())
    assert (
        arch.training == front[0]["options"] and "training of the derived one" in (folder / "report.html").read_text()
    )
    journal = folder / "evaluations.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:1]))
    main(["search", "--resume", str(folder)])
    assert rows(folder) == before
    config = inherit(TrainConfig(arch=str(folder), weight_decay=0.5), arch, {"weight_decay"}, quick=False)
    assert (config.lr, config.augment, config.weight_decay) == (arch.training["lr"], arch.training["augment"], 0.5)
    assert tuned_notes(config, arch)[0].endswith(f"augment {arch.training['augment']}.")
    other = inherit(TrainConfig(arch=str(folder), lr=0.3), arch, {"lr"}, quick=False)
    assert other.lr == 0.3 and "Given otherwise: --lr" in tuned_notes(other, arch)[0]
    row = json.loads(journal.read_text().splitlines()[0])
    journal.write_text(json.dumps(row | {"options": {**row["options"], "lr": 0.5}}) + "\n")
    with pytest.raises(SystemExit):
        main(["search", "--resume", str(folder)])


def test_two_runs_share_a_database(tmp_path: Path, digits: str) -> None:
    import optuna

    url = f"sqlite:///{tmp_path / 'shared.db'}"
    for seed in ("1", "2"):
        main([*BRIEF, "--data", digits, "--strategy", "motpe", "--evaluations", "1", "--storage", url, "--seed", seed,
              "--objectives", "error,latency", "--out", str(tmp_path / seed)])  # fmt: skip
    (study,) = optuna.get_all_study_summaries(url)
    trials = optuna.load_study(study_name=study.study_name, storage=url).get_trials(
        states=[optuna.trial.TrialState.COMPLETE]
    )
    assert len(trials) >= 2 and len(rows(tmp_path / "1")) == len(rows(tmp_path / "2")) == 1
    main(["search", "--resume", str(tmp_path / "2")])
    assert len(rows(tmp_path / "2")) == 1
    facts = json.loads((tmp_path / "2" / "report.json").read_text())["evaluations"]
    assert facts["asked"] >= facts["evaluated"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--strategy", "nsga3"], ["nsga3", 'Did you mean "nsga2"']),
        (["--strategy", "random", "--evaluator", "oracle"], ["oracle", "scratch"]),
        (["--strategy", "random", "--objectives", "error,energy"], ["energy", "latency"]),
        (["--strategy", "random", "--objectives", "gap,gap"], ["twice"]),
        (["--strategy", "random", "--evaluations", "0"], ["--evaluations", "at least 1"]),
        (["--strategy", "random", "--max-seconds", "0"], ["--max-seconds"]),
        (["--strategy", "random", "--storage", "sqlite://"], ["--storage", "nsga2"]),
        (["--strategy", "nsga2", "--storage", "nonsense"], ["--storage", "Optuna"]),
        (["--strategy", "exhaustive", "--space", "fbnet32"], ["architectures", "--strategy"]),
        (["--strategy", "exhaustive"], ["--evaluations"]),
        (["--strategy", "gp", "--tune", "lr"], ["--tune", "--evaluator scratch"]),
        (["--tune", "lr"], ["--tune", "--strategy"]),
        (["--strategy", "gp", "--evaluator", "scratch", "--tune", "lr,lr"], ["twice"]),
        (["--strategy", "gp", "--evaluator", "scratch", "--tune", "lr,epochs"], ["epochs"]),
        (
            ["--strategy", "gp", "--evaluator", "scratch", "--tune", "weight_decay", "--weight-decay", "1"],
            ["--weight-decay", "leave one"],
        ),
        (["--strategy", "llm"], ["--llm-url", "--llm-model"]),
        (["--strategy", "random", "--llm-url", "http://127.0.0.1/v1"], ["--llm-url", "--strategy llm"]),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*SEARCH, "--out", str(tmp_path / "run"), *options])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 2 and all(word in message for word in words), message
    assert not (tmp_path / "run" / "checkpoint.pt").exists(), "before the supernet is trained"


def test_a_missing_optuna_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        main([*SEARCH, "--strategy", "motpe", "--out", str(tmp_path / "run")])
    assert "pip install 'supernet[optuna]'" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_cap_on_the_gap_comes_first() -> None:
    fair, right = ({"error": e, "gap": g, "latency": 1.0} for e, g in ((0.2, 0.02), (0.1, 0.05)))
    for max_gap, weight, better in ((None, 1.0, right), (None, 9.0, fair), (0.03, 1.0, fair), (0.06, 1.0, right)):
        config = SearchConfig(max_gap=max_gap, fairness_weight=weight)
        assert min((fair, right), key=lambda measured: merit(config, measured)) is better


def test_objectives_are_read() -> None:
    assert parse_objectives("error, latency") == ("error", "latency")
    with pytest.raises(UserError, match="unknown objective"):
        parse_objectives("")
