"""Ctrl-C, a power cut's warning, a scheduler's end: a run stops after its step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from supernet.engine import distributed


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the checkpoint is written."""


class StopSignal:
    """`with StopSignal() as stop:` — SIGINT and SIGTERM only set `stop.came`; a second one ends the run at once.

    With several processes it does not: the terminal and torchrun both pass a signal on, and torchrun kills after 30 s.
    A signal that came too late for the block to stop goes on to whom it would have met without the block.
    """

    def __enter__(self) -> StopSignal:
        self.came = False
        self._number: int | None = None
        self._before: dict[int, Any] = {}
        main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if main else ():  # Python sets handlers there alone
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came, self._number = True, number
        if distributed.world_size() == 1:
            signal.signal(number, self._before[number])

    def reached(self) -> bool:
        """Whether a signal came to any process: the same answer in all of them, so that all stop at the same step."""
        return distributed.any_process(self.came)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._number is not None and kind is None:
            signal.raise_signal(self._number)
