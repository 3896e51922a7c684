"""int8 is judged by images that it was not calibrated on, and what it costs is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from supernet import quantisation
from supernet.data import GroupedData, load_data
from supernet.errors import UserError
from supernet.export import export_onnx, onnx_metadata
from supernet.onnx_model import OnnxModel
from supernet.quantisation import Setting, compare, quantise, quantise_best, warnings


class Tiny(nn.Module):
    """Two convolutions; `spread` makes the channels' weights so unequal that one scale a tensor would not do."""

    def __init__(self, spread: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
        self.classifier = nn.Linear(16, 10)
        with torch.no_grad():
            self.features[0].weight *= torch.logspace(0, spread, 8)[:, None, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data("writers", max_train=200, max_eval=60)


@pytest.fixture(scope="module")
def exported(data: GroupedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    export_onnx(Tiny(), path, data.preprocessing, onnx_metadata(data.preprocessing, data.classes))
    return path


def test_int8_is_smaller_keeps_the_metadata_and_says_what_it_costs(
    exported: Path, data: GroupedData, tmp_path: Path
) -> None:
    found = quantise_best(exported, tmp_path / "int8.onnx", data, "accuracy_parity")
    float32, int8 = OnnxModel(exported), OnnxModel(tmp_path / "int8.onnx")
    assert int8.preprocessing == float32.preprocessing == data.preprocessing and int8.classes == data.classes
    assert int8.metadata["dtype"] == "int8" and int8.metadata["quantisation"] == found["setting"]
    nodes = {node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node}
    assert "QuantizeLinear" in nodes
    # the figures are those of the file itself, on the very images
    pixels = data.preprocessing.normalised(data.test.images_NCHW)
    int8_prob_NC, float_prob_NC = int8.probabilities(pixels), float32.probabilities(pixels)
    right_N = int8_prob_NC.argmax(1) == data.test.label_N
    assert found["test"]["int8"]["accuracy"] == pytest.approx(right_N.mean())
    student_N = data.test.group_NA[:, 0] == 1
    told = found["test"]["int8"]["attributes"]["writer"]
    assert told["groups"]["student"] == pytest.approx(right_N[student_N].mean())
    assert told["gap"] == pytest.approx(abs(right_N[student_N].mean() - right_N[~student_N].mean()))
    assert found["test"]["agreement"] == pytest.approx((int8_prob_NC.argmax(1) == float_prob_NC.argmax(1)).mean())
    assert found["val"]["images"] == 60


def test_the_best_setting_is_kept(
    exported: Path, data: GroupedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spoiled(model: Any, images: np.ndarray, setting: Setting) -> Any:
        """Settings but the third one are given noise of the wrong size to calibrate on."""
        asked.append(setting)
        return quantise(model, images if len(asked) == 3 else images * 0 + 1e-4, setting)

    monkeypatch.setattr(quantisation, "quantise", spoiled)
    monkeypatch.setattr(quantisation, "LEAST_AGREEMENT", 1.01)  # none is good enough: all are tried
    found = quantise_best(exported, tmp_path / "int8.onnx", data, "accuracy_parity")
    assert len(asked) == len(quantisation.SETTINGS) == len(found["tried"])
    assert found["setting"] == quantisation.SETTINGS[2].words() == max(found["tried"], key=found["tried"].get)
    assert any("gives the class of float32 on only" in line for line in found["warnings"])
    monkeypatch.setattr(quantisation, "LEAST_AGREEMENT", 0.0)
    monkeypatch.setattr(quantisation, "MOST_LOST", 1.0)
    asked.clear()
    quantise_best(exported, tmp_path / "int8.onnx", data, "accuracy_parity")
    assert len(asked) == 1, "the first one that is good ends the search"


def test_every_setting_of_the_quantiser_works_and_leaves_the_model_as_it_was(exported: Path, data: GroupedData) -> None:
    model = onnx.load(str(exported))
    before = copy.deepcopy(model)
    images = data.preprocessing.normalised(data.train.images_NCHW[:8])
    for setting in quantisation.SETTINGS:
        assert OnnxModel(quantise(model, images, setting).SerializeToString()).logits(images[:1]).shape == (1, 10)
    assert model == before


def test_warnings_begin_at_the_stated_losses(data: GroupedData) -> None:
    prob_NC = np.eye(10)[data.test.label_N]
    same = compare(prob_NC, prob_NC, data.test, data, "accuracy_parity")
    assert same["agreement"] == 1 and warnings(same, "test") == []

    def lost(agreement: float = 1.0, accuracy: float = 0.0, gap: float | None = 0.0) -> list[str]:
        changed = copy.deepcopy(same)
        changed["agreement"] = agreement
        changed["int8"]["accuracy"] -= accuracy
        own = changed["int8"]["attributes"]["writer"]
        own["gap"] = None if gap is None else own["gap"] + gap
        return warnings(changed, "test")

    assert lost(0.98, 0.0099, 0.0099) == [] and lost(gap=None) == []
    assert ["class of float32 on only 97.9%" in line for line in lost(agreement=0.979)] == [True]
    assert ["loses accuracy: 98.9%, float32 100.0%" in line for line in lost(accuracy=0.011)] == [True]
    assert ["larger gap by writer: 1.1 points, float32 0.0" in line for line in lost(gap=0.011)] == [True]


def test_data_of_another_size_is_refused(exported: Path, tmp_path: Path) -> None:
    other = load_data("writers", resolution=28, max_train=50, max_eval=30)
    with pytest.raises(UserError, match="is fed"):
        quantise_best(exported, tmp_path / "int8.onnx", other, "accuracy_parity")
    assert not (tmp_path / "int8.onnx").exists()
