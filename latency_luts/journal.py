"""The measurements so far, one line each, flushed as they come: what makes a killed run resumable."""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latency_luts.errors import BundleError
from latency_luts.files import naming


class Journal:
    """`visits[round, name]` in ms, the reference's times, and the visits made while the clock moved.

    The first line says what is measured and how; a journal of another run is not continued. One process at a time has it: the
    file is locked until it is closed or the process has died.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any], restart: bool = False) -> None:
        """Opens or continues the file, or begins it anew (`restart`); None keeps all in memory.

        Raises BundleError for another run's journal, one that is damaged, and one that another process writes.
        """
        self.visits: dict[tuple[int, str], float] = {}
        self.references: list[float] = []
        self.moved: set[tuple[int, str]] = set()
        self._file = None
        if path is None:
            return
        self._file = path.open("a", encoding="utf-8")
        try:
            self._lock(path)
            if restart:
                os.truncate(path, 0)
            if path.stat().st_size:
                self._replay(path, header)
            if path.stat().st_size == 0:  # a kill may have cut even the first line
                self._write({"header": dict(header)})
            self._write({"process": os.getpid(), "host": platform.node()})
        except BaseException:
            self.close()
            raise

    def add_visit(self, number: int, name: str, ms: float) -> None:
        self.visits[number, name] = ms
        self.moved.discard((number, name))
        self._write({"round": number, "name": name, "ms": ms})

    def add_reference(self, ms: float) -> None:
        self.references.append(ms)
        self._write({"reference": ms})

    def mark_moved(self, number: int, names: Iterable[str]) -> None:
        moved = list(names)
        self.moved.update((number, name) for name in moved)
        self._write({"round": number, "moved": moved})

    def of(self, name: str) -> tuple[dict[int, float], set[int]]:
        """One subject's visits by round, and the rounds in which the reference moved around it."""
        visits = {number: ms for (number, other), ms in self.visits.items() if other == name}
        return visits, {number for number, other in self.moved if other == name}

    def sync(self) -> None:
        """Onto the disk, so that a power cut costs one round at most (once a round: a card writes slowly)."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _lock(self, path: Path) -> None:
        assert self._file is not None, "opened"
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(
                f"{path} is being written by {_writer(path)}: wait for it, or give another --out."
            ) from None
        if os.fstat(self._file.fileno()).st_nlink == 0:  # its writer removed it between our two calls
            raise BundleError(f"{path}: another process has just finished this table.")

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is not None:
            try:
                self._file.write(json.dumps(record) + "\n")
                self._file.flush()
            except OSError as error:
                raise naming(error, Path(self._file.name)) from error

    def _replay(self, path: Path, header: Mapping[str, Any]) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill may have cut the last line
        try:
            records = [json.loads(line, parse_constant=_number) for line in whole.splitlines()]
            if records and records[0].get("header") != dict(header):
                raise BundleError(
                    f"{path} belongs to another measurement (bundle, runtime, threads or settings differ). "
                    "Continue it with the same options, or start anew with --restart."
                )
            for record in records[1:]:
                self._take(record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"{path} is damaged ({error}). Start anew with --restart.") from error
        if len(whole) < len(content):
            os.truncate(path, len(whole))

    def _take(self, record: dict[str, Any]) -> None:
        """One line's record. Raises ValueError, KeyError or TypeError for one that this class does not write."""
        if "process" in record:
            return
        if "reference" in record:
            self.references.append(_number(record["reference"]))
            return
        number = record["round"]
        if type(number) is not int or number < 0:
            raise ValueError(f"round {number!r}")
        if "moved" in record:
            self.moved.update((number, str(name)) for name in record["moved"])
        else:
            self.visits[number, str(record["name"])] = _number(record["ms"])
            self.moved.discard((number, str(record["name"])))


def _number(value: object) -> float:
    """A time. Raises ValueError for what is none, NaN and infinity among them."""
    if type(value) not in (int, float) or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise ValueError(f"{str(value)[:40]} is no time in ms")
    return float(value)  # type: ignore[arg-type]


def _writer(path: Path) -> str:
    """Who said last that it writes the file."""
    for line in reversed(path.read_bytes().splitlines()):
        if line.startswith(b'{"process":'):
            try:
                record = json.loads(line)
                return f"process {int(record['process'])} on {str(record['host'])[:100]!r}"
            except (ValueError, KeyError, TypeError):
                break
    return "another process"
