"""A run folder: what was asked, a row of metrics an epoch, a checkpoint that a later call continues from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock

from latency_luts.files import write_whole
from supernet.config import RETIRED, CommonConfig
from supernet.engine import circumstances, distributed
from supernet.engine.checkpoint import read_checkpoint, write_checkpoint
from supernet.engine.claim import (
    CONFIG,
    Taken,
    begin,
    changed_versions,
    claim,
    config_file,
    differences,
    read_content,
    sha256,
)
from supernet.engine.rows import append_row, read_rows, write_rows
from supernet.engine.trackers import TRACKERS, Tracker, asked_trackers
from supernet.errors import UserError, nearest
from supernet.options import check_values
from supernet.program import called
from supernet.schema import read_json

Config = TypeVar("Config", bound=CommonConfig)
METRICS, CHECKPOINT = "metrics.jsonl", "checkpoint.pt"
_NO_OPTION = ("command", "fingerprint", "inputs", "versions")  # of config.json's fields
_NUMBER = {"type": ["number", "null"]}  # null: unknown
_ROW = {
    "type": "object",
    "required": ["step"],
    "properties": {
        "step": {"type": "integer", "minimum": 0},
        "epoch": {"type": "integer", "minimum": 0},
        "phase": {"enum": ["warm-up", "search"]},
    },
    "additionalProperties": _NUMBER,
}


class RunFolder:
    """config.json, metrics.jsonl and checkpoint.pt of one run; what it logs goes to the programs named by `log_to`, too.

    One process at a time has it: `lock` is held until this object is gone or the process has died. Of several processes of
    one run (torchrun) only the first one writes; all must see the folder to resume it. `content` is what config.json says,
    `notes` are lines for the person, `resumed` whether the run was begun earlier.
    `path` is the folder.
    """

    def __init__(
        self,
        path: Path,
        log_to: str | None = None,
        content: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
        resumed: bool = False,
        lock: FileLock | None = None,
    ) -> None:
        self.path, self.writes, self.content = path, distributed.rank() == 0, content
        self.notes, self.resumed = tuple(notes), resumed
        self._lock = lock
        self._trackers: list[Tracker] = []
        if self.writes and log_to is not None:
            options = {name: value for name, value in (content or {}).items() if name not in _NO_OPTION}
            self._trackers = [TRACKERS[name](path, options) for name in asked_trackers(log_to)]

    @classmethod
    def open(
        cls, config: CommonConfig, command: str, fingerprint: str, inputs: Mapping[str, Path] | None = None
    ) -> RunFolder:
        """A new folder with its config and copies of its `inputs` (name there → file), or the one that is resumed, or that
        an earlier call of the same command left unfinished in --out. The first process chooses for all.

        Raises UserError if --out holds something else, another process works there, or a resumed run's data has changed.
        """
        inputs = inputs or {}
        now = {**circumstances.versions(), "commit": circumstances.commit()}
        hashes = {name: sha256(source) for name, source in inputs.items()}
        content = {"command": command, "fingerprint": fingerprint, "inputs": hashes, "versions": now, **asdict(config)}
        locks: list[FileLock] = []  # only in the process that holds it

        def first() -> tuple[Path, dict[str, Any], bool]:
            if config.resume is not None:
                path = Path(config.resume)
                before = read_content(path)
                if before["fingerprint"] != fingerprint:
                    raise UserError(f"The data is not what {path} began with (fingerprint {fingerprint}, was {before['fingerprint']}): start a new run.")  # fmt: skip
                locks.append(claim(path))
                return path, before, True
            if config.out is not None:
                path = Path(config.out)
                lock, resumed = begin(path, content, inputs)
                locks.append(lock)
                return path, content, resumed
            for number in range(1, 100_000):
                path = Path("runs") / f"{command}-{Path(config.device).stem}-{number}"
                if not (path / CONFIG).exists():
                    with suppress(Taken):
                        locks.append(begin(path, content, inputs)[0])
                        return path, content, False
            raise UserError("runs/ is full: choose an --out.")

        path, content, resumed = distributed.from_first(first)
        return cls(path, config.log_to, content, changed_versions(content["versions"], now), resumed, *locks)

    def words(self) -> str:
        """For the terminal."""
        return f"Run folder: {self.path}{', begun earlier: it goes on' if self.resumed else ''}"

    def save_options(self, command: str, options: str) -> str:
        """Writes run.yaml, the options that make the same run again; returns the line that tells of it. Raises OSError."""
        path = self.path / "run.yaml"
        write_whole(path, options.encode())
        return f"The same run again: {called(command, '--config', path)}"

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Writes checkpoint.pt whole or not at all, with the rows so far. Raises OSError."""
        if self.writes:
            write_checkpoint(self.path / CHECKPOINT, {**state, "rows": self.rows(), "run": self.content})

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, None if there is none yet. metrics.jsonl then has the rows that it had at that step.

        Raises UserError if it cannot be read, is damaged, or config.json is not what it was written with.
        """
        path = self.path / CHECKPOINT
        state = read_checkpoint(path) if path.exists() else None
        if state is not None and state.get("run") != self.content:
            changed = ", ".join(differences(state.get("run") or {}, self.content or {}))
            if changed:
                raise UserError(f"{self.path / CONFIG}: {changed} is not what {path} was written with: restore it, or start a new run.")  # fmt: skip
        if self.writes:
            with self.restoring():
                write_rows(self.path / METRICS, [] if state is None else [dict(row) for row in state["rows"]])
        return state

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Around what takes over a checkpoint's values: UserError where they are not those that this version writes."""
        try:
            yield
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            path = self.path / CHECKPOINT
            raise UserError(f"{path} was written by another version of supernet: start a new run.") from error

    def log(self, row: dict[str, Any]) -> None:
        """Appends a row to metrics.jsonl; `step` says where it belongs. Raises OSError."""
        if not self.writes:
            return
        append_row(self.path / METRICS, row)
        for tracker in self._trackers:
            tracker.follow(self.rows())

    def finish(self, figures: Mapping[str, float]) -> None:
        """Tells those that follow the run of its end. Raises OSError."""
        for tracker in self._trackers:
            tracker.finish(self.rows(), figures, self.path / "report.html")

    def rows(self) -> list[dict[str, Any]]:
        """The rows so far. Raises UserError for a file that was damaged."""
        return read_rows(self.path / METRICS, "metrics", _ROW) if self.writes else []

    def circumstances(self) -> dict[str, Any]:
        """When, where and with what: for reports."""
        return circumstances.circumstances()


