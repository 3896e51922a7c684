"""The machine that measures: pinning, and what can be read of its clock, governor and temperature."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latency_luts.errors import BundleError

CPU = Path("/sys/devices/system/cpu")
THERMAL = Path("/sys/class/thermal")


def check_threads(threads: int) -> None:
    """Raises BundleError for more threads than there are cores: a runtime may crash on them, and measures nothing then."""
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise BundleError(f"--threads must be from 1 to {cores}, the cores of this machine, not {threads}.")


@contextmanager
def pinned(threads: int) -> Iterator[list[int] | None]:
    """Binds this process to `threads` cores for a while, the fastest first, of equals the last; yields their numbers.

    Core 0 takes most interrupts, and on ARM boards the large cores come last. None where the OS has no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    fastest = sorted(allowed, key=lambda core: (_number(CPU / f"cpu{core}/cpufreq/cpuinfo_max_freq") or 0, core))
    chosen = sorted(fastest[-threads:])
    try:
        os.sched_setaffinity(0, chosen)
    except OSError:
        yield None
        return
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, allowed)


def describe(cores: list[int] | None) -> dict[str, Any]:
    """Processor, governor, clock (MHz), temperatures (°C) and load now; what cannot be read is None or left out."""
    first = CPU / f"cpu{cores[0] if cores else 0}" / "cpufreq"
    clock_khz = _number(first / "scaling_cur_freq")
    zones = {zone: _number(zone / "temp") for zone in sorted(THERMAL.glob("thermal_zone*"))}
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "pinned_to": cores,
        "governor": _text(first / "scaling_governor"),
        "clock_mhz": None if clock_khz is None else clock_khz / 1000,
        "celsius": {_text(zone / "type") or zone.name: temp / 1000 for zone, temp in zones.items() if temp is not None},
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    """The processor's or the board's name."""
    board = _text(Path("/proc/device-tree/model"))
    if board:
        return board.rstrip("\0")
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
