"""The one way to write a file: whole or not at all, and on the disk before it counts."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

PARTIAL = ".part"


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside the file, syncs, renames, syncs the folder: after a kill, a full disk or a power cut there is the old
    file or the new one.

    A kill leaves `NAME.….part`, for `remove_partials`. Raises OSError that names the file.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise naming(error, path) from error


def remove_partials(folder: Path, name: str | None = None) -> None:
    """Removes what killed writes of `name` (None: of any file) left. The caller holds the lock that keeps other writers away."""
    left = re.compile((".+" if name is None else re.escape(name)) + r"\.[0-9a-f]{8}" + re.escape(PARTIAL))
    for path in folder.iterdir():
        if left.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no folders
            raise
    finally:
        os.close(handle)


def naming(error: OSError, path: Path) -> OSError:
    """The same error with the name of the file that was meant: a write to a full disk names none."""
    return OSError(error.errno, error.strerror or str(error), str(path))
