"""Known networks inside a budget, and trainings side by side: what is said follows from the runs' own figures."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_preprocessing import folder, photo

from supernet.commands.baseline import KNOWN, REFUSED, choose, is_done, network_names, verdict
from supernet.commands.compare import comparison
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
    chosen = choose(table, list(KNOWN), (3, 96), 14.0, 3)
    assert list(chosen.ms) == ["lcnet_075", "mnasnet_small", "mobilenetv2_050"]
    assert all(ms <= 14 for ms in chosen.ms.values()) and any(
        "mobilenetv3_small_100: 14.2 ms" in line for line in chosen.skipped
    )
    with pytest.raises(UserError, match=r"The fastest of them takes 8.\d+ ms at 96 px"):
        choose(table, list(KNOWN), (3, 96), 5.0, 3)


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


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("metrics",), None, "is damaged, or of a version"),
        (("metrics", "accuracy"), "high", "Metrics: accuracy"),
        (("arch", "predicted_ms"), [9], "Trained: predicted_ms"),
        (("history",), 3, "report"),
        (("int8",), {"setting": "MinMax"}, "Int8: tried"),
        (("asked", "fairness"), ["gap"], "No fairness notion"),
        (("data", "groups"), {"group": 5}, "Data: groups"),
    ],
)
def test_a_damaged_report_is_one_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: tuple[str, ...], value: Any, words: str
) -> None:
    damaged = tmp_path / "run"
    shutil.copytree(home / NETWORKS[0], damaged)
    report = json.loads((damaged / "report.json").read_text())
    inside = report
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (damaged / "report.json").write_text(json.dumps(report))
    assert words in error(capsys, "compare", damaged, home / NETWORKS[1], "--out", tmp_path / "page.html")


def test_damaged_predictions_are_one_line_and_other_pictures_are_not_paired(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "run"
    shutil.copytree(home / NETWORKS[1], other)
    arrays = dict(np.load(other / "predictions.npz"))
    changes: list[tuple[dict[str, Any], str]] = [
        ({name: array for name, array in arrays.items() if name != "group"}, "lacks group"),
        (arrays | {"label": arrays["label"][:-1]}, "has the wrong shape"),
        (arrays | {"prob": arrays["prob"] * np.nan}, "prob is not all finite"),
        (arrays | {"label": arrays["label"] + 9}, "out of range"),
        ({name: array[:-2] for name, array in arrays.items()}, "not compared"),
    ]
    for changed, words in changes[:-1]:
        np.savez(other / "predictions.npz", **changed)
        assert words in error(capsys, "compare", home / NETWORKS[0], other, "--out", tmp_path / "page.html")
    # another data set with as many pictures of each class and group: the same labels in the same order
    np.savez(other / "predictions.npz", **arrays | {"name": arrays["name"] + np.uint64(1)})
    main(["compare", str(home / NETWORKS[0]), str(other), "--out", str(tmp_path / "page.html")])
    assert "not compared: other test images" in (tmp_path / "page.html").read_text()
    earlier = {name: array for name, array in arrays.items() if name != "name"}
    np.savez(other / "predictions.npz", **earlier)
    main(["compare", str(home / NETWORKS[0]), str(other), "--out", str(tmp_path / "page2.html")])
    assert "not compared" not in (tmp_path / "page2.html").read_text(), "an earlier version kept no names"


def test_figures_on_search_val_are_those_of_the_weights_that_were_kept(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / NETWORKS[0], run)
    report = json.loads((run / "report.json").read_text())
    earlier = {name: value for name, value in report.items() if name != "search_val"}
    rows = [{"step": n, "val_accuracy": accuracy, "val_mean_recall": recall} for n, accuracy, recall in ((1, 0.9, 0.5), (2, 0.7, 0.8), (3, 0.6, 0.6))]  # fmt: skip
    for asked, accuracy, recall in (
        ({}, 0.6, None),
        ({"keep": "best"}, 0.9, None),
        ({"class_weight": "balanced"}, 0.6, 0.6),
        ({"keep": "best", "class_weight": "balanced"}, 0.7, 0.8),
        ({"train_on_val": True}, None, None),
        ({"refit_classifier": True}, None, None),
        ({"qat_epochs": 1}, None, None),
    ):
        (run / "report.json").write_text(json.dumps(earlier | {"history": rows, "asked": report["asked"] | asked}))
        found = comparison([home / NETWORKS[1], run])["runs"][1]
        assert (found["val_accuracy"], found["val_mean_recall"]) == (accuracy, recall), asked
    (run / "report.json").write_text(json.dumps(report | {"history": rows}))
    found = comparison([home / NETWORKS[1], run])["runs"][1]
    assert found["val_accuracy"] == report["search_val"]["accuracy"] == report["history"][-1]["val_accuracy"]


def test_a_network_that_names_one_class_is_said_to(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / NETWORKS[0], run)
    report = json.loads((run / "report.json").read_text())
    for exceeded in (False, True):
        report["metrics"]["majority"] = {"class": "a", "share": 0.5, "exceeded": exceeded}
        (run / "report.json").write_text(json.dumps(report))
        main(["compare", str(run), str(home / NETWORKS[1]), "--out", str(tmp_path / f"{exceeded}.html")])
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(str(run)))
        page = (tmp_path / f"{exceeded}.html").read_text()
        assert ('no better than always "a"' in line) is not exceeded
        assert ("no better than always" in page.split("<table")[1].split("</tr>")[1]) is not exceeded


def test_runs_have_the_shortest_names_that_differ() -> None:
    assert short_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert short_names(["one/a", "two/a", "two/b"]) == ["one/a", "two/a", "two/b"]
    assert short_names(["a", "./a"]) == ["a", "./a"]


def test_what_to_ship_follows_from_search_val_and_the_intervals() -> None:
    def found(name: str, val: float | None, ms: float, value: float, spread: float) -> dict[str, Any]:
        figure = {"value": value, "low": value - spread, "high": value + spread}
        return {"folder": name, "val_accuracy": val, "predicted_ms": ms, "accuracy": figure, "device": "rpi4"}

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
    elsewhere = fast | {"device": "pixel3"}
    assert "fast" not in verdict([slow, elsewhere]), "milliseconds of another device tell nothing"
    assert verdict([unknown | {"val_accuracy": 0.95}, slow]).startswith("Ship unknown: the best on search-val (95.0%).")
    assert "nothing but test" in verdict([found("a", None, 1.0, 0.5, 0.1)])
    constant = slow | {"majority": {"class": "sound", "share": 0.9, "exceeded": False}}
    assert verdict([constant, worse]).startswith('Ship none of them yet. slow: the best on search-val (90.0%), is on test no better than always "sound"')  # fmt: skip
    assert "is on test not shown to be better than always" in verdict(
        [constant | {"majority": {"class": "sound", "share": 0.87, "exceeded": False}}]
    )
    recalled = [one | {"val_mean_recall": recall} for one, recall in ((slow, 0.5), (fast, 0.8))]
    assert verdict(recalled).startswith("Ship fast: the best on search-val (mean recall 80.0%).")


def test_baselines_help_has_no_option_that_it_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    for ask in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main(["baseline", ask])
        told = capsys.readouterr().out
        assert not [name for name in REFUSED if f"--{name.replace('_', '-')}" in told.split()]
        assert "needed" in told and "--resolution" in told


def test_what_baseline_needs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "needs --budget-ms and --out" in error(capsys, "baseline", "--data", "writers")
    assert "--networks names them" in error(capsys, "baseline", "--arch", "x", "--budget-ms", "9", "--out", tmp_path)
    assert "keeps 1 ms" in error(capsys, "baseline", "--budget-ms", "1", "--out", tmp_path / "x")
    assert "neither a file nor a timm model" in error(
        capsys, "baseline", "--networks", "mobilenetv9", "--budget-ms", "9", "--out", tmp_path / "x"
    )
    asked = ["baseline", "--budget-ms", "9", "--out", tmp_path / "x"]
    assert "--number has no effect" in error(capsys, *asked, "--networks", "lcnet_050", "--number", "2")
    assert "names of timm models" in error(capsys, *asked, "--networks", "lcnet_050,,lcnet_075")
    assert "--space is not for baseline" in error(capsys, *asked, "--space", "fbnet224")
    assert "--from-scratch is not for baseline" in error(capsys, *asked, "--from-scratch")
    assert "has no report.json" in error(capsys, *asked, "--baseline", tmp_path), "before any training"


@pytest.mark.slow
def test_an_unknown_latency_is_not_said_to_be_too_long() -> None:
    with pytest.raises(
        UserError, match=r"Of none of these networks the latency on rpi4 is known. convnext_atto: .* never timed"
    ):
        choose(load_table("rpi4"), ["convnext_atto"], (3, 32), 12.0, 1)


def test_names_are_taken_once_without_their_blanks() -> None:
    asked = argparse.Namespace(networks=" lcnet_050, lcnet_075 ,lcnet_050", number=None)
    assert network_names(asked) == ["lcnet_050", "lcnet_075"]


def test_a_finished_training_with_other_options_is_not_taken_for_this_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = home / NETWORKS[0]
    same = argparse.Namespace(
        data=str(home.parent / "photos"), resolution=32, threads=1, bootstrap=20, export="none", budget_ms=20.0,
        arch=NETWORKS[0], out=str(run), quick=True,
    )  # fmt: skip
    assert is_done(run, same) and not is_done(home / "none", same)
    with pytest.raises(UserError, match="was trained with another epochs, lr"):
        is_done(run, argparse.Namespace(**vars(same) | {"lr": 0.1, "epochs": 30}))
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps(report | {"exports_pending": True}))
    try:
        assert not is_done(run, same), "its files for a device are still to be written"
    finally:
        (run / "report.json").write_text(json.dumps(report))
