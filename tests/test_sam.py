"""Sharpness-aware steps: the gradient in closed form, weights and statistics that come back, and a resumed run that is the same."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_course import StopAt, train
from torch import nn

from supernet.blocks.rounding import RoundedInput
from supernet.commands.main import main
from supernet.config import TrainConfig
from supernet.data import GroupedData, load_data
from supernet.engine import loop
from supernet.engine.descent import descend
from supernet.engine.quantised_training import FakeActivation
from supernet.engine.sam import Sam
from supernet.engine.stopping import Interrupted


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_step_has_the_gradient_uphill(adaptive: bool) -> None:
    """½ wᵀ A w: the gradient at w + e is A (w + e), e = ρ T² A w / ‖T A w‖."""
    A = torch.diag(torch.tensor([1.0, 4.0, 9.0]))
    w, start = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])), torch.tensor([1.0, -2.0, 0.5])
    module = nn.Module()
    module.register_parameter("w", w)
    sam, sgd = Sam(module, 0.3, adaptive), torch.optim.SGD([w], lr=0.01)

    def loss() -> torch.Tensor:
        return 0.5 * w @ A @ w

    total = sam.climb(loss(), [w], loss)
    T, g = (start.abs() if adaptive else torch.ones(3)), A @ start
    uphill = start + 0.3 * T * T * g / (T * g).norm()
    torch.testing.assert_close(w.detach(), uphill)
    descend(total, sgd, [w], sam)
    gradient = A @ uphill
    gradient = gradient * min(1.0, 5.0 / float(gradient.norm()))
    torch.testing.assert_close(w.detach(), start - 0.01 * gradient)


def test_statistics_are_those_of_the_first_pass() -> None:
    torch.manual_seed(0)
    rounded = (RoundedInput(4, signed=True), FakeActivation())  # as few bits, and as int8 in the loop
    network, twin = (
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), *deepcopy(rounded), nn.Linear(3, 1)) for _ in "ab"
    )
    twin.load_state_dict(network.state_dict())
    x, before = torch.randn(8, 4), [p.detach().clone() for p in network.parameters()]
    sam, weights = Sam(network, 0.5, False), list(network.parameters())
    total = sam.climb(network(x).square().mean(), weights, lambda: network(x).square().mean())
    assert not torch.equal(weights[0], before[0])
    total.backward()
    sam.release()
    assert all(torch.equal(now, was) for now, was in zip(weights, before, strict=True))
    twin(x)
    for name, value in twin.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data(max_train=64, max_eval=60, progress=False)


def config(**options: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 3, "lr": 0.02, "ema_decay": 0.0, "threads": 1, "sam": 0.05, **options})


def test_a_resumed_run_is_the_same(data: GroupedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout and the running gap, on this machine's own kernels."""
    network, rows = train(config(), data, tmp_path / "straight")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(loop, "StopSignal", lambda: StopAt(3))
        train(config(), data, tmp_path / "cut")
    resumed, again = train(config(), data, tmp_path / "cut")
    assert again == rows
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    plain, _ = train(config(sam=None), data, tmp_path / "plain")
    assert not torch.equal(plain.classifier.weight, network.classifier.weight)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_command_takes_it(precision: str, tmp_path: Path) -> None:
    command = ["search", "--quick", "--space", "micro32", "--max-train", "64", "--threads", "1", "--sam", "0.1"]
    main([*command, "--sam-adaptive", "--precision", precision, "--out", str(tmp_path / "run")])
    assert (tmp_path / "run" / "derived.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sam", "0"], "above 0"),
        (["--sam-adaptive"], "--sam RHO"),
        (["--sam", "0.1", "--strategy", "score"], "--sam has no effect"),
        (["--sam", "0.1", "--strategy", "random", "--evaluator", "scratch"], "--sam has no effect"),
    ],
)
def test_mistakes(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["search", "--space", "micro32", *options])
    assert stopped.value.code == 2 and said in capsys.readouterr().err.strip().splitlines()[-1]
