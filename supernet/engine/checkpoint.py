"""checkpoint.pt: torch's zip file, with its own SHA-256 in the zip's comment. One file, so that no kill parts the two."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import torch

from latency_luts.files import write_whole
from supernet.errors import UserError

FORMAT = 3  # raised when an older checkpoint cannot be gone on from
_COMMENT = re.compile(rb"supernet checkpoint (\d+) sha256 ([0-9a-f]{64})")
_LENGTH = len(b"supernet checkpoint %d sha256 " % FORMAT) + 64


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes the file whole or not at all; `torch.load` reads it as any other. Raises OSError."""
    stream = io.BytesIO()
    torch.save(state, stream)
    content = stream.getvalue()
    assert content.endswith(b"\0\0"), "a zip file without a comment ends with the comment's length"
    content = content[:-2] + struct.pack("<H", _LENGTH) + b"supernet checkpoint %d sha256 " % FORMAT
    write_whole(path, content + hashlib.sha256(content).hexdigest().encode())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state. Raises UserError where a single bit is not as it was written, or another format's."""
    content = path.read_bytes()
    found = _COMMENT.fullmatch(content[-_LENGTH:])
    if found is None or hashlib.sha256(content[:-64]).hexdigest().encode() != found[2]:
        raise UserError(
            f"{path} is damaged (its SHA-256 is another), or an earlier version wrote it: delete it to begin this run anew."
        )
    if int(found[1]) != FORMAT:
        raise UserError(f"{path} was written by another version of supernet (format {int(found[1])}, not {FORMAT}): start a new run.")  # fmt: skip
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it to begin this run anew.") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} holds no run's state: delete it to begin this run anew.")
    return state


def progress_of(state: dict[str, Any], total_steps: int) -> tuple[int, dict[str, Any]]:
    """(step, sums since the last row) of a state. Raises ValueError where they cannot be those of such a run."""
    step, sums = state["step"], state["sums"]
    if type(step) is not int or not 0 <= step <= total_steps:
        raise ValueError(f"step {step}")
    if any(torch.as_tensor(value).ndim for value in sums.values()):
        raise ValueError("sums are scalars")
    return step, sums
