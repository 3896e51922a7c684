"""What a training does with search-val: the best weights, patience, and that it says how far search-val fell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stop_at import StopAt
from torch import nn

from supernet.commands.main import main
from supernet.config import TrainConfig
from supernet.data import Batches, GroupedData, load_data
from supernet.engine import loop, retraining
from supernet.engine.course import Course, course_words, figure, mean_recall
from supernet.engine.evaluate import brief_scores, predict
from supernet.engine.runs import RunFolder
from supernet.engine.stopping import Interrupted
from supernet.errors import UserError
from supernet.network import build_path
from supernet.objective import class_weights, data_objective
from supernet.spaces import get_space


def scores(accuracy: float, cross_entropy: float = 1.0) -> dict[str, float]:
    return {"accuracy": accuracy, "cross_entropy": cross_entropy}


def test_the_best_weights_are_remembered_as_they_were() -> None:
    course, network = Course("accuracy", keep_weights=True, patience_steps=None), nn.Linear(1, 1)
    for step, (accuracy, loss) in enumerate([(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.8), (0.6, 0.1)], 1):
        nn.init.constant_(network.weight, step)
        course.note(step, scores(accuracy, loss), network)
    assert course.best_weights is not None and course.best_weights["weight"].item() == 3, "equal: the smaller loss"
    assert course.state["step"] == 3 and not course.over
    without = Course("accuracy", keep_weights=False, patience_steps=None)
    without.note(1, scores(0.5), network)
    assert without.best_weights is None


def test_patience_runs_out_so_many_steps_after_the_best() -> None:
    course, over = Course("accuracy", keep_weights=False, patience_steps=20), []
    for step, accuracy in ((10, 0.5), (20, 0.6), (30, 0.6), (40, 0.59)):
        course.note(step, scores(accuracy), nn.Linear(1, 1))
        over.append(course.over)
    assert over == [False, False, False, True]


def row(epoch: int, accuracy: float) -> dict[str, Any]:
    return {"step": epoch, "epoch": epoch, "val_accuracy": accuracy, "val_cross_entropy": 1.0}


def test_a_fall_of_search_val_is_said_with_its_size() -> None:
    rows = [row(1, 0.7), row(2, 0.842), row(3, 0.802)]
    (line,) = course_words(TrainConfig(epochs=3), rows, 500)
    assert "0.8420 at its best, after epoch 2, and 0.8020 at the end: 4.0 points lower, 20 of 500 images" in line
    (line,) = course_words(TrainConfig(epochs=3, keep="best"), rows, 500)
    assert "after epoch 2, the best of 3" in line and "looks too good on search-val; test had no part" in line
    stopped, _ = course_words(TrainConfig(epochs=30, patience=1), rows, 500)
    assert "--patience 1: the training stopped after epoch 3 of 30" in stopped and "best after epoch 2" in stopped
    assert course_words(TrainConfig(epochs=2), rows[:2], 500) == [], "it did not fall"
    recalls = [one | {"val_mean_recall": recall} for one, recall in zip(rows, (0.9, 0.5, 0.6), strict=True)]
    (line,) = course_words(TrainConfig(epochs=3, class_weight="balanced"), recalls, 500)
    assert (
        "Search-val mean recall of the classes was 0.9000 at its best, after epoch 1" in line and "images" not in line
    )
    assert course_words(TrainConfig(epochs=3, train_on_val=True), rows, 500) == [], "it was trained on"


def test_where_classes_weigh_the_same_the_rare_ones_decide() -> None:
    label_N = np.array([0] * 98 + [1, 1])
    always, half = np.zeros(100, int), np.where(np.arange(100) > 80, 1, 0)
    assert mean_recall(always, label_N) == 0.5 and mean_recall(half, label_N) == pytest.approx((81 / 98 + 1) / 2)
    assert figure(TrainConfig()) == "accuracy" and figure(TrainConfig(class_weight="balanced")) == "mean_recall"


# --- in a training ---


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data(max_train=64, max_eval=100, progress=False)


def train(config: TrainConfig, data: GroupedData, folder: Path) -> tuple[nn.Module, list[dict[str, Any]]]:
    torch.manual_seed(0)
    network = build_path(get_space("micro32"), ["k3_e1"] * 5, 10, 1)
    network.drop_rate = 0.2  # so that a resumed run needs the generator's state
    folder.mkdir(exist_ok=True)
    run = RunFolder(folder)
    return retraining.train_network(config, data, network, run, torch.device("cpu")), run.rows()


def accuracy_and_loss(network: nn.Module, data: GroupedData) -> tuple[float, float]:
    prob_NC = predict(network, Batches(data.val, 256, shuffle=False, mean=data.mean, std=data.std).epoch())
    found = brief_scores(prob_NC, data.val.label_N, data.val.group_NA, data, "accuracy_parity")
    return found["accuracy"], found["cross_entropy"]


def config(**options: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 40, "lr": 0.02, "ema_decay": 0.0, "threads": 1, **options})


def test_the_best_weights_come_back_and_a_resumed_run_has_the_same(
    data: GroupedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With labels of search-val at random, so that nothing can be learned for it: it goes up and down."""
    noise_N = np.random.default_rng(0).permutation(data.val.label_N)
    data = replace(data, val=replace(data.val, label_N=noise_N))
    asked = config(keep="best", patience=8)
    network, rows = train(asked, data, tmp_path / "straight")
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_cross_entropy"]))
    assert accuracy_and_loss(network, data) == pytest.approx((best["val_accuracy"], best["val_cross_entropy"]))
    assert rows[-1]["epoch"] - best["epoch"] >= 8 and rows[-1]["epoch"] < 40, "patience ran out"

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(loop, "StopSignal", lambda: StopAt(rows[-1]["step"] - 7))
        train(asked, data, tmp_path / "cut")
    for _ in range(2):  # to the end; and once more, as after a kill between training and report
        resumed, again = train(asked, data, tmp_path / "cut")
        assert again == rows
        for name, value in network.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_last_weights_are_the_default(data: GroupedData, tmp_path: Path) -> None:
    network, rows = train(config(epochs=12), data, tmp_path / "run")
    last = rows[-1]["val_accuracy"], rows[-1]["val_cross_entropy"]
    assert accuracy_and_loss(network, data) == pytest.approx(last) and rows[-1]["epoch"] == 12


