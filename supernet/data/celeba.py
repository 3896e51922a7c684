"""`celeba:ROOT`: CelebA (Liu et al., ICCV 2015) through torchvision's own class. Nothing is downloaded.

One of the 40 attributes is the label (default Smiling), others are the groups (default Male); the person is the
cluster.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import CelebA

from supernet.data.grouped import Augment, Columns, ImageFile, Part, Source, named_column
from supernet.errors import UserError


def load(path: str, columns: Columns) -> Source:
    """CelebA under `path`; raises UserError for missing files (which, and where to put them) and unknown attributes."""
    columns.refuse("celeba", "cluster")
    if not path:
        raise UserError("celeba needs the directory that holds the folder celeba: celeba:ROOT.")
    base = Path(path).expanduser() / CelebA.base_folder
    needed = ["img_align_celeba", *(name for _, _, name in CelebA.file_list if not name.endswith(".zip"))]
    missing = [name for name in needed if not (base / name).exists()]
    if missing:
        raise UserError(f"celeba: put {', '.join(missing)} (unpacked, from the CelebA page) into {base}.")
    chosen = ("Male",) if columns.groups is None else columns.groups
    parts = {}
    for split in ("train", "valid", "test"):
        try:
            read = CelebA(base.parent, split=split, target_type="attr", download=False)
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"CelebA under {base} is damaged, or of another version: copy its files again.") from error
        names = [name for name in read.attr_names if name]  # the header line ends with a blank
        label = named_column(columns.label or "Smiling", names, "CelebA")
        groups = [named_column(name, names, "CelebA") for name in chosen]
        files = [
            ImageFile(str(base / "img_align_celeba" / name), f"list_attr_celeba.txt, {name}") for name in read.filename
        ]
        attr_NA = read.attr.numpy().astype(np.int64)
        parts[split.replace("valid", "val")] = Part(
            files,
            attr_NA[:, names.index(label)],
            attr_NA[:, np.array([names.index(name) for name in groups], int)],
            read.identity[:, 0].numpy().astype(np.int64),
        )
    attributes: dict[str, tuple[str, ...]] = {name: (f"not {name}", name) for name in groups}
    return Source("celeba", parts, (f"not {label}", label), attributes, Augment(flip=True))
