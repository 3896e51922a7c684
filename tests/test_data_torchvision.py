"""Torchvision's sets, in their real formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import (
    make_celeba,
    make_mnist,
    write_idx,
)

from supernet.data import DATASETS, load_data
from supernet.errors import UserError

pytestmark = pytest.mark.usefixtures("image_cache")


def test_mnist_gets_the_group_from_its_order(tmp_path: Path) -> None:
    data = load_data(f"mnist:{make_mnist(tmp_path)}", max_train=900)
    assert len(data.test) == 5_100 and int(data.test.group_NA.sum()) == 5_001
    assert data.test.group_NA[:5_001].all() and len(data.val) == 11_640
    assert data.val.group_NA.mean() == pytest.approx(29_050 / 58_200, abs=1e-3)
    assert data.attributes == {"writer": ("employee", "student")} and "No val split" in data.notes[0]


def test_qmnist_gets_the_group_from_the_series_and_the_writer_as_cluster(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        fields = np.zeros((600, 8), dtype=np.int32)
        fields[:, 0] = np.arange(600) % 10
        fields[:, 2] = np.arange(600) // 10 + (split == "test") * 1000
        fields[:, 1] = np.array([0, 1, 4, 4, 7])[np.arange(600) // 10 % 5]
        raw = tmp_path / "QMNIST" / "raw"
        write_idx(raw / f"qmnist-{split}-images-idx3-ubyte", rng.integers(0, 9, (600, 28, 28)).astype(np.uint8), 8)
        write_idx(raw / f"qmnist-{split}-labels-idx2-int", fields, 12)
    data = load_data(f"qmnist:{tmp_path}")
    assert data.test.group_NA[:50:10, 0].tolist() == [0, 0, 1, 1, 0] and data.test.label_N[:3].tolist() == [0, 1, 2]
    assert data.val.cluster_N is not None and data.train.cluster_N is not None
    assert not set(data.val.cluster_N.tolist()) & set(data.train.cluster_N.tolist()) and len(data.val) == 120


def test_celeba_takes_any_attribute_as_label_or_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_celeba(tmp_path, monkeypatch)
    data = load_data(f"celeba:{root}", resolution=8)
    assert data.classes == ("not Smiling", "Smiling") and data.attributes == {"Male": ("not Male", "Male")}
    assert [len(split) for split in (data.train, data.val, data.test)] == [20, 20, 20]
    assert data.train.group_NA[:4, 0].tolist() == [0, 0, 1, 1] and data.train.label_N[:5].tolist() == [0, 0, 0, 0, 1]
    assert data.val.cluster_N is not None and data.val.cluster_N[:3].tolist() == [10, 10, 11] and data.notes == ()
    other = load_data(f"celeba:{root}", resolution=8, label_col="Young", group_cols=("Male", "Smiling"))
    assert other.classes[1] == "Young" and list(other.attributes) == ["Male", "Smiling"]
    assert load_data(f"celeba:{root}", resolution=8, group_cols=()).by_class
    with pytest.raises(UserError, match='no column "Old"'):
        load_data(f"celeba:{root}", label_col="Old")
    with pytest.raises(UserError, match='Did you mean "Smiling"'):
        load_data(f"celeba:{root}", group_cols=("smiling",))


def test_damaged_torchvision_files_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_celeba(tmp_path, monkeypatch)
    (root / "celeba" / "list_bbox_celeba.txt").write_text("60\n")
    with pytest.raises(UserError, match=r"CelebA under .* is damaged"):
        load_data(f"celeba:{root}")
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        path = tmp_path / "MNIST" / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x00\x00\x08\x03\x00\x00\x00\x09")
    with pytest.raises(UserError, match=r"MNIST under .* is damaged"):
        load_data(f"mnist:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", r"put train-images-idx3-ubyte, .* into .*MNIST.raw"),
        ("qmnist", r"put qmnist-train-images-idx3-ubyte, .* into .*QMNIST.raw"),
        ("celeba", r"put img_align_celeba, list_attr_celeba.txt, .* into .*celeba"),
        ("writers", "needs the .npz file"),
    ],
)
def test_missing_files_are_named_with_their_place(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(f"{name}:{tmp_path}")
    if name != "writers":
        with pytest.raises(UserError, match=f"{name}:ROOT"):
            load_data(name)


def test_unknown_sets_and_fixed_columns_are_refused() -> None:
    with pytest.raises(UserError, match=r'"writer". Did you mean "writers"'):
        load_data("writer")
    for name in ("writers", "mnist", "qmnist"):
        with pytest.raises(UserError, match=f"{name} has its own labels: leave out --label-col"):
            load_data(name, label_col="label")
    with pytest.raises(UserError, match="max_train must be at least 1"):
        load_data("writers", max_train=0)


def test_every_set_of_the_table_is_covered_here() -> None:
    assert set(DATASETS) == {"writers", "fashion", "mnist", "qmnist", "celeba"}
