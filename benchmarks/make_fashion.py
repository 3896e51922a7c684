"""Draws the embedded `fashion` data from Fashion-MNIST: python benchmarks/make_fashion.py /usr/share/datasets/fashion-mnist

The folder has Debian's `dataset-fashion-mnist`: four IDX files, packed with gzip. Search-train and search-val come from the training part (disjoint images),
test from the test part; each split has equally many of each class, drawn with a fixed seed. The same input gives the same arrays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from public_sets import fashion_arrays

from supernet.data.drawing import stratified

TRAIN, VAL, TEST, SEED = 8000, 2000, 4000, 0


def main() -> None:
    """Writes the .npz file and prints its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder of the four files")
    parser.add_argument("--out", type=Path, default=Path("supernet/data/fashion.npz"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    image_NHW, label_N = fashion_arrays(arguments.source, "train")
    train = stratified(label_N, TRAIN, rng)
    rest = np.setdiff1d(np.arange(len(label_N)), train)
    drawn = {
        "train": (image_NHW, label_N, train),
        "val": (image_NHW, label_N, rest[stratified(label_N[rest], VAL, rng)]),
    }
    image_NHW, label_N = fashion_arrays(arguments.source, "t10k")
    drawn["test"] = image_NHW, label_N, stratified(label_N, TEST, rng)
    arrays: dict[str, np.ndarray] = {}
    for split, (image_NHW, label_N, index) in drawn.items():
        arrays |= {f"{split}_images": image_NHW[index], f"{split}_labels": label_N[index], f"{split}_index": index.astype(np.uint16)}  # fmt: skip
    np.savez_compressed(arguments.out, allow_pickle=False, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
