"""What `--data` names: a data set of our own, or the user's folder or table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from supernet.data import celeba, fashion, folder, mnist, writers
from supernet.data.grouped import Columns, Source
from supernet.errors import UserError, nearest

DATASETS: dict[str, Callable[[str, Columns], Source]] = {
    "writers": writers.load,
    "fashion": fashion.load,
    "mnist": mnist.load_mnist,
    "qmnist": mnist.load_qmnist,
    "celeba": celeba.load,
}


def read_source(spec: str, columns: Columns) -> Source:
    """All its splits, as they are on disk. Raises UserError where there is no such data set or path."""
    name, _, path = spec.partition(":")
    if name in DATASETS:
        return DATASETS[name](path, columns)
    if Path(spec).expanduser().exists():
        return folder.load(spec, columns)
    raise UserError(f'No data set and no path "{spec}".{nearest(name, DATASETS)} Or give a folder or a CSV file.')
