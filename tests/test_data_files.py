"""Files as people have them: folders of classes, .zip, JSON Lines, parquet, and no groups at all."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_preprocessing import photo

from supernet.commands.main import main
from supernet.data import load_data
from supernet.data.by_class import NOTE
from supernet.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tree(root: Path, splits: tuple[str, ...] = ("",), each: int = 5, start: int = 0) -> Path:
    """So many pictures of each class, in folders below those of the splits."""
    for number, split in enumerate(splits):
        for place, name in enumerate("ab"):
            (root / split / name / "deeper").mkdir(parents=True)
            for n in range(each):
                where = root / split / name / ("deeper" if n == 0 else "")
                photo(24, 20, seed=start + 100 * number + 10 * place + n).save(where / f"{n}.png")
    return root


def loaded(path: Path, **options: object) -> object:
    return load_data(str(path), resolution=16, progress=False, **options)  # type: ignore[arg-type]


def images(data: object) -> dict[str, list[str]]:
    """Class names by split."""
    return {s: [data.classes[k] for k in getattr(data, s).label_N] for s in ("train", "val", "test")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("splits", [("train", "val", "test"), ("training", "Validation", "testing"), ("train", "test")])
def test_a_folder_for_each_class_below_the_splits(tmp_path: Path, splits: tuple[str, ...]) -> None:
    data = loaded(tree(tmp_path / "photos", splits))
    found = images(data)
    assert found["test"] == ["a"] * 5 + ["b"] * 5 and data.classes == ("a", "b")
    assert found["train"] == ["a"] * 5 + ["b"] * 5 if len(splits) == 3 else len(found["train"]) == 8
    assert any("No val split" in note for note in data.notes) == (len(splits) == 2)
    assert data.by_class and data.attributes == {"class": ("a", "b")} and NOTE in data.notes
    for split in (data.train, data.val, data.test):
        assert np.array_equal(split.group_NA[:, 0], split.label_N)


def test_without_splits_they_are_held_out_and_names_of_splits_may_be_classes(tmp_path: Path) -> None:
    data = loaded(tree(tmp_path / "photos", each=10))
    assert {s: len(found) for s, found in images(data).items()} == {"train": 13, "val": 3, "test": 4}
    for old, new in (("a", "valid"), ("b", "invalid")):
        (tmp_path / "photos" / old).rename(tmp_path / "photos" / new)
    assert loaded(tmp_path / "photos").classes == ("invalid", "valid")


def test_a_table_beside_the_folders_gives_the_groups(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", ("train", "val", "test"))
    rows = [("file_name", "sex")] + [
        (str(p.relative_to(root)), "fm"[n % 2]) for n, p in enumerate(sorted(root.rglob("*.png")))
    ]
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows[:-1])
    with pytest.raises(
        UserError, match=r'no column "label".*Where each class has a folder of its own: --label-col folder'
    ):
        loaded(root, group_cols=("sex",))  # a forgotten --label-col must not become the folder's name
    data = loaded(root, group_cols=("sex",), label_col="folder")
    assert not data.by_class and data.attributes == {"sex": ("f", "m")}
    assert images(data)["test"] == ["a"] * 5 + ["b"] * 5
    assert any("1 of 30 pictures have no row" in note for note in data.notes)
    assert sum((part.group_NA == -1).sum() for part in (data.train, data.val, data.test)) == 1
    (root / "metadata.csv").write_text("file_name,sex\ntrain/a/9.png,f\n")
    with pytest.raises(UserError, match=r"row 2: .*is no picture in a folder of a class"):
        loaded(root, group_cols=("sex",), label_col="folder")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: photo(9, 9).save(root / "a.png") or photo(9, 9).save(root / "train" / "a.png"), "lies in no folder of a class"),
        (lambda root: tree(root / "training"), "two folders of train: train and training"),
        (lambda root: (root / "test" / "metadata.csv").write_text("file_name,label\n"), "has pictures and no metadata.csv"),
        (lambda root: [(root / f"metadata.{s}").write_text("") for s in ("csv", "jsonl")], "remove one"),
        (lambda root: (root / "test" / "a" / "1.png").write_bytes((root / "train" / "a" / "1.png").read_bytes()), None),
        (lambda root: (root / "test" / "b" / "1.png").write_bytes((root / "train" / "a" / "1.png").read_bytes()), None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_tree_is_said(tmp_path: Path, spoil: object, words: str | None) -> None:
    root = tree(tmp_path / "photos", ("train", "val", "test"))
    spoil(root)  # type: ignore[operator]
    if words is not None:
        with pytest.raises(UserError, match=words):
            loaded(root)
        return
    repeats = loaded(root).repeats
    assert repeats.across_splits is not None and "in both train and test" in repeats.across_splits
    across = (root / "test" / "b" / "1.png").read_bytes() == (root / "train" / "a" / "1.png").read_bytes()
    assert (repeats.contradiction is not None) == across


def test_other_folders_beside_the_splits_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", ("train", "val", "test"))
    tree(root / "extra", start=5000)
    assert any("Left out, since no split is called so: extra." in note for note in loaded(root).notes)


def test_a_zip_is_its_folder(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "photos", ("train", "val", "test"))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
        archive.writestr("../outside.png", b"x")
        archive.writestr("photos/train/a/run.sh", "echo")
        archive.writestr("__MACOSX/photos/train/a/._1.png", b"x")
    first, plain = loaded(tmp_path / "photos.zip"), loaded(root)
    assert np.array_equal(first.test.images_NCHW, plain.test.images_NCHW) and first.name == "photos"
    assert loaded(tmp_path / "photos.zip").fingerprint == first.fingerprint
    assert not (tmp_path / "outside.png").exists() and not list(cache.rglob("*.sh")) and not list(cache.rglob("._*"))
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match=r"not a readable .zip"):
        loaded(tmp_path / "bad.zip")
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", np.random.default_rng(0).bytes(500))
    whole = (tmp_path / "damaged.zip").read_bytes()
    (tmp_path / "damaged.zip").write_bytes(
        whole[:37] + b"\xff" * 9 + whole[46:]
    )  # the directory is whole, the stream is not
    with pytest.raises(UserError, match=r"not a readable .zip"):
        loaded(tmp_path / "damaged.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(UserError, match="no pictures"):
        loaded(tmp_path / "empty.zip")


def test_json_lines_read_as_the_csv(tmp_path: Path) -> None:
    rows = [{"file_name": f"{n}.png", "label": n % 2, "group": ("u", None)[n == 3] or "v", "tags": ["x"], "split": s}
            for n, s in enumerate(["train", "val", "test"] * 4)]  # fmt: skip
    for n, row in enumerate(rows):
        row["group"] = "uv"[n // 6]
        photo(20, 20, seed=n).save(tmp_path / f"{n}.png")
    del rows[0]["group"]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    data = loaded(tmp_path)
    assert data.classes == ("0", "1") and data.attributes == {"group": ("u", "v")} and data.train.group_NA[0, 0] == -1
    for line, words in (("{", "row 15"), ("[1]", "not an object"), ('{"file_name": ""}', "is empty")):
        (tmp_path / "metadata.jsonl").write_text("\n".join([*map(json.dumps, rows), "", "", line]))
        with pytest.raises(UserError, match=words):
            loaded(tmp_path)


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    root = tree(tmp_path / "photos", ("train", "val", "test"))
    names = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}, "sex": {"_type": "Value"}}}}
    (tmp_path / "set" / "data").mkdir(parents=True)
    for split, shown in (("train", "train"), ("val", "validation"), ("test", "test")):
        files = sorted((root / split).rglob("*.png"))
        table = pa.table(
            {
                "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
                "label": ["ab".index(file.relative_to(root / split).parts[0]) for file in files],
                "sex": ["fm"[n % 2] for n in range(len(files))],
            }
        ).replace_schema_metadata({"huggingface": json.dumps(names)})
        pq.write_table(table, tmp_path / "set" / "data" / f"{shown}-00000-of-00001.parquet")
    data, plain = loaded(tmp_path / "set", group_cols=("sex",)), loaded(root)
    assert np.array_equal(data.test.images_NCHW, plain.test.images_NCHW) and images(data) == images(plain)
    assert data.attributes == {"sex": ("f", "m")} and not data.by_class and data.name == "set"
    pq.write_table(pa.table({"image": ["a.png"], "label": [0]}), tmp_path / "paths.parquet")
    with pytest.raises(UserError, match="no picture's bytes"):
        loaded(tmp_path / "paths.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not a parquet data set"):
        loaded(tmp_path / "bad.parquet")


def parquet(file: Path, root: Path, **columns: list[str | None]) -> Path:
    """The pictures of a tree."""
    pa = pytest.importorskip("pyarrow")
    files = sorted(root.rglob("*.png"))
    pictures = {
        "image": [one.read_bytes() for one in files],
        "label": [one.relative_to(root).parts[0] for one in files],
    }
    file.parent.mkdir(exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(pa.table({**pictures, **columns}), file)
    return file


def test_a_parquet_files_own_split_is_heeded(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", each=6)
    said = ["train", "Test", " validation "] * 4
    file = parquet(tmp_path / "set" / "mine.parquet", root, split=said)
    data = loaded(file)
    assert [len(part) for part in (data.train, data.val, data.test)] == [4, 4, 4]
    assert images(loaded(tmp_path / "set")) == images(data), "the cache has the file under its other name"
    parquet(tmp_path / "named" / "train.parquet", root, split=["train", None] * 6)
    assert any("No test split" in note for note in loaded(tmp_path / "named").notes)
    with pytest.raises(UserError, match=r'row 1: column "split" says "Test", the file\'s name train'):
        loaded(parquet(tmp_path / "other" / "train-0.parquet", root, split=said))
    with pytest.raises(UserError, match='unknown split "fold1"'):
        loaded(parquet(tmp_path / "other" / "folds.parquet", root, split=["fold1"] * 12))


def test_parquet_without_pyarrow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.data.unpack.find_spec", lambda name: None)
    (tmp_path / "x.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"supernet\[parquet\]"):
        loaded(tmp_path / "x.parquet")


def test_a_search_and_a_training_without_groups_tell_of_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "photos", ("train", "val", "test"), each=9)
    common = ["--data", str(root), "--quick", "--threads", "1", "--batch-size", "6"]
    train = ["train", *common, "--arch", "test_resnet", "--resolution", "32", "--bootstrap", "0", "--export", "none"]
    for options, words in (
        (["--fairness", "equalized_odds"], "this data has no groups"),
        (["--fairness-method", "reweigh"], "needs groups"),
        (["--group-cols", "sex"], "has no metadata.csv"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*train, *options])
        assert stopped.value.code == 2 and words in capsys.readouterr().err
    main([*train, "--out", str(tmp_path / "run")])
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert NOTE in report["notes"] and report["data"]["by_class"] and report["adjusted"] == {}
    (found,) = report["metrics"]["attributes"].values()
    recall = [own["recall"]["value"] for own in report["metrics"]["by_class"].values()]
    assert found["gaps"]["accuracy_parity"]["value"] == pytest.approx(max(recall) - min(recall))
    assert (
        "equalized_odds" not in found["gaps"]
        and "By class, lowest for" in (tmp_path / "run" / "report.html").read_text()
    )
    main(
        [
            "evaluate",
            "--model",
            str(tmp_path / "run"),
            "--data",
            str(root),
            "--out",
            str(tmp_path / "check"),
            "--bootstrap",
            "0",
        ]
    )
    again = json.loads((tmp_path / "check" / "report.json").read_text(encoding="utf-8"))["metrics"]
    assert again["attributes"]["class"]["gaps"]["accuracy_parity"] == found["gaps"]["accuracy_parity"]
    main(
        [
            "search",
            *common,
            "--space",
            "micro32",
            "--eval-images",
            "256",
            "--budget-ms",
            "10",
            "--out",
            str(tmp_path / "search"),
        ]
    )
    assert NOTE in json.loads((tmp_path / "search" / "report.json").read_text(encoding="utf-8"))["notes"]
