"""Training with int8 in the loop: the rounding is the int8 file's, gradients pass, and the layers come back."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stop_at import StopAt
from timm import create_model
from torch import nn

from supernet.commands.main import main
from supernet.engine import loop
from supernet.engine.quantised_training import FakeActivation, FakeCurve, FakeInt8, fake, real


@given(st.integers(2, 8), st.integers(0, 10_000))
def test_weights_are_rounded_to_that_many_bits_a_channel(bits: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = FakeInt8(nn.Linear(7, 3, bias=False), bits)
    layer.activation = nn.Identity()
    rounded_CI = layer(torch.eye(7)).T
    weight_CI = layer.module.weight
    scale_C1 = weight_CI.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    levels = (rounded_CI / scale_C1).detach().numpy()
    assert np.abs(levels - levels.round()).max() < 1e-3 and np.abs(levels).max() <= 2 ** (bits - 1) - 1 + 1e-3
    assert ((rounded_CI - weight_CI).abs() <= scale_C1 / 2 + 1e-6).all()


def test_gradients_pass_the_rounding_as_if_it_were_not_there() -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 7)
    plain, layer = nn.Linear(7, 3), nn.Linear(7, 3)
    layer.load_state_dict(plain.state_dict())
    rounded = FakeInt8(layer, 8)
    plain(x).sum().backward()
    rounded(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad, atol=0.02, rtol=0.02)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad)


def test_activations_have_256_levels_and_zero_is_one_of_them() -> None:
    activation = FakeActivation()
    x = torch.linspace(-1, 3, 10_001)
    out = activation(x)
    assert len(out.unique()) == 256 and (out == 0).any() and (out - x).abs().max() <= 4 / 255
    activation.eval()
    assert activation(torch.tensor([9.0])) <= 3.01, "clipped where no image was"
    torch.testing.assert_close(activation.ends, torch.tensor([-1.0, 3.0]))


@pytest.mark.parametrize("curve", [nn.Hardswish(), nn.SiLU(), nn.Hardsigmoid(), nn.Sigmoid()])
def test_curves_are_nearly_what_they_were_on_rounded_values(curve: nn.Module) -> None:
    network, x = nn.Sequential(curve), torch.linspace(-3, 3, 1001)
    fake(network)
    assert isinstance(network[0], FakeCurve)
    found = network(x)
    assert 0 < (found - curve(x)).abs().max() < 0.04
    real(network)
    assert network[0] is curve


def test_what_trains_in_one_process_refuses_several(
    tmp_path: Path, digits: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun says, before the processes have joined
    for command in (
        ["train", "--arch", "lcnet_035", "--data", digits, "--qat-epochs", "1"],
        ["search", "--task", "denoise", "--data", digits],
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--out", str(tmp_path / "run")])
        assert stopped.value.code == 2 and "without torchrun" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "tf_efficientnet_lite0", "resnet10t"])
def test_layers_come_back_as_they_were(name: str) -> None:
    network = create_model(name, num_classes=3).eval()
    before, x = copy.deepcopy(network), torch.randn(2, 3, 32, 32)
    fake(network)
    assert not any(isinstance(m, nn.Conv2d) for m in network.children()) and torch.isfinite(network.train()(x)).all()
    network.eval()
    real(network)
    assert [n for n, _ in network.named_modules()] == [n for n, _ in before.named_modules()]
    for own, other in zip(network.parameters(), before.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_train_with_int8_in_the_loop_leaves_plain_layers_and_resumes(tmp_path: Path, digits: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    options = ["train", "--arch", "mobilenetv3_small_050", "--data", digits, "--batch-size", "32", "--threads", "1", "--bootstrap", "0",
               "--epochs", "2", "--lr", "0.005"]  # fmt: skip
    main([*options, "--qat-epochs", "2", "--out", str(tmp_path / "whole")])
    content = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert content["int8"]["test"]["agreement"] > 0.5
    assert (tmp_path / "whole" / "qat" / "metrics.jsonl").exists()
    nodes = {node.op_type for node in onnx.load(str(tmp_path / "whole" / "model.onnx")).graph.node}
    assert "Conv" in nodes and not {node for node in nodes if "Quant" in node}, "the float32 file has no fake layers"
    assert "with int8 in the loop" in (tmp_path / "whole" / "report.html").read_text()
    signal = StopAt(8)  # six steps of the training, then the second one with int8
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: signal)
        with pytest.raises(SystemExit):
            main([*options, "--qat-epochs", "2", "--export", "none", "--out", str(tmp_path / "parts")])
    main(["train", "--resume", str(tmp_path / "parts")])
    for name in ("model.safetensors", "qat/metrics.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
