"""Long tails: the drawn profile, logit adjustment, and the classes by training images in the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_course import uneven

from supernet.commands.main import main
from supernet.config import TrainConfig
from supernet.data import Batches, GroupedData, load_data
from supernet.data.grouped import Part
from supernet.data.long_tail import draw_long_tail, parse_long_tail, profile
from supernet.errors import UserError
from supernet.objective import data_objective
from supernet.objective.asked import logit_adjusted
from supernet.resampling import Predictions
from supernet.shots import shot_figures, shot_of
from supernet.task import classification


def test_the_profile_is_that_of_cifar10_lt() -> None:
    """5,000 images a class: the published counts (Cao et al. 2019)."""
    published = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert profile(np.full(10, 5000), 100, None).tolist() == published
    assert profile(np.full(10, 5000), 10, None)[[0, -1]].tolist() == [5000, 500]
    capped = profile(np.full(10, 5000), 100, 2000)
    assert 1990 <= capped.sum() <= 2000 and capped[0] // capped[-1] in range(95, 110)
    scarce = profile(np.array([5000, 40, 5000]), 100, None)
    assert scarce.tolist() == [400, 40, 4], "the profile holds where a middle class is scarce"
    with pytest.raises(UserError, match="leaves no image of the rarest class"):
        profile(np.full(10, 5000), 100, 100)


@pytest.mark.parametrize("text", ["longtail", "longtail=1", "longtail=x", "tail=10", "longtail=nan", "longtail=1e9"])
def test_what_is_no_class_mix_is_one_line(text: str) -> None:
    assert parse_long_tail("longtail=100") == 100
    with pytest.raises(UserError, match="is not longtail=F"):
        parse_long_tail(text)


def test_the_draw_is_by_seed_stratified_by_group_and_of_train_alone() -> None:
    label_N = np.repeat([0, 1], 200)
    part = Part(np.zeros((400, 1)), label_N, (np.arange(400) % 4 == 0).astype(int)[:, None])
    first, again, other = (draw_long_tail(part, 10, None, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.bincount(label_N[first]).tolist() == [200, 20] and part.group_NA[first][label_N[first] == 1].sum() == 5
    lone = Part(np.zeros((400, 1)), label_N, (np.arange(400) == 399).astype(int)[:, None])
    with pytest.raises(UserError, match="no image of some group"):
        draw_long_tail(lone, 100, None, 0)


def test_a_data_set_with_a_long_tail() -> None:
    plain = load_data(max_train=400, max_eval=60, progress=False)
    data = load_data(class_mix="longtail=20", max_train=400, max_eval=60, progress=False)
    count_C = np.bincount(data.train.label_N)
    assert 390 <= len(data.train) <= 400 and (np.diff(count_C) <= 0).all() and count_C[0] / count_C[-1] > 15
    assert np.array_equal(data.test.images_NCHW, plain.test.images_NCHW) and data.fingerprint != plain.fingerprint
    assert any(note.startswith("Class mix longtail=20: ") for note in data.notes)
    with pytest.raises(UserError, match="cannot both be drawn"):
        load_data(class_mix="longtail=20", group_mix="student=0.05", progress=False)


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data(max_train=64, max_eval=100, progress=False)


def test_logit_adjustment_by_hand(data: GroupedData) -> None:
    """Shares 1/4 and 3/4, logits 0: −log of the share of the true class; predictions stay one half."""
    task = logit_adjusted(classification(2), torch.tensor([1, 3]))
    loss_B = task.loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    torch.testing.assert_close(loss_B, -torch.tensor([0.25, 0.75]).log())
    assert task.predictions(torch.zeros(1, 2)).tolist() == [[0.5, 0.5]]
    assert torch.isfinite(logit_adjusted(classification(3, 0.1), torch.tensor([0, 5, 5])).loss(torch.zeros(1, 3), torch.tensor([1]))).all()  # fmt: skip

    rare = uneven(data, 8)
    config = TrainConfig(class_weight="logit-adjust", fairness_weight=0.0)
    batch = next(Batches(rare.train, 64, shuffle=False, mean=data.mean, std=data.std).epoch())
    logits = torch.zeros(1, 64, 2, requires_grad=True)
    data_objective(config, rare, rare.train).value(logits, batch).total_N.sum().backward()
    bias_C = logits.grad[0].sum(0)
    assert bias_C.abs().max() < 1e-6, "equal logits are the minimiser: scores in which no class is preferred"
    even = uneven(data, 32)
    with pytest.raises(UserError, match="has no effect"):
        data_objective(config, even, even.train)


def test_classes_by_training_images() -> None:
    assert [shot_of(n) for n in (101, 100, 20, 19, 0)] == ["many", "medium", "medium", "few", "few"]
    label_N = np.repeat([0, 1, 2], 20)
    prob_NC = np.eye(3)[np.where(np.arange(60) % 20 < [5 * c + 5 for c in label_N], label_N, (label_N + 1) % 3)]
    names = ("a", "b", "c")
    checked = Predictions.checked(prob_NC, label_N, (np.arange(60) % 2)[:, None], names, {"g": ("u", "v")}, None, {})
    found = shot_figures(checked, names, {"a": 500, "b": 200, "c": 7}, True)
    assert found is not None and [one["name"] for one in found] == ["many", "few"]
    many, few = found
    assert many["classes"] == ["a", "b"] and many["images"] == 40 and many["recall"]["value"] == pytest.approx(0.375)
    assert few["recall"]["value"] == pytest.approx(0.75) and few["recall"]["low"] < 0.75 < few["recall"]["high"]
    assert shot_figures(checked, names, dict.fromkeys(names, 50), True) is None


def test_a_training_on_a_long_tail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mix is asked for, drawn, told in terminal, report and card; refused beside a group mix."""
    command = ["train", "--quick", "--arch", "mobilenetv3_small_050", "--class-mix", "longtail=40", "--threads", "1"]
    options = [
        "--class-weight",
        "logit-adjust",
        "--export",
        "none",
        "--bootstrap",
        "20",
        "--out",
        str(tmp_path / "run"),
    ]
    main([*command, *options])
    told = capsys.readouterr().out
    assert "Class mix longtail=40" in told and "Classes with few training images (fewer than 20" in told
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["asked"]["class_mix"] == "longtail=40" and report["asked"]["class_weight"] == "logit-adjust"
    assert [one["name"] for one in report["shots"]] == ["many", "medium", "few"]
    counts = report["data"]["class_counts"]["train"]
    assert all((counts[name] < 20) == (name in report["shots"][2]["classes"]) for name in counts)
    assert "training mix longtail=40" in (tmp_path / "run" / "report.html").read_text()
    assert "Classes with few training images" in (tmp_path / "run" / "model_card.md").read_text()
    with pytest.raises(SystemExit):
        main([*command, "--group-mix", "student=0.1", "--out", str(tmp_path / "other")])
    assert "--class-mix" in capsys.readouterr().err
