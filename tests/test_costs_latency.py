"""Latency tables: what they say is what was published, and a file that cannot be right says where it is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_mcu_table import macs_K, mobilenet_v1, mobilenet_v2, published, resnet_v1

from supernet.choices import draw
from supernet.costs.latency import load_table, require_good, shipped_devices
from supernet.errors import UserError
from supernet.spaces import get_space
from supernet.transfer.kernel_model import table_for

FBNET32, FBNET224 = get_space("fbnet32"), get_space("fbnet224")

# ms of 22 × k3_e1: published with HW-NAS-Bench (Li et al., ICLR 2021), example.ipynb
PUBLISHED_MS = {
    "rpi4": 17.618579145142576,
    "pixel3": 7.788973100000002,
    "eyeriss": 3.9408960000000004,
    "fpga": 10.739520000000002,
}
# base, then 24 → 32, stride 2, at 32 px, in the order of FBNET32.ops: HELP's sums, solved for the single operations
SOURCE_MS = {
    "rpi4": (7.798226, [0.39894809, 1.043984806, 1.884342133, 0.535266037, 1.251515362, 2.877530552, 0.0]),
    "pixel3": (2.838627995, [0.1787432, 0.5526142, 1.1140032, 0.2614782, 0.7833562, 1.6106032, 0.0]),
    "eyeriss": (2.788352, [0.028128, 0.094624, 0.19744, 0.035232, 0.115936, 0.240064, 0.0]),
    "fpga": (0.0, [0.21504, 0.58368, 1.13664, 0.21504, 0.58368, 1.13664, 0.0]),
}
MEASURED_224_MS = {
    "pixel1_224": {("k3_e3", 16, 24, 2, 112): 5.608820512820512, ("k5_e6", 24, 24, 1, 56): 10.662506203473946},
    "xeon_6130_224": {("k3_e3", 24, 24, 1, 56): 2.564, ("k5_e6", 112, 112, 1, 14): 3.433},
    "titan_rtx_32_224": {("k3_e3", 24, 24, 1, 56): 0.881, ("k5_e6", 112, 112, 1, 14): 0.869},
}


@pytest.mark.parametrize(("device", "published_ms"), PUBLISHED_MS.items())
def test_published_networks_are_predicted_exactly(device: str, published_ms: float) -> None:
    assert load_table(device).predict_ms(FBNET32, ["k3_e1"] * 22) == pytest.approx(
        published_ms, abs=1e-9
    )  # the source's digits


@pytest.mark.parametrize(("device", "source"), SOURCE_MS.items())
def test_entries_are_those_of_the_source(device: str, source: tuple[float, list[float]]) -> None:
    cost = load_table(device).cost(FBNET32)
    row = next(row for row, layer in enumerate(FBNET32.layers) if layer.block_type == "24x32s2@32")
    assert cost.base == source[0]
    assert cost.unary_DK[row].tolist() == source[1]


def test_the_fit_with_negative_times_was_made_anew_without_them() -> None:
    content = load_table("gold_6226").content
    zero = [(e["op"], e["c_in"], e["c_out"]) for e in content["entries"] if e["median_ms"] == 0 and e["op"] != "skip"]
    assert zero == [("k3_e1", 16, 24), ("k5_e1", 16, 24), ("k5_e1", 64, 112)]
    assert "without times below 0" in content["source"] and content["validation"]["mape"] < 0.0255, (
        "not the clipped fit's"
    )


@pytest.mark.parametrize(("device", "entries"), MEASURED_224_MS.items())
def test_interpolated_tables_keep_what_was_measured(device: str, entries: dict[Any, float]) -> None:
    table = load_table(device)
    for key, ms in entries.items():
        assert table.entries[key] == pytest.approx(ms, abs=5e-4)
        (entry,) = [
            e for e in table.content["entries"] if (e["op"], e["c_in"], e["c_out"], e["stride"], e["resolution"]) == key
        ]
        assert "provenance" not in entry


@pytest.mark.parametrize("device", shipped_devices())
def test_a_shipped_table_covers_its_space_and_says_where_it_is_from(device: str) -> None:
    table = load_table(device)
    space = get_space(table.content["space"])
    cost = table.cost(space)
    assert table.device == device
    assert np.isfinite(cost.unary_DK).all()
    assert (cost.unary_DK >= 0).all()
    assert cost.median(space.valid_LK) > cost.bounds(space.valid_LK)[0] >= 0
    assert table.content["resolution"] == space.resolution
    assert table.content["licence"] and table.content["source"] and table.content["notes"]
    wider = [cost.unary_DK[:, space.ops.index(op)].sum() for op in ("k3_e1", "k3_e3", "k3_e6")]
    assert wider == sorted(wider)


@pytest.mark.parametrize("device", ["pixel1_224", "xeon_6130_224", "titan_rtx_32_224"])
def test_an_interpolated_table_claims_no_error_for_whole_networks(device: str) -> None:
    table = load_table(device)
    assert table.provenance == "interpolated"
    assert table.error is None
    assert 0 < table.content["cross_validation"]["mape"] < 0.15
    assert {e["median_ms"] for e in table.content["entries"] if e["op"] == "skip" and e["c_in"] == e["c_out"]} == {0.0}
    assert "cross_validation" in table.content["notes"]


def test_a_fitted_table_tells_its_error() -> None:
    table = load_table("gold_6226")
    assert table.provenance == "fitted"
    assert table.error == pytest.approx(0.0253, abs=1e-4)


def rpi4() -> dict[str, Any]:
    return copy.deepcopy(load_table("rpi4").content)


def saved(folder: Path, content: Any) -> str:
    path = folder / "board.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    content: Any = rpi4()
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


BAD_FIELDS = [
    (("entries", 3, "median_ms"), -1.0, "entries[3].median_ms"),
    (("entries", 3, "median_ms"), float("nan"), "NaN is not a number"),
    (("entries", 3, "median_ms"), float("inf"), "Infinity is not a number"),
    (("entries", 3, "median_ms"), 10**30, "too large a number"),
    (("entries", 3, "median_ms"), "1.5", "entries[3].median_ms"),
    (("entries", 3, "median_ms"), 1500.0, "entries[3].median_ms"),  # microseconds among milliseconds
    (("entries", 3, "stride"), 3, "entries[3].stride"),
    (("entries", 3, "speed"), 3, "entries[3]"),
    (("entries", 3), {"op": "k3_e1"}, "entries[3]"),
    (("entries",), [], "entries"),
    (("unit",), "us", "unit"),
    (("schema_version",), 2, "schema_version"),
    (("provenance",), "guessed", "provenance"),
    (("base_ms",), -1, "base_ms"),
    (("batch",), 0, "batch"),
    (("validation",), {"n": 12}, "validation"),
    (("validation",), {"n": 12, "mape": 0.1, "spearman": 0.9, "scale": 0}, "validation.scale"),
    (("validation",), {"n": 12, "mape": 0.1, "spearman": 0.9, "predictive_std_ms": -3}, "validation.predictive_std_ms"),
    (
        ("validation",),
        {"n": 12, "mape": 0.1, "spearman": 0.9, "predictive_std_ms": "3"},
        "validation.predictive_std_ms",
    ),
    (("validation",), {"n": 12, "mape": 0.1, "spearman": 0.9, "offset_ms": -9}, "validation.offset_ms"),
    (("validation",), {"n": 12, "mape": 0.1, "spearman": 0.9, "offset_ms": -1e9}, "validation.offset_ms"),
    (("validation",), {"n": 12, "mape": 0.1, "spearman": 0.9, "pairs": [[1, "2"]]}, "validation.pairs"),
    (("entries", 3, "c_out"), 10**9, "entries[3].c_out"),
    (("entries", 3, "resolution"), 10**6, "entries[3].resolution"),
    (("device",), "a`b", "device"),
    (("device",), "a\nb", "device"),
]


@pytest.mark.parametrize(
    ("path", "value", "named"), BAD_FIELDS, ids=[f"{p[-1]}={str(v)[:8]}" for p, v, _ in BAD_FIELDS]
)
def test_a_wrong_field_is_named(tmp_path: Path, path: tuple[str | int, ...], value: Any, named: str) -> None:
    with pytest.raises(UserError) as caught:
        load_table(saved(tmp_path, changed(path, value)))
    assert named in str(caught.value)
    assert "board.json" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_entry_that_stands_twice_is_named(tmp_path: Path) -> None:
    content = rpi4()
    content["entries"].append(content["entries"][5])
    with pytest.raises(UserError, match=r"entries\[84\]: k5_e6 16 16 1 32 stands twice"):
        load_table(saved(tmp_path, content))


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='"unit" stands twice'):
        load_table(saved(tmp_path, '{"unit": "ms", "unit": "us"}'))


@pytest.mark.parametrize("length", [0, 1, 100, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(UserError, match="not valid JSON"):
        load_table(saved(tmp_path, json.dumps(rpi4())[:length]))


@pytest.mark.parametrize("text", ["[]", "null", "3", '"ms"', "[" * 100_000, "\x00", "1e999", "[1e999]"])
def test_json_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"board\.json"):
        load_table(saved(tmp_path, text))


def test_folders_missing_files_other_encodings_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        load_table(f"{tmp_path}/")
    with pytest.raises(UserError, match="does not exist"):
        load_table(str(tmp_path / "none.json"))
    (tmp_path / "latin.json").write_bytes(b'{"device": "\xe9"}')
    with pytest.raises(UserError, match="not UTF-8"):
        load_table(str(tmp_path / "latin.json"))
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2_000_000_000)  # sparse: takes no room
    with pytest.raises(UserError, match="2,000,000,000 bytes"):
        load_table(str(tmp_path / "huge.json"))


def test_a_table_of_another_space_is_refused_with_the_command_that_makes_one() -> None:
    with pytest.raises(UserError, match=r"made for fbnet32 .* supernet lut build --device rpi4 --space fbnet224"):
        load_table("rpi4").cost(FBNET224)


def test_missing_entries_are_named_once_each_with_the_command(tmp_path: Path) -> None:
    content = rpi4()
    content["entries"] = [e for e in content["entries"] if not (e["op"] == "k5_e6" and e["c_out"] == 64)]
    with pytest.raises(UserError) as caught:
        load_table(saved(tmp_path, content)).cost(FBNET32)
    message = str(caught.value)
    assert "lacks k5_e6 32x64s2@16, k5_e6 64x64s1@8. " in message
    assert "supernet lut build --device rpi4 --space fbnet32" in message


def test_an_unknown_device_gets_the_nearest_name_and_the_way_to_an_own_table() -> None:
    with pytest.raises(UserError) as caught:
        load_table("rpi5")
    assert 'Did you mean "rpi4"?' in str(caught.value)
    assert "--device ./my-board.json" in str(caught.value)
    with pytest.raises(UserError):
        load_table("../rpi4")


def test_validation_scales_entries_and_base_and_adds_the_offset(tmp_path: Path) -> None:
    content = rpi4()
    content["validation"] = {"n": 12, "mape": 0.02, "spearman": 0.99, "scale": 1.5, "offset_ms": -2.0}
    table, plain = load_table(saved(tmp_path, content)), load_table("rpi4")
    ops = ["k3_e6", "k5_e3"] * 11
    assert table.predict_ms(FBNET32, ops) == pytest.approx(1.5 * plain.predict_ms(FBNET32, ops) - 2, rel=1e-14)
    assert table.error == 0.02
    assert table.hash != plain.hash


def test_a_poor_table_needs_consent(tmp_path: Path) -> None:
    content = rpi4()
    content["validation"] = {"n": 12, "mape": 0.2, "spearman": 0.99}
    table = load_table(saved(tmp_path, content))
    with pytest.raises(UserError, match="--accept-poor-table"):
        require_good(table, accept_poor=False)
    require_good(table, accept_poor=True)
    require_good(load_table("rpi4"), accept_poor=False)


def test_the_microcontrollers_table_is_linear_in_operations_by_type() -> None:
    """Its entries are three prices times multiply-adds, counted here by hand; the error of other networks is told with it."""
    table = load_table("cortex-m7")
    assert (table.provenance, table.dtype) == ("estimated", "int8")
    assert table.error == table.content["cross_validation"]["mape"] < 0.1 and table.content["validation"] is None
    skip = table.entries["skip", 16, 24, 1, 32] / (16 * 24 * 32**2)  # a pointwise convolution alone: ms a multiply-add
    pointwise, depthwise = (24 * 144 + 144 * 32 / 4) * 32**2, 9 * 144 * 16**2
    price = (table.entries["k3_e6", 24, 32, 2, 32] - skip * pointwise) / depthwise
    assert 400e3 * skip == pytest.approx(0.84, abs=0.01) and 400e3 * price == pytest.approx(9.09, abs=0.01)  # cycles
    five = skip * (24 * 72 + 72 * 32 / 4) * 32**2 + price * 25 * 72 * 16**2
    assert table.entries["k5_e3", 24, 32, 2, 32] == pytest.approx(five, rel=1e-5)
    assert table.entries["skip", 24, 24, 1, 32] == 0


def test_the_published_networks_have_their_published_multiply_adds() -> None:
    """MobileNets' papers: 41, 149 and 59 million (v1 0.25, v1 0.5, v2 0.35 at 224 px); MLPerf Tiny's ResNet v1 8: 12.5."""
    found = [mobilenet_v1(0.25, 224, 3, 1000), mobilenet_v1(0.5, 224, 3, 1000), mobilenet_v2(0.35, 224, 1000), resnet_v1(8, 10)]  # fmt: skip
    assert [macs_K(kernels).sum() for kernels in found] == pytest.approx([41.0, 149.5, 59.3, 12.5], abs=0.05)
    assert len(list(published())) == 17


@pytest.mark.parametrize("name", ["fbnet32", "micro32"])
def test_energy_is_power_times_latency(name: str) -> None:
    """HW-NAS-Bench's FPGA draws 7 W in every published sample."""
    space = get_space(name)
    table, _ = table_for(load_table("fpga"), space)
    latency, energy = table.cost(space), table.energy(space)
    assert (energy.name, energy.unit, table.power_watts) == ("energy", "mJ", 7)
    for index_L in draw(space.valid_LK, 5, np.random.default_rng(0)):
        assert energy.total(index_L) == pytest.approx(7 * latency.total(index_L), rel=1e-12)


def test_a_tables_own_power_counts_and_one_without_is_named(tmp_path: Path) -> None:
    content = load_table("systolic-16x16").content | {"power_watts": 0.25}
    (tmp_path / "npu.json").write_text(json.dumps(content))
    table = load_table(str(tmp_path / "npu.json"))
    space = get_space("flex32")
    other, _ = table_for(table, space)  # modelled anew for it
    assert other.power_watts == table.power_watts == 0.25
    latency, energy = other.cost(space), other.energy(space)
    assert energy.pairs
    for index_L in draw(space.valid_LK, 5, np.random.default_rng(0)):
        assert energy.total(index_L) == pytest.approx(0.25 * latency.total(index_L), rel=1e-12)
    with pytest.raises(UserError, match="The table of rpi4 states no power, so energy is unknown"):
        load_table("rpi4").energy(get_space("fbnet32"))
    for wrong in (0, -1, "7"):
        (tmp_path / "npu.json").write_text(json.dumps(content | {"power_watts": wrong}))
        with pytest.raises(UserError, match="power_watts"):
            load_table(str(tmp_path / "npu.json"))