def read_config(path: str, command: str, kind: type[Config]) -> Config:
    """An earlier run's options. Raises UserError if it is not a run of this command, or a field is missing or does not fit."""
    file = config_file(Path(path))
    content = read_json(file, "run config")
    if not isinstance(content, dict) or content.get("command") != command:
        raise UserError(f"{path} is not a run of {command}: nothing to resume.")
    known, ignored = [item.name for item in fields(kind)], (*_NO_OPTION, *RETIRED.get(command, ()))
    options = {name: value for name, value in content.items() if name not in ignored}
    for name in options:
        if name not in known:
            raise UserError(f'{file}: "{name}" is not an option of {command}.{nearest(name, known)}')
    check_values(kind, options, str(file))
    for name in known:
        if name not in options:
            raise UserError(f'{file} lacks "{name}": it was edited, or another version wrote it. Start a new run.')
    return kind(**{**options, "resume": path})


def compute_device(name: str) -> torch.device:
    """`auto` is CUDA, then Apple's MPS, then the CPU. Raises UserError if torch does not have the device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--compute-device {name}: torch cannot use it here ({str(error).splitlines()[0]}).") from error
    return device


def precision(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context of a forward pass: bf16 is autocast to bfloat16 (weights stay float32), float32 nothing."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bf16" else nullcontext()
