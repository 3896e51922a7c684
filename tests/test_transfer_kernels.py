"""Latency of any network from its kernels: what is counted, what is priced, what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from supernet.blocks.ops import build_op
from supernet.commands.main import main
from supernet.costs.analytic import count
from supernet.costs.latency import LatencyTable, load_table
from supernet.errors import UserError
from supernet.network import build_path
from supernet.spaces import get_space
from supernet.transfer import kernel_model as pricing
from supernet.transfer.kernels import Kernel, kernels_of

FBNET32 = get_space("fbnet32")
PRICE_F = np.array([0.02, 0.1, 0.05, 0.03, 0.01, 0.8, 0.1, 0.2, 0.07])
# ms on one large core of a Pixel 3: github.com/tensorflow/models, research/slim/nets/mobilenet/README.md
PIXEL3_MS = {"mobilenetv3_large_100": 44.0, "mobilenetv3_small_100": 14.4, "tf_mobilenetv3_small_minimal_100": 11.0}


def planted(price_F: np.ndarray, fixed_ms: float, scale: float = 1.0) -> LatencyTable:
    """A table of a device whose blocks are exactly sums of kernels at these prices."""
    content = json.loads(json.dumps(load_table("rpi4").content))
    entries = {}
    for entry in content["entries"]:
        key = (entry["op"], entry["c_in"], entry["c_out"], entry["stride"], entry["resolution"])
        block = kernels_of(build_op(*key[:4]), key[1], key[4])
        entries[key] = float(pricing.features(block) @ price_F) / scale
    ops = [layer.ops[0] for layer in FBNET32.layers]
    whole = pricing.features(kernels_of(build_path(FBNET32, ops, 100, 3), 3, 32)) @ price_F
    layers = sum(
        entries[op, x.c_in, x.c_out, x.stride, x.resolution] for op, x in zip(ops, FBNET32.layers, strict=True)
    )
    content["base_ms"] = (fixed_ms + whole) / scale - layers
    content["validation"] = {"n": 12, "mape": 0.01, "spearman": 1.0, "scale": scale, "offset_ms": 0.0}
    return LatencyTable(content, entries, "0" * 16)


def test_multiply_adds_are_those_of_torch_and_what_is_folded_costs_nothing() -> None:
    block = build_op("k5_e3", 16, 24, 2)
    found = kernels_of(block, 16, 32)
    assert [kernel.kind for kernel in found] == ["pointwise", "depthwise", "pointwise"]
    assert sum(kernel.macs for kernel in found) == count(block, 1, 16, 32, 32)[0]
    assert found[1] == Kernel("depthwise", 25 * 48 * 16**2, 48 * (32**2 + 16**2), 25 * 48, "5×5 depthwise convolution")
    residual = kernels_of(build_op("k3_e1", 16, 16, 1), 16, 8)
    assert residual[-1].kind == "pass" and residual[-1].moved == 3 * 16 * 8**2


def test_any_network_is_counted_without_being_changed() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=7).train()
    state = torch.random.get_rng_state()
    found = kernels_of(network, 3, 64)
    assert network.training and torch.equal(state, torch.random.get_rng_state())
    assert sum(kernel.macs for kernel in found) == count(network.eval(), 1, 3, 64, 64)[0]
    assert {"dense", "depthwise", "pointwise", "linear", "pass"} == {kernel.kind for kernel in found}


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_planted_prices_are_found_and_price_another_network(scale: float) -> None:
    model = pricing.kernel_model(planted(PRICE_F, fixed_ms=2.5, scale=scale))
    assert model.block_error < 1e-6 and model.fixed_ms == pytest.approx(2.5, rel=1e-4)
    kernels = kernels_of(timm.create_model("mobilenetv3_small_100"), 3, 64)
    found = model.estimate(kernels, 64)
    assert found.ms == pytest.approx(2.5 + pricing.features(kernels) @ PRICE_F, rel=1e-4)
    assert sum(found.parts_ms.values()) == pytest.approx(found.ms) and "3×3 dense" in found.notes[0]
    assert found.error == pricing.NETWORK_ERROR and model.sizes == (4, 32)


def test_a_measured_table_without_skips_that_compute_is_not_taken_for_one_relative_to_them() -> None:
    """lite spaces: a layer that is left out takes 0 ms, and there are no other skips; activations and padding are the space's own."""
    space = get_space("lite96")
    ops = [layer.ops[0] for layer in space.layers]
    entries = {layer.key(op): float(pricing.features(kernels_of(build_op(*layer.key(op)[:4], space.style), layer.c_in, layer.resolution)) @ PRICE_F) for op, layer in space.places()}  # fmt: skip
    whole = kernels_of(build_path(space, ops, 100, 3), 3, 96)
    whole_ms = 2.0 + float(pricing.features(whole) @ PRICE_F)
    base_ms = whole_ms - sum(entries[place.key(op)] for op, place in space.placed(ops))
    content = {
        "device": "d",
        "space": "lite96",
        "base_ms": base_ms,
        "validation": None,
        "batch": 1,
        "provenance": "measured",
    }
    assert pricing.kernel_model(LatencyTable(content, entries, "h")).estimate(whole, 96).ms == pytest.approx(
        whole_ms, rel=0.02
    )


