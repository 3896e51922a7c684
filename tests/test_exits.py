"""Early exits: the network stays what it is, they learn with it, and the report tells what leaving early costs whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from stop_at import StopAt
from timm.models.efficientnet import EfficientNet

from supernet.blocks.ops import arch_strings
from supernet.commands.main import main
from supernet.config import TrainConfig
from supernet.costs.analytic import count
from supernet.costs.latency import load_table
from supernet.data import GroupedData, load_data
from supernet.engine import loop
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.engine.stopping import Interrupted
from supernet.errors import UserError
from supernet.exits import UpTo, attach, detach, outputs, read_exits
from supernet.exits_export import export_parts
from supernet.network import build_path
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

SPACE = get_space("micro32")
TINY = ["--quick", "--space", "micro32", "--max-train", "64", "--bootstrap", "20", "--threads", "1"]


def network(exits: int | None = None) -> EfficientNet:
    torch.manual_seed(0)
    made = build_path(SPACE, [layer.ops[0] for layer in SPACE.layers], 10, 1)
    if exits:
        attach(made, exits, 1, 32)
    return made


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return load_data(max_train=64, max_eval=64, progress=False)


def test_the_network_is_what_it_was_and_the_last_output_is_its_own() -> None:
    plain, grown = network().eval(), network(2).eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        found_NBC = outputs(grown, image)
        torch.testing.assert_close(found_NBC[-1], plain(image))
        torch.testing.assert_close(outputs(plain, image)[0], plain(image))
    assert found_NBC.shape == (3, 2, 10)
    exits = detach(grown)
    assert exits is not None and detach(grown) is None
    assert plain.state_dict().keys() == grown.state_dict().keys()
    assert list(exits.stages) == sorted(set(exits.stages))


def test_an_exit_costs_what_runs_up_to_it() -> None:
    grown = network(2).eval()
    whole = count(grown, 1, 1, 32, 32)[0]
    exits = detach(grown)
    assert exits is not None
    macs = [count(UpTo(grown, exits, last).eval(), 1, 1, 32, 32)[0] for last in range(3)]
    assert macs[0] < macs[1] < whole <= macs[2], "the last counts the heads on the way"


@pytest.mark.parametrize(("made", "told"), [(4, "3 stage end"), (9, "ask for 3 at most")])
def test_more_exits_than_stages_are_refused(made: int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        attach(network(), made, 1, 32)


def config(exits: int | None, weight: float = 1.0) -> TrainConfig:
    return TrainConfig(epochs=2, lr=5e-3, layer_decay=1.0, threads=1, exits=exits, exit_weight=weight, bootstrap=0)


def test_exits_learn_and_a_weight_near_zero_leaves_the_network_alone(data: GroupedData, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    before = network(1).exits.heads[0][-1].weight.detach().clone()
    trained = train_network(config(1), data, network(1), RunFolder(tmp_path), cpu)
    assert not torch.allclose(trained.exits.heads[0][-1].weight, before)
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    alone = train_network(config(None), data, network(), RunFolder(tmp_path / "a"), cpu)
    faint = train_network(config(1, 1e-9), data, network(1), RunFolder(tmp_path / "b"), cpu)
    torch.testing.assert_close(faint.classifier.weight, alone.classifier.weight, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(trained.conv_stem.weight, alone.conv_stem.weight)


def test_a_resumed_training_has_the_same_exits(
    data: GroupedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    whole = train_network(config(1), data, network(1), RunFolder(tmp_path / "a"), cpu)
    made = RunFolder(tmp_path / "b")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(3))
        with pytest.raises(Interrupted):
            train_network(config(1), data, network(1), made, cpu)
    torch.manual_seed(5)
    again = train_network(config(1), data, network(1), RunFolder(tmp_path / "b"), cpu)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_parts_run_one_after_another_are_the_network(tmp_path: Path) -> None:
    grown = network(2).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        wanted_NBC = outputs(grown, image).numpy()
    exits = detach(grown)
    assert exits is not None
    told = export_parts(grown, exits, tmp_path, Preprocessing(32, 1, (0.0,), (1.0,)), {"classes": "[]"})
    assert list(told) == ["model-part1.onnx", "model-part2.onnx", "model-part3.onnx"]
    x = image.numpy()
    for name, wanted_BC in zip(told, wanted_NBC, strict=True):
        found = onnxruntime.InferenceSession(str(tmp_path / name)).run(None, {"input": x})
        np.testing.assert_allclose(found[0], wanted_BC, atol=1e-4)
        x = found[-1]
    exits.save(tmp_path)
    again = read_exits(tmp_path, grown, 1, 32)
    assert again is not None and again.stages == exits.stages
    torch.testing.assert_close(again.heads[1][-1].bias, exits.heads[1][-1].bias)
    (tmp_path / "exits.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"exits .* damaged"):
        read_exits(tmp_path, grown, 1, 32)


def test_the_command_reports_exits(digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A timm baseline: its latency is estimated; the budget lies between the first exit's and the whole one's."""
    out = tmp_path / "run"
    main(["train", *TINY, "--data", digits, "--arch", "mobilenetv2_050", "--exits", "2", "--out", str(out)])
    printed = capsys.readouterr().out
    found = json.loads((out / "report.json").read_text())["anytime"]
    assert [row["stage"] is None for row in found["exits"]] == [False, False, True] and found["unit"] == "ms"
    costs = [row["cost"] for row in found["exits"]]
    assert costs == sorted(costs) and len(found["points"]) == 4
    for point in found["points"]:
        assert sum(share["value"] for share in point["leaving"]) == pytest.approx(1)
        assert costs[0] <= point["cost"]["value"] <= costs[-1]
        assert set(point["attributes"]["writer"]["early"]) == {"employee", "student"}
    full = json.loads((out / "report.json").read_text())["metrics"]["accuracy"]["value"]
    assert found["exits"][-1]["accuracy"]["value"] == pytest.approx(full)
    assert "Change of the accuracy parity gap" in printed
    assert "Early exits" in (out / "report.html").read_text()
    parts = [out / f"model-part{number}.onnx" for number in (1, 2, 3)]
    assert all(part.is_file() for part in parts)
    parts[0].unlink()
    main(["export", str(out), "--format", "onnx"])
    assert parts[0].is_file()


