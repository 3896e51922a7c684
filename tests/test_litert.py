"""LiteRT files: what LiteRT answers, what their int8 form costs, what tflite-micro needs. Skipped is only what needs the extra."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from supernet.arena import memory
from supernet.choices import draw
from supernet.commands import exports
from supernet.commands.main import main
from supernet.costs.memory import peak_activation_bytes
from supernet.data import GroupedData, load_data
from supernet.errors import UserError
from supernet.export import onnx_metadata, to_litert
from supernet.network import build_path
from supernet.prediction import load_classifier
from supernet.preprocessing import Preprocessing
from supernet.report.facts import Int8, read
from supernet.report.int8 import memory_words
from supernet.spaces import get_space

EXTRA = ("litert_torch", "ai_edge_litert", "ai_edge_quantizer")
needs_litert = pytest.mark.skipif(
    any(find_spec(name) is None for name in EXTRA), reason="needs the extra litert (pip install 'supernet[litert]')"
)
needs_micro = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="needs the extra tflite-micro")
noisy = pytest.mark.filterwarnings("ignore")  # the converters' own

COMPARED = {"accuracy": 0.9, "attributes": {}}
COSTS = {"images": 100, "agreement": 1.0, "float32": COMPARED, "int8": COMPARED}
FOUND = {"setting": "min-max", "tried": {"min-max": 1.0}, "val": COSTS, "test": COSTS, "warnings": []}


def network(seed: int = 0, space: str = "micro32") -> nn.Module:
    """A random architecture, as after training: with fresh weights residual blocks end in zeros, and converters leave them out."""
    torch.manual_seed(seed)
    drawn = get_space(space)
    (index_L,) = draw(drawn.valid_LK, 1, np.random.default_rng(seed))
    made = build_path(drawn, drawn.names(index_L), 10, 1)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data("writers", max_train=200, max_eval=60)


@pytest.fixture(scope="module")
def files(data: GroupedData, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, dict]]:
    """(float32 file, int8 file, what that costs)"""
    from supernet.litert import export_litert, quantise_litert

    folder = tmp_path_factory.mktemp("litert")
    float32, int8 = folder / "model.tflite", folder / "model-int8.tflite"
    spec = data.preprocessing
    assert export_litert(network(), float32, spec, onnx_metadata(spec, data.classes)) <= 1e-4
    yield float32, int8, quantise_litert(float32, int8, data, "accuracy_parity")


@noisy
@needs_litert
def test_the_files_say_how_they_are_fed_and_answer_as_torch_does(
    files: tuple[Path, Path, dict], data: GroupedData
) -> None:
    float32, int8, costs = files
    image_NCHW = data.preprocessing.normalised(data.test.images_NCHW)
    with torch.no_grad():
        wanted_NC = network()(torch.from_numpy(image_NCHW)).numpy()
    from supernet.litert import LitertModel, real_operators

    first, second = LitertModel(float32), LitertModel(int8)
    assert first.preprocessing == second.preprocessing == data.preprocessing
    assert first.classes == second.classes == data.classes and second.metadata["dtype"] == "int8"
    assert (
        first.metadata["preprocessing"].endswith("divide by std (0.271236); float32 NHWC")
        and first.metadata["layout"] == "NHWC"
    )
    assert (
        second.metadata["preprocessing"].endswith("; int8 NHWC")
        and "; divide by 0.0" in second.metadata["preprocessing"]
    )
    np.testing.assert_allclose(first.logits(image_NCHW), wanted_NC, atol=1e-4)
    assert np.abs(second.logits(image_NCHW) - wanted_NC).max() < 0.1 * np.ptp(wanted_NC)
    assert real_operators(int8.read_bytes()) == [] and "CONV_2D" in real_operators(float32.read_bytes())
    # the figures are those of the file itself, on the very images
    agreement = (second.logits(image_NCHW).argmax(1) == first.logits(image_NCHW).argmax(1)).mean()
    assert costs["test"]["agreement"] == agreement and costs["test"]["images"] == len(data.test)
    assert costs["memory"]["file_bytes"] == int8.stat().st_size < 0.4 * float32.stat().st_size
    # and it is a classifier as any other file
    classifier = load_classifier(int8)
    np.testing.assert_allclose(
        classifier.probabilities(image_NCHW[:5]).argmax(1), second.logits(image_NCHW[:5]).argmax(1)
    )


@noisy
@needs_litert
def test_weights_lie_inside_the_flatbuffer_at_multiples_of_16(files: tuple[Path, Path, dict]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    content = files[1].read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(n) for n in range(model.BuffersLength())]
    assert all(buffer.Offset() == 0 for buffer in buffers)

    def address(array: np.ndarray) -> int:
        return array.__array_interface__["data"][0]

    start = address(np.frombuffer(content, np.uint8))
    found = {(address(buffer.DataAsNumpy()) - start) % 16 for buffer in buffers if buffer.DataLength()}
    assert found == {0}


@noisy
@needs_litert
@needs_micro
@pytest.mark.parametrize("space", ["micro32", "sensor32-grey"])
def test_tflite_micro_needs_what_the_budget_counts(space: str) -> None:
    """To the byte: the activations' part of its arena is `peak_activation_bytes`, padded copies included."""
    from supernet.litert import quantise, with_places

    made = network(5, space)
    images = np.random.default_rng(0).normal(size=(4, 1, 32, 32)).astype(np.float32)
    found = memory(with_places(quantise(to_litert(made, (1, 1, 32, 32)), images)))
    assert found["unmeasured"] is None and found["arena_bytes"] > found["activation_bytes"]
    assert found["activation_bytes"] == peak_activation_bytes(made, 1, 32, "int8")


