"""An Ethos-U's tables by its compiler: what the shipped ones say, the compiler's summary, and what is refused rather than counted as nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latency_luts.manifest import Manifest, read_manifest
from latency_luts.validation import is_poor
from supernet.commands.budgets import require_format
from supernet.commands.facts import table_facts
from supernet.commands.main import main
from supernet.costs.latency import LatencyTable, load_table, require_good, shipped_devices
from supernet.errors import UserError
from supernet.lut import vela
from supernet.lut.check import validation_line
from supernet.lut.convert import to_litert_int8
from supernet.lut.pieces import pieces
from supernet.lut.vela import Estimate, Npu, left_to_cpu, make_table, read_summary
from supernet.report.words import table_words
from supernet.spaces import get_space
from supernet.transfer.adapt import quantile_margin_ms
from supernet.transfer.kernel_model import kernel_model, table_for

SHIPPED = [name for name in shipped_devices() if name.startswith("ethos-")]
SUMMARY = (  # the columns that count, as vela 5.2.0 writes them
    "experiment,network,accelerator_configuration,system_config,memory_mode,core_clock,inference_time,nn_macs,cycles_npu,cycles_total\n"
    "default,model,Ethos_U55_128,Ethos_U55_High_End_Embedded,Shared_Sram,500000000.0,0.000108864,321216,19546,54432\n"
)
SETTING = {
    "accelerator_configuration": "Ethos_U55_128",
    "system_config": "Ethos_U55_High_End_Embedded",
    "memory_mode": "Shared_Sram",
}


@pytest.fixture(params=SHIPPED)
def table(request: pytest.FixtureRequest) -> LatencyTable:
    return load_table(request.param)


class TestShipped:
    def test_it_says_that_a_compiler_estimated_it_and_for_what(self, table: LatencyTable) -> None:
        content = table.content
        assert (table.provenance, table.dtype, table.accelerator) == ("estimated", "int8", table.device)
        assert content["runtime"]["name"] == "vela" and content["runtime"]["version"] in content["source"]
        assert content["protocol"]["clock_mhz"] > 0 and {"system_config", "memory_mode"} <= content["protocol"].keys()
        assert "no measurement" in content["notes"] and "host's processor" in content["notes"]
        assert content["protocol"]["views_by_host"], "those that are made smaller"
        assert {entry["n"] for entry in content["entries"]} == {None}

    def test_sums_of_blocks_are_held_against_whole_networks(self, table: LatencyTable) -> None:
        validation = table.content["validation"]
        assert validation["n"] >= 20 and not is_poor(validation)
        predicted_n, told_n = np.array(validation["pairs"]).T
        assert np.abs(predicted_n / told_n - 1).mean() == pytest.approx(validation["mape"], rel=1e-3)
        require_good(table, accept_poor=False)

    def test_nobody_held_it_against_a_chip_and_no_word_says_so(self, table: LatencyTable) -> None:
        assert table.error is None
        assert "none was measured" in validation_line(table)
        told = table_words(table_facts(table))
        assert "the estimator's own" in told and "unknown: measure before you rely on it" in told

    def test_every_block_that_computes_takes_time_and_more_where_it_is_wider(self, table: LatencyTable) -> None:
        for (op, c_in, c_out, stride, size), ms in table.entries.items():
            assert ms > 0 or (op == "skip" and (c_in, stride) == (c_out, 1))
            if op == "k3_e1":
                wider = [table.entries[name, c_in, c_out, stride, size] for name in ("k3_e1", "k3_e3", "k3_e6")]
                assert wider == sorted(wider)

    def test_what_it_cannot_answer_is_refused(self, table: LatencyTable) -> None:
        way = f"supernet lut vela --accelerator {table.device} --space"
        for name in ("fbnet32", "sensor64-grey", "lite64"):
            space = get_space(name)
            with pytest.raises(UserError, match=f"{way} {space.table_space}"):
                table_for(table, space)[0].cost(space)
        with pytest.raises(UserError, match="no measured networks"):
            quantile_margin_ms(table.content, 0.9)
        with pytest.raises(UserError, match="no sums of kernels"):
            kernel_model(table)
        with pytest.raises(UserError, match="computes nothing else"):
            require_format(table, "float32", get_space("sensor32-grey"))


class TestSummary:
    def test_it_is_read(self) -> None:
        assert read_summary(SUMMARY) == Estimate(pytest.approx(0.108864), 500.0, SETTING)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("inference_time", "time"),
            ("0.000108864", "0.000208864"),  # not what the cycles say
            ("0.000108864", "nan"),
            ("500000000.0", "0"),
            ("54432", "many"),
            ("default,model", "default,model,x\ndefault,model"),
        ],
    )
    def test_another_one_is_refused(self, old: str, new: str) -> None:
        with pytest.raises(UserError, match="another version of ethos-u-vela"):
            read_summary(SUMMARY.replace(old, new))

    def test_an_empty_one_is_refused(self) -> None:
        with pytest.raises(UserError, match="not understood"):
            read_summary("")


def bundle(folder: Path) -> Manifest:
    """A head, two views, a block, a call, and three networks of them; nobody reads the files' content."""
    view = {"c_in": 1, "c_out": 4, "stride": 2}
    block = {"op": "k3_e1", "c_in": 4, "c_out": 4, "stride": 1}
    views = [{"op": "grey8c", **view, "resolution": 8}, {"op": "grey8", **view, "resolution": 8}]
    blocks = [{**block, "resolution": 4}, {**block, "op": "skip", "resolution": 4}]
    items: list[dict[str, Any]] = [{"name": "head", "role": "head"}, {"name": "call", "role": "call"},
        *({"name": key["op"], "role": "op", "key": key, "whole_picture": True} for key in views),
        {"name": "block", "role": "op", "key": blocks[0]}]  # fmt: skip
    for number, (first, second) in enumerate([(0, 0), (0, 1), (1, 0)]):
        used = [views[first], blocks[second]]
        items.append({"name": f"network_{number}", "role": "network", "ops": [key["op"] for key in used], "entries": used})  # fmt: skip
    content = gzip.compress(b"model")
    (folder / "model.tflite.gz").write_bytes(content)
    for item in items:
        item |= {"file": "model.tflite.gz", "sha256": hashlib.sha256(content).hexdigest()}
    layers = [{"c_in": 1, "c_out": 4, "stride": 2, "resolution": 8}, {"c_in": 4, "c_out": 4, "stride": 1, "resolution": 4}]  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({
        "schema_version": 1, "space": "sensor32-grey", "format": "tflite", "dtype": "int8", "resolution": 8, "items": items,
        "identities": [blocks[1]], "layers": layers, "made_with": {"channels": 1, "classes": 10},
    }))  # fmt: skip
    return read_manifest(folder)