def test_a_derived_network_is_priced_by_its_table(digits: str, tmp_path: Path) -> None:
    """The end costs what the table predicts; an exit costs the layers up to it, and its own head in place of the last one."""
    table = load_table("rpi4")
    ops = tuple(layer.ops[0] for layer in SPACE.layers)
    cost = table.cost(SPACE)
    predicted_ms = cost.total(SPACE.index_L(ops))
    Architecture(
        space="micro32", ops=ops, arch_def=arch_strings(SPACE, ops), stem_channels=SPACE.stem_channels,
        stem_stride=SPACE.stem_stride, head_channels=SPACE.head_channels, input=Preprocessing(32, 1, (0.1,), (0.3,)),
        classes=tuple("0123456789"), groups={"writer": ("employee", "student")}, device="rpi4", predicted_ms=predicted_ms,
    ).save(tmp_path / "derived.json")  # fmt: skip
    out = tmp_path / "run"
    main(["train", *TINY[:1], *TINY[3:], "--arch", str(tmp_path / "derived.json"), "--data", digits, "--exits", "1",
          "--budget-ms", "1", "--export", "none", "--out", str(out)])  # fmt: skip
    found = json.loads((out / "report.json").read_text())["anytime"]
    first, last = (row["cost"] for row in found["exits"])
    assert (
        last == pytest.approx(predicted_ms) and found["unit"] == "ms" and "latency table's layers" in found["counted"]
    )
    stages = sorted({layer.stage for layer in SPACE.layers})
    ms_L = cost.by_decision(SPACE.index_L(ops))
    upto = [layer.stage <= stages[found["exits"][0]["stage"]] for layer in SPACE.layers]
    assert cost.base + ms_L[upto].sum() - 3 < first < min(cost.base + ms_L[upto].sum() + 3, last + 1e-9)
    assert "No thresholds keep 1 ms" in found["notes"][0]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--arch", "test_resnet", "--exits", "1"], "--exits needs a network of stages"),
        (["--arch", "mobilenetv2_050", "--exits", "1", "--train-on-val"], "--exits has no effect with --train-on-val"),
        (["--arch", "mobilenetv2_050", "--exits", "1", "--refit-classifier"], "--exits has no effect with --refit-"),
        (["--arch", "mobilenetv2_050", "--exit-weight", "2"], "--exit-weight has no effect with --exits"),
        (["--arch", "mobilenetv2_050", "--exits", "4"], "at most 3"),
    ],
)
def test_what_exits_cannot_do_is_said_at_the_start(
    extra: list[str], told: str, digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", *TINY, "--data", digits, *extra, "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2 and told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
