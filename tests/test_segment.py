"""Segmentation: masks beside the pictures, IoU and what is unknown of it, and the path from the search to the file for a device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from dense_table import write_table
from PIL import Image
from safetensors.torch import load_file
from stop_at import StopAt

from supernet.commands import dense_search
from supernet.commands.main import main
from supernet.commands.segment import figures
from supernet.data import Batch, Batches, GroupedData, Masks, load_data
from supernet.data.augment import apply, apply_to_masks
from supernet.data.grouped import Augment
from supernet.data.masks import IGNORED, MaskedSplit
from supernet.engine import loop
from supernet.errors import UserError
from supernet.network import Supernet
from supernet.results import Folder, TrainResult
from supernet.task import iou, pixel_counts, segmentation

TINY = ["--quick", "--max-train", "64", "--threads", "1", "--epochs", "1"]


def test_iou_is_unknown_of_a_class_that_no_pixel_is_of() -> None:
    mask = np.array([[[0, 0, 1, IGNORED]], [[1, 1, 0, 0]]], np.uint8)
    said = np.array([[[0, 1, 1, 2]], [[1, 1, 2, 0]]])
    counts_N3C = pixel_counts(said, mask, 4)
    assert counts_N3C[0].tolist() == [[1, 1, 0, 0], [2, 1, 0, 0], [1, 2, 0, 0]]
    assert iou(counts_N3C.sum(0)) == pytest.approx([2 / 4, 3 / 4, np.nan, np.nan], nan_ok=True)
    assert segmentation(4).scores(said, mask) == pytest.approx({"miou": 0.625})  # type: ignore[misc]


def test_the_loss_is_the_mean_over_the_pixels_that_count() -> None:
    task, output = segmentation(3), torch.randn(2, 3, 2, 2)
    mask = torch.tensor([[[0, 2], [IGNORED, IGNORED]], [[IGNORED] * 2] * 2])
    log_p = output.log_softmax(1)
    torch.testing.assert_close(task.loss(output, mask), torch.stack([-(log_p[0, 0, 0, 0] + log_p[0, 2, 0, 1]) / 2, torch.tensor(0.0)]))  # fmt: skip


def test_groups_are_compared_over_the_classes_that_all_have() -> None:
    rng = np.random.default_rng(0)
    mask, group_NA = rng.integers(0, 2, (43, 4, 4)), np.repeat([0, 1, 2], [20, 20, 3])[:, None]
    mask[group_NA[:, 0] == 0, 0, 0] = 2  # a class that group b lacks
    said = mask.copy()
    said[20:40, :2] = 1 - mask[20:40, :2]
    found = figures(
        pixel_counts(said, mask, 4), group_NA, np.arange(43), {"g": ("a", "b", "c")}, ("w", "x", "y", "z"), 50
    )
    own = found["attributes"]["g"]
    assert own["compared"] == ["w", "x"] and found["iou"]["z"]["value"] is None
    assert own["miou"]["a"]["value"] == 1 and own["miou"]["b"]["value"] == pytest.approx(1 / 3, abs=0.02)
    assert own["iou"]["b"]["y"]["value"] is None and own["miou"]["c"]["too_few"] == 3
    assert own["pixel_accuracy_gap"]["value"] == 0.5 and own["miou_gap"]["low"] <= own["miou_gap"]["value"]
    json.dumps(found, allow_nan=False)
    plain = figures(pixel_counts(said, mask, 4), group_NA, np.arange(43), {}, ("w", "x", "y", "z"), 0)
    assert plain["miou"]["low"] is None and plain["miou"]["value"] == found["miou"]["value"]


def test_a_mask_moves_with_its_picture() -> None:
    augment, uniform = Augment(shift=3, flip=True), np.random.default_rng(0).random((8, 5))
    mask = torch.randint(0, 5, (8, 16, 16))
    image = mask[:, None].float() + 1
    moved = apply_to_masks(augment, mask, uniform)
    expected = apply(augment, image, uniform)[:, 0].round().long()
    assert torch.equal(moved, torch.where(expected == 0, IGNORED, expected - 1)) and (moved == IGNORED).any()


def test_digits_have_masks_of_their_own(digits: str) -> None:
    one, other = (load_data(digits, max_train=64, max_eval=50, masks=Masks(), progress=False) for _ in range(2))
    assert one.classes == ("background", *"0123456789") and one.fingerprint == other.fingerprint
    assert isinstance(one.train, MaskedSplit) and one.train.mask_NHW is not None
    mask_NHW, label_N = one.train.mask_NHW, one.train.label_N
    assert all(set(np.unique(m)) == {0, label + 1, IGNORED} for m, label in zip(mask_NHW, label_N, strict=True))
    ground = one.train.images_NCHW[:, 0][mask_NHW == 0]
    assert ground.std() > 20 and (one.train.images_NCHW[:, 0][(mask_NHW > 0) & (mask_NHW < IGNORED)] >= 128).all()
    batch = Batches(one.train, 8, mean=one.mean, std=one.std, augment=one.augment).at(3)
    assert batch.label.shape == (8, 32, 32) and batch.label.dtype == torch.int64


def folder(path: Path, **strange: object) -> Path:
    """40 pictures with a square of class 1 on class 0; `strange`: the mask of the first, or None for no cell."""
    path.mkdir()
    rng, rows = np.random.default_rng(0), ["file_name,mask_file,group"]
    for number in range(40):
        mask = np.zeros((48, 40), np.uint8)
        y, x = rng.integers(4, 20, 2)
        mask[y : y + 16, x : x + 12] = 1
        picture = (60 + 120 * mask + rng.integers(0, 60, mask.shape)).astype(np.uint8)
        Image.fromarray(picture).save(path / f"{number}.png")
        name = f"{number}-mask.png"
        if number == 0 and "mask" in strange:
            mask, name = (mask, "") if strange["mask"] is None else (strange["mask"], name)  # type: ignore[assignment]
        Image.fromarray(mask).save(path / f"{number}-mask.png")
        rows.append(f"{number}.png,{name},{'ab'[number % 2]}")
    (path / "metadata.csv").write_text("\n".join(rows) + "\n")
    return path


def read(path: Path, classes: str = "ground,square") -> GroupedData:
    return load_data(str(path), masks=Masks(classes=classes), progress=False)


def test_masks_of_files_are_cut_as_their_pictures_are(tmp_path: Path) -> None:
    data = read(folder(tmp_path / "set"))
    assert data.classes == ("ground", "square") and list(data.attributes) == ["group"]
    for split in (data.train, data.val, data.test):
        assert isinstance(split, MaskedSplit) and split.mask_NHW is not None
        assert split.mask_NHW.shape == (len(split), 32, 32) and set(np.unique(split.mask_NHW)) == {0, 1}
        bright = split.images_NCHW[:, 0] > 150
        assert (bright == (split.mask_NHW == 1)).mean() > 0.97
    assert read(tmp_path / "set", "2").classes == ("0", "1")


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.zeros((40, 48), np.uint8), "has 48x40 pixels, its picture 40x48"),
        (np.full((48, 40), 7, np.uint8), "has the number 7: classes are 0 to 1"),
        (np.full((48, 40), 255, np.uint8), "ignores every pixel"),
        (np.zeros((48, 40, 3), np.uint8), "not colours"),
        (None, 'no value in column "mask_file"'),
    ],
)
def test_a_wrong_mask_is_named(tmp_path: Path, mask: np.ndarray | None, told: str) -> None:
    path = folder(tmp_path / "set", mask=mask)
    with pytest.raises(UserError, match=told) as raised:
        read(path)
    assert "row 2" in str(raised.value)


def test_two_masks_of_one_picture_are_a_contradiction(tmp_path: Path) -> None:
    path = folder(tmp_path / "set")
    for row in (5, 8):  # the picture again: as a copy with its own mask, then with another one
        (path / f"{row}.png").write_bytes((path / "3.png").read_bytes())
    (path / "5-mask.png").write_bytes((path / "3-mask.png").read_bytes())
    with pytest.raises(UserError, match=r"two masks: .*csv, row 5, .*3-mask.png; .*row 10, .*8-mask.png. Remove"):
        load_data(str(path), masks=Masks(classes="ground,square"), progress=False)
    (path / "8-mask.png").write_bytes((path / "3-mask.png").read_bytes())
    load_data(str(path), masks=Masks(classes="ground,square"), progress=False)


def test_classes_must_be_said_and_a_set_of_files_needs_masks(tmp_path: Path, digits: str) -> None:
    path = folder(tmp_path / "set")
    for classes, told in ((None, "needs --mask-classes"), ("a,a", "different names"), ("1", "different names")):
        with pytest.raises(UserError, match=told):
            load_data(str(path), masks=Masks(classes=classes), progress=False)
    with pytest.raises(UserError, match="fashion has no masks"):
        load_data("fashion", masks=Masks(), progress=False)
    with pytest.raises(UserError, match="masks of its own"):
        load_data(digits, masks=Masks(classes="2"), progress=False)
    (path / "metadata.csv").write_text("file_name,group\n0.png,a\n")
    with pytest.raises(UserError, match='no column "mask_file"'):
        read(path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    out = tmp_path_factory.mktemp("segment")
    options = [
        "--warmup-epochs",
        "1",
        "--task",
        "segment",
        "--data",
        digits,
        "--device",
        write_table(out / "board.json"),
    ]
    main(["search", *TINY, *options, "--out", str(out / "search")])
    return out / "search"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_networks_are_compared_with_the_statistics_of_pictures_as_they_are(
    searched: Path, digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of augmented ones, as in the other searches."""
    seen, subnet = list[torch.Tensor](), dense_search.subnet

    def watched(supernet: Supernet, ops: tuple[str, ...], calibration: Sequence[Batch]) -> torch.nn.Module:
        seen.extend(batch.image for batch in calibration)
        return subnet(supernet, ops, calibration)

    monkeypatch.setattr(dense_search, "subnet", watched)
    main(["search", "--config", str(searched / "run.yaml"), "--candidates", "1", "--out", str(tmp_path / "one")])
    data = load_data(digits, max_train=64, masks=Masks(), progress=False)
    byte_BCHW = 255 * (torch.cat(seen) * data.std[0] + data.mean[0])
    torch.testing.assert_close(byte_BCHW, byte_BCHW.round(), atol=1e-2, rtol=0)


