"""What the product does with files that were changed on the way, and with options that make no sense.

    python benchmarks/robustness.py            26,000 mutants of text files, 4,000 of binary ones: some 10 minutes of one core
    python benchmarks/robustness.py --quick    a hundredth of them
    python benchmarks/robustness.py --done records.jsonl    goes on where it was stopped: kinds of file in there are not tried again

Each mutant goes through the product's own reader, as far as a command goes before its work begins. Right is that it is
refused in one line (UserError, BundleError), or taken; any other exception is a traceback, ten seconds a hang. Some changes
must not be taken in silence: `wrong_accepts` counts those of a list that are. What benchmarks/robustness_runs.py has
measured (kills, full disks, two processes) is taken into the summary.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from listed import listed_changes
from mutants import changed
from readers import Kind, make_samples, wrong_state
from results_io import RESULTS, read_results, write_results

from latency_luts.errors import BundleError
from supernet.commands.main import main as supernet
from supernet.config import SearchConfig, TrainConfig
from supernet.engine.checkpoint import read_checkpoint
from supernet.errors import UserError
from supernet.options import flag, kinds

COUNTS = {"text": 2200, "measured.csv": 400, "binary": 1000, "state": 120}  # an adaptation takes half a second
SECONDS = 10  # a reader that takes longer hangs
VALUES = ("0", "-1", "nan", "inf", "-inf", "1e309", "12345678901234567890", "9" * 5000, "text", "")
NUMBERS = {
    "lut sample": ("-n", "--channels", "--classes", "--seed", "--threads"), "lut export": ("--channels", "--classes"),
    "lut build": ("--threads", "--rounds", "--channels", "--classes"), "verify": ("--budget-ms", "--threads"),
}  # fmt: skip


class Hang(Exception):
    """The reader took too long."""


def outcome(read: Callable[[], object]) -> tuple[str, str]:
    """("taken" or "refused" or "traceback", what was said)."""

    def stop(*args: object) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = read()
        return "taken", " ".join(note for note in told if isinstance(note, str)) if isinstance(told, list) else ""
    except (UserError, BundleError) as error:
        return "refused", str(error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {str(error)[:150]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutants_of(name: str, kind: Kind, number: int, work: Path) -> dict[str, Any]:
    """Counts of what happened to `number` mutants, and the first faults; mutant n of a kind is always the same."""
    original, found, faults = kind.sample.read_bytes(), Counter(), {}
    started = time.monotonic()
    assert outcome(lambda: kind.read(kind.sample))[0] == "taken", (name, outcome(lambda: kind.read(kind.sample)))
    path = work / "mutant" / kind.sample.name
    path.parent.mkdir(exist_ok=True)
    for seed in range(number):
        path.write_bytes(kind.mutate(original, random.Random(f"{name} {seed}")))
        verdict, said = outcome(lambda: kind.read(path))
        found[verdict] += 1
        if verdict == "traceback":
            faults.setdefault(said.split(" (")[-1] if " (" in said else said[:60], {"seed": seed, "said": said[:300]})
    return {"kind": name, "binary": kind.binary, "mutants": number, **{v: found[v] for v in ("taken", "refused", "traceback")},
            "faults": list(faults.values())[:10], "seconds": round(time.monotonic() - started, 1)}  # fmt: skip


def wrong_states(number: int, work: Path) -> dict[str, Any]:
    """Checkpoints whose sum is right and whose values are of other types or shapes."""
    original, found, faults = read_checkpoint(work / "train" / "checkpoint.pt"), Counter(), []
    started = time.monotonic()
    for seed in range(number):
        rng = random.Random(f"state {seed}")
        state = dict(original)
        key = rng.choice([name for name in state if name != "run"])
        if isinstance(state[key], dict) and state[key] and rng.random() < 0.7:
            inside = dict(state[key])
            inner = rng.choice(list(inside))
            inside[inner] = rng.choice(
                (
                    None,
                    "text",
                    -1,
                    1e300,
                    torch.zeros(3),
                    torch.zeros(2, 2, dtype=torch.int64),
                    [],
                    changed({"a": 1}, rng),
                )
            )
            state[key] = inside
        elif rng.random() < 0.5:
            state[key] = rng.choice((None, "text", -1, 10**9, 1e300, torch.zeros(3), [], {}))
        else:
            del state[key]
        verdict, said = outcome(
            lambda state=state: wrong_state(work / "train", state, f"writers:{work / 'digits.npz'}", work)
        )
        found[verdict] += 1
        if verdict == "traceback" and len(faults) < 10:
            faults.append({"seed": seed, "said": said[:300]})
    return {"kind": "checkpoint.pt, its sum right", "binary": True, "mutants": number, **{v: found[v] for v in ("taken", "refused", "traceback")},
            "faults": faults, "seconds": round(time.monotonic() - started, 1)}  # fmt: skip


def options() -> list[dict[str, Any]]:
    """Every numeric option with every value: what did not end in one line and exit code 2."""
    asked = [(command, flag(item.name)) for command, kind in (("search", SearchConfig), ("train", TrainConfig))
             for item in fields(kind) if kinds(kind)[item.name][0] in (int, float)]  # fmt: skip
    asked += [(command, name) for command, names in NUMBERS.items() for name in names]
    found = []
    for (command, name), value in itertools.product(asked, VALUES):
        said = io.StringIO()
        code: Any = None
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                # the last ends every command before its work: what the number's own check lets pass, it does not
                supernet(
                    [
                        *command.split(),
                        f"{name}={value}" if name.startswith("--") else f"{name}{value}",
                        "--no-such-option",
                    ]
                )
        except SystemExit as stopped:
            code = stopped.code
        except Exception as error:
            said.write(f"{type(error).__name__}: {error}")
        lines = said.getvalue().strip().splitlines()
        right = code == 2 and len(lines) == 1 and lines[0].startswith("supernet: error: ")
        found.append({"option": f"{command} {name}", "value": value[:30], "right": right, "said": lines[-1][:200] if lines else ""})  # fmt: skip
    return found


def of_runs() -> dict[str, Any]:
    """The summary of robustness_runs.json, if it is there."""
    return read_results("robustness_runs")["summary"] if (RESULTS / "robustness_runs.json").is_file() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the mutants; nothing is written")
    parser.add_argument("--done", type=Path, help="JSON lines that hold, and get, the kinds that are done")
    parser.add_argument("--only", help="one kind of file; nothing is written")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    share = 0.01 if chosen.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        samples = make_samples(work)
        done = chosen.done.read_text().splitlines() if chosen.done and chosen.done.exists() else []
        records = [json.loads(line) for line in done]
        tasks = {name: partial(mutants_of, name, kind, int(COUNTS.get(name, COUNTS["binary" if kind.binary else "text"]) * share), work)
                 for name, kind in samples.items()}  # fmt: skip
        tasks["checkpoint.pt, its sum right"] = partial(wrong_states, max(2, int(COUNTS["state"] * share)), work)
        for name, task in tasks.items():
            if chosen.only in (None, name) and name not in {record["kind"] for record in records}:
                records.append(task())
                print(json.dumps(records[-1]), flush=True)
                if chosen.done:
                    with chosen.done.open("a") as file:
                        file.write(json.dumps(records[-1]) + "\n")
        listed = (
            []
            if chosen.only
            else [{"change": change.name, "verdict": outcome(change.read)} for change in listed_changes(work, samples)]
        )
    wrong = [
        row
        for row in listed
        if (row["verdict"][0] == "taken" and not row["verdict"][1]) or row["verdict"][0] == "traceback"
    ]
    tried = [] if chosen.only else options()
    text, binary = ([row for row in records if row["binary"] == b] for b in (False, True))
    summary = {
        "mutants": sum(row["mutants"] for row in text),
        "tracebacks": sum(row["traceback"] for row in text),
        "listed_changes": len(listed),
        "wrong_accepts": len(wrong),
        "binary_mutants": sum(row["mutants"] for row in binary),
        "binary_tracebacks": sum(row["traceback"] for row in binary),
        "options_tried": len(tried),
        "option_tracebacks": sum(not row["right"] for row in tried),
        **of_runs(),
    }
    for row in (*wrong, *(row for row in tried if not row["right"])):
        print(row)
    print(json.dumps(summary, indent=1))
    if not chosen.quick and chosen.only is None:
        print(write_results("robustness", summary, [*records, *wrong, *(row for row in tried if not row["right"])]))


if __name__ == "__main__":
    main()
