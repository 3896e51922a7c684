"""One writer and reader of benchmarks/results: a claim carries its command, date, commit, machine and versions.

``NAME.json`` has these and the ``summary``; ``NAME.records.json.gz`` beside it has every single run.
From a script in this folder: ``from results_io import write_results`` (Python puts the script's folder on the path).
"""

from __future__ import annotations

import gzip
import hashlib
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
RESULTS = HERE / "results"
PACKAGES = ("torch", "timm", "numpy", "fairlearn")


def write_results(
    name: str,
    summary: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    command: str | None = None,
    folder: Path = RESULTS,
) -> Path:
    """Write ``folder/NAME.records.json.gz`` and ``folder/NAME.json``, each whole or not at all; the latter's path.

    ``summary`` is flat (figure's name → number or text), ``records`` holds every single run. ``command`` defaults to
    the command line of this process. Call it again as runs end: each call replaces the files.
    Raises ValueError where a number is not finite, since JSON has none: use None for "undefined".
    """
    packed = gzip.compress(_lines(records).encode(), mtime=0)  # no time of day: the same records are the same file
    result = {
        "command": command or " ".join(["python", *map(_relative, [str(Path(sys.argv[0]).resolve()), *sys.argv[1:]])]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "summary": dict(summary),
        "records": {"number": len(records), "sha256": hashlib.sha256(packed).hexdigest()},
    }
    text = json.dumps(result, indent=1, default=_plain, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{name}.records.json.gz", packed)
    _replace(folder / f"{name}.json", text.encode())
    return folder / f"{name}.json"


def read_results(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """What ``NAME.json`` says. Raises FileNotFoundError where there is none."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def read_records(name: str, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every single run behind ``NAME.json``. Raises ValueError where the records are not those of its summary."""
    path = folder / f"{name}.records.json.gz"
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != read_results(name, folder)["records"]["sha256"]:
        raise ValueError(f"{path} and {name}.json are not of one run of the benchmark: run it anew")
    return json.loads(gzip.decompress(packed))


def _lines(records: Sequence[Mapping[str, Any]]) -> str:
    """A JSON list with one record a line."""
    rows = (json.dumps(record, default=_plain, allow_nan=False, separators=(",", ":")) for record in records)
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)


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


def _relative(word: str) -> str:
    """A word of a command without this machine's folders: a path from the checkout on, or by its name alone."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return path.relative_to(HERE.parent).as_posix() if path.is_relative_to(HERE.parent) else path.name


def _plain(value: Any) -> Any:
    """numpy's and torch's scalars and arrays as JSON's own types."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"not JSON: {type(value).__name__}")