@pytest.mark.parametrize(("name", "ms"), PIXEL3_MS.items())
def test_published_times_of_whole_networks_are_within_the_error_that_is_told(name: str, ms: float) -> None:
    found = pricing.estimate_network(load_table("pixel3"), timm.create_model(name), 3, 224)
    assert abs(found.ms / ms - 1) < found.error and "extrapolated" in found.notes[-1]


def test_an_architecture_of_the_space_is_estimated_as_the_table_predicts() -> None:
    table, ops = load_table("pixel3"), ["k3_e3", "k5_e6"] * 11
    found = pricing.estimate_network(table, build_path(FBNET32, ops, 100, 3), 3, 32)
    assert found.ms == pytest.approx(table.predict_ms(FBNET32, ops), rel=0.05)


class Odd(nn.Module):
    """An operation that no table times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(torch.fft.rfft(self.conv(x)).abs(), dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (lambda: timm.create_model("resnet18"), "7×7 dense convolution, some 8"),
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64), "native_layer_norm"),
        (lambda: timm.create_model("resnext26ts"), "grouped"),
        (Odd, "fft"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 8, 2)), "transposed convolution"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_the_table_never_timed_is_named_instead_of_a_number(network: type[nn.Module], named: str) -> None:
    with pytest.raises(UserError, match=named):
        pricing.kernel_model(load_table("rpi4")).estimate(kernels_of(network(), 3, 64), 64)


def test_a_network_that_does_not_run_and_a_table_that_is_no_sum_of_kernels_are_named() -> None:
    with pytest.raises(UserError, match="does not run on 1 × 32 × 32"):
        kernels_of(timm.create_model("lcnet_050"), 1, 32)
    with pytest.raises(UserError, match="fpga are no sums of kernels"):
        pricing.kernel_model(load_table("fpga"))
    table = load_table("rpi4")
    few = LatencyTable(table.content, dict(list(table.entries.items())[:9]), table.hash)
    with pytest.raises(UserError, match="20 are needed"):
        pricing.kernel_model(few)


def test_lut_predict_estimates_a_timm_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["lut", "predict", "--device", "rpi4", "--arch", "mobilenetv3_small_050", "--resolution", "64"])
    told = capsys.readouterr().out
    assert "at 64 px: estimated latency" in told and "estimated from blocks of other networks (± 30%)" in told
    for name, words in (
        ("resnet19", "neither a file nor a timm model"),
        (str(tmp_path / "none.json"), "does not exist"),
    ):
        with pytest.raises(SystemExit):
            main(["lut", "predict", "--device", "rpi4", "--arch", name])
        assert words in capsys.readouterr().err