@noisy
@needs_litert
def test_data_of_another_size_and_files_of_others_are_refused(files: tuple[Path, Path, dict], tmp_path: Path) -> None:
    from supernet.litert import LitertModel, quantise_litert

    other = load_data("writers", resolution=28, max_train=50, max_eval=30)
    with pytest.raises(UserError, match="is fed"):
        quantise_litert(files[0], tmp_path / "int8.tflite", other, "accuracy_parity")
    assert not list(tmp_path.iterdir())
    (tmp_path / "no.tflite").write_bytes(b"no flatbuffer")
    with pytest.raises(UserError, match=r"no\.tflite does not load in LiteRT"):
        LitertModel(tmp_path / "no.tflite")
    with pytest.raises(UserError, match="does not say how pictures are prepared"):
        _ = LitertModel(to_litert(network(), (1, 1, 32, 32))).preprocessing


@noisy
@needs_litert
@needs_micro
def test_the_places_that_a_file_tells_save_what_the_planner_wastes() -> None:
    from tflite_micro import runtime

    from supernet.litert import LitertModel, quantise, with_places

    space = get_space("micro32")
    torch.manual_seed(0)
    made = build_path(space, ("skip", "skip", "k5_e1", "skip", "skip"), 10, 1).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # a scale of 0 would fold the block away
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    images = np.random.default_rng(0).normal(size=(4, 1, 32, 32)).astype(np.float32)
    plain = quantise(to_litert(made, (1, 1, 32, 32)), images)
    told = with_places(plain)
    peak = peak_activation_bytes(made, 1, 32, "int8")
    assert memory(told)["activation_bytes"] == peak < memory(plain)["activation_bytes"]
    np.testing.assert_array_equal(LitertModel(told).logits(images), LitertModel(plain).logits(images))

    def micro(content: bytes) -> np.ndarray:
        model = runtime.Interpreter.from_bytes(content, arena_size=2**20)
        model.set_input(np.arange(-128, 128, dtype=np.int8).repeat(4).reshape(1, 32, 32, 1), 0)
        model.invoke()
        return model.get_output(0)

    np.testing.assert_array_equal(micro(told), micro(plain))


@noisy
@needs_litert
def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet import litert

    other = to_litert(network(1), (1, 1, 32, 32))
    monkeypatch.setattr(litert, "to_litert", lambda *_: other)
    with pytest.raises(UserError, match="differs from torch's"):
        litert.export_litert(network(), tmp_path / "m.tflite", Preprocessing(32, 1, (0.13,), (0.31,)), {})
    assert not list(tmp_path.iterdir())


