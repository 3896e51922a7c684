"""The installed wheel works outside the checkout, tables, digits, templates and C code included."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECK = """
import json, sys
from pathlib import Path
import supernet
from supernet.commands.main import main
from supernet.costs.latency import load_table, shipped_devices
from supernet.data import load_data
from supernet.kernels.native import SOURCE
from supernet.spaces import get_space

home = Path(sys.argv[1])
assert Path(supernet.__file__).is_relative_to(home), supernet.__file__
assert SOURCE.is_file() and SOURCE.is_relative_to(home)
for device in shipped_devices():
    table = load_table(device)
    table.cost(get_space(table.content["space"]))
assert len(load_data("writers").test) == 7000
main(["search", "--quick", "--space", "micro32", "--budget-ms", "10", "--max-train", "64", "--batch-size", "32",
      "--threads", "1", "--out", "run"])
main(["lut", "predict", "--device", "rpi4", "--arch", "run/derived.json"])
assert "<svg" in Path("run/report.html").read_text()
"""


def test_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    source, home, elsewhere = tmp_path / "source", tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("supernet", "latency_luts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home)
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "supernet = supernet.commands.main:main" in archive.read(entry_points).decode()
        assert "supernet/py.typed" in archive.namelist()
        facts = archive.read(entry_points.replace("entry_points.txt", "METADATA")).decode().splitlines()
        plain = {line.removeprefix("Requires-Dist: ") for line in facts if "extra ==" not in line}
        assert {"onnx>=1.17", "onnxruntime>=1.20"} <= plain, "the main job ends with a checked model.onnx"
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(home)],
        cwd=elsewhere, env={"PYTHONPATH": str(home), "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "k3_e1" in done.stdout or "skip" in done.stdout


def test_the_citation_names_this_version() -> None:
    import yaml

    import supernet

    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["version"] == supernet.__version__ and found["license"] == "MIT" and found["cff-version"] == "1.2.0"


def test_each_command_stands_in_the_help_and_the_docs() -> None:
    done = subprocess.run([sys.executable, "-m", "supernet", "--help"], capture_output=True, text=True, check=True)
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    commands = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line[4] != " "]
    assert {"search", "train", "baseline", "predict", "evaluate", "compare", "export", "lut", "verify"} <= set(commands)
    for command in commands:
        assert f"supernet {command}" in text or f"python {command}.py" in text, command
