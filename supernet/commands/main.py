"""`supernet COMMAND …`: finds the command, and turns what the user can mend into one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from supernet import __version__
from supernet.commands import lut, search, sweep, train, verify
from supernet.errors import UserError


def main(argv: Sequence[str] | None = None, prog: str = "supernet") -> None:
    """Runs one command. Exit code 0, or 2 after a user's mistake, a full disk or an interrupt."""
    parser = argparse.ArgumentParser(prog=prog, description="Finds and trains image classifiers that fit a device's latency budget and serve every group of people.")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"supernet {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (search, train, sweep, lut, verify):
        command.add_parser(subparsers)
    options = parser.parse_args(argv)
    try:
        options.run(options)
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted. What was written stays.")
    except OSError as error:
        fail(
            f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}. What was written before stays."
        )


def fail(message: str) -> None:
    """One line on stderr, exit code 2."""
    if "WORLD_SIZE" in os.environ:  # torchrun: one process says it for all
        from supernet.distributed import first_to_say

        if not first_to_say(message):
            raise SystemExit(2)
    print(f"supernet: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)
