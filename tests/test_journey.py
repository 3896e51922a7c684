"""A user's journey with rare positives: what the report says is true (benchmarks/journey.py, in its quick form)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_what_the_reports_of_a_journey_say_is_true(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "journey.py"), "--quick", "--folder", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["checks"] >= 50
