"""Widths of stages in a search from a teacher: a narrower stage keeps the principal axes of what its blocks give."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from taught import TRAINING, random_teacher

from supernet.choices import draw
from supernet.commands.main import main
from supernet.costs.latency import load_table
from supernet.network import build_path
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.spaces.lite import scaled, uniform_sizes
from supernet.strategies.blockwise import depth_order
from supernet.transfer.kernel_model import table_for
from supernet.transplant import (
    Ends,
    block_inputs,
    blocks_of,
    channel_order,
    channel_orders,
    ends,
    fit,
    smaller,
    stream_axes,
)

SLIM, LITE = get_space("slim64"), get_space("lite64")
WHOLE = SLIM.names(np.nanargmax(uniform_sizes(SLIM), axis=1))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(32, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_largest_path_is_that_of_the_space_without_widths() -> None:
    plain = LITE.names(np.nanargmax(uniform_sizes(LITE), axis=1))
    assert tuple(SLIM.operation(op) for op in WHOLE) == plain
    assert [layer.shape for _, layer in SLIM.placed(WHOLE)] == [layer.shape for layer in LITE.layers]
    teacher, network = random_teacher(), build_path(SLIM, WHOLE, 3, 3).eval()
    network.load_state_dict(teacher.state_dict())
    assert torch.equal(network(torch.ones(1, 3, 64, 64)), teacher(torch.ones(1, 3, 64, 64)))


def test_a_block_is_residual_where_the_teachers_is() -> None:
    for index_L in draw(SLIM.valid_LK, 300, np.random.default_rng(0)):
        for (_, own), whole in zip(SLIM.placed(SLIM.names(index_L)), SLIM.layers, strict=True):
            assert (own.c_in == own.c_out and own.stride == 1) == (whole.c_in == whole.c_out and whole.stride == 1)


def random_axes(channels: int, width: int) -> torch.Tensor:
    """(channels, width), orthonormal."""
    return torch.linalg.qr(torch.randn(channels, width, generator=torch.Generator().manual_seed(2)))[0]


@torch.no_grad()
def test_a_block_on_few_axes_is_narrowed_without_loss(images: torch.Tensor) -> None:
    """Planted: what comes into a residual block and what it adds lie on 16 axes, and 96 of its 240 hidden channels count."""
    teacher = random_teacher()
    axes_CD = random_axes(40, 16)
    x = torch.einsum("nchw,cd,ed->nehw", list(block_inputs(teacher, images))[4], axes_CD, axes_CD)
    block: Any = blocks_of(teacher)[4]
    order_E = channel_order(block, x)
    block.conv_pwl.weight[:, order_E[6 * 16 :]] = 0
    block.conv_pwl.weight.copy_(torch.einsum("cd,ed,efij->cfij", axes_CD, axes_CD, block.conv_pwl.weight))
    block.bn3.weight.fill_(1.0)
    block.bn3.running_var.fill_(1 - block.bn3.eps)
    for statistic in (block.bn3.running_mean, block.bn3.bias):
        statistic.zero_()
    for norm in (block.bn1, block.bn2):  # on these very pictures, as a fit measures them
        norm.momentum = 1.0
        norm.train()
        block(x)
        norm.eval()
    narrow, wanted = (torch.einsum("nchw,cd->ndhw", y, axes_CD) for y in (x, block(x)))
    place = "k5_e6", replace(SLIM.layers[4], c_in=16, c_out=16)
    made = smaller(place, SLIM.style, block, order_E, Ends(axes_CD, axes_CD))
    fit(made, narrow, block(x), axes_CD)
    torch.testing.assert_close(made(narrow), wanted, atol=1e-3, rtol=1e-3)
    other = random_axes(40, 40)[:, 16:32]
    made = smaller(place, SLIM.style, block, order_E, Ends(other, axes_CD))
    fit(made, narrow, block(x), axes_CD)
    assert (made(narrow) - wanted).std() > 0.05 * wanted.std(), "of other axes it makes something else"


@torch.no_grad()
def test_axes_are_those_on_which_a_stages_blocks_vary(images: torch.Tensor) -> None:
    teacher, axes_CD = random_teacher(), random_axes(40, 16)
    for layer in (3, 4):  # all of stage 2
        block: Any = blocks_of(teacher)[layer]
        scale_C = block.bn3.weight / (block.bn3.running_var + block.bn3.eps).sqrt()
        block.conv_pwl.weight.copy_(
            torch.einsum("cd,ed,e,efij->cfij", axes_CD, axes_CD, scale_C, block.conv_pwl.weight)
        )
        block.bn3.weight.fill_(1.0)
        block.bn3.running_var.fill_(1 - block.bn3.eps)  # the means stay: a constant is no axis
    found = stream_axes(SLIM, teacher, images)
    assert {stage: axes.shape[0] for stage, axes in found.items()} == {1: 24, 2: 40, 3: 80, 4: 112, 5: 192}
    torch.testing.assert_close(found[2].T @ found[2], torch.eye(40), atol=1e-4, rtol=0)
    kept = torch.linalg.svdvals(axes_CD.T @ found[2][:, :16])
    torch.testing.assert_close(kept, torch.ones(16), atol=1e-3, rtol=0)


@torch.no_grad()
def test_a_narrow_block_gives_in_training_what_it_gives_otherwise(images: torch.Tensor) -> None:
    """Its batch norms have the statistics of the images, so that a training begins where the search measured."""
    teacher = random_teacher()
    orders, axes = channel_orders(teacher, images), stream_axes(SLIM, teacher, images)
    inputs = list(block_inputs(teacher, images))
    place = SLIM.place(8, "k5_e3_w64", None)
    at, order_E = ends(SLIM, 8, place[1], axes), orders[8]
    assert at.before is None and at.behind is not None and order_E is not None
    made = smaller(place, SLIM.style, blocks_of(teacher)[8], order_E, at)
    fit(made, inputs[8], inputs[9], at.behind)
    evaluated = made(inputs[8])
    torch.testing.assert_close(made.train()(inputs[8]), evaluated, atol=0.02, rtol=0.02)
    wanted = torch.einsum("nchw,cd->ndhw", inputs[9], at.behind)
    assert (evaluated - wanted).var() < 0.8 * wanted.var(), "and that is like the teacher's, along these axes"


def test_the_compound_control_has_narrower_stages() -> None:
    half = SLIM.placed(SLIM.names(scaled(SLIM, 0.5)))
    assert {layer.stage: layer.c_out for _, layer in half} == {0: 16, 1: 16, 2: 16, 3: 48, 4: 64, 5: 96, 6: 320}
    assert depth_order(SLIM).total(scaled(SLIM, 0.5)) == 0, "only a stage's last blocks are left out"


def test_a_search_decides_widths_and_training_inherits_them(
    tmp_path: Path, taught: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = taught
    table, _ = table_for(load_table("rpi4"), SLIM)
    budget = 0.3 * table.cost(SLIM).total(SLIM.index_L(WHOLE))
    options = ["search", "--device", "rpi4", "--teacher", run, "--space", "slim64", "--data", data, "--batch-size", "16", "--threads", "1",
               "--budget-ms", f"{budget:.3f}", "--candidates", "2", "--distil-steps", "1", "--eval-images", "16"]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main([*options, "--strategy", "differentiable", "--out", str(tmp_path / "refused")])
    assert stopped.value.code == 2 and "take blockwise" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*options[:6], "slim96", *options[7:], "--out", str(tmp_path / "refused")])
    assert "take lite64 or slim64" in capsys.readouterr().err
    main([*options, "--out", str(tmp_path / "search")])
    arch = Architecture.load(tmp_path / "search")
    assert arch.space == "slim64" and arch.predicted_ms is not None and arch.predicted_ms <= budget
    added_LKG = np.array(json.loads((tmp_path / "search" / "quality.json").read_text())["added_LKG"])
    whole_L = SLIM.index_L(WHOLE)
    assert added_LKG.shape[:2] == SLIM.valid_LK.shape and added_LKG[np.arange(16), whole_L].max() == 0
    for layer, width in ((1, 16), (8, 64)):
        own = SLIM.choices.decisions[layer].options
        columns = [own.index(op.rpartition("_w")[0] + f"_w{width}") for op in SLIM.layers[layer].ops if op.endswith(f"_w{SLIM.layers[layer].c_out}")]  # fmt: skip
        whole = [own.index(op) for op in SLIM.layers[layer].ops if op.endswith(f"_w{SLIM.layers[layer].c_out}")]
        more = added_LKG[layer, columns] - added_LKG[layer, whole]
        assert np.ptp(more, axis=0).max() < 1e-5 and more.min() > 0, "a width costs the same beside every operation"
    assert (tmp_path / "search" / "inherited.safetensors").exists()
    main(["derive", "--run", str(tmp_path / "search"), "--device", "rpi4", "--budget-ms", f"{1.1 * budget:.3f}",
          "--out", str(tmp_path / "later")])  # fmt: skip
    assert (Architecture.load(tmp_path / "later").predicted_ms or 1e9) <= 1.1 * budget
    main(["train", "--arch", str(tmp_path / "search"), "--data", data, *TRAINING, "--feature-weight", "1", "--out", str(tmp_path / "product")])  # fmt: skip
    assert "the weights that the search left" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["train", "--arch", str(tmp_path / "search"), "--data", data, *TRAINING, "--feature-weight", "1",
              "--from-scratch", "--out", str(tmp_path / "refused")])  # fmt: skip
    assert "there is none: leave it out" in capsys.readouterr().err
