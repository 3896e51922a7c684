"""Data without groups, where each class stands for one: memory and report grow as the classes' square, not as their cube."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supernet import resampling
from supernet.commands.without_groups import notions_of
from supernet.metrics import evaluate_predictions
from supernet.paired import paired_differences
from supernet.report.facts import Metrics, read
from supernet.report.facts.reading import to_json
from supernet.report.groups import attribute_view
from supernet.resampling import Predictions
from supernet.schema import MAX_BYTES, read_json, write_json

NOTIONS = notions_of("accuracy_parity", True)


def drawn(classes: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """prob_NC, label_N and the classes' names."""
    rng = np.random.default_rng(seed)
    label_N = np.arange(size) % classes
    prob_NC = rng.random((size, classes)) ** 3
    prob_NC[np.arange(size), label_N] += rng.random(size)
    return prob_NC / prob_NC.sum(1, keepdims=True), label_N, tuple(f"kind {k}" for k in range(classes))


def of_classes(prob_NC: np.ndarray, label_N: np.ndarray, names: tuple[str, ...], n_boot: int) -> dict[str, Any]:
    return evaluate_predictions(prob_NC, label_N, label_N[:, None], names, {"class": names}, n_boot=n_boot, notions=NOTIONS)  # fmt: skip


def test_resamples_hold_no_table_of_groups_and_pairs_of_classes() -> None:
    """300 resamples × 60 groups × 60² pairs would be 518 MB."""
    prob, label, names = drawn(60, 600)
    tracemalloc.start()
    found = of_classes(prob, label, names, n_boot=300)
    paired_differences(prob, drawn(60, 600, 1)[0], label, label[:, None], names, {"class": names}, n_boot=300, notions=NOTIONS)  # fmt: skip
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6 and found["ece"]["low"] is not None


@pytest.mark.parametrize("chunk", [1, 9_000])
def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    prob, label, names = drawn(5, 200)
    group = (np.arange(200) // 5 % 3 - 1)[:, None]
    data = Predictions.checked(prob, label, group, names, {"x": ("u", "v")}, np.arange(200) // 4)
    gaps = ("unfairness", "accuracy_ratio", "loss_parity")
    once = data.bootstrap(40, 7, gaps)
    losses = {f"{prefix}{name}" for prefix in ("", "x/") for name in ("cross_entropy", "ece")}
    assert once.keys() == losses | {f"x/gap/{name}" for name in gaps}, "what has its interval from resamples, no more"
    assert once["x/ece"].shape == (40, 2) and data.bootstrap(40, 7).keys() == losses and not data.bootstrap(0, 7)
    monkeypatch.setattr(resampling, "_CHUNK", chunk)
    for name, values_R in data.bootstrap(40, 7, gaps).items():
        np.testing.assert_allclose(values_R, once[name], rtol=1e-12, err_msg=name)


def test_a_report_of_110_classes_without_groups_is_read_again(tmp_path: Path) -> None:
    prob, label, names = drawn(110, 330)
    metrics = of_classes(prob, label, names, n_boot=0)
    path = tmp_path / "report.json"
    write_json(path, to_json(read(Metrics, metrics)))
    assert path.stat().st_size < MAX_BYTES / 2, "with intervals, too"
    assert read_json(path, "report") == metrics
    assert np.diag(metrics["confusion"]).sum() / 330 == pytest.approx(metrics["accuracy"]["value"])
    assert all("confusion" not in own for own in metrics["attributes"]["class"]["groups"].values())


def test_mistakes_are_told_alike_of_a_file_of_before() -> None:
    prob, label, names = drawn(6, 240)
    metrics = json.loads(json.dumps(of_classes(prob, label, names, n_boot=0)))
    view = attribute_view("class", read(Metrics, metrics), "accuracy_parity")
    whole = metrics.pop("confusion")
    for k, own in enumerate(metrics["attributes"]["class"]["groups"].values()):
        own["confusion"] = [row if true == k else [0] * 6 for true, row in enumerate(whole)]
    before = attribute_view("class", read(Metrics, metrics), "accuracy_parity")
    assert all(before[name] == part for name, part in view.items() if name != "groups")
    first = view["confusions"][0]
    count = whole[names.index(first["true"])][names.index(first["predicted"])]
    assert first["total"] == count == max(whole[i][j] for i in range(6) for j in range(6) if i != j)
    shown = dict(zip(view["confusion_groups"], first["counts"], strict=True))
    assert shown[first["true"]][0] == count and {shown[g] for g in shown if g != first["true"]} == {(0, "–")}


def test_groups_that_are_no_classes_have_their_own_confusion() -> None:
    """Also where they have the classes' names."""
    prob, label, names = drawn(4, 80)
    group = np.arange(80)[:, None] // 20
    found = evaluate_predictions(prob, label, group, names, {"class": names}, n_boot=0, notions=NOTIONS)
    assert "confusion" not in found and all(np.sum(own["confusion"]) == 20 for own in found["attributes"]["class"]["groups"].values())  # fmt: skip
