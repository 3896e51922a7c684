"""`supernet COMMAND …`: finds the command, and turns what the user can mend into one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from supernet import __version__
from supernet.errors import UserError
from supernet.schema import printable

LONGEST = 1500  # characters of a message


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message.removeprefix('argument ').removesuffix('.')}. See: {self.prog} --help")


def build_parser(prog: str = "supernet") -> argparse.ArgumentParser:
    """The parser of all commands."""
    from supernet.commands import (
        baseline,
        compare,
        derive,
        evaluate,
        export_run,
        front,
        lut,
        predict,
        search,
        sweep,
        train,
        verify,
    )  # fmt: skip

    parser = Parser(prog=prog, description="Finds and trains image classifiers that fit a device's latency budget and serve every group of people.")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"supernet {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (search, derive, front, train, baseline, predict, evaluate, compare, export_run, sweep, lut, verify):
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "supernet") -> None:
    """Runs one command. Exit code 0, or 2 after a user's mistake, a full disk, no memory or an interrupt."""
    parser = build_parser(prog)
    try:
        options = parser.parse_args(argv)
        options.run(options)
        sys.stdout.flush()
    except SystemExit as done:  # --help and --version print, too
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            nobody_reads(done.code)
        raise
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted. What was written stays.")
    except BrokenPipeError:
        nobody_reads()
    except OSError as error:
        what = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        fail(f"{what}. What was written before stays; the same command goes on from there.")
    except (MemoryError, RuntimeError, ImportError) as error:
        if not out_of_memory(error):
            raise
        fail("Memory ran out: lower --batch-size, or use a machine with more. What was written before stays.")


def out_of_memory(error: Exception) -> bool:
    """Python's and numpy's error, CUDA's, the CPU allocator's (a plain RuntimeError), a library that found no room."""
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "can't start new thread",
             "failed to map segment")  # fmt: skip
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def fail(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    if "WORLD_SIZE" in os.environ:  # torchrun: one process says it for all
        from supernet.engine.distributed import first_to_say

        if not first_to_say(message):
            raise SystemExit(2)
    message = printable(message)
    if len(message) > LONGEST:  # it quotes a file
        message = f"{message[: LONGEST - 200]} … {message[-190:]}"
    try:
        print(f"supernet: error: {message}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        nobody_reads()
    raise SystemExit(2)


def nobody_reads(code: Any = 2) -> NoReturn:
    """Ends after `supernet … | head` has closed the pipe, without a word: there is nobody to read it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    raise SystemExit(code)
