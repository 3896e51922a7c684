"""Runs of the commands that a user has, each in a process of its own and kept in a folder: a benchmark that is started again goes on behind them."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def finished(out: Path, *arguments: str) -> dict[str, Any]:
    """The report of a command's run, with its `cpu_seconds`. One that is there is read; an unfinished one begins again, so that its seconds are whole."""
    record = out / "cpu_seconds.json"
    if not record.exists():
        shutil.rmtree(out, ignore_errors=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments, "--out", str(out)], cwd=ROOT, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        record.write_text(json.dumps(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return json.loads((out / "report.json").read_text()) | {"cpu_seconds": json.loads(record.read_text())}
