"""Pictures for rows of counterparts.py: CIFAR-10 (group: animals, vehicles) and Arabic letters (group: the children's collection, the adults').

Both from ../shared/data, 32 × 32 pixels, drawn by the seed: so many for search-train, search-val and test.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from supernet.data import GroupedData
from supernet.data.grouped import Augment, Split
from supernet.preprocessing import Preprocessing

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
EACH = 800  # pictures of a class that are read, in train and in test
SIZES = (3000, 1000, 4000)  # search-train, search-val, test


def cifar10(cache: Path) -> dict[str, np.ndarray]:
    """train and test images (N, 3, 32, 32), labels and groups; read from the archive once."""
    if not cache.exists():
        images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
        labels: dict[str, list[str]] = {"train": [], "test": []}
        with tarfile.open(next((SHARED / "cifar10").glob("*.tar.xz"))) as archive:
            for member in archive:
                split = "test" if "test" in Path(member.name).parts else "train"
                if not member.isfile() or not member.name.endswith((".jpg", ".jpeg", ".png")):
                    continue
                label = Path(member.name).parent.name
                if labels[split].count(label) == EACH:
                    continue
                content = archive.extractfile(member)
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as picture:
                    images[split].append(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
                labels[split].append(label)
        names = sorted(set(labels["test"]) | set(labels["train"]))
        arrays = {f"{split}_images": np.stack(own) for split, own in images.items()}
        for split, own in labels.items():
            arrays[f"{split}_labels"] = np.array([names.index(name) for name in own])
            arrays[f"{split}_group"] = np.array([int(name not in ANIMALS) for name in own])
        np.savez(cache, **arrays, class_names=np.array(names), group_names=np.array(["animal", "vehicle"]))
    with np.load(cache) as found:
        return dict(found)


def arabic_letters(_: Path) -> dict[str, np.ndarray]:
    """The same of the letters, whose pictures are grey."""
    with np.load(SHARED / "arabic_letters" / "arabic_letters_32.npz") as found:
        arrays = dict(found)
    return arrays | {f"{split}_images": arrays[f"{split}_images"][:, None] for split in ("train", "test")}


SETS = {"arabic_letters": arabic_letters, "cifar10": cifar10}


def pictures(name: str, folder: Path, seed: int, sizes: tuple[int, int, int] = SIZES) -> GroupedData:
    """A draw of a data set. `folder`: where what was read from an archive is kept."""
    arrays = SETS[name](folder / f"{name}.npz")
    rng = np.random.default_rng(seed)
    train, val, test = sizes
    of_train = rng.permutation(len(arrays["train_labels"]))[: train + val]
    of_test = rng.permutation(len(arrays["test_labels"]))[:test]
    chosen = {"train": ("train", of_train[:train]), "val": ("train", of_train[train:]), "test": ("test", of_test)}
    parts = {
        part: Split(
            arrays[f"{split}_images"][index],
            arrays[f"{split}_labels"][index].astype(np.int64),
            arrays[f"{split}_group"][index].astype(np.int64)[:, None],
        )
        for part, (split, index) in chosen.items()
    }
    images = parts["train"].images_NCHW / 255.0
    mean, std = (tuple(float(x) for x in of(images, axis=(0, 2, 3))) for of in (np.mean, np.std))
    return GroupedData(
        name=name, **parts, classes=tuple(map(str, arrays["class_names"])),
        attributes={"group": tuple(map(str, arrays["group_names"]))},
        preprocessing=Preprocessing(32, images.shape[1], mean, std), fingerprint=f"{name}-{seed}",
        augment=Augment(shift=2, flip=name == "cifar10"), notes=(),
    )  # fmt: skip
