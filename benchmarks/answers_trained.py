"""Answers of one search on the deep space, each trained: does the table of losses rank them?

    python benchmarks/answers_trained.py --folder DIR   # fbnet32, rpi4 at five budgets (the fastest network keeps four of them), 2,000 images; some 15 minutes of a core; goes on where it was
    python benchmarks/answers_trained.py --quick        # micro32, two budgets, a smoke test; nothing written

`search --strategy one-shot`, then `train` of each answer, as a user does. `summary`: Kendall's τ of the predicted mean loss with the cross-entropy and the error on
test. Budgets differ, so size alone would rank, too: its τ stands beside (predicted latency).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from command_runs import finished
from results_io import write_results
from scipy.stats import kendalltau


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="micro32, two budgets; nothing is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="answers-"))).absolute()
    asked = ["--space", "micro32", "--max-train", "64", "--budgets-ms", "8.5,9", "--quick"] if options.quick else ["--max-train", "2000", "--budgets-ms", "7,8,10,13,17"]  # fmt: skip
    common = ["--seed", str(options.seed), "--threads", "1"]
    search = finished(folder / "search", "search.py", "--devices", "rpi4", "--strategy", "one-shot", *asked, *common)
    rows = []
    for answer in search["answers"]:
        effort = ["--quick"] if options.quick else []
        report = finished(folder / Path(answer["folder"]).name, "train.py", "--arch", str(folder / "search" / answer["folder"]), *common,
                     "--bootstrap", "0", "--export", "none", *effort)  # fmt: skip
        metrics = report["metrics"]
        rows.append({
            "budget_ms": answer["budget_ms"], "latency_ms": answer["costs"]["latency"], "predicted_loss": answer["mean_loss"],
            "cross_entropy": metrics["cross_entropy"]["value"], "error": 1 - metrics["accuracy"]["value"], "ops": answer["ops"],
        })  # fmt: skip
        print(rows[-1], flush=True)
    found: dict[str, Any] = {"answers": len(rows), "seed": options.seed}
    for name, sign in (("predicted_loss", 1), ("latency_ms", -1)):
        for truth in ("cross_entropy", "error"):
            tau = kendalltau([sign * row[name] for row in rows], [row[truth] for row in rows]).statistic
            found[f"kendall_{name}_{truth}"] = float(tau) if tau == tau else None
    print(json.dumps(found, indent=1))
    if not options.quick:
        write_results("answers_trained", found, rows)


if __name__ == "__main__":
    main()