def test_a_stopped_search_goes_on_to_the_same_answer(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((searched / "front.json").read_text())
    assert [row["miou"] for row in rows] == sorted((row["miou"] for row in rows), reverse=True)
    again = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(1))
        assert "--resume" in refused(["search", "--config", str(searched / "run.yaml"), "--out", str(again)], capsys)
    main(["search", "--resume", str(again)])
    assert json.loads((again / "front.json").read_text()) == rows


def test_the_training_knows_its_task_and_goes_on_to_the_same_network(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    command = ["train", *TINY, "--arch", str(searched), "--bootstrap", "50"]
    main([*command, "--export", "onnx", "--out", str(whole)])
    assert "mean IoU" in capsys.readouterr().out
    found = json.loads((whole / "report.json").read_text())
    assert found["task"] == "segment" and set(found["metrics"]["iou"]) == {"background", *"0123456789"}
    assert set(found["metrics"]["attributes"]["writer"]["miou"]) == {"employee", "student"}
    assert "By class" in (whole / "report.html").read_text()
    shown = TrainResult(Folder(whole))
    assert "writer: student, mean IoU" in shown._repr_html_() and "By class" in shown.report.html
    image = {"input": np.zeros((1, 1, 32, 32), np.float32)}
    assert onnxruntime.InferenceSession(str(whole / "model.onnx")).run(None, image)[0].shape == (1, 11, 32, 32)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", lambda: StopAt(1))
        refused([*command, "--out", str(again)], capsys)
    main(["train", "--resume", str(again)])
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, again))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    (whole / "model.onnx").unlink()
    main(["export", str(again)])
    main(["export", str(whole)])
    assert onnxruntime.InferenceSession(str(whole / "model.onnx")).run(None, image)[0].shape == (1, 11, 32, 32)
    assert "model.onnx" in (again / "report.html").read_text()
    told = refused(["train", *TINY, "--arch", str(searched), "--task", "denoise"], capsys)
    assert "a search with --task segment" in told
    assert "--noise-sigma has no effect" in refused([*command, "--noise-sigma", "9"], capsys)
