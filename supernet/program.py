"""The commands as the user calls them, for examples and "Next: …" lines."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def called(command: str) -> str:
    """`supernet COMMAND` as it was called: python -m supernet, python search.py from a checkout, or the console script.

    A console script that is not on the path is called by its file.
    """
    script = Path(sys.argv[0])
    if script.name == "__main__.py" and script.parent.name == "supernet":
        return f"python -m supernet {command}"
    if script.name in ("search.py", "train.py"):
        beside = script.with_name(f"{command}.py")
        return f"python {beside}" if beside.is_file() else f"python -m supernet {command}"
    return f"supernet {command}"


def examples(text: str) -> str:
    """An epilog whose lines "  supernet COMMAND …" are as the user calls the command."""
    return re.sub(r"(?m)^  supernet (search|train)\b", lambda found: f"  {called(found[1])}", text)
