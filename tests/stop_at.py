"""In place of loop.StopSignal: a signal that comes at a given step."""

from __future__ import annotations

from types import TracebackType


class StopAt:
    """Comes when it is looked at for the `step`-th time."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __enter__(self) -> StopAt:
        return self

    def reached(self) -> bool:
        self.left -= 1
        return self.left == 0

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
