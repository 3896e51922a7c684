"""The measurements so far, one line each, flushed as they come: what makes a killed run resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latency_luts.errors import BundleError


class Journal:
    """`visits[round, name]` in ms, the reference's times, and the visits made while the clock moved.

    The first line says what is measured and how; a journal of another run is not continued.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]) -> None:
        """Opens or continues the file; None keeps all in memory. Raises BundleError for another run's journal."""
        self.visits: dict[tuple[int, str], float] = {}
        self.references: list[float] = []
        self.moved: set[tuple[int, str]] = set()
        self._file = None
        if path is None:
            return
        if path.is_file() and path.stat().st_size:
            self._replay(path, header)
        self._file = path.open("a", encoding="utf-8")
        if path.stat().st_size == 0:
            self._write({"header": dict(header)})

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

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def _replay(self, path: Path, header: Mapping[str, Any]) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill may have cut the last line
        try:
            records = [json.loads(line) for line in whole.splitlines()]
            if not records or records[0].get("header") != dict(header):
                raise BundleError(
                    f"{path} belongs to another measurement (bundle, runtime, threads or settings differ). "
                    "Continue it with the same options, or start anew with --restart."
                )
            for record in records[1:]:
                if "reference" in record:
                    self.references.append(float(record["reference"]))
                elif "moved" in record:
                    self.moved.update((int(record["round"]), str(name)) for name in record["moved"])
                else:
                    self.visits[int(record["round"]), str(record["name"])] = float(record["ms"])
                    self.moved.discard((int(record["round"]), str(record["name"])))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"{path} is damaged ({error}). Start anew with --restart.") from error
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))
