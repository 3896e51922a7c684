"""The whole way from a teacher to a product, through the commands."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from taught import TRAINING

from supernet.commands.main import main
from supernet.costs.latency import load_table
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.strategies.differentiable import DifferentiableSearch
from supernet.teacher import read_teacher
from supernet.transfer.kernel_model import table_for

SPACE = get_space("lite64")
WHOLE = tuple("ds_k3" if "ds_k3" in x.ops else f"k{5 if 'k5_e6' in x.ops else 3}_e6" for x in SPACE.layers)


def test_an_interrupted_search_from_a_teacher_goes_on_as_the_same_search(
    tmp_path: Path, taught: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = taught
    options = ["search", "--device", "rpi4", "--teacher", run, "--strategy", "differentiable",
               "--batch-size", "16", "--threads", "1", "--epochs", "1", "--warmup-epochs", "1", "--candidates", "1",
               "--distil-steps", "1", "--eval-images", "16"]  # fmt: skip
    main([*options, "--out", str(tmp_path / "whole")])
    assert Architecture.load(tmp_path / "whole").config["data"] == data, "the teacher's, where none is given"
    one_step = DifferentiableSearch.one_step

    def interrupted(self: DifferentiableSearch, step: int) -> Any:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(DifferentiableSearch, "one_step", interrupted)
        with pytest.raises(SystemExit):
            main([*options, "--out", str(tmp_path / "parts")])
    assert not (tmp_path / "parts" / "derived.json").exists()
    main(["search", "--resume", str(tmp_path / "parts")])
    for name in ("front.json", "inherited.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "Distance to the teacher" in page and ">Cross-entropy<" not in page, "the curve is of distances"
    assert report["layers"][1]["probabilities"] is not None and any(row["by_hand"] for row in report["candidates"])
    assert report["derived"]["predicted_ms"] <= report["derived"]["budget_ms"]
    weights = Path(run) / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + b"\0\0\0\1")
    (tmp_path / "parts" / "report.json").unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["search", "--resume", str(tmp_path / "parts")])
    assert "error: " in capsys.readouterr().err, "two halves of a run have one teacher"
    weights.write_bytes(kept)


def test_from_a_teacher_to_a_product(
    tmp_path: Path, taught: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run_of_teacher = taught
    common = ["--data", data, "--batch-size", "16", "--threads", "1"]
    training = ["--data", data, *TRAINING]
    run = {"teacher": run_of_teacher, **{name: str(tmp_path / name) for name in ("search", "student", "control")}}
    teacher = read_teacher(run["teacher"])
    whole = table_for(load_table("rpi4"), SPACE)[0].cost(SPACE).total(SPACE.index_L(WHOLE))
    main(["search", "--device", "rpi4", "--teacher", run["teacher"], *common, "--budget-ms", f"{0.5 * whole:.3f}",
          "--candidates", "2", "--distil-steps", "1", "--eval-images", "24", "--out", run["search"]])  # fmt: skip
    arch = Architecture.load(run["search"])
    assert arch.space == "lite64" and arch.predicted_ms is not None and arch.predicted_ms <= 0.5 * whole
    assert arch.input == teacher.spec and (tmp_path / "search" / "inherited.safetensors").exists()
    quality = json.loads((tmp_path / "search" / "quality.json").read_text())
    assert quality["groups"] == ["group: u", "group: v"] and np.array(quality["added_LKG"]).shape == (
        16,
        len(SPACE.ops),
        2,
    )
    added_LKG = np.array(quality["added_LKG"])
    whole_L = SPACE.index_L(WHOLE)
    assert added_LKG.min() >= 0 and added_LKG[np.arange(16), whole_L].max() == 0 and added_LKG[1:].max() > 0
    front = json.loads((tmp_path / "search" / "front.json").read_text())
    merits = [row["distance"] + row["cross_entropy"] for row in front]
    assert merits == sorted(merits)
    (control,) = [row for row in front if row["by_hand"]]  # the uniform control is always compared
    if control is not front[0]:
        place = tmp_path / "search" / "control"
        assert list(Architecture.load(place).ops) == control["ops"] and f"--arch {place}" in capsys.readouterr().out
        main(["train", "--arch", str(place), *training, "--out", str(tmp_path / "trained-control")])
        assert "the weights that the search left" in capsys.readouterr().out
    assert (tmp_path / "search" / "control").exists() == (control is not front[0])
    main(["search", "--device", "rpi4", "--teacher", run["teacher"], *common, "--budget-ms", f"{0.5 * whole:.3f}",
          "--distil-steps", "1", "--eval-images", "24", "--out", str(tmp_path / "usual")])  # fmt: skip
    assert Architecture.load(tmp_path / "usual").config["strategy"] == "uniform"  # from 40% of the teacher's latency on
    assert "50% of the teacher's" in "\n".join(json.loads((tmp_path / "usual" / "report.json").read_text())["notes"])
    assert all(row["by_hand"] for row in json.loads((tmp_path / "usual" / "front.json").read_text()))
    tighter = ["--budget-ms", f"{0.4 * whole:.3f}", "--candidates", "1", "--distil-steps", "0", "--eval-images", "24"]
    again = ["search", "--device", "rpi4", "--teacher", run["teacher"], *common, *tighter, "--quality"]
    main([*again, run["search"], "--out", str(tmp_path / "again")])
    assert json.loads((tmp_path / "again" / "quality.json").read_text()) == quality
    assert (Architecture.load(tmp_path / "again").predicted_ms or 1e9) <= 0.4 * whole
    (tmp_path / "wrong.json").write_text(json.dumps(quality | {"teacher_sha256": "0"}))
    with pytest.raises(SystemExit):
        main([*again, str(tmp_path / "wrong.json"), "--out", str(tmp_path / "refused")])
    assert "teacher_sha256: it is of another run's" in capsys.readouterr().err
    main(["train", "--arch", run["search"], *training, "--out", run["student"]])
    told = capsys.readouterr().out
    assert "the weights that the search left" in told and "teacher's outputs are learned" in told
    assert "Hidden features, too (--feature-weight 10)" in told
    assert "Estimated latency" in told and "(± 30%)" in told
    report = json.loads((tmp_path / "student" / "report.json").read_text())
    beside, of_teacher = report["teacher"], json.loads((Path(run["teacher"]) / "report.json").read_text())["metrics"]
    assert beside["predicted_ms"] == pytest.approx(whole)
    assert beside["accuracy_of_teacher"]["value"] == of_teacher["accuracy"]["value"]
    assert (
        beside["gaps_of_teacher"]["group"]["value"]
        == of_teacher["attributes"]["group"]["gaps"]["accuracy_parity"]["value"]
    )
    lost = report["metrics"]["accuracy"]["value"] - of_teacher["accuracy"]["value"]
    assert beside["accuracy"]["value"] == pytest.approx(lost) and "The teacher itself: accuracy" in told
    assert "What the teacher lost" in (tmp_path / "student" / "report.html").read_text()
    assert sum(layer["ms"] for layer in report["layers"]) + report["base_ms"] == pytest.approx(arch.predicted_ms)
    assert report["table"]["provenance"] == "estimated"
    main(["lut", "predict", "--device", "rpi4", "--arch", run["search"]])
    told = capsys.readouterr().out
    assert f"{arch.predicted_ms:.4f} ms (estimated, may be off by 30%)" in told
    weights = tmp_path / "search" / "inherited.safetensors"
    for damage, words in ((lambda: weights.write_bytes(b"other"), "is not what"), (weights.unlink, "is missing")):
        whole_file = weights.read_bytes()
        damage()
        with pytest.raises(SystemExit):
            main(["train", "--arch", run["search"], *training, "--out", str(tmp_path / "refused")])
        assert words in capsys.readouterr().err
        weights.write_bytes(whole_file)
    with pytest.raises(SystemExit):
        main(["train", "--arch", run["search"], *training, "--smoothing", "0.2", "--out", str(tmp_path / "refused")])
    assert "--smoothing has no effect" in capsys.readouterr().err
    main(["train", "--arch", run["search"], *training, "--from-scratch", "--out", run["control"]])
    assert "weights that the search left" not in capsys.readouterr().out
    inherited = load_file(tmp_path / "search" / "inherited.safetensors")
    distance = {}
    for name in ("student", "control"):
        weights = load_file(Path(run[name]) / "model.safetensors")
        assert weights.keys() == inherited.keys()
        distance[name] = float((weights["conv_stem.weight"] - inherited["conv_stem.weight"]).abs().mean())
    assert distance["student"] < 0.1 * distance["control"]
