"""Known networks inside a budget, and trainings side by side: what is said follows from the runs' own figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_preprocessing import folder, photo

from supernet.commands.baseline import KNOWN, choose, verdict
from supernet.commands.main import main
from supernet.costs.latency import load_table
from supernet.errors import UserError
from supernet.report import render
from supernet.report.compared import short_names

NETWORKS = ["mobilenetv3_small_050", "lcnet_050"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained baselines and their comparison."""
    path = tmp_path_factory.mktemp("compare")
    photos = folder(path / "photos", photo(60, 50), per_split=24)
    options = ["--data", str(photos), "--resolution", "32", "--threads", "1", "--bootstrap", "20", "--export", "none", "--quick"]  # fmt: skip
    main(["baseline", *options, "--budget-ms", "20", "--networks", ",".join(NETWORKS), "--out", str(path / "runs")])
    return path / "runs"


def error(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_the_best_known_inside_the_budget_are_taken() -> None:
    assert list(KNOWN.values()) == sorted(KNOWN.values(), reverse=True)
    table = load_table("rpi4")
    chosen = choose(table, list(KNOWN), 96, 14.0, 3)
    assert list(chosen.ms) == ["lcnet_075", "mnasnet_small", "mobilenetv2_050"]
    assert all(ms <= 14 for ms in chosen.ms.values()) and any(
        "mobilenetv3_small_100: 14.2 ms" in line for line in chosen.skipped
    )
    with pytest.raises(UserError, match=r"The fastest of them takes 8.\d+ ms at 96 px"):
        choose(table, list(KNOWN), 96, 5.0, 3)


def test_each_is_trained_and_the_page_has_their_figures(home: Path) -> None:
    content = json.loads((home / "compare.json").read_text(encoding="utf-8"))
    assert [run["arch"] for run in content["runs"]] == NETWORKS and content["runs"][0]["against_first"] is None
    for name, run in zip(NETWORKS, content["runs"], strict=True):
        report = json.loads((home / name / "report.json").read_text(encoding="utf-8"))
        assert run["accuracy"] == report["metrics"]["accuracy"] and 0 < run["predicted_ms"] <= 20
    ours, theirs = (np.load(home / name / "predictions.npz") for name in NETWORKS)
    right = [(run["prob"].argmax(1) == run["label"]).mean() for run in (ours, theirs)]
    assert content["runs"][1]["against_first"]["accuracy"]["value"] == pytest.approx(right[1] - right[0])
    page = (home / "compare.html").read_text(encoding="utf-8")
    assert all(str(home / name) in page for name in NETWORKS) and "<svg" in page and page == render(content)


def test_a_run_is_compared_with_earlier_ones(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [home / name for name in NETWORKS]
    main(["compare", *map(str, runs), "--out", str(tmp_path / "page.html")])
    assert "accuracy against the first" in capsys.readouterr().out
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    arrays = dict(np.load(other / "predictions.npz"))
    np.savez(other / "predictions.npz", **arrays | {"label": 1 - arrays["label"]})
    main(["compare", str(runs[0]), str(other), "--out", str(tmp_path / "page2.html")])
    assert "not compared: other test images" in (tmp_path / "page2.html").read_text()
    report = json.loads((other / "report.json").read_text())
    report["metrics"]["classes"] = ["a", "c"]
    (other / "report.json").write_text(json.dumps(report))
    for words, argv in (
        ("other classes", [runs[0], other]),
        ("two different runs", [runs[0], runs[0]]),
        ("no report.json", [runs[0], tmp_path]),
        ("give the name of a new page", [*runs, "--out", tmp_path / "page.html"]),
    ):
        argv = argv if "--out" in argv else [*argv, "--out", tmp_path / "x.html"]
        assert words in error(capsys, "compare", *argv), words
    assert not (tmp_path / "x.html").exists()


def test_runs_have_the_shortest_names_that_differ() -> None:
    assert short_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert short_names(["one/a", "two/a", "two/b"]) == ["one/a", "two/a", "two/b"]
    assert short_names(["a", "./a"]) == ["a", "./a"]


def test_what_to_ship_follows_from_search_val_and_the_intervals() -> None:
    def found(name: str, val: float | None, ms: float, value: float, spread: float) -> dict[str, Any]:
        figure = {"value": value, "low": value - spread, "high": value + spread}
        return {"folder": name, "val_accuracy": val, "predicted_ms": ms, "accuracy": figure}

    slow, fast = found("slow", 0.9, 20.0, 0.88, 0.02), found("fast", 0.89, 10.0, 0.87, 0.02)
    assert verdict([slow, fast]).startswith("Ship slow") and "fast takes 10 instead of 20 ms" in verdict([slow, fast])
    worse = found("fast", 0.8, 10.0, 0.8, 0.02)
    assert verdict([slow, worse]) == "Ship slow: the best on search-val (90.0%)."
    assert verdict([slow, found("fast", 0.9, 10.0, 0.87, 0.02)]).startswith("Ship fast"), (
        "as good on search-val, and faster"
    )
    unknown = found("unknown", 0.85, 1.0, 0.87, 0.02) | {"predicted_ms": None}
    assert verdict([slow, unknown]) == "Ship slow: the best on search-val (90.0%).", (
        "an unknown latency is not a fast one"
    )
    assert verdict([unknown | {"val_accuracy": 0.95}, slow]).startswith("Ship unknown: the best on search-val (95.0%).")
    assert "nothing but test" in verdict([found("a", None, 1.0, 0.5, 0.1)])


def test_what_baseline_needs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "needs --budget-ms and --out" in error(capsys, "baseline", "--data", "writers")
    assert "--networks names them" in error(capsys, "baseline", "--arch", "x", "--budget-ms", "9", "--out", tmp_path)
    assert "keeps 1 ms" in error(capsys, "baseline", "--budget-ms", "1", "--out", tmp_path / "x")
    assert "neither a file nor a timm model" in error(
        capsys, "baseline", "--networks", "mobilenetv9", "--budget-ms", "9", "--out", tmp_path / "x"
    )
