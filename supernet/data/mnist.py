"""`mnist:ROOT` and `qmnist:ROOT`: torchvision's own classes, with the group of the writer. Nothing is downloaded.

MNIST has no group column. It follows from the order in which MNIST was put together: in the training part a digit is a
student's when its index is even and below 58,100, in the test part when its index is below 5,001 (checked against all
rows that QMNIST traces back to NIST). QMNIST (Yadav & Bottou, NeurIPS 2019) has the NIST series of each digit: series 4
is the students', the others are the employees'. It also has the writer, who becomes the cluster.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import MNIST, QMNIST

from supernet.data import digits
from supernet.data.grouped import UNKNOWN, Columns, Part, Source
from supernet.errors import UserError

STUDENT_SERIES = 4


def load_mnist(path: str, columns: Columns) -> Source:
    """MNIST under `path`; raises UserError that says which files to put where."""
    columns.refuse("mnist", "label", "groups", "cluster")
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    root = _root(path, "mnist", "MNIST", files)
    parts = {}
    for split in ("train", "test"):
        images_NHW, label_N = _read(MNIST, root, train=split == "train")
        index_N = np.arange(len(label_N))
        student_N = (index_N % 2 == 0) & (index_N < 58_100) if split == "train" else index_N < 5_001
        parts[split] = digits.part(images_NHW, label_N, student_N, None)
    return Source("mnist", parts, digits.CLASSES, digits.ATTRIBUTES, digits.AUGMENT)


def load_qmnist(path: str, columns: Columns) -> Source:
    """QMNIST under `path` with its 60,000 test digits; raises UserError that says which files to put where."""
    columns.refuse("qmnist", "label", "groups", "cluster")
    kinds = ("images-idx3-ubyte", "labels-idx2-int")
    files = tuple(f"qmnist-{split}-{kind}" for split in ("train", "test") for kind in kinds)
    root = _root(path, "qmnist", "QMNIST", files)
    parts: dict[str, Part] = {}
    for split in ("train", "test"):
        images_NHW, field_NF = _read(QMNIST, root, what=split, compat=False)
        series_N, writer_N = field_NF[:, 1], field_NF[:, 2]
        student_N = np.where(series_N < 0, UNKNOWN, series_N == STUDENT_SERIES)
        parts[split] = digits.part(images_NHW, field_NF[:, 0], student_N, writer_N)
    return Source("qmnist", parts, digits.CLASSES, digits.ATTRIBUTES, digits.AUGMENT)


def _root(path: str, name: str, folder: str, files: tuple[str, ...]) -> Path:
    if not path:
        raise UserError(f"{name} needs the directory that holds {folder}/raw: {name}:ROOT.")
    raw = Path(path).expanduser() / folder / "raw"
    missing = [file for file in files if not (raw / file).is_file()]
    if missing:
        raise UserError(f"{name}: put {', '.join(missing)} (unpacked, as torchvision keeps them) into {raw}.")
    return Path(path).expanduser()


def _read(dataset: type[MNIST], root: Path, **which: object) -> tuple[np.ndarray, np.ndarray]:
    try:
        read = dataset(root, download=False, **which)
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError) as error:  # what torchvision raises
        raise UserError(f"{dataset.__name__} under {root} is damaged ({error}): copy its files again.") from error
    images_NHW, target_N = torch.as_tensor(read.data).numpy(), torch.as_tensor(read.targets).numpy()
    if len(images_NHW) != len(target_N):
        raise UserError(f"{dataset.__name__} under {root} has {len(images_NHW)} images but {len(target_N)} labels.")
    return images_NHW, target_N
