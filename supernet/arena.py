"""What a .tflite takes of a microcontroller's memory: tflite-micro itself plans it, kernels' scratch and all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any

LARGEST = 64 * 2**20  # bytes of the arena that it may plan in


def memory(content: bytes) -> dict[str, Any]:
    """`file_bytes`: what it takes of flash.  `arena_bytes`: what tflite-micro takes of RAM.  `activation_bytes`: of that, what operators share:
    activations and scratch; the rest is tflite-micro's own records.  `unmeasured`: why the last two are unknown (None), or None.
    """
    told: dict[str, Any] = {"file_bytes": len(content), "arena_bytes": None, "activation_bytes": None}
    if find_spec("tflite_micro") is None:
        return told | {"unmeasured": "tflite-micro is not installed (pip install 'supernet[tflite-micro]')"}
    from tflite_micro import runtime

    with _stderr() as file:
        try:
            runtime.Interpreter.from_bytes(content, arena_size=LARGEST).print_allocations()
        except Exception as error:  # it says in a line on stderr what it does not know, and raises a general error
            why = _printed(file).strip().splitlines() or [str(error)]
            return told | {"unmeasured": f"tflite-micro does not run it ({why[0][:200]})"}
        found = dict(re.findall(r"Arena allocation (\w+) (\d+) bytes", _printed(file)))
    return told | {"arena_bytes": int(found["total"]), "activation_bytes": int(found["head"]), "unmeasured": None}


@contextmanager
def _stderr() -> Iterator[IO[bytes]]:
    """What is written to the process's stderr meanwhile, by C code too, goes into a file."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _printed(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
