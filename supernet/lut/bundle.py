"""The bundle that a device measures: model files, manifest with SHA-256, and the runner. Files come from a cache."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from filelock import FileLock

from latency_luts.files import PARTIAL, remove_partials, write_whole
from supernet.bars import bar as progress_bar
from supernet.data.decode import cache_directory
from supernet.errors import UserError
from supernet.lut.convert import get_converter
from supernet.lut.pieces import PERIOD, Piece, identities, layers, networks, pieces
from supernet.schema import write_json
from supernet.spaces import SearchSpace
from supernet.spaces.sensor import require_colours

RUNNER = (
    "__init__.py", "errors.py", "files.py", "journal.py", "machine.py", "manifest.py", "protocol.py", "runner.py", "sheets.py", "table.py",
    "validation.py", "verification.py", "runtimes/__init__.py", "runtimes/onnxruntime_runtime.py",
    "runtimes/litert_runtime.py", "runtimes/executorch_runtime.py", "runtimes/openvino_runtime.py",
    "runtimes/torch_runtime.py",
)  # fmt: skip


def default_cache() -> Path:
    """Where exported files are kept between exports."""
    return cache_directory() / "pieces"


def export_bundle(
    space: SearchSpace,
    folder: Path,
    *,
    format: str = "onnx",
    dtype: str = "float32",
    in_chans: int = 3,
    num_classes: int = 10,
    validation_networks: int = 12,
    extra_networks: Sequence[Piece] = (),
    only_networks: bool = False,
    cache: Path | None = None,
) -> int:
    """Writes the bundle and returns how many files had to be exported anew (the others came from the cache).

    `extra_networks` are measured like the validation's, but not fitted to; `only_networks` leaves all others out.
    Raises UserError if `folder` holds something that is not a bundle, or the space needs colours that `in_chans` has not.
    """
    require_colours(space, in_chans)
    _check_place(folder)
    converter, versions = get_converter(format, dtype)
    wanted = pieces(space, in_chans, num_classes)
    if validation_networks:
        wanted += networks(space, in_chans, num_classes, validation_networks)
    extra = [replace(piece, role="extra") for piece in extra_networks]
    wanted = extra if only_networks else [*wanted, *extra]
    cache = cache or default_cache()
    stamp = " ".join(f"{name}={version}" for name, version in sorted(versions.items()))
    for place in (cache, folder / "models"):
        place.mkdir(parents=True, exist_ok=True)
    items: list[dict[str, Any]] = []
    new = 0
    with FileLock(cache / ".lock"):  # another export at the same time waits, and then finds all in the cache
        remove_partials(cache)
        remove_partials(folder / "models")
        for piece in progress_bar(wanted, desc=f"export {space.name} {dtype} {format}", unit="file", disable=None):
            source = cache / f"{_digest(piece, format, dtype, stamp)}.{format}"
            if not source.is_file():
                write_whole(source, converter(piece))
                new += 1
            name = f"models/{piece.name}.{format}.gz"
            content = gzip.compress(source.read_bytes(), compresslevel=6, mtime=0)
            write_whole(folder / name, content)  # another process may be measuring this very bundle
            sha256 = hashlib.sha256(content).hexdigest()
            items.append({"name": piece.name, "role": piece.role, "file": name, "sha256": sha256, **piece.fields})
    _remove_others(folder / "models", format, {item["file"] for item in items})
    manifest = {
        "schema_version": 1,
        "space": space.name,
        "format": format,
        "dtype": dtype,
        "resolution": space.resolution,
        "items": items,
        "identities": identities(space),
        "layers": layers(space),
        "made_with": {**versions, "channels": in_chans, "classes": num_classes},
    }
    write_json(folder / "manifest.json", manifest)
    copy_runner(folder)
    return new


def _remove_others(models: Path, format: str, files: set[str]) -> None:
    """What an earlier export left that is not among the files."""
    for stale in (*models.glob(f"*.{format}"), *models.glob(f"*.{format}.gz")):
        if f"models/{stale.name}" not in files:
            stale.unlink()


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; give a folder.")
    if folder.is_dir() and not _is_bundle(folder):
        raise UserError(f"--out {folder} holds other files; give a new or empty folder, or an earlier bundle.")


def _is_bundle(folder: Path) -> bool:
    """Whether the folder is empty or an earlier bundle, maybe one whose export was killed before its manifest."""
    names = {path.name for path in folder.iterdir() if not path.match(f"*{PARTIAL}")}
    begun = {"models", "latency_luts", "run.py", "README.md", "manifest.json"}
    return not names or "manifest.json" in names or ("models" in names and names <= begun)


def copy_runner(folder: Path) -> None:
    """Puts the runner and its README beside the models: `python folder/run.py` needs nothing else of this package."""
    root = resources.files("latency_luts")
    for name in RUNNER:
        target = folder / "latency_luts" / name
        write_whole(target, root.joinpath(*name.split("/")).read_bytes())
    write_whole(folder / "run.py", (root / "run.py").read_bytes())
    write_whole(folder / "README.md", (root / "README.md").read_bytes())


def _digest(piece: Piece, format: str, dtype: str, stamp: str) -> str:
    what = f"{piece.build()} {piece.shape} {format} {dtype} {stamp} weights repeat after {PERIOD}, none is zero"
    return hashlib.sha256(what.encode()).hexdigest()[:32]
