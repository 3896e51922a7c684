"""One writer for benchmarks/results/NAME.json: a claim carries its command, date, commit, machine and versions.

From a script in this folder: ``from results_io import write_results`` (Python puts the script's folder on the path).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "timm", "numpy", "fairlearn")


def write_results(
    name: str,
    summary: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    command: str | None = None,
    folder: Path = HERE / "results",
) -> Path:
    """Write ``folder/NAME.json`` whole or not at all, and return its path.

    ``summary`` is flat (figure's name → number or text), ``records`` holds every single run. ``command`` defaults to
    the command line of this process. Call it again as runs end: each call replaces the file.
    Raises ValueError where a number is not finite, since JSON has none: use None for "undefined".
    """
    result = {
        "command": command or " ".join(["python", _relative(sys.argv[0]), *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "summary": dict(summary),
        "records": [dict(record) for record in records],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(result, indent=1, default=_plain, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def versions() -> dict[str, str]:
    """Python's and the packages' versions; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, number of usable cores, operating system, and the GPU where torch is loaded and sees one."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor,
        "architecture": platform.machine(),
        "cores": cores,
        "torch_threads": torch.get_num_threads() if torch is not None else None,
        "system": f"{platform.system()} {platform.release()}",
        "gpu": gpu,
    }


def commit() -> str | None:
    """The checkout's commit, with "-dirty" where tracked code differs from it; None outside a git checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=HERE.parent, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def _relative(script: str) -> str:
    path = Path(script).resolve()
    return path.relative_to(HERE.parent).as_posix() if path.is_relative_to(HERE.parent) else path.name


def _plain(value: Any) -> Any:
    """numpy's and torch's scalars and arrays as JSON's own types."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"not JSON: {type(value).__name__}")
