"""load_data of folders and CSV files: pictures, splits, groups, draws, and every mistake that a user can make."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from data_folders import make_folder, make_rows, rewrite, set_cell, write_table
from PIL import Image

from supernet.data import GroupedData, decode, load_data
from supernet.errors import UserError
from supernet.prediction import find_pictures

pytestmark = pytest.mark.usefixtures("image_cache")


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


def test_large_sets_are_cached_once_and_mapped(
    tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(make_folder(tmp_path / "pets"))
    plain = load_data(root, resolution=8)
    assert not image_cache.exists() and type(plain.train.images_NCHW) is np.ndarray
    monkeypatch.setattr(decode, "CACHE_ABOVE", 0)
    monkeypatch.setattr(decode, "MEMORY_LIMIT", 0)
    first = load_data(root, resolution=8)
    assert isinstance(first.train.images_NCHW, np.memmap) and first.fingerprint == plain.fingerprint
    assert np.array_equal(first.test.images_NCHW, plain.test.images_NCHW)
    monkeypatch.setattr(decode, "_decode", None)  # a second decode would fail
    assert load_data(root, resolution=8).fingerprint == plain.fingerprint
    assert len(list(image_cache.iterdir())) == 1


def test_an_interrupted_decode_leaves_no_cache(
    tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(make_folder(tmp_path / "pets"))
    monkeypatch.setattr(decode, "CACHE_ABOVE", 0)
    real = decode.progress_bar

    def interrupted(pictures: Iterator[np.ndarray], *texts: str, **options: object) -> Iterator[np.ndarray]:
        yield from itertools.islice(pictures, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(decode, "progress_bar", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_data(root, resolution=8)
    assert not list(image_cache.iterdir())
    (image_cache / "partial-killed").mkdir()
    monkeypatch.setattr(decode, "progress_bar", real)
    assert load_data(root, resolution=8).train.images_NCHW[1, :, 4, 4].tolist() == [9, 99, 40]
    assert len(list(image_cache.iterdir())) == 1, "what a kill left is gone"


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


def test_groups_and_clusters_may_be_none_but_no_group_twice(tmp_path: Path) -> None:
    root = str(make_folder(tmp_path))
    assert load_data(root, resolution=8, group_cols=(), cluster_col="").by_class
    with pytest.raises(UserError, match='--group-cols has "group" twice'):
        load_data(root, group_cols=("group", "group "))


def test_data_that_is_no_file_and_no_folder_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it would wait"))
    with pytest.raises(UserError, match="no regular file and no folder"):
        load_data(str(tmp_path / "pipe.csv"))
    for empty in ("", " "):
        with pytest.raises(UserError, match="--data is empty"):
            load_data(empty)
        with pytest.raises(UserError, match="--data is empty"):
            find_pictures(empty)


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
