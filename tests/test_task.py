"""Another task than classification: a toy regression is searched and trained by the same loop, told in one `Task`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from supernet.config import SearchConfig, TrainConfig
from supernet.costs.analytic import macs_table
from supernet.data import GroupedData, load_data
from supernet.data.grouped import Split
from supernet.engine.loop import train
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.network import build_path
from supernet.problem import Problem
from supernet.spaces import get_space
from supernet.strategies.differentiable import DifferentiableSearch
from supernet.task import Task, classification

SPACE = get_space("micro32")
BRIGHTNESS = Task(
    outputs=1,
    loss=lambda output_BC, label_B: (output_BC[:, 0] - label_B) ** 2,
    predictions=lambda output: output,
    scores=lambda predicted_NC, label_N: {"rmse": float(np.sqrt(((predicted_NC[:, 0] - label_N) ** 2).mean()))},
)


@pytest.fixture(scope="module")
def data() -> GroupedData:
    """Digits whose label is their mean brightness, standardised: a number, and no group."""
    digits = load_data(max_train=128, max_eval=64, progress=False)

    def measured(split: Split) -> Split:
        bright_N = split.images_NCHW.mean(axis=(1, 2, 3))
        label_N = ((bright_N - bright_N.mean()) / bright_N.std()).astype(np.float32)
        return Split(split.images_NCHW, label_N, np.zeros((len(split), 1), np.int64))

    parts = {name: measured(getattr(digits, name)) for name in ("train", "val", "test")}
    return replace(digits, classes=(), attributes={}, **parts)


def test_a_regression_is_searched(data: GroupedData, tmp_path: Path) -> None:
    cost = replace(macs_table(SPACE, 1, 1), name="latency")
    budget = cost.median(SPACE.valid_LK)
    folder, device = RunFolder(tmp_path), torch.device("cpu")
    problem = Problem(folder, SPACE, data, None, {"latency": cost}, {"latency": budget}, budget, device, (), BRIGHTNESS)  # type: ignore[arg-type]
    config = SearchConfig(space="micro32", warmup_epochs=3, epochs=2, threads=1, augment=False)
    search = DifferentiableSearch(config, problem)
    before = search.p_DK
    train(search, folder)
    rows = folder.rows()
    assert rows[-1]["cross_entropy"] < 0.6 < rows[0]["cross_entropy"], "the mean loss: squared errors, 1 for a constant"
    assert not torch.equal(search.p_DK, before) and search.supernet.classifier.out_features == 1


def test_a_regression_is_trained(data: GroupedData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_path(SPACE, [layer.ops[0] for layer in SPACE.layers], BRIGHTNESS.outputs, 1)
    config = TrainConfig(epochs=8, lr=5e-3, warmup_steps=2, threads=1, augment=False, layer_decay=1.0, ema_decay=0.8)
    folder = RunFolder(tmp_path)
    train_network(config, data, network, folder, torch.device("cpu"), task=BRIGHTNESS)
    found = [row["val_rmse"] for row in folder.rows()]
    assert found[-1] < 0.7 and "val_accuracy" not in folder.rows()[-1]


def test_classification_is_cross_entropy() -> None:
    task, output = classification(3, smoothing=0.1), torch.randn(5, 3)
    label = torch.tensor([0, 1, 2, 1, 0])
    target = 0.9 * torch.eye(3)[label] + 0.1 / 3
    torch.testing.assert_close(task.loss(output, label), -(target * output.log_softmax(1)).sum(1))
    torch.testing.assert_close(task.predictions(output).sum(1), torch.ones(5))
