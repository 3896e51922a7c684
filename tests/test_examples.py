"""Each example runs from its first cell to its last. The quick form of the longer ones is a slow test, which CI runs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
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


@pytest.mark.slow
@pytest.mark.skipif(find_spec("litert_torch") is None, reason="needs the extra litert")
def test_the_microcontroller_script_runs(tmp_path: Path) -> None:
    own = tmp_path / "bin" / "supernet"  # of this Python, wherever it is
    own.parent.mkdir()
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m supernet "$@"\n')
    own.chmod(0o755)
    path = {**os.environ, "PATH": f"{own.parent}{os.pathsep}{os.environ['PATH']}"}
    script = [str(ROOT / "examples" / "microcontroller.sh"), str(tmp_path / "out"), "--quick", "--threads", "1"]
    done = subprocess.run(script, cwd=ROOT, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "train" / "model-int8.tflite").exists()
