"""The main job as a user runs it: both commands at their defaults, three seeds, wall time, memory, accuracy and gap.

    python benchmarks/main_job.py [--seeds 3] [--folder runs/main_job]
    python benchmarks/main_job.py --quick       # one seed and one budget on the small space, with --quick; nothing written

Also: the derived architecture's predicted latency over its budget, for budgets from 9 to 30 ms (quick searches: the
integer programme keeps the budget whatever α is). Resumable: finished runs are read, not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from results_io import write_results

ROOT = Path(__file__).parent.parent
BUDGETS = (9, 10, 12, 15, 20, 30)


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """One command in a process of its own → its report, with wall seconds and the peak memory of the child."""
    record = folder / "record.json"
    if not record.exists():
        started = time.monotonic()
        subprocess.run([sys.executable, *arguments, "--out", str(folder)], cwd=ROOT, check=True)
        seconds = time.monotonic() - started
        # the largest child so far: of the same kind of run, so near enough an upper bound for this one
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        report = json.loads((folder / "report.json").read_text())
        record.write_text(json.dumps({"seconds": seconds, "peak_memory_mb": peak_mb, "report": report}))
    return json.loads(record.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "main_job")
    parser.add_argument(
        "--quick", action="store_true", help="one seed and one budget, with --quick; nothing is written"
    )
    options = parser.parse_args()
    folder = options.folder.resolve() / ("quick" if options.quick else "")
    effort = ["--quick", "--max-train", "64"] if options.quick else []
    space = ["--space", "micro32"] if options.quick else []
    records: list[dict[str, Any]] = []

    def save() -> None:
        if not options.quick:
            write_results("main_job", summarise(records), records, "python benchmarks/main_job.py")

    for seed in range(1 if options.quick else options.seeds):
        search = run(folder / f"search-{seed}", "search.py", "--device", "rpi4", "--seed", str(seed), *effort, *space)
        arch = folder / f"search-{seed}" / "derived.json"
        train = run(folder / f"train-{seed}", "train.py", "--arch", str(arch), "--seed", str(seed), *effort)
        derived, metrics = search["report"]["derived"], train["report"]["metrics"]
        writer = metrics["attributes"]["writer"]
        records.append(
            {
                "seed": seed,
                "search_seconds": search["seconds"],
                "train_seconds": train["seconds"],
                "search_step_seconds": search["report"]["seconds"]["search"] / search["report"]["steps"],
                "peak_memory_mb": max(search["peak_memory_mb"], train["peak_memory_mb"]),
                "accuracy": metrics["accuracy"]["value"],
                "gap": writer["gaps"]["accuracy_parity"]["value"],
                "group_accuracy": {name: group["accuracy"]["value"] for name, group in writer["groups"].items()},
                "predicted_ms": derived["predicted_ms"],
                "budget_ms": derived["budget_ms"],
                "ops": derived["ops"],
            }
        )
        print(records[-1], flush=True)
    for budget in BUDGETS[:1] if options.quick else BUDGETS:
        save()
        report = run(
            folder / f"budget-{budget}", "search.py", "--device", "rpi4", "--quick", "--budget-ms", str(budget), *space
        )
        derived = report["report"]["derived"]
        records.append({"budget_ms": budget, "predicted_ms": derived["predicted_ms"], "seconds": report["seconds"]})
    save()
    print(json.dumps(summarise(records), indent=1))


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the runs so far."""
    seeds = [record for record in records if "seed" in record]
    quick = [record["seconds"] for record in records if "seed" not in record]
    means = ("search_seconds", "train_seconds", "search_step_seconds")
    return {
        **{name: float(np.mean([r[name] for r in seeds])) for name in means},
        "peak_memory_mb": max(r["peak_memory_mb"] for r in seeds),
        **{f"{name}_mean": float(np.mean([r[name] for r in seeds])) for name in ("accuracy", "gap")},
        **{
            f"{name}_sd": float(np.std([r[name] for r in seeds], ddof=1)) if len(seeds) > 1 else None
            for name in ("accuracy", "gap")
        },
        "max_predicted_over_budget": max(r["predicted_ms"] / r["budget_ms"] for r in records),
        "budgets": ", ".join(f"{r['budget_ms']:g}" for r in records),
        "quick_search_seconds": float(np.mean(quick)) if quick else None,
        "seeds": len(seeds),
    }


if __name__ == "__main__":
    main()
