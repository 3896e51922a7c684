"""Folders and tables of pictures for the tests of data, and a cache of their own."""

from __future__ import annotations

import csv
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CelebA

Rows = list[dict[str, str]]


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


def set_cell(name: str, value: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda row: {**row, name: value}


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
