"""Batches: the order depends on (seed, epoch) alone, covers the data, holds every group, and splits over ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supernet.data import Augment, Batches, Split, load_data
from supernet.data.augment import affine_maps, apply, sampling_grid
from supernet.data.batches import order_epoch, plan_epoch
from supernet.errors import UserError

PLAIN = {"mean": (0.0,), "std": (1.0,)}


def make_split(group_NA: np.ndarray, channels: int = 1, resolution: int = 4) -> Split:
    """Image i is constant i modulo 256, so that a batch shows which images it holds."""
    size = len(group_NA)
    shape = (size, channels, resolution, resolution)
    images = np.broadcast_to((np.arange(size) % 256)[:, None, None, None], shape).astype(np.uint8)
    return Split(images, np.arange(size, dtype=np.int64) % 3, group_NA.astype(np.int64))


@st.composite
def groups(draw: st.DrawFn) -> np.ndarray:
    """(N, A) with one or two attributes, of very unequal sizes, some unknown."""
    sizes = draw(st.lists(st.integers(1, 120), min_size=1, max_size=4))
    first = np.repeat(np.arange(len(sizes)) - draw(st.integers(0, 1)), sizes)
    second = np.arange(len(first)) * 7 % 10 // draw(st.sampled_from([3, 5, 20]))
    return np.column_stack([first, second][: draw(st.integers(1, 2))])


@settings(max_examples=80, deadline=None)
@given(groups(), st.integers(1, 70), st.floats(0, 0.6), st.integers(0, 3), st.integers(0, 3))
def test_a_stratified_epoch(group_NA: np.ndarray, batch_size: int, floor: float, seed: int, epoch: int) -> None:
    plan = plan_epoch(group_NA, batch_size, floor)
    order = order_epoch(plan, seed, epoch)
    everything = np.concatenate(order)
    times_N = np.bincount(everything, minlength=len(group_NA))
    sizes = [len(batch) for batch in order]
    assert len(order) == plan.steps and max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert times_N.min() >= 1, "every image comes in every epoch"
    size_S = np.bincount(plan.stratum_N)
    for stratum, places in enumerate(plan.places_S):
        quota, times = places / plan.steps, times_N[plan.stratum_N == stratum]
        counts = [int((plan.stratum_N[batch] == stratum).sum()) for batch in order]
        assert np.floor(quota) <= min(counts) and max(counts) <= np.ceil(quota)
        assert times.max() - times.min() <= 1 and times.sum() == places
    known = (np.unique(group_NA, axis=0) >= 0).all(axis=1)
    most = batch_size // (2 * max(int(known.sum()), 1))
    assert (plan.places_S[known] >= plan.steps * min(np.ceil(floor * batch_size), most)).all()
    assert (plan.places_S >= size_S).all() and (plan.places_S[~known] == size_S[~known]).all()
    again = order_epoch(plan, seed, epoch)
    assert all(np.array_equal(one, two) for one, two in zip(order, again, strict=True))


def test_another_epoch_or_seed_is_another_order() -> None:
    plan = plan_epoch(np.arange(200)[:, None] % 2, 20, 0.1)
    orders = [np.concatenate(order_epoch(plan, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(orders[a], orders[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_without_a_floor_at_work_each_image_comes_once_with_weight_one() -> None:
    batches = Batches(make_split(np.arange(250)[:, None] % 2), 32, **PLAIN, stratify=True)
    assert np.array_equal(np.sort(np.concatenate(batches.order(4))), np.arange(250))
    assert all(torch.equal(batch.weight, torch.ones(len(batch.label))) for batch in batches.epoch(4))


def test_a_rare_group_is_in_every_batch_and_the_weights_undo_it() -> None:
    group_NA = (np.arange(2000) < 20).astype(int)[:, None]
    split = make_split(group_NA)
    batches = Batches(split, 64, **PLAIN, stratify=True)
    found = list(batches.epoch(0))
    assert min(int((batch.group == 1).sum()) for batch in found) == 4
    weight, group = (torch.cat([getattr(batch, name) for batch in found]).double() for name in ("weight", "group"))
    total = float(weight.sum())
    assert total == pytest.approx(len(weight), rel=1e-6), "the mean weight is 1"
    assert float(weight[group[:, 0] == 1].sum()) / total == pytest.approx(0.01, rel=1e-6)
    # Over many epochs, the weighted mean of any value is that over the images.
    value_N = np.random.default_rng(0).normal(size=2000)
    weight_N = batches._weight_N.double().numpy()
    estimates = [
        sum((weight_N[batch] * value_N[batch]).sum() for batch in batches.order(epoch)) / total for epoch in range(30)
    ]
    assert np.mean(estimates) == pytest.approx(value_N.mean(), abs=2e-3)


def test_strata_are_combinations_and_unknown_groups_get_no_floor() -> None:
    group_NA = np.array([[0, 0]] * 400 + [[0, 1]] * 4 + [[1, 0]] * 90 + [[-1, 1]] * 2)
    order = order_epoch(plan_epoch(group_NA, 32, 1 / 16), 0, 0)
    rare = [int((group_NA[batch] == (0, 1)).all(axis=1).sum()) for batch in order]
    unknown = [int((group_NA[batch, 0] == -1).sum()) for batch in order]
    assert min(rare) == 2 and sum(unknown) == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(30, 90), st.integers(8, 30), st.integers(1, 4), st.booleans())
def test_ranks_share_out_the_joint_batch(size: int, batch_size: int, world_size: int, stratify: bool) -> None:
    split = make_split(np.arange(size)[:, None] % 5 // 4)
    options = {"stratify": stratify, "augment": Augment(shift=1, flip=True), "seed": 5}
    joint = Batches(split, batch_size, **PLAIN, **options)
    assume(size // len(joint) >= 2 * world_size)  # else batches are made larger: no process has a single image
    ranks = [
        Batches(split, batch_size, **PLAIN, **options, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    for step in (0, len(joint), len(joint) - 1):
        whole, parts = joint.at(step), [batches.at(step) for batches in ranks]
        for rank, part in enumerate(parts):
            assert torch.equal(part.image, whole.image[rank::world_size])
            assert torch.equal(part.label, whole.label[rank::world_size])
            assert torch.equal(part.group, whole.group[rank::world_size])
            assert torch.equal(part.weight, whole.weight[rank::world_size])


def test_a_resumed_epoch_goes_on_bit_for_bit() -> None:
    split = make_split(np.arange(100)[:, None] % 2)
    options = {"stratify": True, "augment": Augment(shift=1, rotate=20, scale=0.2), "seed": 2}
    before = list(Batches(split, 16, **PLAIN, **options).epoch(3))
    after = list(Batches(split, 16, **PLAIN, **options).epoch(3, start=4))
    assert len(before) == 7 and len(after) == 3
    for one, two in zip(before[4:], after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_evaluation_keeps_the_order_and_every_image_once() -> None:
    split = make_split(np.arange(50)[:, None] % 2)
    batches = Batches(split, 16, **PLAIN, shuffle=False)
    found = list(batches.epoch())
    shown = torch.cat([batch.image[:, 0, 0, 0] for batch in found]) * 255
    assert shown.round().tolist() == list(range(50)) and len(batches) == 4
    assert all((batch.weight == 1).all() for batch in found)


def test_images_are_normalised_channels_last_and_typed() -> None:
    split = make_split(np.zeros((6, 1)), channels=3)
    batch = Batches(split, 6, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 0.5), shuffle=False).at(0)
    expected = (5 / 255 - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([1.0, 2.0, 0.5])
    assert torch.allclose(batch.image[5, :, 1, 1], expected) and batch.image.dtype == torch.float32
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert batch.label.dtype == batch.group.dtype == torch.int64 and batch.group.shape == (6, 1)


def test_mapped_images_give_the_same_batches(tmp_path) -> None:  # type: ignore[no-untyped-def]
    split = make_split(np.arange(40)[:, None] % 2)
    np.save(tmp_path / "images.npy", split.images_NCHW)
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), split.label_N, split.group_NA)
    one, two = (Batches(which, 8, **PLAIN, stratify=True).at(3) for which in (split, mapped))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_default_data_flow_through() -> None:
    data = load_data("writers", max_train=300, max_eval=100)
    batches = Batches(data.train, 64, mean=data.mean, std=data.std, stratify=True, augment=data.augment)
    batch = batches.at(0)
    assert batch.image.shape == (60, 1, 32, 32) and len(batches) == 5
    assert batch.image.isfinite().all() and set(batch.group.reshape(-1).tolist()) == {0, 1}


def test_too_small_batches_for_the_processes_are_refused() -> None:
    split = make_split(np.zeros((9, 1)))
    for batch_size, world_size in ((0, 1), (2, 4), (5, 5)):
        with pytest.raises(UserError, match=r"too small|too few"):
            Batches(split, batch_size, **PLAIN, world_size=world_size)


# --- augmentation ---


def test_the_grid_is_that_of_torch() -> None:
    maps = affine_maps(Augment(2, 30, 0.2, True), 9, np.random.default_rng(0).random((5, 5)))
    expected = F.affine_grid(maps, [5, 1, 9, 9], align_corners=False)
    assert torch.allclose(sampling_grid(maps, 9), expected, atol=1e-6)


def test_no_augmentation_is_the_identity() -> None:
    image = torch.rand(4, 3, 8, 8)
    assert torch.allclose(apply(Augment(), image, np.random.default_rng(0).random((4, 5))), image, atol=1e-5)


def test_shift_is_a_crop_of_the_padded_picture_and_flip_a_mirror() -> None:
    image = torch.rand(64, 1, 8, 8)
    uniform = np.random.default_rng(0).random((64, 5))
    moved = apply(Augment(shift=2), image, uniform)
    padded = F.pad(image, (2, 2, 2, 2))
    seen = set()
    for number in range(64):
        dx, dy = (int(np.floor(5 * uniform[number, axis])) for axis in (0, 1))
        assert torch.allclose(moved[number], padded[number, :, dy : dy + 8, dx : dx + 8], atol=1e-5)
        seen.add((dx, dy))
    assert len(seen) > 15
    flipped = apply(Augment(flip=True), image, uniform)
    mirror = torch.from_numpy(uniform[:, 4] < 0.5)
    assert 20 < int(mirror.sum()) < 44
    assert torch.allclose(flipped[mirror], image[mirror].flip(-1), atol=1e-5)
    assert torch.allclose(flipped[~mirror], image[~mirror], atol=1e-5)


def test_rotation_turns_and_scale_grows_within_their_bounds() -> None:
    image = torch.zeros(1, 1, 33, 33)
    image[0, 0, 16, 20:33] = 1  # a line from near the centre to the right
    quarter = apply(Augment(rotate=90), image, np.array([[0.0, 0.0, 1.0, 0.5, 0.9]]))
    assert quarter[0, 0, 0:13, 16].min() > 0.9 or quarter[0, 0, 20:33, 16].min() > 0.9
    smaller = apply(Augment(scale=0.5), torch.ones(1, 1, 32, 32), np.array([[0.0, 0.0, 0.5, 1.0, 0.9]]))
    assert float(smaller.sum()) == pytest.approx(32 * 32 / 1.5**2, rel=0.1)


@pytest.mark.parametrize(("images", "batch_size"), [(59, 2), (3, 2), (4, 3), (7, 2), (2, 2), (65, 64), (59, 4)])
@pytest.mark.parametrize("world_size", [1, 2])
def test_no_training_batch_has_a_single_image(images: int, batch_size: int, world_size: int) -> None:
    if batch_size < 2 * world_size:
        return  # one image for each process was asked for
    split = Split(np.zeros((images, 1, 1, 1), np.uint8), np.zeros(images, np.int64), np.arange(images)[:, None] % 2)
    for rank in range(world_size):
        batches = Batches(split, batch_size, mean=(0.0,), std=(1.0,), stratify=True, rank=rank, world_size=world_size)
        assert min(len(batch.label) for batch in batches.epoch()) >= 2
        assert set(np.concatenate(batches.order(0)).tolist()) == set(range(images))
