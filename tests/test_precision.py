"""One code path for every device: no step reads a tensor of the device, bf16 and torch.compile change speed alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch._dynamo.utils import counters

from supernet.alpha.relaxation import one_hot
from supernet.commands.opening import check
from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.engine import supernet_trainer
from supernet.engine.supernet_trainer import SupernetTrainer
from supernet.errors import UserError
from supernet.network import Supernet
from supernet.spaces import get_space
from supernet.strategies.differentiable import DifferentiableSearch

TINY = SearchConfig(
    space="micro32", max_train=32, batch_size=16, budget_ms=11.0, warmup_epochs=1, epochs=1, threads=1,
    compute_device="cpu",
)  # fmt: skip


def search(folder: Path, device: str = "cpu", **options: Any) -> DifferentiableSearch:
    config = replace(TINY, out=str(folder), **options)
    return DifferentiableSearch(config, replace(prepare(config), device=torch.device(device)))


@pytest.mark.parametrize("warm", [True, False])
def test_a_step_waits_for_the_device_only_for_the_losses_of_alpha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: bool) -> None:  # fmt: skip
    """A tensor on "meta" has no values: whoever reads one (item, float, tolist, a mask as an index) raises."""
    asked = []

    def cpu(values: Tensor) -> Tensor:
        asked.append(values.shape)
        return torch.zeros(values.shape)

    def without_fused(*arguments: Any, fused: bool) -> torch.optim.Optimizer:
        return create_optimizer_v2(*arguments, foreach=False)  # fused kernels are for real devices

    monkeypatch.setattr(supernet_trainer, "create_optimizer_v2", without_fused)
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **named: nullcontext())  # does not know "meta"
    running = search(
        tmp_path / "run", "meta", relaxation="score"
    )  # of a path through Gumbel-softmax weights α waits for its gradient
    monkeypatch.setattr(Tensor, "cpu", cpu)
    for step in range(2):
        parts = (
            SupernetTrainer.one_step(running, step)
            if warm
            else running.weight_step(running.train.at(step), step, running.sampled_weights(step))
        )
        assert not asked and parts["loss"].is_meta
    running.alpha_step(running.val.at(0), running.warmup_steps)
    assert asked == [(TINY.paths,)]
    assert not running.alpha.logits_DK.is_meta


def test_bf16_is_float32_to_its_rounding(tmp_path: Path) -> None:
    steps = {}
    for precision in ("float32", "bf16"):
        running = search(tmp_path / precision, precision=precision)
        parts = running.one_step(0) | running.alpha_step(running.val.at(0), running.warmup_steps)
        assert all(weight.dtype == torch.float32 for weight in running.weights)
        steps[precision] = torch.stack([parts["cross_entropy"], parts["val_cross_entropy"]])
    torch.testing.assert_close(steps["bf16"], steps["float32"], rtol=0.05, atol=0)
    assert not torch.equal(steps["bf16"], steps["float32"])


def test_unknown_precision() -> None:
    with pytest.raises(UserError, match='"fp16" is not known'):
        check(replace(TINY, precision="fp16"))


def test_compile_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="--compile needs a C"):
        prepare(replace(TINY, out=str(tmp_path / "run"), compile=True))


@pytest.mark.filterwarnings("ignore")  # torch's compiler has many
def test_every_operation_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All operations share a few forward functions, of which torch compiles 8 shapes unless it is told otherwise."""
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda op: compiled(op, backend="eager"))
    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        monkeypatch.setattr(torch._dynamo.config, limit, 8)
    torch._dynamo.reset()
    counters.clear()
    space = get_space("micro32")
    supernet = Supernet(space, 10, 1)
    supernet.compile_ops()
    for k in range(len(space.ops)):
        index_L = torch.tensor([k if valid_K[k] else int(valid_K.argmax()) for valid_K in space.valid_LK])
        supernet(torch.zeros(2, 1, 32, 32), one_hot(index_L, torch.zeros(space.valid_LK.shape)))
    assert counters["stats"]["unique_graphs"] > 8
    assert not counters["unimplemented"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler has many
def test_compiled_steps_are_the_same(tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        running = search(tmp_path / str(compiled), compile=compiled)
        losses.append(torch.stack([running.one_step(s)["loss"] for s in range(2)]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=0)