def test_a_missing_exporter_is_said_before_anything_is_trained_or_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)  # as find_spec sees one that is not there
    monkeypatch.setattr("supernet.export.find_spec", lambda name: None if name == "litert_torch" else name)
    for command in (["train", "--arch", "test_resnet", "--export", "onnx,litert-int8", "--out", str(tmp_path / "run")],
                    ["export", str(tmp_path / "nowhere"), "--format", "litert-int8"]):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            main(command)
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and error.count("\n") == 1
        assert "litert_torch not installed: pip install 'supernet[litert]'" in error
    assert not list(tmp_path.iterdir())


def test_an_int8_format_brings_what_it_is_made_of_and_its_own_place_in_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[str] = []

    def fake(*arguments: object) -> float:
        written.append(Path(str(arguments[1])).name)
        return 0.0

    def quantised(source: Path, path: Path, *_: object) -> dict:
        written.append(f"{path.name} of {source.name}")
        return FOUND | ({"memory": MEMORY} if path.suffix == ".tflite" else {})

    monkeypatch.setattr(exports, "export_onnx", fake)
    monkeypatch.setattr(exports, "export_litert", fake)
    monkeypatch.setattr(exports, "INT8", {kind: (source, quantised) for kind, (source, _) in exports.INT8.items()})
    model = exports.Exportable(network(), Preprocessing(32, 1, (0.1,), (0.3,)), {}, "accuracy_parity", lambda: None)  # type: ignore[arg-type,return-value]
    told = exports.export(model, "litert-int8,int8,litert", tmp_path)
    assert written == [
        "model.tflite",
        "model.onnx",
        "model-int8.tflite of model.tflite",
        "model-int8.onnx of model.onnx",
    ]
    assert set(told.int8) == {"int8", "litert_int8"} and not told.failed
    assert (
        "195.0 KiB of flash, 72.4 KiB of RAM under tflite-micro (54.4 of activations)"
        in told.files["model-int8.tflite"]
    )
    assert "flash" not in told.files["model-int8.onnx"]


MEMORY = {"file_bytes": 199680, "arena_bytes": 74112, "activation_bytes": 55680, "unmeasured": None}


def test_what_was_not_measured_is_said_and_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.arena.find_spec", lambda name: None)
    found = memory(b"1234")
    assert (found["file_bytes"], found["arena_bytes"], found["activation_bytes"]) == (4, None, None)
    assert "pip install 'supernet[tflite-micro]'" in found["unmeasured"]
    words = memory_words(read(Int8, FOUND | {"memory": found}))
    assert "Its RAM was not measured: tflite-micro is not installed" in words
    assert "72.4 KiB of RAM, 54.4 of them for activations" in memory_words(read(Int8, FOUND | {"memory": MEMORY}))
    assert memory_words(read(Int8, FOUND)) == ""


@needs_micro
def test_what_tflite_micro_cannot_run_is_said() -> None:
    found = memory(b"no flatbuffer" * 10)
    assert found["arena_bytes"] is None and found["unmeasured"].startswith("tflite-micro does not run it (")


@noisy
@needs_litert
def test_a_run_is_exported_and_its_report_tells(
    tmp_path: Path, digits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    main(["train", "--quick", "--space", "micro32", "--max-train", "64", "--bootstrap", "20", "--threads", "1", "--data", digits,
          "--arch", "test_resnet", "--export", "litert-int8", "--out", str(run)])  # fmt: skip
    report = json.loads((run / "report.json").read_text())
    assert set(report["files"]) == {"model.tflite", "model-int8.tflite"} and report["int8"] is None
    memory_told = report["litert_int8"]["memory"]
    assert memory_told["file_bytes"] == (run / "model-int8.tflite").stat().st_size
    assert "KiB of flash" in capsys.readouterr().out
    for text in ((run / "report.html").read_text(), (run / "model_card.md").read_text()):
        assert "The int8 file for microcontrollers" in text and "KiB of flash" in text