MS = {"head": 5.0, "call": 1.0, "grey8c": 3.0, "grey8": 4.0, "block": 7.0, "network_0": 13.0, "network_1": 7.0, "network_2": 14.0}  # fmt: skip
Saying = Callable[[dict[str, tuple[str, ...]]], None]


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch) -> Saying:
    """Sets what the compiler leaves to the host, by file; its times are MS."""
    plain = Estimate(1.0, 500.0, SETTING)

    def say(on_cpu: dict[str, tuple[str, ...]]) -> None:
        monkeypatch.setattr(vela, "version", lambda _: "5.2.0")
        monkeypatch.setattr(
            vela, "estimate", lambda _, npu, name: replace(plain, ms=MS[name], on_cpu=on_cpu.get(name, ()))
        )

    return say


class TestTable:
    def test_a_call_is_counted_once_and_sums_are_the_networks(self, tmp_path: Path, saying: Saying) -> None:
        saying({})
        found = make_table(bundle(tmp_path), "npu", Npu("ethos-u55-128"))
        assert found["base_ms"] == 5.0 and [entry["median_ms"] for entry in found["entries"]] == [0.0, 2.0, 3.0, 6.0]
        assert found["validation"]["scale"] == pytest.approx(1) and found["validation"]["mape"] == pytest.approx(0)
        assert "host" not in found["notes"] and found["protocol"]["views_by_host"] == []
        (tmp_path / "npu.json").write_text(json.dumps(found))
        assert load_table(str(tmp_path / "npu.json")).accelerator == "ethos-u55-128"

    def test_a_view_made_smaller_by_the_host_is_told(self, tmp_path: Path, saying: Saying) -> None:
        left = ("RESIZE_BILINEAR",)
        saying({"grey8": left, "network_2": left})
        found = make_table(bundle(tmp_path), "npu", Npu("ethos-u55-128"))
        assert "RESIZE_BILINEAR of 1 views runs on the host's processor, whose time is not counted." in found["notes"]
        assert found["protocol"]["views_by_host"] == ["grey8"]

    @pytest.mark.parametrize("name", ["block", "head", "network_0"])
    def test_anything_else_that_is_left_to_the_host_is_refused(self, tmp_path: Path, saying: Saying, name: str) -> None:
        saying({"grey8": ("RESIZE_BILINEAR",), name: ("SVDF",)})
        with pytest.raises(UserError, match=f"leaves SVDF of {name} to the host's processor"):
            make_table(bundle(tmp_path), "npu", Npu("ethos-u55-128"))


def test_no_block_is_the_identity_to_a_compiler() -> None:
    """A residual block whose last scale is 0, as training begins with, was left out of LiteRT files altogether."""
    for piece in pieces(get_space("sensor32-grey"), 1, 10):
        x = torch.randn(piece.shape)
        found = piece.build()(x)
        assert found.shape != x.shape or not torch.allclose(found, x), piece.name


def test_without_vela_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("supernet.export.find_spec", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        main(["lut", "vela", "--accelerator", "ethos-u55-128"])
    assert ended.value.code == 2 and "supernet[vela]" in capsys.readouterr().err


@pytest.mark.skipif(
    not all(find_spec(name) for name in ("ethosu", "litert_torch", "ai_edge_quantizer")), reason="extras vela, litert"
)
class TestWithVela:
    def test_a_residual_block_takes_time_and_all_of_it_is_the_npus(self) -> None:
        (block,) = [one for one in pieces(get_space("sensor32-grey"), 1, 10) if one.name == "k3_e3_96x96s1_2"]
        found = vela.estimate(to_litert_int8(block), Npu("ethos-u55-128"), block.name)
        assert found.ms > 0.01 and found.on_cpu == () and found.clock_mhz == 500 and found.setting == SETTING

    def test_a_bilinear_view_is_left_to_the_host(self) -> None:
        (view,) = [one for one in pieces(get_space("sensor32-grey"), 1, 10) if one.name.startswith("grey16_")]
        content = to_litert_int8(view)
        assert left_to_cpu(content) and "RESIZE_BILINEAR" in left_to_cpu(content)
        assert vela.estimate(content, Npu("ethos-u55-128"), view.name).on_cpu == ("RESIZE_BILINEAR",)

    def test_what_it_refuses_is_one_line(self) -> None:
        with pytest.raises(UserError, match="did not compile noise for ethos-u55-128"):
            vela.estimate(b"x" * 100, Npu("ethos-u55-128"), "noise")
