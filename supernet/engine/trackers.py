"""Programs that show how a run goes, beside its own metrics.jsonl: what `--log-to` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from supernet.engine.board import Board
from supernet.engine.mlflow_run import MlflowRun
from supernet.engine.rows import Row
from supernet.errors import UserError


class Tracker(Protocol):
    """Is told of the rows as they come, and of the end."""

    def follow(self, rows: Sequence[Row]) -> None:
        """All rows of metrics.jsonl so far; some were told before."""

    def finish(self, rows: Sequence[Row], figures: Mapping[str, float], report: Path) -> None:
        """The run has ended, with these figures and this page."""


# by its package's name: (run folder, the run's options) → a tracker
TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {"tensorboard": Board, "mlflow": MlflowRun}


def asked_trackers(log_to: str | None) -> list[str]:
    """The names, each once. Raises UserError for one that is not installed."""
    names = list(dict.fromkeys(part.strip() for part in (log_to or "").split(",") if part.strip()))
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"--log-to {name}: not installed: pip install 'supernet[{name}]'.")
    return names
