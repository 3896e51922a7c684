"""A .zip or a parquet data set as a folder of pictures, kept in the cache beside the decoded ones.

The folder's last part is the file's own name, so that messages name what the user knows.
"""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from supernet.data.decode import cache_directory
from supernet.data.pictures import SUFFIXES
from supernet.data.splits import SPLIT_NAMES
from supernet.errors import UserError
from supernet.schema import printable

TABLES = ("metadata.csv", "metadata.jsonl")
SHARE = 0.9  # of the free disk that a file may fill
ENCODED = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II*": ".tif",
    b"MM\x00": ".tif",
}


def unpacked(path: Path) -> Path:
    """The folder of a .zip's pictures, or of a parquet file or folder; any other path as it is.

    Raises UserError where it cannot be read, or does not fit on the disk.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        return _kept(path, [path], _unzip)
    files = parquet_files(path)
    return _kept(path, files, _write_parquet) if files else path


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or those in the folder or its `data/`, as Hugging Face lays them; none where there is a table or no parquet."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    if not path.is_dir() or any((path / name).is_file() for name in TABLES):
        return []
    return sorted([*path.glob("*.parquet"), *(path / "data").glob("*.parquet")])


def _kept(path: Path, files: Sequence[Path], write: Callable[[Sequence[Path], Path], None]) -> Path:
    """Unpacked once: beside the final place, and renamed at the end."""
    name = path.name.removeprefix("..") or "data"
    states = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    home = cache_directory() / "unpacked"
    kept = home / hashlib.sha256(repr((name, states)).encode()).hexdigest()[:16]
    folder = kept / name
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{home}.lock"):
            if not kept.exists():
                with tempfile.TemporaryDirectory(dir=home, prefix="partial-", ignore_cleanup_errors=True) as partial:
                    (Path(partial) / folder.name).mkdir()
                    write(files, Path(partial) / folder.name)
                    Path(partial).rename(kept)
    except OSError as error:
        raise UserError(f"{path} cannot be unpacked to {home} ({error}): set XDG_CACHE_HOME.") from error
    inner = [entry for entry in folder.iterdir() if entry.name not in SPLIT_NAMES]
    alone = len(inner) == 1 and inner[0].is_dir() and len(list(folder.iterdir())) == 1
    return inner[0] if alone else folder  # a .zip of a folder


def _unzip(files: Sequence[Path], folder: Path) -> None:
    """Pictures and tables alone. zipfile itself keeps every name inside the folder."""
    try:
        with zipfile.ZipFile(files[0]) as archive:
            wanted = [item for item in archive.infolist() if _is_wanted(item)]
            _check_room(sum(item.file_size for item in wanted), folder, files[0])
            for item in wanted:
                archive.extract(item, folder)
    except (
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
        EOFError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
    ) as error:  # RuntimeError: a password
        raise UserError(f"{files[0]} is not a readable .zip file ({error}).") from error
    if not wanted:
        raise UserError(f"{files[0]} has no pictures in it: known are {', '.join(SUFFIXES)}.")


def _is_wanted(item: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(item.filename)
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
    return not item.is_dir() and not hidden and (name.suffix.lower() in SUFFIXES or name.name in TABLES)


def _check_room(size: int, folder: Path, what: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > SHARE * free:
        raise UserError(
            f"{what} takes {size / 2**30:.1f} GiB unpacked, {folder.parent.parent} has {free / 2**30:.1f} GiB: set XDG_CACHE_HOME."
        )


def _write_parquet(files: Sequence[Path], folder: Path) -> None:
    """Each row's picture as a file, and metadata.csv with its other columns, classes by name, and its split."""
    if find_spec("pyarrow") is None:
        raise UserError(
            f"{files[0]}: pyarrow reads parquet files: pip install 'supernet[parquet]'. Or give a folder, or a .zip."
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_room(sum(file.stat().st_size for file in files), folder, files[0].parent)
    rows: list[dict[str, str]] = []
    for file in files:
        try:
            table = pq.ParquetFile(file)
            names = _class_names(table.schema_arrow.metadata or {})
            split = SPLIT_NAMES.get(file.name.partition("-")[0].removesuffix(".parquet"))
            for batch in table.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    where = f"{file}, row {len(rows)}"
                    rows.append(_with_split(_row(row, names, folder, len(rows), where), split, where))
        except (pa.ArrowException, KeyError, TypeError) as error:
            raise UserError(
                f"{file} is not a parquet data set of pictures ({str(error).splitlines()[0][:200]})."
            ) from error
    if not rows:
        raise UserError(f"{files[0]} has no rows.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column → names of its numbers, as Hugging Face writes them (ClassLabel)."""
    found: dict[str, list[str]] = {}
    with suppress(ValueError, KeyError, AttributeError, TypeError):
        for column, feature in json.loads(metadata[b"huggingface"])["info"]["features"].items():
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
                found[column] = [str(name) for name in feature["names"]]
    return found


def _row(
    row: Mapping[str, Any], names: Mapping[str, list[str]], folder: Path, number: int, where: str
) -> dict[str, str]:
    picture = row.get("image")
    content = picture.get("bytes") if isinstance(picture, Mapping) else picture
    if not isinstance(content, bytes):
        raise UserError(
            f'{where}: column "image" holds no picture\'s bytes. Parquet files with paths alone are not read: give the folder.'
        )
    suffix = next((suffix for start, suffix in ENCODED.items() if content.startswith(start)), ".png")
    file = f"{number:07}{suffix}"
    (folder / file).write_bytes(content)
    return {"file_name": file} | dict(_cells(row, names, where))


def _with_split(cells: dict[str, str], named: str | None, where: str) -> dict[str, str]:
    """As the row's own column `split` says, else the file's name; train where neither does. Raises UserError where they differ."""
    own = cells.get("split", "").strip()
    if named and own and SPLIT_NAMES.get(own.lower()) != named:
        raise UserError(
            f'{where}: column "split" says "{printable(own)}", the file\'s name {named}: correct one of the two.'
        )
    return cells | {"split": named or cells.get("split", "train")}


def _cells(row: Mapping[str, Any], names: Mapping[str, list[str]], where: str) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if name in ("image", "file_name") or isinstance(value, (bytes, list, dict)):
            continue
        if name in names and isinstance(value, int) and value >= 0:
            if value >= len(names[name]):
                raise UserError(f'{where}: column "{name}" has the number {value}, but only {len(names[name])} names.')
            yield name, names[name][value]
        else:
            yield name, "" if value is None or (name in names and value == -1) else str(value)
