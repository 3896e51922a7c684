"""Any timm model as a baseline, and what belongs together in a trained model's files."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from supernet.blocks.ops import arch_strings
from supernet.costs.analytic import count
from supernet.errors import UserError
from supernet.models import DERIVED, create_network, save_model
from supernet.network import build_network
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

SPEC = Preprocessing(32, 1, (0.13,), (0.31,))
CLASSES = ("a", "b", "c")
SPACE = get_space("micro32")
OPS = tuple(layer.ops[0] for layer in SPACE.layers)
ARCH = Architecture(
    "micro32", OPS, arch_strings(SPACE, OPS), SPACE.stem_channels, SPACE.stem_stride, SPACE.head_channels, SPEC, CLASSES, {}
)  # fmt: skip


# ghostnet and hrnet refuse arguments that others take, in two wordings; a vision transformer needs the image size
@pytest.mark.parametrize(
    "name", ["ghostnet_050", "hrnet_w18_small", "test_vit", "test_resnet", "mobilenetv3_small_050"]
)
def test_a_model_gets_the_arguments_that_it_takes(name: str) -> None:
    network = create_network(name, CLASSES, SPEC)
    assert network.training
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_dropout_reaches_the_model_or_is_refused() -> None:
    dropout = create_network("test_vit", CLASSES, SPEC, drop=0.25).head_drop
    assert isinstance(dropout, nn.Dropout) and dropout.p == 0.25
    with pytest.raises(UserError, match=r"ghostnet_050 does not take --drop-path: leave it out"):
        create_network("ghostnet_050", CLASSES, SPEC, drop_path=0.1)


def test_building_twice_from_one_seed_gives_the_same_weights_and_random_numbers() -> None:
    def build() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        weight = create_network("test_resnet", CLASSES, SPEC).get_parameter("fc.weight")
        return weight, torch.rand(1)

    torch.manual_seed(0)
    plain = timm.create_model("test_resnet", num_classes=3, in_chans=1).get_parameter("fc.weight")
    after = torch.rand(1)
    assert torch.equal(build()[0], plain) and torch.equal(build()[1], after)  # trying it out left no trace


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("halonet26t", "cannot take images of 32x32 pixels"),
        ("csatv2", r"cannot take images of 32x32 pixels and 1 channel"),
        ("mobilenetv2_05", "neither a file nor a timm model. Did you mean mobilenetv2_0"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        create_network(name, CLASSES, SPEC)
    assert "\n" not in str(refused.value)


SMALL = {"test_": -6, "atto": -5, "femto": -5, "pico": -5, "nano": -4, "tiny": -4, "small": -3, "_s0": -4, "050": -4, "xxs": -5, "_xs": -4,
         "_s": -1, "18": -2, "base": 3, "_b": 2, "large": 6, "_l": 4, "xl": 7, "huge": 9, "giant": 9, "gigantic": 9, "384": 2, "so400": 5}  # fmt: skip
FAMILIES = sorted({timm.models.model_entrypoint(name).__module__.rpartition(".")[2] for name in timm.list_models("*")} - {"models"})  # fmt: skip
MOST_TRAINED = 150e6  # parameters: more are only built


def smallest(family: str) -> str:
    """The model of a family whose name sounds smallest."""
    names = timm.list_models(module=family)
    return min(names, key=lambda name: (sum(v for part, v in SMALL.items() if part in name), len(name), name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # timm's and torch's own
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_timm_runs_a_step_or_is_refused(family: str) -> None:
    for size in (32, 224):
        try:
            network = create_network(smallest(family), CLASSES, Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3))
            break
        except UserError as refused:
            assert re.search(rf"cannot take images of {size}x{size} pixels", str(refused))
    else:
        # seen by hand: these need sizes that are multiples of other numbers
        assert family in {"byoanet", "crossvit"}
        return
    if sum(p.numel() for p in network.parameters()) > MOST_TRAINED:
        return
    assert all(number > 0 for number in count(network.eval(), 1, 3, size, size))
    optimiser = torch.optim.SGD(network.train().parameters(), 1e-3)
    loss = F.cross_entropy(network(torch.randn(4, 3, size, size)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    optimiser.step()
    assert loss.isfinite()


# --- model.json and what stands beside it ---


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ARCH.save(tmp_path / "derived.json")
    save_model(tmp_path, build_network(ARCH), CLASSES, SPEC, DERIVED)
    return tmp_path


def load(folder: Path) -> nn.Module:
    return timm.create_model(DERIVED, model_json=str(folder / "model.json"), pretrained=True)


def test_a_saved_model_is_readable_by_all_and_tells_timm_its_preprocessing(run: Path) -> None:
    for name in ("model.safetensors", "model.json"):
        assert stat.S_IMODE((run / name).stat().st_mode) == 0o644
    found = load(run).pretrained_cfg
    assert (found["interpolation"], found["crop_mode"], found["crop_pct"]) == ("bilinear", "center", 1.0)
    assert found["input_size"] == (1, 32, 32) and found["label_names"] == list(CLASSES)


def test_a_model_json_from_before_still_loads(run: Path) -> None:
    content = json.loads((run / "model.json").read_text())
    del content["input"]["fit"]
    (run / "model.json").write_text(json.dumps(content))
    assert load(run).pretrained_cfg["crop_mode"] == "center"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("classes", ["b", "a", "c"], "classes: not those of derived.json"),
        ("classes", ["a", "b"], "classes: not those of derived.json"),
        ("input", {"size": 64, "channels": 1, "mean": [0.1], "std": [0.3]}, "derived.json says 1 of 32"),
        ("input", {"size": 32, "channels": 3, "mean": [0.1] * 3, "std": [0.3] * 3}, "derived.json says 1 of 32"),
        ("input", {"size": 32, "channels": 1, "mean": [0.1] * 3, "std": [0.3]}, "mean and std need 1 values"),
        ("input", {"size": 32, "channels": 1, "mean": "dark", "std": [0.3]}, r"input\.mean"),
        ("input", {"size": 32, "channels": 1, "mean": [0.1], "std": [0]}, r"input\.std"),
        ("input", {"size": 32, "channels": 1, "mean": [0.1], "std": [0.3], "fit": "squeeze"}, r"input\.fit"),
    ],
)  # fmt: skip
def test_a_changed_model_json_is_refused(run: Path, field: str, value: Any, message: str) -> None:
    content = json.loads((run / "model.json").read_text())
    content[field] = value
    (run / "model.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        load(run)


@pytest.mark.parametrize("name, layers", [("supernet_resnet8", 7), ("supernet_resnet14", 13)])
def test_small_resnets_are_timm_models(name: str, layers: int) -> None:
    network = timm.create_model(name, num_classes=5, in_chans=1, drop_rate=0.5).eval()
    kernels = [module.kernel_size for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert kernels.count((3, 3)) == layers and kernels.count((1, 1)) == 2
    image = torch.randn(3, 1, 32, 32)
    features = network.forward_features(image)
    assert features.shape == (3, 64, 4, 4) and network(image).shape == (3, 5)
    pooled = network.forward_head(features, pre_logits=True)
    torch.testing.assert_close(network.get_classifier()(pooled), network(image))
    with pytest.raises(RuntimeError, match="No pretrained weights"):
        timm.create_model(name, pretrained=True)
