"""Self-supervised warm-up: rotations are learned without labels, the classifier stays fresh, and a cut run is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_course import StopAt, train
from torch import nn

from supernet.commands.main import main
from supernet.config import TrainConfig
from supernet.data import GroupedData, load_data
from supernet.engine import loop
from supernet.engine.rotation import FOLDER, learn_rotations
from supernet.engine.runs import RunFolder
from supernet.engine.stopping import Interrupted


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data(max_train=64, max_eval=60, progress=False)


def config(**options: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "lr": 0.02, "ema_decay": 0.5, "threads": 1, "ssl_epochs": 2, **options})


class Brightest(nn.Module):
    """Which quarter of the picture is bright: enough to say how it was turned."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(2), nn.Linear(4, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(x).flatten(1))


def test_rotations_are_learned_and_the_classifier_is_left_alone(data: GroupedData, tmp_path: Path) -> None:
    images = np.zeros_like(data.train.images_NCHW)
    images[:, :, :16, :16] = 255
    corner = replace(data, train=replace(data.train, images_NCHW=images))
    torch.manual_seed(0)
    network, state = Brightest(), torch.get_rng_state()
    before = network.classifier.weight.clone()
    folder = RunFolder(tmp_path)
    learn_rotations(config(ssl_epochs=30, lr=0.1), corner, network, folder, torch.device("cpu"))
    rows = RunFolder(tmp_path / FOLDER).rows()
    assert rows[-1]["epoch"] == 30 and rows[-1]["rotation_accuracy"] == 1 and rows[0]["rotation_accuracy"] < 0.9
    assert network.classifier.out_features == 7 and torch.equal(network.classifier.weight, before)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("stops", [[2], [99, 2]])
def test_a_run_that_was_cut_is_the_same(
    stops: list[int], data: GroupedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in the warm-up (the first loop of 4 steps), or after it."""
    network, rows = train(config(), data, tmp_path / "straight")
    signals = iter([StopAt(step) for step in stops])
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(loop, "StopSignal", lambda: next(signals))
        train(config(), data, tmp_path / "cut")
    resumed, again = train(config(), data, tmp_path / "cut")
    assert again == rows
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_search_and_train_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--quick", "--max-train", "64", "--threads", "1"]
    main(["search", *quick, "--space", "micro32", "--ssl-epochs", "1", "--out", str(tmp_path / "search")])
    assert (
        "rotations told" in capsys.readouterr().err + capsys.readouterr().out or (tmp_path / "search" / FOLDER).is_dir()
    )
    with pytest.raises(SystemExit):
        main(["train", *quick, "--arch", "mobilenetv3_small_050", "--pretrained", "--ssl-epochs", "1"])
    assert "--ssl-epochs has no effect with --pretrained" in capsys.readouterr().err
