"""Deep feature reweighting: the classifier alone changes, and for the better where the held-out images say more than training did."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from supernet.data import GroupedData, Split, load_data
from supernet.errors import UserError
from supernet.network import build_path
from supernet.objective import cell_counts
from supernet.refit import FOLDS, _folds, advice, balanced_weights, linear_classifier, refit_classifier
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
    """Of two copies of an attribute the mean is that attribute's; a constant second one halves the way to it."""
    one_N = balanced_weights(data, data.train)
    twice = replace(data, attributes={"a": ("x", "y"), "b": ("x", "y")})
    same = replace(data.train, group_NA=np.repeat(data.train.group_NA, 2, axis=1))
    torch.testing.assert_close(balanced_weights(twice, same), one_N)


def test_a_cluster_stays_in_one_fold(data: GroupedData) -> None:
    cluster_N = np.arange(len(data.val)) // 7
    fold_N = _folds(replace(data.val, cluster_N=cluster_N)).numpy()
    assert set(fold_N) == set(range(FOLDS))
    assert all(len(set(fold_N[cluster_N == cluster])) == 1 for cluster in np.unique(cluster_N))


def test_advice_where_search_val_has_more_of_a_rare_group(data: GroupedData) -> None:
    rare = load_data(group_mix="student=0.05", max_train=200, max_eval=400, progress=False)
    (line,) = advice(rare)
    assert '"student" (writer) is 5% of search-train and 48% of search-val' in line
    assert advice(data) == [] and advice(replace(rare, val=rare.train)) == []


def test_a_network_without_a_linear_classifier_is_refused_before_the_training() -> None:
    with pytest.raises(UserError, match=r"no linear layer.*--refit-classifier"):
        linear_classifier(timm.create_model("mobilenetv2_035", num_classes=0))
