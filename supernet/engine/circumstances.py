"""When, where and with what something was made."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from supernet import __version__


def circumstances() -> dict[str, Any]:
    """When, where and with what something was made."""
    threads = torch.get_num_threads()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()} {platform.system()}, {threads} thread{'' if threads == 1 else 's'}",
        "versions": versions(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("torch", "torchvision", "timm", "fairlearn", "numpy", "scipy")
    return {"supernet": __version__, "python": platform.python_version(), **{n: metadata.version(n) for n in names}}


def commit() -> str | None:
    """The checkout's commit, None outside of one."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
