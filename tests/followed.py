"""In place of a program that --log-to names: it keeps what it was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from supernet.engine import trackers


class Followed:
    """`opened` counts how often a run was begun or gone on with; `ends` are the figures of each end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.ends = 0, list[dict[str, float]]()
        monkeypatch.setitem(trackers.TRACKERS, "tensorboard", self._begun)
        monkeypatch.setattr(trackers, "find_spec", lambda name: name)

    def _begun(self, folder: Path, options: Mapping[str, Any]) -> Followed:
        self.opened += 1
        return self

    def follow(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def finish(self, rows: Sequence[Mapping[str, Any]], figures: Mapping[str, float], report: Path) -> None:
        assert rows and report.is_file()
        self.ends.append(dict(figures))
