"""Deep feature reweighting: the classifier alone changes, and for the better where the held-out images say more than training did."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.coverage import advice, check_coverage
from supernet.data import GroupedData, Split, load_data
from supernet.errors import UserError
from supernet.export import to_onnx
from supernet.network import build_path
from supernet.objective import cell_counts
from supernet.quantisation import quantise
from supernet.refit import (
    FOLDS,
    _folds,
    balanced_weights,
    linear_classifier,
    refit_classifier,
)
from supernet.spaces import get_space

SPACE = get_space("micro32")


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data(max_train=64, max_eval=400, progress=False)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_path(SPACE, ["k3_e1"] * 5, 10, 1).eval()


def loss(network: nn.Module, data: GroupedData, split: Split) -> float:
    """Balanced cross-entropy, mean over the images."""
    images = torch.from_numpy(split.images_NCHW).float() / 255
    images = (images - data.mean[0]) / data.std[0]
    with torch.no_grad():
        entropy_N = F.cross_entropy(network(images), torch.from_numpy(split.label_N), reduction="none")
    return float((balanced_weights(data, split) * entropy_N).mean())


def test_the_classifier_alone_changes_and_learns_from_the_images(data: GroupedData, network: nn.Module) -> None:
    before, at_first = copy.deepcopy(network.state_dict()), loss(network, data, data.val)
    unseen = loss(network, data, data.test)
    refit = refit_classifier(network, data, data.val)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("classifier."), name
    assert refit.penalty is not None and refit.images == 400
    assert refit.loss_before == pytest.approx(at_first, rel=1e-4)
    assert refit.loss_after < refit.loss_before and loss(network, data, data.val) < at_first
    assert loss(network, data, data.test) < unseen, "on images that nobody fitted to"


def test_where_nothing_can_be_learned_nothing_changes(data: GroupedData, network: nn.Module) -> None:
    """Labels drawn at random: whatever is fitted does worse on the images left out."""
    with torch.no_grad():
        linear_classifier(network).weight.zero_()
        linear_classifier(network).bias.zero_()
    noise = replace(data.val, label_N=np.random.default_rng(0).permutation(data.val.label_N))
    before = copy.deepcopy(network.state_dict())
    refit = refit_classifier(network, data, noise)
    assert refit.penalty is None and refit.loss_after == refit.loss_before and "stays" in refit.words()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_it_is_the_same_every_time(data: GroupedData, network: nn.Module) -> None:
    other = copy.deepcopy(network)
    assert refit_classifier(network, data, data.val) == refit_classifier(other, data, data.val)
    assert torch.equal(linear_classifier(network).weight, linear_classifier(other).weight)


def test_every_cell_of_group_and_class_weighs_the_same(data: GroupedData) -> None:
    weight_N = balanced_weights(data, data.train).double().numpy()
    group_N, label_N = data.train.group_NA[:, 0], data.train.label_N
    present_GC = cell_counts(data, data.train)[0].numpy() > 0
    total_GC = np.zeros(present_GC.shape)
    np.add.at(total_GC, (group_N, label_N), weight_N)
    np.testing.assert_allclose(total_GC[present_GC], len(label_N) / present_GC.sum(), rtol=1e-5)


def test_an_unknown_group_counts_as_it_is(data: GroupedData) -> None:
    group_NA = data.val.group_NA.copy()
    group_NA[:7] = -1
    assert (balanced_weights(data, replace(data.val, group_NA=group_NA))[:7] == 1).all()


def test_several_attributes_count_alike(data: GroupedData) -> None:
    """The mean of what each asks for by itself: neither the larger nor the product."""
    other_N = (np.arange(len(data.train)) % 5 == 0).astype(int)
    both = replace(data.train, group_NA=np.column_stack([data.train.group_NA, other_N]))
    second = replace(data.train, group_NA=other_N[:, None])
    one_N, two_N = (
        balanced_weights(replace(data, attributes={"a": ("x", "y")}), split) for split in (data.train, second)
    )
    assert float((one_N - two_N).abs().max()) > 0.5, "else the mean could not be told from the larger"
    found_N = balanced_weights(replace(data, attributes={"a": ("x", "y"), "b": ("x", "y")}), both)
    torch.testing.assert_close(found_N, (one_N + two_N) / 2)


def test_a_cluster_stays_in_one_fold(data: GroupedData) -> None:
    cluster_N = np.arange(len(data.val)) // 7
    fold_N = _folds(replace(data.val, cluster_N=cluster_N)).numpy()
    assert set(fold_N) == set(range(FOLDS))
    assert all(len(set(fold_N[cluster_N == cluster])) == 1 for cluster in np.unique(cluster_N))


def test_every_fit_sees_every_cell_of_several_clusters(data: GroupedData) -> None:
    cell_N, fold_N = data.val.group_NA[:, 0] * 10 + data.val.label_N, _folds(data.val).numpy()
    assert all(len(set(fold_N[cell_N == cell])) == FOLDS for cell in np.unique(cell_N))


class Pooled(nn.Module):
    """A timm-like network whose features are 4 × 4 means, and 64 more of them that vary by 7e-5 only."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.faint = nn.Linear(64, 64)
        self.faint.weight.data = torch.randn(64, 64, generator=generator) / 8
        self.faint.bias.data.zero_()
        self.classifier = nn.Linear(128, 10)

    def forward_features(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 4).flatten(1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = torch.cat([x, 1 + 1e-4 * self.faint(x).relu()], 1)
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.classifier


@pytest.fixture(scope="module")
def rare() -> GroupedData:
    data = load_data(group_mix="student=0.05", max_train=1000, progress=False)
    return replace(data, val=first(data.val, 1200))


def first(split: Split, number: int) -> Split:
    return Split(split.images_NCHW[:number], split.label_N[:number], split.group_NA[:number])


@pytest.fixture(scope="module")
def pooled(rare: GroupedData) -> Pooled:
    """Trained, to some 85%."""
    torch.manual_seed(0)
    network, images, label_N = Pooled(), normalised(rare, rare.train), torch.from_numpy(rare.train.label_N)
    network.classifier.weight.data.zero_()
    optimizer = torch.optim.Adam(network.classifier.parameters(), 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(network(images), label_N).backward()
        optimizer.step()
    return network.eval()


def normalised(data: GroupedData, split: Split) -> Tensor:
    return (torch.from_numpy(split.images_NCHW).float() / 255 - data.mean[0]) / data.std[0]


@torch.no_grad()
def predicted(network: nn.Module, images: Tensor) -> np.ndarray:
    return network(images).argmax(1).numpy()


def recall(network: nn.Module, data: GroupedData, label: int, group: int | None = None) -> float:
    chosen_N = data.test.label_N == label
    if group is not None:
        chosen_N &= data.test.group_NA[:, 0] == group
    return float((predicted(network, normalised(data, data.test))[chosen_N] == label).mean())


def without(data: GroupedData, label: int, group: int | None, left: int = 0) -> Split:
    """Search-val with `left` images of a class in each group, or in one."""
    gone_N = np.zeros(len(data.val), bool)
    for g in (0, 1) if group is None else (group,):
        cell = np.flatnonzero((data.val.label_N == label) & (data.val.group_NA[:, 0] == g))
        gone_N[cell[left:]] = True
    return Split(*(part[~gone_N] for part in (data.val.images_NCHW, data.val.label_N, data.val.group_NA)))


def test_what_search_val_lacks_is_named_and_nothing_is_changed(rare: GroupedData, pooled: Pooled) -> None:
    network = copy.deepcopy(pooled)
    for group, told in ((None, 'no image of "3", which'), (1, 'no image of "3" with group "student", which')):
        with pytest.raises(UserError, match=told):
            refit_classifier(network, rare, without(rare, 3, group))
    assert torch.equal(network.classifier.weight, pooled.classifier.weight)
    many = replace(rare.val, label_N=np.zeros_like(rare.val.label_N))
    with pytest.raises(UserError, match='no image of "1", "2", "3", "4", "5" and 4 more, which'):
        check_coverage(rare, many)


def test_what_search_train_lacks_too_cannot_be_unlearned(rare: GroupedData) -> None:
    train = without(replace(rare, val=rare.train), 3, 1)
    check_coverage(replace(rare, train=train), without(rare, 3, 1))


@pytest.mark.parametrize(("group", "left"), [(None, 1), (0, 1), (0, 3)])
def test_what_search_val_hardly_shows_is_not_unlearned(
    rare: GroupedData, pooled: Pooled, group: int | None, left: int
) -> None:
    """A class of which search-val has one image a group, or 1 or 3 in one group."""
    network, split = copy.deepcopy(pooled), without(rare, 3, group, left)
    refit = refit_classifier(network, rare, split)
    assert refit.penalty is not None and refit.images == len(split)
    assert ('"3"' if group is None else '"3" with group "employee"') in refit.helped
    assert refit.helped[0] in refit.words()
    assert recall(network, rare, 3, group) > recall(pooled, rare, 3, group) - 0.05


def test_a_class_is_helped_whose_images_are_all_of_one_person(rare: GroupedData, pooled: Pooled) -> None:
    """The fits of cross-validation see that person or not: as good as one image."""
    cluster_N = np.where(rare.val.label_N == 3, len(rare.val), np.arange(len(rare.val)))
    refit = refit_classifier(copy.deepcopy(pooled), rare, replace(rare.val, cluster_N=cluster_N))
    assert refit.helped == ('"3"', '"3" with group "employee"', '"3" with group "student"')


def test_one_image_alone_changes_nothing(rare: GroupedData, pooled: Pooled) -> None:
    alone, network = first(rare.val, 1), copy.deepcopy(pooled)
    assert refit_classifier(network, replace(rare, train=alone), alone).penalty is None
    assert torch.equal(network.classifier.weight, pooled.classifier.weight)


def test_features_that_hardly_vary_do_not_make_the_network_brittle(rare: GroupedData, pooled: Pooled) -> None:
    """int8 and another resize flip no more predictions after the fit than before, within noise; weights stay of their size."""
    images, val = normalised(rare, rare.test), normalised(rare, rare.val)
    resized = F.interpolate(F.interpolate(images, size=24, mode="bilinear"), size=32, mode="bilinear")

    def flips(network: nn.Module) -> list[int]:
        plain_N = predicted(network, images)
        session = onnxruntime.InferenceSession(
            quantise(to_onnx(network, (1, 1, 32, 32)), val[:64].numpy()).SerializeToString()
        )
        small_N = np.array([session.run(None, {"input": x[None]})[0].argmax() for x in images.numpy()])
        return [int((other_N != plain_N).sum()) for other_N in (small_N, predicted(network, resized))]

    network = copy.deepcopy(pooled)
    assert refit_classifier(network, rare, rare.val).penalty is not None
    for before, after in zip(flips(pooled), flips(network), strict=True):
        assert after <= before + 2 * np.sqrt(max(before, 1)), (before, after)
    assert network.classifier.weight.abs().max() < 4 * pooled.classifier.weight.abs().max()


def test_advice_where_search_val_has_more_of_a_rare_group(data: GroupedData) -> None:
    rare = load_data(group_mix="student=0.05", max_train=200, max_eval=400, progress=False)
    (line,) = advice(rare)
    assert '"student" (writer) is 5% of search-train and 48% of search-val' in line
    assert advice(data) == [] and advice(replace(rare, val=rare.train)) == []


def test_a_network_without_a_linear_classifier_is_refused_before_the_training() -> None:
    with pytest.raises(UserError, match=r"no linear layer.*--refit-classifier"):
        linear_classifier(timm.create_model("mobilenetv2_035", num_classes=0))
