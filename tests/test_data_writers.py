"""The embedded data: digits by two groups of writers and files of their form, and clothes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from data_folders import (
    full_set,
)

from supernet.data import load_data
from supernet.errors import UserError

pytestmark = pytest.mark.usefixtures("image_cache")


def test_the_embedded_writers_are_small_complete_and_licensed() -> None:
    folder = resources.files("supernet.data")
    assert 2e6 < len((folder / "writers.npz").read_bytes()) < 4e6
    assert "CC BY-SA 3.0" in (folder / "LICENSE-writers.txt").read_text()
    data = load_data("writers")
    assert [len(split) for split in (data.train, data.val, data.test)] == [12_000, 4_000, 7_000]
    assert data.train.images_NCHW.shape == (12_000, 1, 32, 32) and data.train.images_NCHW.dtype == np.uint8
    assert data.attributes == {"writer": ("employee", "student")} and len(data.classes) == 10
    assert not data.augment.flip and data.notes == () and data.channels == 1
    pixels = data.train.images_NCHW / 255
    assert data.mean == pytest.approx((pixels.mean(),)) and data.std == pytest.approx((pixels.std(),))


def test_writers_train_and_val_are_disjoint_and_agree_with_the_index_rule() -> None:
    with (resources.files("supernet.data") / "writers.npz").open("rb") as stream, np.load(stream) as arrays:
        train, val, test = (arrays[f"{split}_index"].astype(int) for split in ("train", "val", "test"))
        assert not set(train) & set(val) and len(set(test)) == len(test)
        for split, index in (("train", train), ("val", val)):
            assert np.array_equal(arrays[f"{split}_student"], (index % 2 == 0) & (index < 58_100))
        assert np.array_equal(arrays["test_student"], test < 5_001)


def test_digits_are_padded_and_never_interpolated_at_32_pixels() -> None:
    data = load_data("writers")
    with (resources.files("supernet.data") / "writers.npz").open("rb") as stream, np.load(stream) as arrays:
        assert np.array_equal(data.train.images_NCHW[:, 0, 2:-2, 2:-2], arrays["train_images"])
    assert not data.train.images_NCHW[:, :, :2].any()
    assert load_data("writers", resolution=48, max_train=50, max_eval=50).test.images_NCHW.shape == (50, 1, 48, 48)


def test_fingerprint_is_repeatable_and_tells_draws_and_resolutions_apart() -> None:
    def mark(**options: object) -> str:
        return load_data("writers", max_eval=40, **options).fingerprint  # type: ignore[arg-type]

    marks = [mark(max_train=50), mark(max_train=50, seed=1), mark(max_train=51), mark(max_train=50, resolution=33)]
    assert len(set(marks)) == 4 and mark(max_train=50) == marks[0]


@pytest.mark.parametrize("size", [2_000, 6_000])
def test_five_percent_students_can_be_drawn_and_only_from_train(size: int) -> None:
    data, whole = load_data("writers", group_mix="student=5%", max_train=size), load_data("writers")
    assert len(data.train) == size and int((data.train.group_NA == 1).sum()) == size // 20
    assert np.array_equal(data.val.images_NCHW, whole.val.images_NCHW)
    assert np.array_equal(data.test.label_N, whole.test.label_N)
    assert "Group mix student=5%" in data.notes[0]
    again = load_data("writers", group_mix="student=5%", max_train=size)
    assert again.fingerprint == data.fingerprint


def test_writers_from_a_path_hold_out_val_the_same_way_for_every_seed(tmp_path: Path) -> None:
    path = full_set(tmp_path / "full.npz")
    one, two = (load_data(f"writers:{path}", seed=seed) for seed in (0, 1))
    assert len(one.train) == 320 and len(one.val) == 80 and len(one.test) == 100
    assert one.fingerprint == two.fingerprint and "No val split" in one.notes[0]
    assert np.bincount(one.val.label_N * 2 + one.val.group_NA[:, 0]).tolist() == [4] * 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_student": None}, "train_student"),
        ({"train_labels": np.full(400, 11)}, "digits from 0 to 9"),
        ({"test_images": np.zeros((100, 32, 32), np.uint8)}, r"must be \(N, 28, 28\) uint8"),
        ({"test_student": np.full(100, 7)}, "1 student, 0 employee"),
        ({"test_images": None}, "must have train_images and test_images"),
        ({"train_labels": np.array([{}] * 400)}, "not a readable .npz"),
    ],
)
def test_writers_files_of_another_form_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(f"writers:{full_set(tmp_path / 'full.npz', **change)}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00", b"text"])
def test_writers_files_that_are_no_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"not a readable .npz"):
        load_data(f"writers:{tmp_path / 'x.npz'}")


def test_the_embedded_fashion_is_small_balanced_licensed_and_has_no_groups() -> None:
    folder = resources.files("supernet.data")
    assert len((folder / "fashion.npz").read_bytes()) < 7e6
    assert "MIT" in (folder / "LICENSE-fashion.txt").read_text()
    data = load_data("fashion")
    assert [len(split) for split in (data.train, data.val, data.test)] == [8000, 2000, 4000]
    assert all(set(np.bincount(split.label_N)) == {len(split) // 10} for split in (data.train, data.val, data.test))
    assert data.by_class and data.attributes == {"class": data.classes} and data.repeats.contradiction is None
    with (folder / "fashion.npz").open("rb") as stream, np.load(stream) as arrays:
        assert not set(arrays["train_index"]) & set(arrays["val_index"])


def test_fashion_takes_no_path_and_no_columns() -> None:
    with pytest.raises(UserError, match="fashion takes no path"):
        load_data("fashion:somewhere")
    with pytest.raises(UserError, match="fashion"):
        load_data("fashion", label_col="kind")
