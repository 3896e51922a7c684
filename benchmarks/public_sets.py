"""Public data sets as folders with a table, as a user would bring them: what each benchmark's pictures are.

Nothing of them is in the repository: ../shared/data has CIFAR-10 and the Arabic letters, Debian's dataset-fashion-mnist the third.
"""

from __future__ import annotations

import csv
import gzip
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ANIMALS = {"bird", "cat", "deer", "dog", "frog", "horse"}
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
Splits = Sequence[tuple[str, int]]
"""Name and number of pictures of train, val and test, in this order."""


def cifar10(folder: Path, splits: Splits) -> list[list[str]]:
    """Rows of a table of CIFAR-10's pictures, equally many of each class; a group is animals or vehicles."""
    with tarfile.open(next((SHARED / "cifar10").glob("*.tar.xz"))) as archive:
        archive.extractall(folder, filter="data")
    rows, first = [], 0
    for split, number in splits:
        source = "test" if split == "test" else "train"
        for place in sorted(path for path in folder.rglob(f"{source}/*") if path.is_dir()):
            start = 0 if split == "test" else first
            files = sorted(place.iterdir())[start : start + number // 10]
            group = "animal" if place.name in ANIMALS else "vehicle"
            rows += [[str(file.relative_to(folder)), place.name, group, split] for file in files]
        first += number // 10
    return rows


def fashion(folder: Path, source: Path, splits: Splits) -> list[list[str]]:
    """The same of Fashion-MNIST; a group is what is worn on the body, or shoes and bags."""
    rows, first = [], 0
    for split, number in splits:
        part = "t10k" if split == "test" else "train"
        image_NHW, label_N = fashion_arrays(source, part)
        start = 0 if split == "test" else first
        for n in range(start, start + number):
            name, label = f"{split}{n}.png", CLOTHES[label_N[n]]
            Image.fromarray(image_NHW[n]).save(folder / name)
            rows.append([name, label, "other" if label in ("sandal", "sneaker", "bag", "boot") else "body", split])
        first += number
    return rows


def fashion_arrays(source: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 28, 28) uint8 and (N,) uint8 of `train` or `t10k`, from IDX files packed with gzip."""
    images, labels = (gzip.decompress((source / f"{part}-{kind}-ubyte.gz").read_bytes()) for kind in ("images-idx3", "labels-idx1"))  # fmt: skip
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def arabic_letters(folder: Path, splits: Splits) -> list[list[str]]:
    """The same of the Arabic letters, drawn at random, without the few of train that test has, too; a group is the children's collection or the adults'."""
    with np.load(SHARED / "arabic_letters" / "arabic_letters_32.npz") as archive:
        found = dict(archive)
    order: dict[str, Sequence[int]] = {
        part: np.random.default_rng(0).permutation(len(found[f"{part}_labels"])) for part in ("train", "test")
    }
    tested = {image.tobytes() for image in found["test_images"]}
    order["train"] = [n for n in order["train"] if found["train_images"][n].tobytes() not in tested]
    rows, first = [], 0
    for split, number in splits:
        part = "test" if split == "test" else "train"
        start = 0 if split == "test" else first
        for n in order[part][start : start + number]:
            name, label = f"{split}{n}.png", str(found["class_names"][found[f"{part}_labels"][n]])
            Image.fromarray(found[f"{part}_images"][n]).save(folder / name)
            rows.append([name, label, str(found["group_names"][found[f"{part}_group"][n]]), split])
        first += number
    return rows


def write_table(folder: Path, rows: list[list[str]]) -> None:
    """The rows as the folder's metadata.csv."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "label", "group", "split"], *rows])
