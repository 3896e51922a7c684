"""Two ways to give α its gradient on the deep space: searches and trainings through the commands that a user has.

    python benchmarks/relaxations.py --folder DIR      # 5 seeds, fbnet32 at 10 ms on rpi4, 2,000 images; goes on where it was
    python benchmarks/relaxations.py --folder DIR --data fashion --relaxations gumbel-top2    # the default search on clothes
    python benchmarks/relaxations.py --quick           # micro32, one seed, a smoke test; nothing written

Of each relaxation and seed: what was derived, trained by `train`; test accuracy, gap between groups (of clothes: between classes), CPU seconds of the search. The network that
one would build by hand (the search leaves it as control/) is trained alike. `summary`: means, and paired differences with 95% t-intervals.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from command_runs import finished
from results_io import write_results
from t_interval import t_interval

RELAXATIONS = ("score", "gumbel-top2")


def trained(out: Path, arch: Path, seed: int, effort: list[str]) -> dict[str, Any]:
    """Accuracy and gap on test, in points."""
    options = ["--threads", "1", "--bootstrap", "0", "--export", "none"]
    metrics = finished(out, "train.py", "--arch", str(arch), "--seed", str(seed), *options, *effort)["metrics"]
    return figures(metrics)


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Of a training's report."""
    (attribute,) = metrics["attributes"].values()
    return {"accuracy": 100 * metrics["accuracy"]["value"], "gap": 100 * attribute["gaps"]["accuracy_parity"]["value"]}


def one(folder: Path, seed: int, relaxation: str, options: argparse.Namespace) -> dict[str, Any]:
    """A search, and the training of what it derived."""
    place = folder / f"{relaxation}-{seed}"
    effort = ["--quick"] if options.quick else []
    asked = (
        ["--space", "micro32", "--max-train", "64"] if options.quick else ["--budget-ms", "10", "--max-train", "2000"]
    )
    search = finished(place, "search.py", "--device", "rpi4", "--data", options.data, *asked, "--relaxation", relaxation, "--seed", str(seed), "--threads", "1", *effort)  # fmt: skip
    by_hand = next(row["ops"] for row in json.loads((place / "front.json").read_text()) if row["by_hand"])
    ops = search["derived"]["ops"]
    place = folder / f"{relaxation}-{seed}-trained"
    return {"seed": seed, "relaxation": relaxation, "ops": ops, "by_hand": ops == by_hand, "search_cpu_s": search["cpu_seconds"],
            "predicted_ms": search["derived"]["predicted_ms"], **trained(place, folder / f"{relaxation}-{seed}", seed, effort)}  # fmt: skip


def control(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The hand-made network: one search derived it, or left it beside what it derived."""
    for relaxation in options.relaxations:
        place = folder / f"{relaxation}-{seed}" / "control"
        if place.exists():
            effort = ["--quick"] if options.quick else []
            return {"seed": seed, "relaxation": "by hand", **trained(folder / f"by-hand-{seed}", place, seed, effort)}
    same = folder / f"{options.relaxations[0]}-{seed}-trained" / "report.json"
    return {"seed": seed, "relaxation": "by hand", **figures(json.loads(same.read_text())["metrics"])}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means, and paired differences with their 95% t-intervals."""
    found: dict[str, Any] = {"seeds": len({row["seed"] for row in rows})}
    values = {}
    for name in dict.fromkeys(row["relaxation"] for row in rows):
        own = [row for row in rows if row["relaxation"] == name]
        for figure in ("accuracy", "gap", "search_cpu_s"):
            if own and figure in own[0]:
                values[name, figure] = np.array([row[figure] for row in own])
                found[f"{name.replace(' ', '_')}_{figure}"] = float(values[name, figure].mean())
        if own and "by_hand" in own[0]:
            found[f"{name}_derived_by_hand"] = sum(row["by_hand"] for row in own)
    for one, other in (("gumbel-top2", "score"), ("gumbel-top2", "by hand"), ("score", "by hand")):
        for figure in ("accuracy", "gap"):
            a, b = values.get((one, figure), ()), values.get((other, figure), ())
            if len(a) == len(b) > 1:
                name = f"{one}_less_{other.replace(' ', '_')}_{figure}"
                found |= dict(zip((name, f"{name}_low", f"{name}_high"), t_interval(np.subtract(a, b)), strict=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="micro32, one seed; nothing is written")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", default="writers", choices=("writers", "fashion"))
    parser.add_argument("--relaxations", type=lambda text: text.split(","), default=list(RELAXATIONS))
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="relaxations-"))).absolute()
    rows: list[dict[str, Any]] = []
    for seed in range(1 if options.quick else options.seeds):
        rows += [one(folder, seed, relaxation, options) for relaxation in options.relaxations]
        rows.append(control(folder, seed, options))
        found = summary(rows)
        print(json.dumps(found, indent=1), flush=True)
        if not options.quick:
            write_results("relaxations" + ("" if options.data == "writers" else f"_{options.data}"), found, rows)


if __name__ == "__main__":
    main()
