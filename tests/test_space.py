"""The spaces: shapes that fit together, names that are checked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.errors import UserError
from supernet.spaces import SPACES, LayerSpec, SearchSpace, get_space

FBNET = ["fbnet32", "fbnet224"]


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_each_layer_takes_what_the_one_before_gives(space: SearchSpace) -> None:
    channels, hw = space.stem_channels, space.resolution // space.stem_stride
    for layer in space.layers:
        assert (layer.c_in, layer.resolution) == (channels, hw)
        assert set(layer.ops) <= set(space.ops)
        channels, hw = layer.c_out, -(-hw // layer.stride)
    assert [layer.stage for layer in space.layers] == sorted(layer.stage for layer in space.layers)
    assert space.valid_LK.shape == (len(space.layers), len(space.ops))
    assert space.valid_LK.any(axis=1).all()


@pytest.mark.parametrize("name", FBNET)
def test_the_fbnet_spaces_are_those_of_the_paper(name: str) -> None:
    layers = get_space(name).layers
    assert len(layers) == 22
    assert [sum(layer.stage == stage for layer in layers) for stage in range(7)] == [1, 4, 4, 4, 4, 4, 1]
    assert list(dict.fromkeys(layer.c_out for layer in layers)) == [16, 24, 32, 64, 112, 184, 352]
    assert [layer.resolution // layer.stride for layer in layers][-1] == {"fbnet32": 4, "fbnet224": 7}[name]


def test_block_types_are_named_by_their_shapes() -> None:
    assert get_space("fbnet32").layers[5].block_type == "24x32s2@32"
    assert len({layer.block_type for layer in get_space("fbnet32").layers}) == 12


@given(st.lists(st.integers(0, 6), min_size=22, max_size=22))
def test_names_and_columns_are_each_others_inverse(index_L: list[int]) -> None:
    space = get_space("fbnet32")
    np.testing.assert_array_equal(space.index_L(space.names(index_L)), index_L)


def test_an_operation_that_is_not_allowed_is_named_with_its_place_and_the_nearest() -> None:
    space = get_space("fbnet32")
    with pytest.raises(
        UserError, match=r'ops\[3\]: "k3_e5" is not an option of fbnet32 there\. Did you mean "k3_e6"\?'
    ):
        space.index_L(["skip"] * 3 + ["k3_e5"] + ["skip"] * 18)
    with pytest.raises(UserError, match="22 layers, but 3 operations"):
        space.index_L(["skip"] * 3)
    narrow = SearchSpace("n", ("a", "b"), (LayerSpec(8, 8, 1, 4, 0, ("a",)),), 4, 8, 1, 8)
    np.testing.assert_array_equal(narrow.valid_LK, [[True, False]])
    with pytest.raises(UserError, match="Known: a"):
        narrow.index_L(["b"])


def test_an_unknown_space_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match='Did you mean "fbnet32"'):
        get_space("fbnet-32")


def test_a_part_of_a_space_uses_its_tables() -> None:
    space = get_space("fbnet32")
    assert space.table_space == "fbnet32"
    assert dataclasses.replace(space, name="part", parent="fbnet32").table_space == "fbnet32"
