"""Spaces in which widths are decided: costs and derivation are exact, and the supernet's parts are the derived networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from supernet_paths import assert_each_path_is_derived, warmed_up

from supernet.blocks.ops import arch_strings
from supernet.choices import draw, every
from supernet.commands.facts import layer_facts
from supernet.commands.setting import check_widths
from supernet.config import SearchConfig
from supernet.costs.analytic import count, macs_table, params_table
from supernet.costs.latency import load_table
from supernet.costs.tabulate import tabulate
from supernet.derive import best_first
from supernet.engine.evaluate import standalone
from supernet.errors import UserError
from supernet.lut.pieces import identities, networks, pieces
from supernet.network import Supernet, build_network, build_path
from supernet.preprocessing import Preprocessing
from supernet.spaces import LayerSpec, SearchSpace, get_space
from supernet.spaces.architecture import Architecture
from supernet.spaces.flex import FLEX_OPS, flex_space
from supernet.transfer.kernel_model import table_for

SMALL = flex_space("small", 8, 16, ((16, 32), (32, 48)), ("k3_e3", "res_k3"), 2)
FLEX32 = get_space("flex32")


def test_a_small_one_written_out() -> None:
    assert [decision.options for decision in SMALL.choices.decisions] == [
        ("k3_e3_w16", "res_k3_w16", "k3_e3_w32", "res_k3_w32", None),
        ("k3_e3", "res_k3", None, None, "skip"),
        ("k3_e3_w32", "res_k3_w32", "k3_e3_w48", "res_k3_w48", None),
        ("k3_e3", "res_k3", None, None, "skip"),
        (None, None, None, None, "skip"),
    ]
    assert SMALL.choices.edges == ((0, 1), (0, 2), (2, 3), (2, 4))
    placed = SMALL.placed(["res_k3_w32", "k3_e3", "k3_e3_w48", "skip", "skip"])
    assert [(op, *layer.shape, layer.resolution) for op, layer in placed] == [
        ("res_k3", 16, 32, 1, 4), ("k3_e3", 32, 32, 1, 4), ("k3_e3", 32, 48, 2, 4), ("skip", 48, 48, 1, 2), ("skip", 48, 256, 1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["flex24", "flex32", "flex224", "lite96"])
def test_counts_equal_those_of_the_built_network(name: str) -> None:
    space = get_space(name)
    macs, params = macs_table(space, 3, 10), params_table(space, 3, 10)
    for index_L in draw(space.valid_LK, 2, np.random.default_rng(0)):
        network = build_path(space, space.names(index_L), 10, 3).eval()
        assert count(network, 1, 3, space.resolution, space.resolution) == (macs.total(index_L), params.total(index_L))


@pytest.mark.parametrize("op", FLEX_OPS)
def test_every_family_is_in_the_space_at_every_width(op: str) -> None:
    widths = {layer.c_out for name, layer in FLEX32.places() if name == op and layer.stage == 2}
    assert widths == {64, 128, 192}


@pytest.mark.parametrize("seed", range(3))
def test_derivation_is_exact_against_every_architecture(seed: int) -> None:
    """Prices of a block depend on both of its widths, without any order, so that only the pairs can tell them."""
    rng = np.random.default_rng(seed)
    price = {layer.key(op): rng.uniform(0, 3) for op, layer in SMALL.places()}
    latency = tabulate(SMALL, "latency", "ms", 1.0, lambda op, layer: price[layer.key(op)])
    all_NL = np.array(list(every(SMALL.valid_LK)))
    assert len(all_NL) == 4 * 3 * 4 * 3
    sums = [1.0 + sum(price[layer.key(op)] for op, layer in SMALL.placed(SMALL.names(index_L))) for index_L in all_NL]
    assert latency.totals(all_NL) == pytest.approx(sums)
    assert latency.bounds(SMALL.valid_LK) == pytest.approx((min(sums), max(sums)))
    score_LK = rng.normal(size=SMALL.valid_LK.shape)
    score_N = score_LK[np.arange(5), all_NL].sum(axis=1)
    for budget in np.quantile(sums, (0.1, 0.5)):
        inside = np.flatnonzero(np.array(sums) <= budget)
        wanted = all_NL[inside[np.argsort(-score_N[inside])][:3]]
        found = best_first(score_LK, SMALL.valid_LK, [latency], {"latency": budget})
        assert [next(found).tolist() for _ in range(3)] == wanted.tolist()


class TestTheSupernet:
    def test_each_path_is_its_derived_network(self) -> None:
        assert_each_path_is_derived(SMALL, *warmed_up(SMALL, 12, 8))

    def test_a_narrow_block_is_the_inner_part_of_a_wide_one(self) -> None:
        supernet = Supernet(SMALL, 4, 3)
        narrow, wide = (standalone(supernet, [f"k3_e3_w{w}", "skip", "res_k3_w48", "res_k3", "skip"]) for w in (16, 32))
        inner = wide.blocks[0][0].conv_pwl.weight[:16]
        assert torch.equal(narrow.blocks[0][0].conv_pwl.weight, inner)
        assert torch.equal(narrow.blocks[1][0].conv_exp.weight, wide.blocks[1][0].conv_exp.weight[:16, :16])

    def test_a_path_teaches_what_it_runs_and_no_more(self) -> None:
        supernet = Supernet(SMALL, 4, 3)
        index_L = SMALL.index_L(["k3_e3_w16", "skip", "res_k3_w32", "skip", "skip"])
        supernet(torch.randn(4, 3, 8, 8), torch.eye(5)[index_L]).sum().backward()
        learnt = [any(p.grad is not None for p in shared.parameters()) for shared in supernet.shared]
        assert learnt[0] and learnt[2] and not learnt[1] and not learnt[3]

    def test_two_widths_at_once_have_no_sum(self) -> None:
        weights_LK = torch.eye(5)[[0, 0, 0, 0, 4]]
        weights_LK[0, 2] = 1.0
        with pytest.raises(RuntimeError):
            Supernet(SMALL, 4, 3)(torch.randn(1, 3, 8, 8), weights_LK)


def test_what_is_measured_covers_every_network() -> None:
    made = {tuple(piece.fields["key"].values()) for piece in pieces(SMALL, 3, 10) if piece.role == "op"}
    made |= {tuple(key.values()) for key in identities(SMALL)}
    for piece in networks(SMALL, 3, 10, 4):
        assert {tuple(entry.values()) for entry in piece.fields["entries"]} <= made


def test_an_estimated_table_has_every_entry_and_says_what_it_is() -> None:
    table, notes = table_for(load_table("rpi4"), FLEX32)
    latency = table.cost(FLEX32)
    assert table.provenance == "estimated" and latency.pairs and "dense" in " ".join(notes)
    least, most = latency.bounds(FLEX32.valid_LK)
    assert 0 < least < most


def test_derived_json_carries_widths(tmp_path: Path) -> None:
    ops = ("uib_a3k3_e3_w48", "k3_e3_se", "skip", "skip", "res_k3_w64", *["skip"] * 3, "fused_e2_w128", *["skip"] * 4)
    arch = Architecture(
        "flex32", ops, arch_strings(FLEX32, ops), 32, 2, 0, Preprocessing(32, 3, (0.5,) * 3, (0.5,) * 3), ("a", "b"), {}
    )
    arch.save(tmp_path / "derived.json")
    found = Architecture.load(tmp_path / "derived.json")
    assert found == arch
    network = build_network(found)
    assert [block[0].__class__.__name__ for block in network.blocks] == ["UniversalInvertedResidual", "EdgeResidual", "EdgeResidual", "ConvBnAct"]  # fmt: skip
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 2)
    with pytest.raises(UserError, match=r'"k3_e3" is not an option of flex32 there. Did you mean "k'):
        FLEX32.index_L(["k3_e3", *ops[1:]])


def test_a_reports_probabilities_are_of_operations_whatever_the_width() -> None:
    latency = tabulate(SMALL, "latency", "ms", 0.0, lambda op, layer: 1.0)
    p_LK = np.array(
        [[0.1, 0.2, 0.3, 0.4, 0.0], [0.5, 0.2, 0.0, 0.0, 0.3], [1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]]
    )
    first, second, *_ = layer_facts(SMALL, latency, ["res_k3_w32", "skip", "k3_e3_w32", "k3_e3", "skip"], p_LK, None)
    assert first.probabilities == pytest.approx({"k3_e3": 0.4, "res_k3": 0.6, "skip": 0.0}) and first.op == "res_k3"
    assert second.probabilities == pytest.approx({"k3_e3": 0.5, "res_k3": 0.2, "skip": 0.3}) and second.c_out == 32


@pytest.mark.parametrize(
    "options",
    [{"strategy": "score"}, {"relaxation": "softmax"}, {"relaxation": "gumbel"}, {"relaxation": "gumbel-top2"}],
)
def test_ways_to_search_that_widths_do_not_allow_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"widths of flex32|differ in width"):
        check_widths(SearchConfig(space="flex32", **options), FLEX32)
    check_widths(SearchConfig(**options), get_space("fbnet32"))


def test_plain_spaces_have_no_pairs() -> None:
    space = SearchSpace("plain", ("k3_e1", "skip"), (LayerSpec(16, 16, 1, 8, 0, ("k3_e1", "skip")),), 8, 16, 1, 24)
    assert space.choices.edges == () and space.placed(["skip"]) == (("skip", space.layers[0]),)
