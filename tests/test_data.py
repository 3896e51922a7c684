"""load_data: every source in its real format, draws, notes, and every mistake that a user can make."""

from __future__ import annotations

import csv
import hashlib
import itertools
import struct
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CelebA

from supernet.data import DATASETS, GroupedData, decode, load_data
from supernet.errors import UserError

Rows = list[dict[str, str]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "supernet" / "images"


def write_table(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def sign(image: Image.Image, text: str) -> Image.Image:
    """The image with a column at its left that no other text gets: no two pictures are the same."""
    for y, byte in enumerate(hashlib.sha256(text.encode()).digest()[: image.height]):
        image.putpixel((0, y), byte if image.mode == "L" else (byte, 0, 0))
    return image


def make_rows(root: Path, per_cell: int = 2, mode: str = "RGB", split: str = "", suffix: str = "png") -> Rows:
    """`per_cell` images of each of two classes × two groups; the class can be seen in the brightness."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for label in ("cat", "dog"):
        for group in ("a", "b"):
            for number in range(per_cell):
                name = f"{split}{label}{group}{number}.{suffix}"
                image = Image.new(mode, (12, 10), 40 * number + 10 if mode == "L" else (9, 99, 40 * number))
                sign(image, f"{root.name} {name}").save(root / name)
                rows.append({"file_name": name, "label": label, "group": group})
    return rows


def make_folder(root: Path, **options: str) -> Path:
    for split in ("train", "val", "test"):
        write_table(root / split / "metadata.csv", make_rows(root / split, **options))
    return root


def rewrite(root: Path, change: Callable[[dict[str, str]], dict[str, str]], splits: tuple[str, ...]) -> None:
    for split in splits:
        table = root / split / "metadata.csv"
        with table.open(newline="", encoding="utf-8") as stream:
            rows = [change(row) for row in csv.DictReader(stream)]
        write_table(table, rows)


# --- writers ---


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


def full_set(path: Path, **change: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 400), ("test", 100)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) // 2 % 10).astype(np.uint8)
        arrays[f"{split}_student"] = (np.arange(count) % 2).astype(np.uint8)
    arrays.update(change)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


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


# --- folders and CSV files ---


def test_an_imagefolder_with_three_tables(tmp_path: Path) -> None:
    data = load_data(str(make_folder(tmp_path / "pets")), resolution=8)
    assert data.name == "pets" and data.classes == ("cat", "dog") and data.attributes == {"group": ("a", "b")}
    assert data.train.images_NCHW.shape == (8, 3, 8, 8) and data.notes == () and data.augment.flip
    assert data.train.images_NCHW[1, :, 4, 4].tolist() == [9, 99, 40]
    assert data.train.label_N.tolist() == [0] * 4 + [1] * 4 and data.train.group_NA[:, 0].tolist() == [0, 0, 1, 1] * 2


def test_one_table_with_a_split_column_and_own_column_names(tmp_path: Path) -> None:
    rows = []
    for split in ("Train", "validation", "test"):
        for number, row in enumerate(make_rows(tmp_path, split=split)):
            rows.append(
                {
                    "path": row["file_name"],
                    "kind": row["label"],
                    "sex": row["group"],
                    "age": str(9 + number % 2),
                    "who": f"{split}{number}",
                    "part": split,
                }
            )
    table = write_table(tmp_path / "all.csv", rows)
    data = load_data(
        str(table),
        resolution=8,
        label_col="kind",
        group_cols=("sex", "age"),
        file_col="path",
        split_col="part",
        cluster_col="who",
    )
    assert data.name == "all" and data.attributes == {"sex": ("a", "b"), "age": ("9", "10")}
    assert data.train.group_NA[:4].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert data.train.cluster_N is not None and len(set(data.train.cluster_N.tolist())) == 8
    assert data.notes == ()


def test_a_table_without_splits_holds_out_val_and_test_by_cluster(tmp_path: Path) -> None:
    rows = [{**row, "person": f"p{number % 20}"} for number, row in enumerate(make_rows(tmp_path, per_cell=20))]
    write_table(tmp_path / "metadata.csv", rows)
    data = load_data(str(tmp_path), resolution=4, cluster_col="person")
    people = [set(split.cluster_N.tolist()) for split in (data.train, data.val, data.test)]  # type: ignore[union-attr]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    assert sum(map(len, people)) == 20 and [note[:8] for note in data.notes] == ["No test ", "No val s"]


def test_splits_that_share_people_are_said_so(tmp_path: Path) -> None:
    make_folder(tmp_path)
    rewrite(tmp_path, lambda row: {**row, "person": row["file_name"]}, ("train", "val", "test"))
    notes = load_data(str(tmp_path), resolution=4, cluster_col="person").notes
    assert notes[0] == "8 clusters are in both train and val." and len(notes) == 3


def test_unknown_groups_stay_apart(tmp_path: Path) -> None:
    make_folder(tmp_path)
    unknown = {"catb1.png": "Unknown", "dogb1.png": ""}
    rewrite(tmp_path, lambda row: {**row, "group": unknown.get(row["file_name"], row["group"])}, ("train",))
    data = load_data(str(tmp_path), resolution=4)
    assert data.attributes == {"group": ("a", "b")} and data.train.group_NA[:, 0].tolist() == [0, 0, 1, -1] * 2
    assert len(data.train) == 8 and data.notes[0].startswith("Unknown group: 2 of train;")


def test_grey_images_keep_one_channel_only_if_all_are_grey(tmp_path: Path) -> None:
    root = make_folder(tmp_path, mode="L")
    assert load_data(str(root), resolution=4).channels == 1
    Image.new("RGB", (5, 5)).save(root / "test" / "cata0.png")
    assert load_data(str(root), resolution=4).channels == 3


def test_sixteen_bit_palette_and_turned_images(tmp_path: Path) -> None:
    root = make_folder(tmp_path, mode="L")
    Image.fromarray(np.full((6, 6), 512 * 64, dtype=np.uint16)).save(root / "train" / "cata0.png")
    assert (load_data(str(root), resolution=4).train.images_NCHW[0] == 128).all()
    Image.new("P", (6, 6)).save(root / "train" / "cata0.png")
    turned = Image.new("RGB", (20, 20))
    turned.paste((255, 0, 0), (0, 0, 20, 10))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90° clockwise: the top comes to the right
    turned.save(root / "train" / "cata1.png", exif=exif)
    image = load_data(str(root), resolution=4).train.images_NCHW[1]
    assert image[0, :, 3].min() > 250 and image[0, :, 0].max() < 5


def test_a_large_photo_is_reduced_without_aliasing(tmp_path: Path) -> None:
    root = make_folder(tmp_path, mode="L", suffix="jpg")
    board = (np.indices((256, 300)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(root / "train" / "cata0.jpg", quality=100)
    image = load_data(str(root), resolution=8).train.images_NCHW[0]
    assert np.abs(image.astype(int) - 127).max() < 20


def test_large_sets_are_cached_once_and_mapped(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(make_folder(tmp_path / "pets"))
    plain = load_data(root, resolution=8)
    assert not cache.exists() and type(plain.train.images_NCHW) is np.ndarray
    monkeypatch.setattr(decode, "CACHE_ABOVE", 0)
    monkeypatch.setattr(decode, "MEMORY_LIMIT", 0)
    first = load_data(root, resolution=8)
    assert isinstance(first.train.images_NCHW, np.memmap) and first.fingerprint == plain.fingerprint
    assert np.array_equal(first.test.images_NCHW, plain.test.images_NCHW)
    monkeypatch.setattr(decode, "_decode", None)  # a second decode would fail
    assert load_data(root, resolution=8).fingerprint == plain.fingerprint
    assert len(list(cache.iterdir())) == 1


def test_an_interrupted_decode_leaves_no_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(make_folder(tmp_path / "pets"))
    monkeypatch.setattr(decode, "CACHE_ABOVE", 0)
    real = decode.progress_bar

    def interrupted(pictures: Iterator[np.ndarray], *texts: str, **options: object) -> Iterator[np.ndarray]:
        yield from itertools.islice(pictures, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(decode, "progress_bar", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_data(root, resolution=8)
    assert not list(cache.iterdir())
    (cache / "partial-killed").mkdir()
    monkeypatch.setattr(decode, "progress_bar", real)
    assert load_data(root, resolution=8).train.images_NCHW[1, :, 4, 4].tolist() == [9, 99, 40]
    assert len(list(cache.iterdir())) == 1, "what a kill left is gone"


def test_a_full_or_forbidden_cache_directory_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(make_folder(tmp_path / "pets"))
    monkeypatch.setattr(decode, "CACHE_ABOVE", 0)
    with monkeypatch.context() as patched:
        patched.setattr(decode.shutil, "disk_usage", lambda path: decode.shutil._ntuple_diskusage(9, 9, 0))
        with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
            load_data(root, resolution=8)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        load_data(root, resolution=8)


def set_cell(name: str, value: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda row: {**row, name: value}


@pytest.mark.parametrize(
    ("change", "splits", "message"),
    [
        (lambda row: {"file_name": row["file_name"], "labels": "x", "group": "a"}, ("val",), 'Did you mean "labels"'),
        (lambda row: {"file_name": row["file_name"], "label": "x"}, ("val",), 'no column "group"'),
        (
            set_cell("label", ""),
            ("test",),
            r'8 rows have no value in column "label" \(the first: .*test.metadata.csv, row 2',
        ),
        (set_cell("file_name", "gone.png"), ("train",), r"train.metadata.csv, row 2: no image file .*gone.png"),
        (set_cell("group", "a"), ("train", "val", "test"), "needs two known groups or more, but has a"),
        (set_cell("group", "unknown"), ("train", "val", "test"), "but has none"),
        (set_cell("group", "a"), ("val",), 'The val split has no image of group "b"'),
        (set_cell("label", "cat"), ("train",), "The train split has no image of class dog"),
        (set_cell("label", "cat"), ("train", "val", "test"), "a single class"),
    ],
)
def test_mistakes_in_a_table(tmp_path: Path, change: Callable, splits: tuple[str, ...], message: str) -> None:
    make_folder(tmp_path)
    rewrite(tmp_path, change, splits)
    with pytest.raises(UserError, match=message) as caught:
        load_data(str(tmp_path), resolution=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"not an image", b"", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_a_damaged_image_is_named_with_its_row(tmp_path: Path, content: bytes) -> None:
    make_folder(tmp_path)
    (tmp_path / "val" / "catb0.png").write_bytes(content)
    with pytest.raises(UserError, match=r"val.metadata.csv, row 4: .*catb0.png is not a readable image"):
        load_data(str(tmp_path), resolution=4)


def test_an_image_that_ends_early_is_named_with_its_row(tmp_path: Path) -> None:
    make_folder(tmp_path, suffix="jpg")
    path = tmp_path / "val" / "catb0.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"row 4: .*catb0.jpg is not a readable image"):
        load_data(str(tmp_path), resolution=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label,group\na.png,cat\n", "row 2: the number of cells"),
        ("file_name,label,group\na.png,cat,a,b\n", "row 2: the number of cells"),
        ("file_name,label,group,split\na.png,cat,a,trian\n", 'row 2: unknown split "trian". Did you mean "train"'),
        ("file_name,label,group,split\na.png,cat,a,test\n", "has no train split, only test"),
        ("file_name,label,group\n", "has no row"),
        ("", 'no column "file_name"'),
        ('file_name,label,group\na.png,"cat,a\n', "not a readable CSV file"),
    ],
)
def test_mistakes_in_a_single_table(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path), resolution=4)


def test_other_encodings_unknown_columns_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither train/metadata.csv nor metadata.csv"):
        load_data(str(tmp_path))
    (tmp_path / "metadata.csv").write_bytes("file_name,label,group\nä.png,cat,a\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        load_data(str(tmp_path))
    (tmp_path / "metadata.csv").write_text("file_name,label,group,fold\n")
    with pytest.raises(UserError, match=r'no column "folds". Did you mean "fold"'):
        load_data(str(tmp_path), split_col="folds")


# --- torchvision's sets ---


def write_idx(path: Path, array: np.ndarray, kind: int) -> None:
    """The IDX format: two zero bytes, type, number of dimensions, sizes, then big-endian data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def make_mnist(root: Path) -> Path:
    rng = np.random.default_rng(0)
    # 58,200 rows reach over the end of the students' part; images of zeros keep it quick.
    for split, count in (("train", 58_200), ("t10k", 5_100)):
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        images[:, 5, 5] = rng.integers(0, 256, count)
        write_idx(root / "MNIST" / "raw" / f"{split}-images-idx3-ubyte", images, 8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        write_idx(root / "MNIST" / "raw" / f"{split}-labels-idx1-ubyte", labels, 8)
    return root


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


def make_celeba(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CelebA's five tables in their very format, with 60 images. Their MD5 sums are put in place of the real ones, so
    that torchvision's own integrity check runs as it does for a user."""
    base = root / "celeba"
    (base / "img_align_celeba").mkdir(parents=True)
    names = [f"{number:06d}.jpg" for number in range(1, 61)]
    for number, name in enumerate(names):
        sign(Image.new("RGB", (178, 218), (4 * number, 0, 0)), name).save(base / "img_align_celeba" / name)
    header = ["5_o_Clock_Shadow", "Male", "Smiling", "Young"]
    bits = [[number >> bit & 1 for bit in range(4)] for number in range(60)]
    values = [" ".join(f"{2 * bit - 1:2d}" for bit in row) for row in bits]
    attributes = "".join(f"{name} {value}\n" for name, value in zip(names, values, strict=True))
    boxes = "".join(f"{name}    95  71 226 313\n" for name in names)
    tables = {
        "list_attr_celeba.txt": f"60\n{' '.join(header)} \n{attributes}",
        "identity_CelebA.txt": "".join(f"{name} {number // 2}\n" for number, name in enumerate(names)),
        "list_bbox_celeba.txt": f"60\nimage_id x_1 y_1 width height\n{boxes}",
        "list_landmarks_align_celeba.txt": f"60\nlefteye_x lefteye_y righteye_x righteye_y\n{boxes}",
        "list_eval_partition.txt": "".join(f"{name} {number // 20}\n" for number, name in enumerate(names)),
    }
    sums = []
    for name, text in tables.items():
        (base / name).write_text(text)
        sums.append(("", hashlib.md5(text.encode()).hexdigest(), name))
    monkeypatch.setattr(CelebA, "file_list", [CelebA.file_list[0], *sums])
    return root


def test_celeba_takes_any_attribute_as_label_or_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_celeba(tmp_path, monkeypatch)
    data = load_data(f"celeba:{root}", resolution=8)
    assert data.classes == ("not Smiling", "Smiling") and data.attributes == {"Male": ("not Male", "Male")}
    assert [len(split) for split in (data.train, data.val, data.test)] == [20, 20, 20]
    assert data.train.group_NA[:4, 0].tolist() == [0, 0, 1, 1] and data.train.label_N[:5].tolist() == [0, 0, 0, 0, 1]
    assert data.val.cluster_N is not None and data.val.cluster_N[:3].tolist() == [10, 10, 11] and data.notes == ()
    other = load_data(f"celeba:{root}", resolution=8, label_col="Young", group_cols=("Male", "Smiling"))
    assert other.classes[1] == "Young" and list(other.attributes) == ["Male", "Smiling"]
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
    assert set(DATASETS) == {"writers", "mnist", "qmnist", "celeba"}


def test_group_mix_through_load_data(tmp_path: Path) -> None:
    write_table(tmp_path / "metadata.csv", make_rows(tmp_path, per_cell=20))

    def load(mix: str) -> GroupedData:
        return load_data(str(tmp_path), resolution=4, group_mix=mix)

    data = load("b=0.25")
    size, count_G = len(data.train), np.bincount(data.train.group_NA[:, 0])
    assert abs(count_G[1] - 0.25 * size) <= 0.5 and size >= 30
    assert abs(np.diff(np.bincount(data.train.label_N))[0]) <= 2
    assert len(data.val) + len(data.test) == 16 + 13
    with pytest.raises(UserError, match='Unknown group "bb" in the group mix'):
        load("bb=0.25")


@pytest.mark.parametrize("cluster_col", [None, "label"])
def test_search_val_joins_search_train_where_asked(tmp_path: Path, cluster_col: str | None) -> None:
    root = str(make_folder(tmp_path))
    apart = load_data(root, cluster_col=cluster_col, progress=False)
    pooled = load_data(root, cluster_col=cluster_col, pool_val=True, progress=False)
    for name in ("images_NCHW", "label_N", "group_NA", "cluster_N"):
        train, val, both = (getattr(split, name) for split in (apart.train, apart.val, pooled.train))
        if train is None:
            assert val is None and both is None
        else:
            np.testing.assert_array_equal(both, np.concatenate([train, val]))
            np.testing.assert_array_equal(getattr(pooled.val, name), val)
    assert pooled.test.label_N.tolist() == apart.test.label_N.tolist()
    assert any("search-train and search-val together" in note for note in pooled.notes)


def test_a_biased_draw_is_of_search_train_alone() -> None:
    pooled = load_data(group_mix="student=0.05", max_train=400, max_eval=100, pool_val=True, progress=False)
    assert len(pooled.train) == 500 and pooled.mean != load_data(max_train=400, max_eval=100, progress=False).mean
    assert (pooled.train.group_NA[:400, 0] == 1).sum() == 20 and (pooled.train.group_NA[400:, 0] == 1).sum() == 50
