"""What the counterparts of published systems are worth: a row a system, its figure beside its rival's (docs/counterparts.md).

    python benchmarks/counterparts.py [--rows NAME,NAME] [--folder runs/counterparts] [--quick]

A row is a function (folder of its own, quick) → (figures, runs) in `ROWS`; a long one has a file `counterparts_<name>.py`. It goes on
from what it left in its folder. A row that is finished there is not measured again: remove FOLDER/NAME to do so. Rows that are not
asked for keep what the result file says of them, so that each may be measured on its own day; the first record of a row has its date and commit.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import counterparts_data_aware
import counterparts_denoise
import counterparts_exits
import counterparts_llm
import counterparts_regret
import counterparts_scores
import counterparts_segment
import counterparts_training
import counterparts_tune
from results_io import RESULTS, commit, machine, read_records, write_results

ROOT = Path(__file__).resolve().parent.parent
NAME = "counterparts"
Figures = dict[str, float | str | bool | None]
Records = list[dict[str, Any]]

ROWS: dict[str, Callable[[Path, bool], tuple[Figures, Records]]] = {
    **counterparts_llm.ROWS,
    **counterparts_regret.ROWS,
    **counterparts_scores.ROWS,
    **counterparts_exits.ROWS,
    **counterparts_training.ROWS,
    **counterparts_tune.ROWS,
    **counterparts_denoise.ROWS,
    **counterparts_data_aware.ROWS,
    **counterparts_segment.ROWS,
}


def measured(name: str, folder: Path, quick: bool) -> Records:
    """The records of a row, the first with its figures; those of an earlier call where it was finished."""
    done, own = folder / name / "row.json", folder / name
    if done.exists():
        return json.loads(done.read_text())
    own.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    figures, runs = ROWS[name](own, quick)
    head = {
        "row": name, "figures": figures, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(), "machine": machine(), "cpu_seconds_of_last_call": time.process_time() - started,
    }  # fmt: skip
    records = [head, *({"row": name, **run} for run in runs)]
    done.write_text(json.dumps(records, default=lambda value: value.tolist()))
    return records


def written(records: Records) -> None:
    """Puts a row into the result file, in place of what it said of that row; the others stay."""
    name = records[0]["row"]
    before = read_records(NAME) if (RESULTS / f"{NAME}.json").exists() else []
    every = [*(one for one in before if one["row"] != name and one["row"] in ROWS), *records]
    every.sort(key=lambda one: list(ROWS).index(one["row"]))  # stable: the order of ROWS
    summary = {key: value for one in every for key, value in one.get("figures", {}).items()}
    write_results(NAME, summary, every, f"python benchmarks/{NAME}.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="names, joined by commas: " + ", ".join(ROWS))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / NAME)
    parser.add_argument("--quick", action="store_true", help="the least that each row can do; nothing is written")
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}")
    for name in names:
        records = measured(name, options.folder / ("quick" if options.quick else ""), options.quick)
        print(name, json.dumps(records[0]["figures"], default=lambda value: value.tolist()), flush=True)
        if not options.quick:
            written(records)


if __name__ == "__main__":
    main()
