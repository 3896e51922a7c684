"""Kills a command at its n-th write: before it, in the middle, after it.

A child process (forked, so that torch is imported once) runs the command in a folder; an audit hook and two wrapped calls
count what it does to files there: open for writing, write (a torn one: half the file), sync, rename, remove, mkdir.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_luts.journal import Journal

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = {"os.mkdir": "mkdir", "os.rename": "rename", "os.truncate": "truncate"}


class Points:
    """Counts the writes inside `folder`, and kills this process at number `kill_at`."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.folder, self.kill_at, self.labels = folder.resolve(), kill_at, []

    def install(self) -> None:
        """From now on, in this process, for good."""
        self._sync, self._replace = os.fsync, os.replace
        os.fsync, os.replace = self.fsync, self.replace  # type: ignore[assignment]
        write = Journal._write

        def line(journal: Journal, record: Mapping[str, Any]) -> None:
            """A line of the table builder's journal is flushed, but synced once a round."""
            handle = journal._file.fileno()  # type: ignore[union-attr]
            self.point("before line")
            write(journal, record)
            self.point("torn line", lambda: os.ftruncate(handle, os.fstat(handle).st_size - 5))
            self.point("after line")

        Journal._write = line  # type: ignore[method-assign]
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and self.inside(path):
                self.point(f"open {Path(path).name}")
        elif (
            event == "os.remove" and arguments[1] == -1 and self.inside(arguments[0])
        ):  # else relative to another folder
            self.point(f"remove {Path(arguments[0]).name}")
        elif event in EVENTS and self.inside(arguments[0]):
            self.point(f"{EVENTS[event]} {Path(arguments[0]).name}")

    def inside(self, path: object) -> bool:
        return isinstance(path, str | Path) and self.folder in Path(path).absolute().parents

    def fsync(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if self.folder in path.parents and path.is_file():
            self.point(f"before sync {path.name}")
            # what a power cut leaves of a file that was not synced: half of it, or a cut last row
            size = path.stat().st_size
            self.point(
                f"torn {path.name}", lambda: os.ftruncate(handle, size // 2 if path.suffix == ".part" else size - 5)
            )
        self._sync(handle)
        if self.folder in path.parents:
            self.point(f"synced {path.name}")

    def replace(self, source: Any, target: Any) -> None:
        self._replace(source, target)
        if self.inside(target):
            self.point(f"renamed {Path(target).name}")

    def point(self, label: str, last_act: Callable[[], object] = lambda: None) -> None:
        if len(self.labels) == self.kill_at:
            self.kill_at = None  # the last act may write, too
            last_act()
            os.kill(os.getpid(), signal.SIGKILL)
        self.labels.append(label)


def run(
    command: Callable[[], object], folder: Path, log: Path, kill_at: int | None = None, counted: Path | None = None
) -> int:
    """Runs the command in a forked process with `folder` as its working directory; its exit code, −9 where it was killed.

    stdout and stderr go to `log`; `counted` gets the labels of the points as JSON.
    """
    return wait(start(command, folder, log, kill_at, counted))


def start(
    command: Callable[[], object], folder: Path, log: Path, kill_at: int | None = None, counted: Path | None = None
) -> int:
    """The process number; `wait` gives its exit code."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(folder)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(handle, stream)
        points = Points(folder, kill_at)
        if kill_at is not None or counted is not None:
            points.install()
        code = _exit_code(command)
        sys.stdout.flush()
        if counted is not None:
            counted.write_text(json.dumps(points.labels))
    finally:
        os._exit(code)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _exit_code(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


def supernet(arguments: Sequence[str]) -> Callable[[], object]:
    """`supernet ARGUMENTS` as a command for `run`. What it imports and compiles is there before the fork."""
    import fairlearn.metrics  # noqa: F401
    import torch

    import supernet.commands.exports
    import supernet.commands.setting
    import supernet.engine.board
    import supernet.engine.retraining
    import supernet.report
    import supernet.strategies  # noqa: F401
    from supernet.commands.main import main
    from supernet.kernels.native import library

    library(torch.float32)
    return lambda: main(list(arguments))
