"""TensorBoard's view of a run: the rows of metrics.jsonl, then the final figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from latency_luts.files import naming, write_whole
from supernet.engine.rows import Row

FILE = Path("tensorboard") / "events.out.tfevents.0.supernet"


class Board:
    """Writes the rows' numbers as scalars. In the caller's thread: a full disk then ends as it does for every other file."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        """The options are left to run.yaml."""
        self.path, self._written = folder / FILE, 0

    def follow(self, rows: Sequence[Row]) -> None:
        """Those that are new; the file begins anew with the first: a resumed run's are not there twice. Raises OSError."""
        from tensorboard.compat.proto.event_pb2 import Event

        new = b"".join(map(_events, rows[self._written :]))
        if not self._written:
            first = Event(wall_time=time.time(), file_version="brain.Event:2")
            write_whole(self.path, _records([first]) + new)
        else:
            self._append(new)
        self._written = len(rows)

    def finish(self, rows: Sequence[Row], figures: Mapping[str, float], report: Path) -> None:
        """The final figures, at the last step. Raises OSError."""
        self.follow(rows)
        self._append(_events({"step": rows[-1]["step"] if rows else 0, **figures}))

    def _append(self, events: bytes) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(events)
        except OSError as error:
            raise naming(error, self.path) from error


def _events(row: Row) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=name, simple_value=value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float)
    ]
    return _records([Event(wall_time=time.time(), step=row["step"], summary=Summary(value=values))])


def _records(events: Sequence[object]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    stream = BytesIO()
    writer = RecordWriter(stream)
    for event in events:
        writer.write(event.SerializeToString())  # type: ignore[attr-defined]
    return stream.getvalue()
