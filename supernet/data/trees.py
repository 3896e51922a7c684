"""Pictures in a folder for each class, with or without folders for the splits; no table is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from supernet.data.cells import meaning
from supernet.data.grouped import ImageFile
from supernet.data.pictures import SUFFIXES
from supernet.data.splits import SPLIT_NAMES
from supernet.data.tables import Row
from supernet.errors import UserError


def split_folders(root: Path) -> dict[str, Path]:
    """The folders below `root` that are named like a split. Raises UserError where two are of one split."""
    found: dict[str, Path] = {}
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise UserError(f"{root} has two folders of {split}: {found[split].name} and {folder.name}. Join them.")
        if split is not None:
            found[split] = folder
    return found


def read_trees(root: Path, label: str) -> tuple[list[Row], list[str]]:
    """(a row a picture, folders with pictures that were left out).

    The class, in the column `label`, is the folder directly below `root` in which the picture lies, however deep; or directly below
    a folder that is named like a split, which then stands in the column `split`. Raises UserError for a picture in no folder of a class.
    """
    folders = split_folders(root)
    trees = {split: _tree(folder, label) for split, folder in folders.items()}
    own = {split for split, (rows, loose) in trees.items() if rows and not loose}
    if not own:  # classes may be called "valid" and "invalid"
        return _whole(root, _tree(root, label)), []
    rows = []
    for split, tree in trees.items():
        rows += [(image, {**cells, "split": split}) for image, cells in _whole(folders[split], tree)]
    others = [entry for entry in root.iterdir() if entry.is_dir() and entry not in folders.values()]
    return rows, sorted(entry.name for entry in others if holds_pictures(entry))


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies anywhere in it."""
    return next(pictures_below(folder), None) is not None


def _tree(root: Path, label: str) -> tuple[list[Row], list[Path]]:
    """(a row of each picture in a folder below `root`, the pictures in `root` itself)."""
    rows: list[Row] = []
    loose: list[Path] = []
    for file in sorted(pictures_below(root)):
        within = file.relative_to(root).parts
        if len(within) == 1:
            loose.append(file)
        else:
            rows.append((ImageFile(str(file), str(file)), {label: meaning(within[0])}))
    return rows, loose


def _whole(root: Path, tree: tuple[list[Row], list[Path]]) -> list[Row]:
    """None where `root` has pictures itself alone. Raises UserError where it has folders of them, too."""
    rows, loose = tree
    if rows and loose:
        raise UserError(
            f"{loose[0]} lies in no folder of a class: move it into one, or give each picture a row with its label in {root / 'metadata.csv'}."
        )
    return rows


def pictures_below(root: Path) -> Iterator[Path]:
    """The files with a picture's ending, however deep; hidden ones, such as macOS's `._1.png`, are left out."""
    for file in root.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file():
            yield file
