"""Reading .npz files that may come from anywhere: what they claim is checked before memory is taken for it."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from supernet.errors import UserError

MAX_BYTES = 4_000_000_000  # of all arrays together
MAX_MEMBERS = 1000


def read_npz(path: Path, what: str, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name; numbers, booleans or texts, never objects.

    Raises UserError, before the memory is taken, where they would need more than `most` bytes; and for what is no
    readable .npz file.
    """
    if not path.is_file():
        raise UserError(f"{what} {path} does not exist, or is no regular file.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > most:
                raise UserError(f"{what} {path} claims more than {most:,} bytes of arrays: it is damaged, or not ours.")
            found = {}
            for member in members:
                if not member.filename.endswith(".npy") or member.filename.removesuffix(".npy") in found:
                    raise ValueError(f"{member.filename[:60]!r} is no array of its own")
                with archive.open(member) as stream:
                    found[member.filename.removesuffix(".npy")] = _array(stream, member.file_size)
            return found
    except UserError:
        raise
    except Exception as error:  # whatever zipfile, zlib or numpy's header parser raises, the fault is the file's
        raise UserError(f"{what} {path} is not a readable .npz file ({type(error).__name__}: {str(error)[:100]}).") from error  # fmt: skip


def _array(stream: IO[bytes], size: int) -> np.ndarray:
    """One .npy member of `size` bytes. Raises ValueError where its header claims another size than it has."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in "biufU" or dtype.itemsize == 0 or min(shape, default=1) < 0:
        raise ValueError(f"an array of {dtype}")
    count = math.prod(shape)
    if count * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array claims {count * dtype.itemsize:,} bytes and has {size - stream.tell():,}")
    content = stream.read(size)
    if len(content) != count * dtype.itemsize:
        raise ValueError("an array ends too early")
    flat = np.frombuffer(bytearray(content), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
