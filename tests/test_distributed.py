"""Several processes are one process with the joint batch; only the first one writes; all stop at the same step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed_process import search_process, search_steps, train_steps
from timm.layers import BatchNormAct2d
from torch import nn

from supernet.commands.main import main
from supernet.config import SearchConfig
from supernet.engine import distributed

ROOT = Path(__file__).parent.parent
TINY = SearchConfig(
    space="micro32", max_train=68, batch_size=17, warmup_epochs=0, epochs=1, budget_ms=11.0, threads=1,
    compute_device="cpu",
)  # fmt: skip


def test_two_processes_are_one_with_the_joint_batch(tmp_path: Path) -> None:
    """17 images: the processes' shares differ in size. α's gradient, ω's, group sums and batch norm are all global."""
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    arguments = (str(tmp_path / "store"), str(tmp_path / "two"), TINY)
    other = torch.multiprocessing.get_context("spawn").Process(target=search_process, args=(1, *arguments, queue))
    other.start()
    ours = search_process(0, *arguments)
    theirs = queue.get()
    other.join()
    alone = search_steps(str(tmp_path / "one"), TINY)
    retrained = train_steps(str(tmp_path / "one-train"))
    assert ours.pop("mistake") == theirs.pop("mistake") == "a mistake" and ours.pop("says") + theirs.pop("says") == 1
    assert len(ours["losses"]) == 1 and theirs["losses"] == []  # the first process has the rows
    assert ours.pop("writes") and not theirs.pop("writes") and alone.pop("writes")
    assert ours.pop("folder") == theirs.pop("folder") == str(tmp_path / "two")
    assert len(list((tmp_path / "two").glob("config.json"))) == 1
    alone.pop("folder")
    for name, value in alone.items():
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        np.testing.assert_allclose(
            ours[name], value, rtol=1e-6, atol=1e-7, err_msg=name
        )  # α's zeros: Adam makes 10⁻⁹ of rounding
    for name, value in retrained.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("affine", [True, False])
def test_joint_batch_norm_of_one_process_is_torchs(affine: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6, affine=affine, dtype=torch.float64)
    other = nn.BatchNorm2d(6, affine=affine, dtype=torch.float64)
    other.__class__ = distributed.JointBatchNorm
    x = torch.randn(4, 6, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(other(x), norm(x))
    torch.testing.assert_close(other.state_dict(), norm.state_dict())
    torch.testing.assert_close(other.eval()(x), norm.eval()(x))


def test_joint_batch_norm_has_the_right_gradient() -> None:
    norm = BatchNormAct2d(3, inplace=False).double()
    norm.__class__ = distributed.JointBatchNormAct2d
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(norm, torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True))


def test_without_torchrun_nothing_changes() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2))
    assert type(distributed.join_batch_norms(model)[0]) is nn.BatchNorm2d
    values = torch.ones(2)
    assert distributed.mean(values) is values and distributed.from_first(lambda: values) is values
    assert (distributed.rank(), distributed.world_size(), distributed.own_device("auto")) == (0, 1, "auto")
    assert distributed.any_process(True) and not distributed.any_process(False)


def test_ask_tell_under_torchrun_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "start", lambda: None)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(SystemExit):
        main(["search", "--strategy", "random", "--out", str(tmp_path / "run")])
    assert "without torchrun" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    for cuda, names in ((True, ["cuda:1", "cuda:1", "cpu", "cuda:0"]), (False, ["cpu", "cuda", "cpu", "cuda:0"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        assert [distributed.own_device(name) for name in ("auto", "cuda", "cpu", "cuda:0")] == names


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "search.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip


@pytest.mark.slow
def test_torchrun_is_interrupted_and_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("--space", "micro32", "--epochs", "1", "--warmup-epochs", "1", "--max-train", "256",
               "--batch-size", "8", "--budget-ms", "11", "--candidates", "2", "--eval-images", "256", "--compute-device", "cpu")  # fmt: skip
    process = torchrun(*options, "--out", str(folder))
    while not (folder / "metrics.jsonl").exists() and process.poll() is None:  # an epoch is over
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode != 0 and errors.count("Go on with: supernet search --resume") == 1, errors
    process = torchrun("--resume", str(folder), "--compute-device", "cpu")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.count("Predicted latency on") == 1
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 2 and (folder / "derived.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--relaxation", "none"), ("--out", ".")], ids=["in both", "in the first"])
def test_torchrun_says_a_mistake_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    out = ("--out", str(tmp_path / "run"))
    process = torchrun("--batch-size", "2", "--max-train", "20", "--space", "micro32", *out, *options)
    _, errors = process.communicate()
    assert process.returncode != 0 and errors.count("supernet: error:") == 1 and "RuntimeError" not in errors, errors