# --- class weights ---


def uneven(data: GroupedData, ones: int) -> GroupedData:
    """Classes 0 and 1 of a few images: `ones` of class 1."""
    label_N = np.zeros(len(data.train), np.int64)
    label_N[:ones] = 1
    return replace(data, classes=("no", "yes"), train=replace(data.train, label_N=label_N))


@pytest.mark.parametrize("method", ["gap", "dro", "reweigh", "minimax", "hsic"])
def test_balanced_classes_weigh_the_same_with_any_method(data: GroupedData, method: str) -> None:
    """At the same loss for every image, each class's images bring the same part of the gradient."""
    rare = uneven(data, 8)
    asked = TrainConfig(class_weight="balanced", fairness_method=method, fairness_weight=0.0)
    factor_C = class_weights(asked, rare, rare.train)
    torch.testing.assert_close(factor_C, torch.tensor([64 / 112, 64 / 16]))
    plain = TrainConfig(fairness_method=method, fairness_weight=0.0)
    batch = next(Batches(rare.train, 64, shuffle=False, mean=data.mean, std=data.std).epoch())
    gradient_C = []
    for one in (asked, plain):
        logits = torch.zeros(1, 64, 2, requires_grad=True)
        data_objective(one, rare, rare.train).value(logits, batch).total_N.sum().backward()
        gradient_C.append([float(logits.grad[0, batch.label == k].abs().sum()) for k in (0, 1)])
    (zero, one), (plain_zero, plain_one) = gradient_C
    assert one / zero == pytest.approx(plain_one / plain_zero * 7, rel=1e-4)
    if method == "gap":
        assert one == pytest.approx(zero, rel=1e-4)


def test_class_weights_that_change_nothing_are_refused(data: GroupedData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--class-weight has no effect: each class has 32 training images"):
        even = uneven(data, 32)
        class_weights(TrainConfig(class_weight="balanced"), even, even.train)
    assert class_weights(TrainConfig(), uneven(data, 8), data.train) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--class-weight", "balanced", "--fairness-method", "balance"], "--class-weight has no effect with"),
        (["--class-weight", "uneven"], "--class-weight"),
        (["--keep", "best", "--train-on-val"], "--keep has no effect with --train-on-val"),
        (["--patience", "3", "--train-on-val"], "--patience has no effect with --train-on-val"),
        (["--patience", "0"], "at least 1"),
        (["--keep", "best,last"], "--keep"),
    ],
)
def test_options_without_effect_are_refused(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--arch", "mobilenetv2_035", *options])
    assert ended.value.code == 2 and said in capsys.readouterr().err
