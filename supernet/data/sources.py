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


def group_names(text: str | None) -> tuple[str, ...] | None:
    """The columns that --group-cols joins by commas: none of "", and None where it is not given."""
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",")) if text.strip() else ()


def read_source(spec: str, columns: Columns) -> Source:
    """All its splits, as they are on disk. Raises UserError where there is no such data set or path."""
    if not spec.strip():
        raise UserError("--data is empty: give a folder, a CSV file or a data set's name (. is the current folder).")
    groups = columns.groups or ()
    twice = [column for column in dict.fromkeys(groups) if groups.count(column) > 1]
    if twice:
        raise UserError(f'--group-cols has "{twice[0]}" twice: name each once.')
    name, _, path = spec.partition(":")
    if name in DATASETS:
        return DATASETS[name](path, columns)
    place = Path(spec).expanduser()
    if place.is_file() or place.is_dir():
        return folder.load(spec, columns)
    if place.exists():
        raise UserError(f"{spec} is no regular file and no folder: copy what it holds into a file.")
    raise UserError(f'No data set and no path "{spec}".{nearest(name, DATASETS)} Or give a folder or a CSV file.')
