"""Each example runs from its first cell to its last. The quick form of the longer ones is a slow test, which CI runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[] if p.stem == "devices" else [pytest.mark.slow]) for p in EXAMPLES],
    ids=lambda p: p.stem,
)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    """As a script; its cells are those of a notebook (jupytext's percent format)."""
    assert path.read_text(encoding="utf-8").startswith("# %% [markdown]")
    done = subprocess.run([sys.executable, str(path), "--quick"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
