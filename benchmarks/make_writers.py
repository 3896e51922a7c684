"""Draws the embedded `writers` data from the full set: python benchmarks/make_writers.py FULL.npz

FULL.npz has {train,test}_{images,labels,student} in MNIST's own order. Search-train and search-val come from the
training part (disjoint images), test from the test part; stratified by class × group with a fixed seed, so that each
split keeps the proportions of its part. `*_index` is the position in MNIST. The same input gives the same arrays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from supernet.data.drawing import stratified

TRAIN, VAL, TEST, SEED = 12_000, 4_000, 7_000, 0


def main() -> None:
    """Writes the .npz file and prints the counts of each split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("full", type=Path, help="the .npz file with all 70,000 digits")
    parser.add_argument("--out", type=Path, default=Path("supernet/data/writers.npz"))
    arguments = parser.parse_args()
    with np.load(arguments.full, allow_pickle=False) as full:
        arrays = {name: full[name] for name in full}
    rng = np.random.default_rng(SEED)
    cell_N = {part: arrays[f"{part}_labels"].astype(int) * 2 + arrays[f"{part}_student"] for part in ("train", "test")}
    train = stratified(cell_N["train"], TRAIN, rng)
    rest = np.setdiff1d(np.arange(len(cell_N["train"])), train)
    val = rest[stratified(cell_N["train"][rest], VAL, rng)]
    test = stratified(cell_N["test"], TEST, rng)
    drawn = {}
    for split, part, index in (("train", "train", train), ("val", "train", val), ("test", "test", test)):
        drawn.update({f"{split}_{what}": arrays[f"{part}_{what}"][index] for what in ("images", "labels", "student")})
        drawn[f"{split}_index"] = index.astype(np.uint16)
        student = drawn[f"{split}_student"]
        print(f"{split:5} {len(index):6} images, {student.sum():5} of students, {(1 - student).sum():5} of employees")
    np.savez_compressed(arguments.out, allow_pickle=False, **drawn)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
