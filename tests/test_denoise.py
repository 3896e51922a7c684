"""Denoising: the task, the space without stride, and the path from the search to the file for a device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from dense_table import write_table
from followed import Followed
from PIL import Image
from safetensors.torch import load_file
from stop_at import StopAt

from supernet.choices import draw
from supernet.commands.denoise import _groups
from supernet.commands.main import main
from supernet.costs.analytic import count, macs_table, params_table
from supernet.costs.memory import path_peak_bytes, peak_activation_bytes
from supernet.data import Batch, Batches
from supernet.data.grouped import Split
from supernet.engine import loop
from supernet.engine.evaluate import standalone
from supernet.lut.pieces import pieces
from supernet.network import Supernet, build_path
from supernet.objective.terms import TaskTerm
from supernet.report.dense import figure_words
from supernet.results import Folder, SearchResult, TrainResult
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.task import denoising, psnr, ssim

SPACE = get_space("dense32")
TINY = ["--quick", "--max-train", "64", "--threads", "1", "--epochs", "1"]


def batch(images: int = 3) -> Batch:
    image = torch.rand(images, 1, 32, 32)
    return Batch(image, torch.zeros(images, dtype=torch.int64), torch.zeros(images, 1), torch.ones(images))


def test_noise_is_a_function_of_the_step_and_the_loss_counts_in_its_variance() -> None:
    task, clean = denoising(1, 51.0), batch()
    assert task.made is not None and task.scores is not None
    one, again, other = task.made(clean, 7), task.made(clean, 7), task.made(clean, 8)
    assert torch.equal(one.image, again.image) and not torch.equal(one.image, other.image)
    torch.testing.assert_close(one.image - 0.2 * one.label, clean.image)
    nothing = torch.zeros_like(one.label)
    assert task.loss(nothing, one.label).mean().item() == pytest.approx(1, abs=0.1)
    assert task.scores(nothing.numpy(), one.label.numpy())["psnr"] == pytest.approx(-20 * np.log10(0.2), abs=0.3)
    loss_NB = TaskTerm(task).losses_NB(torch.stack([nothing, one.label]), one)
    assert loss_NB.shape == (2, 3) and loss_NB[1].abs().max() == 0


def test_noise_of_pictures_that_are_looked_at_is_no_training_batch_s_and_the_same_for_every_seed() -> None:
    task, split = (
        denoising(1, 51.0),
        Split(np.zeros((8, 1, 4, 4), np.uint8), np.zeros(8, np.int64), np.zeros((8, 1), np.int64)),
    )
    noise = {
        (seed, shuffle): Batches(split, 4, mean=(0.0,), std=(1.0,), seed=seed, shuffle=shuffle, made=task.made).at(0).label
        for seed in (0, 1) for shuffle in (True, False)
    }  # fmt: skip
    assert torch.equal(noise[0, False], noise[1, False])
    assert not torch.equal(noise[0, True], noise[1, True]) and not torch.equal(noise[0, True], noise[0, False])


def test_psnr_and_ssim_have_their_known_values() -> None:
    assert psnr(np.full((2, 3, 8, 8), 0.1)) == pytest.approx([20, 20])
    rng = np.random.default_rng(0)
    picture = rng.random((2, 3, 16, 16)).astype(np.float32)
    assert ssim(picture, picture) == pytest.approx([1, 1])
    a, b = np.full((1, 1, 12, 12), 0.2), np.full((1, 1, 12, 12), 0.6)
    assert ssim(a, b) == pytest.approx([(2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)])
    assert ssim(picture, 1 - picture).max() < 0


def test_costs_are_those_of_the_derived_network_and_the_supernet_is_it() -> None:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, 3, 3).eval()
    macs, params = macs_table(SPACE, 3, 3), params_table(SPACE, 3, 3)
    for index_L in draw(SPACE.valid_LK, 2, np.random.default_rng(0)):
        ops = SPACE.names(index_L)
        network = standalone(supernet, ops).eval()
        assert (macs.total(index_L), params.total(index_L)) == count(network, 1, 3, 32, 32)
        assert path_peak_bytes(SPACE, ops, 3, 3) == peak_activation_bytes(network, 3, 32)
        one_hot_LK = torch.from_numpy(np.eye(SPACE.valid_LK.shape[1], dtype=np.float32)[index_L])
        image = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(network(image), supernet(image, one_hot_LK))
    assert network(image).shape == image.shape


def test_a_table_of_the_space_times_its_own_head() -> None:
    found = {piece.role: piece for piece in pieces(SPACE, 3, 10)}
    head = found["head"]
    with torch.no_grad():
        assert head.build()(torch.zeros(head.shape)).shape == (1, 3, 32, 32), "pictures, whatever the classes"
    assert build_path(SPACE, [layer.ops[0] for layer in SPACE.layers], 1, 1).conv_out.out_channels == 1


def test_groups_of_few_pictures_have_no_gap() -> None:
    score_N = np.repeat([20.0, 23.0, 99.0], [12, 12, 3])
    group_N = np.repeat([0, 1, 2], [12, 12, 3])
    figures, gap = _groups(score_N, group_N, 3, Split(np.zeros((27, 1)), group_N, group_N[:, None]))
    assert gap["value"] == pytest.approx(3) and figures[2]["too_few"] == 3
    alone, gap = _groups(score_N[:12], group_N[:12], 3, Split(np.zeros((12, 1)), group_N[:12], group_N[:12, None]))
    assert gap["value"] is None and alone[1]["value"] is None


def test_of_groups_of_one_cluster_each_no_decibel_has_an_interval() -> None:
    """The spread between one camera and another is unknown; so it is of all pictures where they are of one camera."""
    group_N = np.repeat([0, 1], 12)
    score_N = np.linspace(30, 32, 24)
    for cluster_N in (group_N, np.zeros(24, int)):
        test = Split(np.zeros((24, 1)), group_N, group_N[:, None], cluster_N)
        figures, gap = _groups(score_N, group_N, 2, test)
        for own in (*figures, gap):
            assert own["value"] > 0 and own["low"] is own["high"] is None
            assert "(" not in figure_words("psnr", own)
    together, _ = _groups(score_N, np.zeros(24, int), 1, test)
    assert together[0] == {"value": pytest.approx(31), "low": None, "high": None}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_table(tmp_path_factory.mktemp("tables") / "board.json")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str, table: str) -> Path:
    out = tmp_path_factory.mktemp("denoise") / "search"
    main([*search_of(digits, table), "--out", str(out)])
    return out


def search_of(digits: str, table: str) -> list[str]:
    return ["search", *TINY, "--warmup-epochs", "1", "--task", "denoise", "--data", digits, "--device", table]


@pytest.fixture(scope="module")
def trained(searched: Path) -> Path:
    out = searched.parent / "train"
    main(["train", *TINY, "--arch", str(searched), "--budget-ms", "0.5", "--out", str(out)])
    return out


def test_the_search_keeps_the_budget_and_tells_the_hand_made_network(searched: Path) -> None:
    found = json.loads((searched / "derived.json").read_text())
    rows = json.loads((searched / "front.json").read_text())
    assert found["space"] == "dense32" and found["predicted_ms"] <= found["budget_ms"]
    assert all(row["ms"] <= found["budget_ms"] for row in rows) and any(row["by_hand"] for row in rows)
    assert [row["psnr"] for row in rows] == sorted((row["psnr"] for row in rows), reverse=True)


def test_the_training_measures_restored_pictures_and_writes_the_file(trained: Path) -> None:
    found = json.loads((trained / "report.json").read_text())
    metrics = found["metrics"]
    assert metrics["psnr_noisy"]["value"] == pytest.approx(-20 * np.log10(25 / 255), abs=0.1)
    assert metrics["psnr"]["low"] < metrics["psnr"]["value"] < metrics["psnr"]["high"]
    assert set(metrics["attributes"]["writer"]["psnr"]) == {"employee", "student"}
    output = onnxruntime.InferenceSession(str(trained / "model.onnx")).run(
        None, {"input": np.zeros((1, 1, 32, 32), np.float32)}
    )[0]
    assert output.shape == (1, 1, 32, 32)


def test_a_stopped_training_goes_on_to_the_same_network(
    searched: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again, followed = str(tmp_path / "again"), Followed(monkeypatch)
    command = ["train", *TINY, "--arch", str(searched), "--budget-ms", "0.5", "--log-to", "tensorboard"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(1))
        assert "--resume" in refused([*command, "--out", again], capsys)
    assert not followed.ends
    main(["train", "--resume", again])
    (figures,) = followed.ends
    assert {"predicted_ms", "macs", "params", "test_ssim", "test_gap_writer"} <= set(figures)
    found = json.loads((trained / "report.json").read_text())
    assert found["budget_ms"] == 0.5 and f"{found['predicted_ms']:.2f} ms" in (out := capsys.readouterr().out)
    assert "of 0.5 ms.\nmodel.onnx: " in out
    one, other = (load_file(folder / "model.safetensors") for folder in (trained, Path(again)))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert figures["test_psnr"] == found["metrics"]["psnr"]["value"]


def test_a_stopped_search_goes_on_to_the_same_networks(
    searched: Path,
    digits: str,
    table: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    again, followed = tmp_path / "again", Followed(monkeypatch)
    command = [*search_of(digits, table), "--log-to", "tensorboard", "--out", str(again)]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(3))
        assert f"--resume {again}" in refused(command, capsys)
    assert not (again / "derived.json").exists()
    main(["search", "--resume", str(again)])
    one, other = (json.loads((folder / "front.json").read_text()) for folder in (searched, again))
    assert one == other and followed.ends == [{"predicted_ms": one[0]["ms"], "val_psnr": one[0]["psnr"]}]
    assert Architecture.load(searched).ops == Architecture.load(again).ops


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_what_is_of_classifiers_alone_is_refused(
    searched: Path, trained: Path, table: str, digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    search = ["search", *TINY, "--task", "denoise", "--data", digits, "--device", table, "--out", out]
    assert "--max-gap has no effect with --task denoise" in refused([*search, "--max-gap", "0.1"], capsys)
    assert "--strategy has no effect with --task denoise" in refused([*search, "--strategy", "nsga2"], capsys)
    assert "--space fbnet32 has one output a class" in refused([*search, "--space", "fbnet32"], capsys)
    plain = ["search", *TINY, "--data", digits, "--device", table, "--out", out]
    assert "is for --task denoise" in refused([*plain, "--space", "dense32"], capsys)
    assert "--noise-sigma has no effect" in refused([*plain, "--noise-sigma", "9"], capsys)
    train = ["train", *TINY, "--out", out, "--arch"]
    assert "--baseline has no effect" in refused([*train, str(searched), "--baseline", str(trained)], capsys)
    assert "--bootstrap has no effect with --task denoise" in refused(
        [*train, str(searched), "--bootstrap", "9"], capsys
    )
    assert "--export int8 is for classifiers" in refused([*train, str(searched), "--export", "onnx,int8"], capsys)
    assert "--exits has no effect" in refused([*train, str(searched), "--exits", "1"], capsys)
    assert "--arch derived.json" in refused([*train, "mobilenetv2_050", "--task", "denoise"], capsys)
    Image.new("L", (32, 32)).save(tmp_path / "one.png")
    for command in (
        ["compare", str(trained), str(searched)],
        ["predict", "--model", str(trained), "--data", str(tmp_path), "--out", out],
    ):
        assert "for classifiers" in refused(command, capsys)
    assert "--format int8 is for classifiers" in refused(["export", str(trained), "--format", "onnx,int8"], capsys)
    assert not Path(out).exists()


def test_both_commands_leave_a_page_with_their_figures_and_pictures(trained: Path, searched: Path) -> None:
    search, training = ((folder / "report.html").read_text() for folder in (searched, trained))
    assert "Compared networks" in search and "built by hand" in search
    assert "PSNR with the noise, dB" in training and "By writer" in training and "Loss, training" in training
    assert training.count("data:image/jpeg") == 3 * 6


def test_the_python_functions_show_their_results(searched: Path, trained: Path) -> None:
    search, train = SearchResult(Folder(searched)), TrainResult(Folder(trained))
    assert "Compared networks" in search.report.html and "By writer" in train.report._repr_html_()
    told = search._repr_html_()
    assert "PSNR, dB, on search-val" in told and f"{search.derived.predicted_ms:.2f} ms of" in told
    told, psnr_dB = train._repr_html_(), train.metrics["psnr"]["value"]
    assert f"{psnr_dB:.2f} (" in told and "writer: student, PSNR, dB" in told and "SSIM with the noise" in told
    image = torch.zeros(2, 1, 32, 32)
    assert train.model(image).shape == image.shape and train.derived is not None
