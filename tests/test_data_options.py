"""What `train` takes over from a search on the data, and what it says where the data no longer fits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from supernet.commands.inherited import build, inherit
from supernet.config import SearchConfig, TrainConfig
from supernet.data import GroupedData, load_data
from supernet.errors import UserError


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data("writers", max_train=20, max_eval=20)


def searched(data: GroupedData, **options: object) -> SimpleNamespace:
    """What `build` and `inherit` read of derived.json."""
    config = {**vars(SearchConfig(space="micro32")), **options}
    return SimpleNamespace(training={}, config=config, space="micro32", classes=data.classes, input=data.preprocessing)


def test_train_takes_over_how_the_pictures_are_read(data: GroupedData) -> None:
    arch = searched(data, positive="yes", channels=1, allow_duplicates=True)
    config = inherit(TrainConfig(arch="x.json"), arch, set(), quick=False)  # type: ignore[arg-type]
    assert (config.positive, config.channels, config.allow_duplicates) == ("yes", 1, True)
    config = inherit(TrainConfig(arch="x.json", channels=3), arch, {"channels"}, quick=False)  # type: ignore[arg-type]
    assert config.channels == 3


def test_a_mix_that_is_given_takes_the_place_of_the_searchs_other_one(data: GroupedData) -> None:
    arch = searched(data, class_mix="longtail=10")
    config = inherit(TrainConfig(arch="x.json", group_mix="student=0.1"), arch, {"group_mix"}, quick=False)  # type: ignore[arg-type]
    assert (config.group_mix, config.class_mix) == ("student=0.1", None)
    config = inherit(TrainConfig(arch="x.json"), arch, set(), quick=False)  # type: ignore[arg-type]
    assert (config.group_mix, config.class_mix) == (None, "longtail=10")


def test_pictures_in_colour_for_a_grey_network_are_named_with_the_option(data: GroupedData) -> None:
    colour = replace(data.preprocessing, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    now = replace(data, preprocessing=colour, first_colour="photos.csv, row 7")
    with pytest.raises(UserError, match=r"for grey pictures, .* in colour \(photos.csv, row 7\): --channels 1 reads"):
        build(TrainConfig(arch="x.json"), searched(data), now)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"for colour pictures, .* in grey: --channels 3 reads"):
        build(TrainConfig(arch="x.json"), searched(now), data)  # type: ignore[arg-type]


def test_another_order_of_the_classes_is_told_from_other_classes(data: GroupedData) -> None:
    two, other = replace(data, classes=("a", "b")), replace(data, classes=("b", "a"))
    with pytest.raises(UserError, match="--positive b, or search again"):
        build(TrainConfig(arch="x.json"), searched(two), other)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"for 2 classes, a, b; writers has 10, 0, 1, 2, 3, 4 …"):
        build(TrainConfig(arch="x.json"), searched(two), data)  # type: ignore[arg-type]
