"""A trained network made smaller: it is the space's largest path, its parts fit, and the whole way from teacher to product."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from taught import CLASSES, random_teacher
from timm.models.efficientnet import EfficientNet
from torch import nn
from torch.nn import functional as F

from supernet.alpha.relaxation import one_hot
from supernet.costs.analytic import macs_table
from supernet.costs.factors import Cost
from supernet.costs.latency import load_table
from supernet.data.grouped import Split
from supernet.derive import best_first, uniform
from supernet.errors import UserError
from supernet.network import Supernet, build_path
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.lite import LITE_SIZES, scaled, uniform_sizes
from supernet.strategies.assembled import controls
from supernet.strategies.blockwise import depth_order, pool
from supernet.strategies.shown import Shown
from supernet.strategies.uniform import no_control
from supernet.teacher import (
    Distance,
    Teacher,
    check_input,
    distillation,
    feature_distance,
    read_teacher,
    shared_features,
    with_features,
)
from supernet.transfer.kernel_model import table_for
from supernet.transplant import (
    assemble,
    block_inputs,
    blocks_of,
    channel_order,
    channel_orders,
    fit,
    head,
    inherit,
    smaller,
)

SPACE = get_space("lite64")
WHOLE = tuple("ds_k3" if "ds_k3" in x.ops else f"k{5 if 'k5_e6' in x.ops else 3}_e6" for x in SPACE.layers)


@pytest.fixture(scope="module")
def teacher() -> EfficientNet:
    return random_teacher()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", LITE_SIZES)
def test_the_teacher_is_the_largest_path_of_its_space(size: int, teacher: EfficientNet) -> None:
    space, x = get_space(f"lite{size}"), torch.randn(2, 3, size, size)
    network = build_path(space, WHOLE, 3, 3).eval()
    network.load_state_dict(teacher.state_dict())
    assert torch.equal(network(x), teacher(x))
    sides = [y.shape[-1] for y in block_inputs(teacher, x)]
    assert sides[:-1] == [layer.resolution for layer in space.layers]


def test_a_whole_block_transplanted_is_the_teachers(teacher: EfficientNet, images: torch.Tensor) -> None:
    for layer, (block, x) in enumerate(zip(blocks_of(teacher), block_inputs(teacher, images), strict=False)):
        order = channel_order(block, x) if hasattr(block, "conv_pwl") else torch.arange(0)
        torch.testing.assert_close(
            smaller(SPACE.place(layer, WHOLE[layer]), SPACE.style, block, order)(x), block(x), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(("layer", "op"), [(1, "k3_e3"), (3, "k3_e6"), (4, "k5_e2"), (6, "k3_e1")])
def test_a_fitted_block_is_nearer_to_the_teachers_than_a_cut_one(
    layer: int, op: str, teacher: EfficientNet, images: torch.Tensor
) -> None:
    inputs = list(block_inputs(teacher, images))
    block, x, target = blocks_of(teacher)[layer], inputs[layer], inputs[layer + 1]
    made = smaller(SPACE.place(layer, op), SPACE.style, block, channel_order(block, x))
    before = F.mse_loss(made(x), target)
    fit(made, x, target)
    assert F.mse_loss(made(x), target) < 0.7 * before
    fresh = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    inputs = list(block_inputs(teacher, fresh))
    assert F.mse_loss(made(inputs[layer]), inputs[layer + 1]) < before, "on images that it was not fitted to"


def test_an_assembled_network_of_whole_blocks_is_the_teacher(teacher: EfficientNet, images: torch.Tensor) -> None:
    orders = [channel_order(b, x) if hasattr(b, "conv_pwl") else None
              for b, x in zip(blocks_of(teacher), block_inputs(teacher, images), strict=False)]  # fmt: skip
    network = assemble(SPACE, WHOLE, teacher, orders, images, build_path(SPACE, WHOLE, 3, 3), {})
    torch.testing.assert_close(network(images), teacher(images), atol=0.05, rtol=0.05)
    cut = tuple("skip" if layer in (4, 7, 13) else op for layer, op in enumerate(WHOLE))
    shallow = assemble(SPACE, cut, teacher, orders, images, build_path(SPACE, cut, 3, 3), {})
    assert len(blocks_of(shallow)) == len(WHOLE) - 3 and torch.isfinite(shallow(images)).all()


def test_the_supernet_of_the_space_runs_each_operation() -> None:
    supernet = Supernet(SPACE, 3, 3).eval()
    for column in range(len(SPACE.ops)):
        weights = torch.zeros(SPACE.valid_LK.shape)
        for row, valid_K in enumerate(SPACE.valid_LK):
            weights[row, column if valid_K[column] else int(np.flatnonzero(valid_K)[0])] = 1
        assert supernet(torch.randn(1, 3, 64, 64), weights).shape == (1, 3)


def test_depth_is_cut_from_a_stages_end_alone() -> None:
    order, skip = depth_order(SPACE), SPACE.ops.index("skip")
    cuttable = [3, 4, 5, 6, 7, 8]  # some layers, of three stages
    for cuts in product([False, True], repeat=len(cuttable)):
        index_L = SPACE.index_L(WHOLE)
        for layer, cut in zip(cuttable, cuts, strict=True):
            if cut and SPACE.valid_LK[layer, skip]:
                index_L[layer] = skip
        names = SPACE.names(index_L)
        contiguous = all(
            not (names[i] == "skip" and names[i + 1] != "skip" and SPACE.layers[i].stage == SPACE.layers[i + 1].stage)
            for i in range(len(names) - 1)
        )
        assert (order.total(index_L) == 0) == contiguous


def test_the_pool_keeps_budgets_and_depth_and_finds_a_planted_optimum() -> None:
    costs = {"macs": macs_table(SPACE, 3, 10)}
    whole_L = SPACE.index_L(WHOLE)
    budget = 0.5 * costs["macs"].total(whole_L)
    problem: Any = SimpleNamespace(space=SPACE, costs=costs, budgets={"macs": budget})
    rng = np.random.default_rng(0)
    added_LKG = rng.uniform(0.1, 1, (*SPACE.valid_LK.shape, 2))
    planted_L = next(best_first(rng.normal(size=SPACE.valid_LK.shape), SPACE.valid_LK, [costs["macs"], depth_order(SPACE)],
                                {"macs": budget, "depth_order": 0.0}))  # fmt: skip
    added_LKG[np.arange(len(planted_L)), planted_L] = 0
    found = pool(problem, added_LKG, 6)
    assert np.array_equal(found[0], planted_L) and 1 < len(found) <= 6
    for index_L in found:
        assert costs["macs"].total(index_L) <= budget and depth_order(SPACE).total(index_L) == 0


def test_the_uniform_control_is_as_large_as_the_budget_holds() -> None:
    macs = macs_table(SPACE, 3, 10)
    sizes_LK = uniform_sizes(SPACE)
    for share in (0.3, 0.5, 0.9, 1.0):
        budget = share * macs.total(SPACE.index_L(WHOLE))
        index_L = uniform(sizes_LK, [macs], {"macs": budget})
        assert index_L is not None and macs.total(index_L) <= budget
        sizes = sizes_LK[np.arange(len(index_L)), index_L][1:]
        assert len(set(sizes.tolist())) <= 2, "one size, and one step more in the last layers"
        assert all(a <= b for a, b in pairwise(sizes))
    assert SPACE.names(index_L) == WHOLE
    whole = macs.total(SPACE.index_L(WHOLE))
    for share in (1.0, 0.5, 0.25):
        kept = SPACE.names(scaled(SPACE, share))
        depth = [
            sum(op != "skip" for op, layer in zip(kept, SPACE.layers, strict=True) if layer.stage == n)
            for n in range(7)
        ]
        assert depth == [math.ceil(share * blocks) for blocks in (1, 2, 2, 3, 3, 4, 1)]
        assert {op.rpartition("e")[2] for op in kept[1:] if op != "skip"} == {str(int(6 * share))}
    for share in (0.2, 0.3, 0.6):
        found = controls(SPACE, [macs], {"macs": share * whole})
        assert found and all(macs.total(SPACE.index_L(ops)) <= share * whole for ops in found)
    assert uniform(sizes_LK, [Cost("macs", "", 1.0, np.zeros(sizes_LK.shape))], {"macs": 0.5}) is None


def test_distillation_is_zero_at_the_teacher_and_has_its_gradient() -> None:
    teacher = torch.randn(4, 3, dtype=torch.float64)
    assert distillation(teacher, teacher).abs().max() < 1e-12
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert (distillation(student, teacher) > 0).all()
    assert torch.autograd.gradcheck(lambda s: distillation(s, teacher), student)


def test_a_table_of_another_space_prices_kernels_and_says_so() -> None:
    table, notes = table_for(load_table("rpi4"), SPACE)
    assert table.provenance == "estimated" and table.error is not None and table.error >= 0.1
    assert len(notes) == 1 and "may be off by some" in notes[0]
    latency = table.cost(SPACE)
    low, high = latency.bounds(SPACE.valid_LK)
    assert 0 < low < latency.total(SPACE.index_L(WHOLE)) <= high
    same, nothing = table_for(load_table("rpi4"), get_space("fbnet32"))
    assert same.provenance == "published" and nothing == []


def test_a_teacher_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--teacher .*missing does not exist"):
        read_teacher(str(tmp_path / "missing"))
    with pytest.raises(UserError, match=r"--teacher .* without model\.json"):
        read_teacher(str(tmp_path))


def test_why_there_is_no_uniform_control_is_said_before_the_run() -> None:
    macs = macs_table(SPACE, 3, 10)
    smallest = macs.total(scaled(SPACE, 0.01))
    assert no_control(SPACE, [macs], {"macs": smallest}) is None
    told = no_control(SPACE, [macs], {"macs": smallest - 1})
    assert told is not None and f"{smallest:.0f}" in told


def test_a_teacher_of_other_inputs_is_refused(teacher: EfficientNet) -> None:
    spec = Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3)
    one = Teacher(teacher, CLASSES, spec, Path("teacher"), "0")
    check_input(one, spec)
    for other in (replace(spec, size=32), replace(spec, mean=(0.4,) * 3), replace(spec, std=(0.2,) * 3)):
        with pytest.raises(UserError, match="its inputs have the"):
            check_input(one, other)


def test_a_supernet_begins_as_the_teacher_and_its_paths_as_the_cut_blocks(
    teacher: EfficientNet, images: torch.Tensor
) -> None:
    orders = channel_orders(teacher, images)
    supernet = Supernet(SPACE, 3, 3).eval()
    inherit(supernet, teacher, orders)

    def output(names: tuple[str, ...]) -> torch.Tensor:
        return supernet(images, one_hot(torch.from_numpy(SPACE.index_L(names)), torch.zeros(SPACE.valid_LK.shape)))

    torch.testing.assert_close(output(WHOLE), teacher(images), atol=1e-3, rtol=1e-3)
    cut = tuple("skip" if n in (4, 7) else "k5_e2" if n in (3, 10) else "k3_e3" if n in (5, 8) else op
                for n, op in enumerate(WHOLE))  # fmt: skip
    x = teacher.bn1(teacher.conv_stem(images))
    for layer, (op, block, order) in enumerate(zip(cut, blocks_of(teacher), orders, strict=True)):
        if op != "skip":
            x = smaller(SPACE.place(layer, op), SPACE.style, block, torch.arange(0) if order is None else order)(x)
    torch.testing.assert_close(output(cut), head(teacher, x), atol=1e-3, rtol=1e-3)
    derived = build_path(SPACE, cut, 3, 3)
    supernet.copy_weights(cut, derived)
    torch.testing.assert_close(derived.eval()(images), output(cut), atol=1e-4, rtol=1e-4)


def test_features_are_compared_where_their_shapes_agree(teacher: EfficientNet, images: torch.Tensor) -> None:
    logits, features = with_features(teacher, images)
    torch.testing.assert_close(logits, teacher(images))
    assert [x.shape[1] for x in features] == [16, 24, 40, 112, 320]
    assert feature_distance(features, features).abs().max() < 1e-5
    turned = [features[0], -features[1], *features[2:]]
    torch.testing.assert_close(feature_distance(turned, features), torch.full((8,), 2 / 5), atol=1e-4, rtol=0)
    narrow = [features[0], features[1][:, :16], *features[2:]]
    assert feature_distance(narrow, features).abs().max() < 1e-5, "a narrower stage has nothing to compare"
    whole = Teacher(teacher, CLASSES, Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3), Path("teacher"), "0")
    assert shared_features(teacher, whole) == 5 and shared_features(nn.Linear(2, 2), whole) == 0
    distance = Distance(Teacher(teacher, CLASSES, Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3), Path("teacher"), "0"), torch.device("cpu"), 10.0)  # fmt: skip
    plain, more = distance(logits[None], images), distance(logits[None], images, turned)
    assert plain is not None and more is not None
    torch.testing.assert_close(more - plain, torch.full((1, 8), 4.0), atol=1e-3, rtol=0)


def test_a_distance_is_the_expected_loss_that_a_network_adds_for_each_group(teacher: EfficientNet) -> None:
    rng = np.random.default_rng(0)

    def part(number: int) -> Any:
        group_NA = np.arange(number)[:, None] % 2
        images = rng.integers(0, 255, (number, 3, 64, 64), dtype=np.uint8)
        return Split(images, rng.integers(0, 3, number), group_NA)

    spec = Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3)
    data = SimpleNamespace(train=part(20), val=part(6), attributes={"side": ("l", "r")}, preprocessing=spec)
    shown = Shown(cast(Any, SimpleNamespace(data=data)), Teacher(teacher, CLASSES, spec, Path("teacher"), "0"), 0, 12)
    assert [one.name for one in shown.groups] == ["side: l", "side: r"] and len(shown.image_VCHW) == 12, (
        "six of search-val, six unfitted ones"
    )
    assert np.abs(shown.distance_G(shown.teacher_VC)).max() < 1e-6
    logits_VC = torch.randn(12, 3)
    p_VC = shown.teacher_VC.softmax(-1)
    added_V = (p_VC * (p_VC.log() - logits_VC.log_softmax(-1))).sum(-1)
    side_V = np.r_[np.arange(6) % 2, np.array([int(m) for m in shown.member_GV[1, 6:]])]
    for group in range(2):
        assert shown.distance_G(logits_VC)[group] == pytest.approx(float(added_V[side_V == group].mean()), rel=1e-5)
    loss_V = F.cross_entropy(shown.teacher_VC[:6], torch.from_numpy(data.val.label_N), reduction="none")
    assert shown.base_G == pytest.approx([float(loss_V[0::2].mean()), float(loss_V[1::2].mean())], rel=1e-5)
