"""The commands as the user calls them, for examples and "Next: …" lines."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import textwrap
from pathlib import Path

_AS_IT_IS = re.compile(r"  (supernet|python|torchrun) |.*  # ")  # a command to copy, a line of YAML with its comment


class Help(argparse.HelpFormatter):
    """Description and epilog as paragraphs that fit the terminal; commands to copy, and their indented texts, stay apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        items: list[str] = []
        for line in text.splitlines():
            last = items[-1] if items else ""
            own = not last or not line or line.startswith("--") or last.endswith(":") or _AS_IT_IS.match(last)
            if own or _AS_IT_IS.match(line):
                items.append(line)
            else:
                items[-1] = f"{last} {line.strip()}"
        return "\n".join(line if _AS_IT_IS.match(line) else _wrapped(line, width) for line in items)


def _wrapped(line: str, width: int) -> str:
    first = line[: len(line) - len(line.lstrip())]
    further = first + ("  " if line.startswith("--") else "")
    return textwrap.fill(line.strip(), width, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)


def called(command: str, *words: object) -> str:
    """`supernet COMMAND WORDS` as it was called: python -m supernet, python search.py from a checkout, or the console script.

    words: what follows, such as a path; quoted where a shell needs it.
    """
    script, told = Path(sys.argv[0]), "".join(f" {shlex.quote(str(word))}" for word in words)
    if script.name == "__main__.py" and script.parent.name == "supernet":
        return f"python -m supernet {command}{told}"
    if script.name in ("search.py", "train.py"):
        beside = script.with_name(f"{command}.py")
        return (f"python {beside}" if beside.is_file() else f"python -m supernet {command}") + told
    return f"supernet {command}{told}"


def examples(text: str) -> str:
    """An epilog whose lines "  supernet COMMAND …" are as the user calls the command."""
    return re.sub(r"(?m)^  supernet (search|train)\b", lambda found: f"  {called(found[1])}", text)
