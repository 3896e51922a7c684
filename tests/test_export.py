"""Exported models compute what torch computes, say how to feed them, and are measured against their budget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn

from supernet import export
from supernet.blocks.ops import arch_strings
from supernet.commands.main import main
from supernet.errors import UserError
from supernet.network import build_network
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

SPEC = Preprocessing(32, 1, (0.13,), (0.31,))
SPACE = get_space("fbnet32")
OPS = tuple(("skip", "k3_e1", "k5_e3")[n % 3] for n in range(22))
ARCH = Architecture(
    "fbnet32", OPS, arch_strings(SPACE, OPS), 16, 1, 1504, SPEC, tuple("0123"), {}, "rpi4", 12.0, 11.5, 0.04
)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    network = build_network(ARCH)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def exported(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    model.train()
    assert export.export_onnx(model, path, SPEC, export.onnx_metadata(SPEC, ARCH.classes, ARCH)) <= 1e-4
    assert model.training
    return path


def test_onnx_gives_torchs_output_at_batch_1(model: nn.Module, exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 1, 32, 32]
    x = np.random.default_rng(9).normal(size=(1, 1, 32, 32)).astype(np.float32)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session.run(None, {"input": x})[0], expected, atol=1e-4)


def test_batch_norm_is_folded_away(exported: Path) -> None:
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(str(exported)).graph.node}


def test_metadata_says_how_to_feed_it_and_what_was_promised(exported: Path) -> None:
    metadata = {p.key: p.value for p in onnx.load(str(exported)).metadata_props}
    assert (json.loads(metadata["mean"]), json.loads(metadata["std"])) == ([0.13], [0.31])
    assert "divide by std" in metadata["preprocessing"] and json.loads(metadata["classes"]) == ["0", "1", "2", "3"]
    assert float(metadata["budget_ms"]) == 12.0 and float(metadata["predicted_error"]) == 0.04
    assert json.loads(metadata["ops"]) == list(OPS)


def test_any_timm_model_is_exported(tmp_path: Path) -> None:
    spec = Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3)
    network = timm.create_model("mobilenetv3_small_050", num_classes=3, in_chans=3)
    export.export_onnx(network, tmp_path / "m.onnx", spec, export.onnx_metadata(spec, ("a", "b", "c")))
    onnx.checker.check_model(onnx.load(str(tmp_path / "m.onnx")))


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    class Moody(nn.Module):
        """Answers differently when traced."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3] * self.scale * (2.0 if torch.jit.is_tracing() else 1.0)

    with pytest.raises(UserError, match="differs from torch's"):
        export.export_onnx(Moody(), tmp_path / "m.onnx", SPEC, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")  # its own
def test_executorch_computes_the_same(model: nn.Module, tmp_path: Path) -> None:
    runtime = pytest.importorskip("executorch.runtime")
    export.export_executorch(model, tmp_path / "m.pte", SPEC)
    x = torch.randn(1, 1, 32, 32)
    found = runtime.Runtime.get().load_program(tmp_path / "m.pte").load_method("forward").execute([x])[0]
    with torch.no_grad():
        torch.testing.assert_close(found, model.eval()(x), atol=1e-4, rtol=1e-4)


def test_verify_measures_and_judges(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", "--model", str(exported), "--quick"])
    printed = capsys.readouterr().out
    assert "budget     12 ms on rpi4" in printed and "predicted  11.5 ms (± 4.0%)" in printed and "measured" in printed
    assert "counts as rpi4's only if" in printed
    main(["verify", "--model", str(exported), "--quick", "--budget-ms", "0.000001"])
    assert "MISSED by" in capsys.readouterr().out
    main(["verify", "--model", str(exported), "--quick", "--device", "fpga"])
    assert "on fpga" in capsys.readouterr().out
    ARCH.save(tmp_path / "derived.json")
    main(
        ["verify", "--model", str(exported), "--quick", "--arch", str(tmp_path / "derived.json"), "--device", "eyeriss"]
    )
    assert "on eyeriss" in capsys.readouterr().out


def test_a_prediction_needs_an_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    export.export_onnx(layer, tmp_path / "m.onnx", SPEC, {})
    main(["verify", "--model", str(tmp_path / "m.onnx"), "--quick"])
    assert "none stated" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["verify", "--model", str(tmp_path / "m.onnx"), "--quick", "--device", "fpga"])
    assert "--arch derived.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none.onnx", "bad.onnx", "."])
def test_verify_names_what_is_no_model(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--model", str(tmp_path / name)])
    assert stop.value.code == 2 and "model" in capsys.readouterr().err
