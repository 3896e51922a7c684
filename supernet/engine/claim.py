"""Who works in a run folder, and whether what it began with is still the same."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latency_luts.files import PARTIAL, remove_partials, write_whole
from supernet.errors import UserError
from supernet.schema import check_schema, printable, read_json, write_json

LOCK, CONFIG, FINISHED = ".lock", "config.json", "report.json"
PENDING = "exports_pending"  # true in a report: the run has yet to write the files for a device
INPUTS = (
    "derived.json",
    "latency_table.json",
)  # copies that a start which was killed may have left, whatever it was of
FREE = ("resume", "out", "compute_device")  # options that may differ between the parts of one run
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["command", "fingerprint", "inputs", "versions"],
    "properties": {
        "command": {"enum": ["search", "train"]},
        "fingerprint": {"type": "string"},
        "inputs": {"type": "object", "additionalProperties": {"type": "string"}},
        "versions": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    },
}


class Taken(UserError):
    """The folder is in use, or holds something already."""


def claim(path: Path) -> FileLock:
    """Makes the folder this process's own for as long as the lock is referred to; the system frees it when the process dies.

    Removes what killed writes left. Raises Taken, naming the process that works there, and OSError.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, is_singleton=True)  # the same process may open its run twice
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Taken(f"{path} is in use by {_owner(path / LOCK)}: wait for it, or choose another folder.") from None
    (path / LOCK).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    for folder in {path, *(partial.parent for partial in path.rglob(f"*{PARTIAL}"))}:
        remove_partials(folder)
    return lock


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """`claim` for a while: the folder is free again at the end, also where something failed. Raises as `claim` does."""
    lock = claim(path)
    try:
        yield
    finally:
        lock.release()


def _owner(lock: Path) -> str:
    """What the holder has written; it may be about to."""
    for _ in range(20):
        owner = lock.read_text(encoding="utf-8", errors="replace")[:200]
        if owner:
            return printable(owner)
        time.sleep(0.05)
    return "another process"


def config_file(path: Path) -> Path:
    """config.json of a run folder. Raises UserError where a start was killed before it was there."""
    if not (path / CONFIG).exists() and (path / LOCK).exists():
        raise UserError(f"{path}: the run was stopped before it began: give its command with --out {path} again.")
    return path / CONFIG


def read_content(path: Path) -> dict[str, Any]:
    """What config.json of a run folder says. Raises UserError for one that is missing, damaged or of an earlier version."""
    file = config_file(path)
    content = read_json(file, "run config")
    for name in _SCHEMA["required"]:
        if isinstance(content, dict) and name not in content:
            raise UserError(f"{file} lacks {name}: an earlier version wrote it. Start a new run.")
    check_schema(content, _SCHEMA, f"run config {file}")
    assert isinstance(content, dict), "by the schema"
    return content


def is_finished(path: Path) -> bool:
    """Whether the report is there, and is not the one that a training writes before its exports."""
    report = path / FINISHED
    return report.exists() and not read_json(report, "report", {"type": "object"}).get(PENDING, False)


def check_free(path: Path) -> None:
    """Raises Taken for a file, a finished run, and a folder that is not ours; writes nothing."""
    ours = path.is_dir() and ((path / LOCK).exists() or not any(path.iterdir()))
    if path.exists() and (not ours or is_finished(path)):
        raise _taken(path)


def _taken(path: Path) -> Taken:
    return Taken(f"{path} is there already: choose another --out, or continue it with --resume {path}.")


def begin(path: Path, content: Mapping[str, Any], inputs: Mapping[str, Path]) -> tuple[FileLock, bool]:
    """Makes a new run folder with copies of the inputs and, last, config.json; or takes up the same run, unfinished.

    Returns the lock, and whether the run was there. What a start that was killed has left is no obstacle. Raises Taken.
    """
    check_free(path)
    lock = claim(path)
    there = {found.name for found in path.iterdir()}
    if CONFIG in there and not is_finished(path) and not differences(read_content(path), content):
        return lock, True
    copies = {*INPUTS, *inputs}
    if there - {LOCK, *copies}:
        lock.release()
        raise _taken(path)
    for name in copies:
        (path / name).unlink(missing_ok=True)
    for name, source in inputs.items():
        write_whole(path / name, source.read_bytes())
    write_json(path / CONFIG, content)
    return lock, False


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what is not the same in two contents of config.json; options that are free are not compared."""
    names = dict.fromkeys((*before, *now))
    return [name for name in names if name not in FREE and (name in before, before.get(name)) != (name in now, now.get(name))]  # fmt: skip


def changed_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A note where a resumed run began with other versions."""
    names = dict.fromkeys((*before, *now))
    other = [f"{n} {before.get(n)} (now {now.get(n)})" for n in names if before.get(n) != now.get(n)]
    return [f"This run began with {', '.join(other)}: figures may differ from those of one run."] if other else []


def run_input(resumed: str | None, name: str, original: Path) -> Path:
    """The file to read: the original, or a resumed run's own copy, which does not need the original any more.

    Raises UserError where the copy, or an original that is still there, is not what the run began with.
    """
    if resumed is None:
        return original
    own = Path(resumed) / name
    recorded = read_content(Path(resumed))["inputs"].get(name)
    if not own.is_file():
        raise UserError(f"{own} is missing, and the run needs it: start a new run.")
    for path in (own, original):
        if path.is_file() and sha256(path) != recorded:
            raise UserError(f"{path} is not what {resumed} began with (its SHA-256 is another): restore it, or start a new run.")  # fmt: skip
    return own


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
