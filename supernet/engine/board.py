"""TensorBoard's view of metrics.jsonl, where TensorBoard is installed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from latency_luts.files import naming, write_whole
from supernet.engine.rows import Row

FILE = Path("tensorboard") / "events.out.tfevents.0.supernet"


class Board:
    """Writes the rows' numbers as scalars. In the caller's thread: a full disk then ends as it does for every other file."""

    def __init__(self, folder: Path, rows: Sequence[Row]) -> None:
        """The file begins anew with these rows: a resumed run's are not there twice. Raises ImportError and OSError."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.path = folder / FILE
        first = Event(wall_time=time.time(), file_version="brain.Event:2")
        write_whole(self.path, _records([first]) + b"".join(map(_events, rows)))

    def add(self, row: Row) -> None:
        """One more row. Raises OSError."""
        try:
            with self.path.open("ab") as file:
                file.write(_events(row))
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
