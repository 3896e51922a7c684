"""Spaces in which the network's view of its picture is decided: size, colour, field of view, with what the sensor delivers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.reference
import pytest
import torch
from supernet_paths import assert_each_path_is_derived, warmed_up
from torch.nn import functional as F

from supernet.blocks.ops import arch_strings, build_op
from supernet.blocks.sensing import seen
from supernet.choices import draw, every
from supernet.commands.main import main
from supernet.commands.setting import check_widths
from supernet.config import SearchConfig
from supernet.costs.analytic import count, input_table, macs_table, params_table
from supernet.costs.latency import load_table
from supernet.costs.memory import path_peak_bytes, peak_activation_bytes, peak_table
from supernet.costs.tabulate import tabulate
from supernet.derive import best_first
from supernet.engine.evaluate import standalone
from supernet.errors import UserError
from supernet.export import to_onnx
from supernet.lut.bundle import export_bundle
from supernet.lut.check import entry_macs
from supernet.lut.pieces import identities, networks, pieces
from supernet.network import Supernet, build_network, build_path
from supernet.preprocessing import Preprocessing
from supernet.spaces import SENSOR, LayerSpec, View, get_space
from supernet.spaces.architecture import Architecture
from supernet.spaces.sensor import SensorSpace, require_colours
from supernet.transfer.kernel_model import table_for

SENSOR32 = get_space("sensor32")
_VIEWS = ("rgb32", "rgb24c", "grey24", "grey16c")
SMALL = SensorSpace(
    "small",
    (*_VIEWS, "k3_e1", "k5_e3", "skip"),
    (
        LayerSpec(3, 16, 2, 32, 0, _VIEWS),
        LayerSpec(16, 16, 2, 16, 1, ("k3_e1", "k5_e3")),
        LayerSpec(16, 32, 2, 8, 2, ("k3_e1", "k5_e3")),
        LayerSpec(32, 32, 1, 4, 2, ("k3_e1", "skip")),
        LayerSpec(32, 32, 2, 4, 3, ("k3_e1", "k5_e3", "skip")),
    ),
    32, 16, 2, 0,
)  # fmt: skip
K = len(SMALL.ops)


def architecture(ops: tuple[str, ...], channels: int = 3, **fields: object) -> Architecture:
    spec = Preprocessing(32, channels, (0.5,) * channels, (0.5,) * channels)
    arch = Architecture("sensor32", ops, arch_strings(SENSOR32, ops), 16, 2, 0, spec, ("a", "b"), {})
    return replace(arch, sensor=SENSOR32.sensor_of(ops), **fields)


OPS = ("grey24c", "k3_e3", "skip", "k3_e1", "fused_e2", "k5_e3", "skip", "skip")


class TestWhatIsSeen:
    picture = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8).square()

    def test_the_whole_picture_smaller_is_at_half_the_mean_of_four_pixels(self) -> None:
        torch.testing.assert_close(seen(self.picture, View(4, False, False)), F.avg_pool2d(self.picture, 2))

    def test_a_crop_is_the_centre_as_it_is(self) -> None:
        assert torch.equal(seen(self.picture, View(4, False, True)), self.picture[:, :, 2:6, 2:6])

    def test_grey_is_the_mean_of_the_colours(self) -> None:
        mean = self.picture.mean(1, keepdim=True)
        assert torch.equal(seen(self.picture, View(8, True, False)), mean)
        assert torch.equal(seen(mean, View(8, True, False)), mean), "a grey picture stays as it is"

    def test_no_pixel_is_passed_over_at_three_quarters(self) -> None:
        picture = torch.zeros(1, 1, 8, 8, requires_grad=True)
        seen(picture, View(6, True, False)).sum().backward()
        assert picture.grad is not None and (picture.grad > 0).all()


def test_the_views_of_a_space_and_what_they_deliver() -> None:
    kib = {option: view.kib for option, view in SENSOR32.inputs.items()}
    assert kib == {"rgb32": 3, "rgb24": 1.6875, "rgb16": 0.75, "rgb24c": 1.6875, "rgb16c": 0.75,
                   "grey32": 1, "grey24": 0.5625, "grey16": 0.25, "grey24c": 0.5625, "grey16c": 0.25}  # fmt: skip
    assert SENSOR32.inputs["rgb24c"] == View(24, False, True)
    assert all(view.grey for view in get_space("sensor64-grey").inputs.values())


def test_sizes_follow_from_the_view_and_odd_ones_are_halved_upwards() -> None:
    sides = [layer.resolution for _, layer in SMALL.placed(["grey24", "k3_e1", "k3_e1", "skip", "skip"])]
    assert sides == [24, 12, 6, 3, 3] and SMALL.place(4, "skip", "grey24")[1].resolution_out == 2


@pytest.mark.parametrize("space", [SMALL, *map(get_space, SENSOR)], ids=lambda space: space.name)
def test_costs_equal_those_of_the_built_network(space: SensorSpace) -> None:
    macs, params, peak = macs_table(space, 3, 10), params_table(space, 3, 10), peak_table(space, 3, 10)
    for index_L in draw(space.valid_LK, 4, np.random.default_rng(1)):
        ops = space.names(index_L)
        network = build_path(space, ops, 10, 3).eval()
        assert count(network, 1, 3, space.resolution, space.resolution) == (macs.total(index_L), params.total(index_L))
        bytes_ = peak_activation_bytes(network, 3, space.resolution)
        assert bytes_ == 1024 * peak.total(index_L) == path_peak_bytes(space, ops, 3, 10)


def test_peak_memory_holds_the_whole_picture_until_the_view_is_taken() -> None:
    peak = peak_table(SENSOR32, 3, 10)
    own = {view: 256 * kib for view, kib in zip(SENSOR32.inputs, peak.unary_DK[0], strict=False)}  # values
    assert own["grey16c"] == 3 * 32**2 + 16**2 and own["rgb16c"] == 3 * 32**2 + 3 * 18**2
    assert own["rgb32"] == 3 * 34**2 + 16 * 16**2 and own["grey24"] == 3 * 32**2 + 32**2


def test_what_the_sensor_delivers_of_a_space_without_a_choice_is_the_picture() -> None:
    cost = input_table(get_space("micro32"), 1)
    assert cost.unit == "KiB" and cost.bounds(get_space("micro32").valid_LK) == (1, 1)


@pytest.mark.parametrize("seed", range(2))
def test_derivation_is_exact_against_every_architecture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    price = {layer.key(op): rng.uniform(0, 3) for op, layer in SMALL.places()}
    latency = tabulate(SMALL, "latency", "ms", 1.0, lambda op, layer: price[layer.key(op)])
    delivered = input_table(SMALL, 3)
    all_NL = np.array(list(every(SMALL.valid_LK)))
    assert len(all_NL) == 4 * 2 * 2 * 2 * 3
    sums = [1.0 + sum(price[layer.key(op)] for op, layer in SMALL.placed(SMALL.names(index_L))) for index_L in all_NL]
    assert latency.totals(all_NL) == pytest.approx(sums)
    score_LK = rng.normal(size=SMALL.valid_LK.shape)
    score_N = score_LK[np.arange(5), all_NL].sum(axis=1)
    for budget, kib in ((np.quantile(sums, 0.3), 3.0), (np.quantile(sums, 0.5), 1.6875), (max(sums), 0.5)):
        kept = (np.array(sums) <= budget) & (delivered.totals(all_NL) <= kib)
        inside = np.flatnonzero(kept)
        wanted = all_NL[inside[np.argsort(-score_N[inside])][:3]]
        found = best_first(score_LK, SMALL.valid_LK, [latency, delivered], {"latency": budget, "input": kib})
        assert [next(found).tolist() for _ in range(3)] == wanted.tolist()
    with pytest.raises(UserError, match=r"input of 0\.2 KiB or less; the least possible is 0\.25 KiB"):
        next(best_first(score_LK, SMALL.valid_LK, [delivered], {"input": 0.2}))


class TestTheSupernet:
    def test_each_path_is_its_derived_network(self) -> None:
        assert_each_path_is_derived(SMALL, *warmed_up(SMALL, 12, 32))

    def test_views_share_weights_and_each_has_its_own_statistics(self) -> None:
        supernet = Supernet(SMALL, 4, 3)
        rgb, grey = (standalone(supernet, [view, "k3_e1", "k3_e1", "skip", "skip"]) for view in ("rgb32", "grey24"))
        assert torch.equal(rgb.conv_stem.weight[:, :1], grey.conv_stem.weight)
        supernet(torch.randn(4, 3, 32, 32), torch.eye(K)[SMALL.index_L(["rgb32", "k3_e1", "k3_e1", "skip", "skip"])])
        rgb, grey = (standalone(supernet, [view, "k3_e1", "k3_e1", "skip", "skip"]) for view in ("rgb32", "grey24"))
        for one in ("bn1", "blocks.0.0.bn1"):
            assert rgb.get_submodule(one).running_mean.any() and not grey.get_submodule(one).running_mean.any()

    def test_two_sizes_at_once_have_no_sum(self) -> None:
        weights_LK = torch.eye(K)[SMALL.index_L(["rgb32", "k3_e1", "k3_e1", "skip", "skip"])]
        weights_LK[0, 2] = 1.0
        with pytest.raises((RuntimeError, AssertionError)):
            Supernet(SMALL, 4, 3)(torch.randn(1, 3, 32, 32), weights_LK)


class TestTables:
    def test_what_is_measured_covers_every_network(self) -> None:
        own = pieces(SMALL, 3, 10)
        assert [piece.role for piece in own if piece.role != "op"] == ["head", "call"]
        made = {tuple(piece.fields["key"].values()) for piece in own if piece.role == "op"}
        made |= {tuple(key.values()) for key in identities(SMALL)}
        for piece in networks(SMALL, 3, 10, 4):
            assert {tuple(entry.values()) for entry in piece.fields["entries"]} <= made
        for piece in own:
            assert piece.build()(torch.zeros(piece.shape)) is not None

    def test_a_view_is_timed_on_the_whole_picture_and_no_two_are_one_file(self) -> None:
        """Files are kept by what a module says of itself."""
        own = [piece for piece in pieces(SENSOR32, 3, 10) if piece.fields.get("key", {}).get("op") in SENSOR32.inputs]
        assert len(own) == 10 and {piece.shape for piece in own} == {(1, 3, 32, 32)}
        assert len({str(piece.build()) for piece in own}) == len({piece.name for piece in own}) == 10

    def test_an_estimated_table_has_every_entry(self) -> None:
        table, notes = table_for(load_table("rpi4"), SENSOR32)
        latency = table.cost(SENSOR32)
        least, most = latency.bounds(SENSOR32.valid_LK)
        assert table.provenance == "estimated" and "supernet lut build --space sensor32" in " ".join(notes)
        assert 0 < latency.base < least < most

    @pytest.mark.parametrize("view", ["rgb24", "grey16c"])
    def test_the_exported_stem_takes_the_whole_picture(self, view: str) -> None:
        stem, x = build_op(view, 1 if view.startswith("grey") else 3, 16, 2).eval(), torch.randn(1, 3, 32, 32)
        (found,) = onnx.reference.ReferenceEvaluator(to_onnx(stem, (1, 3, 32, 32))).run(None, {"input": x.numpy()})
        np.testing.assert_allclose(found, stem(x).detach().numpy(), atol=1e-5)


class TestDerivedJson:
    def test_it_says_what_the_sensor_delivers(self, tmp_path: Path) -> None:
        arch = architecture(OPS)
        arch.save(tmp_path / "derived.json")
        assert json.loads((tmp_path / "derived.json").read_text())["sensor"] == {"pixels": 24, "channels": 1, "crop": True, "kib": 0.5625}  # fmt: skip
        found = Architecture.load(tmp_path / "derived.json")
        assert found == arch
        network = build_network(found).eval()
        x = torch.randn(2, 3, 32, 32)
        assert network.conv_stem.weight.shape == (16, 1, 3, 3) and network(x).shape == (2, 2)
        edge = x.clone()
        edge[:, :, :4] = 0
        assert torch.equal(network(x), network(edge)), "what is outside the centre is not looked at"

    @pytest.mark.parametrize(
        ("arch", "words"),
        [
            (replace(architecture(OPS), sensor=SENSOR32.sensor_of(["rgb32"])), "sensor: it is not that of grey24c"),
            (architecture(("rgb16", *OPS[1:]), channels=1), "rgb16 takes colours"),
            (architecture(("rgb32", *OPS[1:]), config={"max_input_kb": 2}), "rgb32 delivers 3 KiB, over max_input_kb"),
        ],
        ids=["another", "colours", "over"],
    )
    def test_a_contradiction_is_named(self, tmp_path: Path, arch: Architecture, words: str) -> None:
        arch.save(tmp_path / "derived.json")
        with pytest.raises(UserError, match=words):
            Architecture.load(tmp_path / "derived.json")


def test_the_network_by_hand_looks_at_the_whole_picture() -> None:
    plain = list(SENSOR32.plain)
    assert {ops[0] for ops in plain} == {"rgb32", "rgb24", "rgb16", "grey32", "grey24", "grey16"}
    assert plain[0] == ("rgb32", "k3_e3", "skip", "k3_e3", "skip", "k3_e3", "skip", "skip")
    assert plain[3] == ("rgb32", *["k3_e3"] * 6, "skip")


def test_ways_to_search_that_picture_sizes_do_not_allow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picture sizes of sensor32"):
        check_widths(SearchConfig(space="sensor32", strategy="score"), SENSOR32)
    with pytest.raises(UserError, match="differ in size"):
        check_widths(SearchConfig(space="sensor32", relaxation="gumbel"), SENSOR32)
    check_widths(SearchConfig(space="sensor32"), SENSOR32)
    with pytest.raises(UserError, match="take --space sensor32-grey"):
        require_colours(SENSOR32, 1)
    require_colours(get_space("sensor32-grey"), 1)
    with pytest.raises(UserError, match="take --space sensor32-grey"):
        export_bundle(SENSOR32, tmp_path, in_chans=1)


def table(tmp_path: Path) -> str:
    """A quick table: milliseconds by multiply-adds."""
    keys = [dict(zip(("op", "c_in", "c_out", "stride", "resolution"), layer.key(op), strict=True)) for op, layer in get_space("sensor32-grey").places()]  # fmt: skip
    entries = [{**key, "median_ms": entry_macs(tuple(key.values())) / 1e6, "iqr_ms": None, "n": None} for key in keys]
    content = {"space": "sensor32-grey", "base_ms": 0.1, "entries": entries, "validation": None, "device": "board"}
    (tmp_path / "board.json").write_text(json.dumps(load_table("rpi4").content | content))
    return str(tmp_path / "board.json")


def test_a_search_holds_what_the_sensor_delivers_and_its_answers_do(
    tmp_path: Path, digits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, device = tmp_path / "run", table(tmp_path)
    main(["search", "--quick", "--space", "sensor32-grey", "--data", digits, "--max-train", "64", "--threads", "1",
          "--device", device, "--budget-ms", "2", "--max-input-kb", "0.6", "--out", str(out)])  # fmt: skip
    arch, front = Architecture.load(out / "derived.json"), json.loads((out / "front.json").read_text())
    assert arch.sensor is not None and all(one["costs"]["input"] <= 0.6 for one in front)
    assert front[0]["costs"]["input"] == arch.sensor["kib"]
    assert "From the sensor: " in capsys.readouterr().out
    assert get_space("sensor32-grey").inputs[arch.ops[0]].words in (out / "report.html").read_text()
    main(["derive", "--run", str(out), "--device", device, "--budget-ms", "2", "--max-input-kb", "0.3", "--k", "1",
          "--out", str(tmp_path / "answer")])  # fmt: skip
    answer = Architecture.load(tmp_path / "answer" / "derived.json")
    assert answer.sensor == {"pixels": 16, "channels": 1, "crop": answer.ops[0] == "grey16c", "kib": 0.25}
