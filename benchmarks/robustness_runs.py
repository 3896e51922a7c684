"""What a kill, a full disk, a second process and a flipped bit do to a run.

    python benchmarks/robustness_runs.py            every write of search, train and the table builder: about 25 minutes of one core
    python benchmarks/robustness_runs.py --quick    some of them: a minute

It goes on where it was stopped (--folder). A full disk is a small tmpfs, which needs root; without, a limit on the size of
a file stands for it (`full_disk_by`). The runs are as small as runs can be: micro32 on 100 digits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_digits import few_digits
from kill_points import run, start, supernet, wait
from results_io import write_results

TIMED = ("seconds", "date")
WHOLE = ("config.json", "derived.json", "front.json", "latency_table.json", "metrics.jsonl", "model.json",
         "model.safetensors", "predictions.npz")  # fmt: skip
STEPS = {
    "search": 1,
    "random": 5,
    "train": 1,
    "table": 3,
}  # every so many points: a random search begins as the other does
SMALL = ["--threads", "1", "--batch-size", "20"]


@dataclass(frozen=True)
class Job:
    """A command that is run in an empty folder. `again` goes on with it there, `same` says what must come out the same."""

    name: str
    command: Callable[[], object]
    again: Callable[[], object]
    same: Callable[[Path], dict[str, str]]


def search_words(data: str, out: bool = True, seed: int = 0) -> list[str]:
    words = ["search", "--data", data, "--space", "micro32", "--budget-ms", "10", "--epochs", "1", "--warmup-epochs", "1",
             "--eval-images", "20", "--seed", str(seed), *SMALL]  # fmt: skip
    return [*words, *(["--out", "run"] if out else [])]


def run_files(folder: Path) -> dict[str, str]:
    """File → SHA-256 of all that does not tell the time; what must not be there is told, too."""
    base = folder / "run"
    found = {name: hashlib.sha256((base / name).read_bytes()).hexdigest() for name in WHOLE if (base / name).exists()}
    found |= {name: "there" for name in ("report.json", "report.html", "model_card.md") if (base / name).exists()}
    if (base / "checkpoint.pt").exists():
        found["checkpoint.pt"] = state_digest(torch.load(base / "checkpoint.pt", weights_only=True))
    if (base / "evaluations.jsonl").exists():
        rows = [json.loads(line) for line in (base / "evaluations.jsonl").read_text().splitlines()]
        found["evaluations.jsonl"] = json.dumps([{k: v for k, v in row.items() if k not in TIMED} for row in rows])
    return found | {str(path.relative_to(folder)): "left behind" for path in folder.rglob("*.part")}


def state_digest(state: object) -> str:
    """SHA-256 of what a checkpoint holds: the same values may be pickled in several ways."""
    digest = hashlib.sha256()

    def take(value: object) -> None:
        if isinstance(value, dict):
            take([part for item in value.items() for part in item])
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)} of".encode())
            for one in value:
                take(one)
        elif isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
        else:
            digest.update(repr(value).encode())

    take(state)
    return digest.hexdigest()


def table_files(folder: Path) -> dict[str, str]:
    """Of a table what is not a time: its keys, and how many visits it is made of."""
    found = {path.name: "there" for path in folder.iterdir()}
    if (folder / "x.json").exists():
        table = json.loads((folder / "x.json").read_text())
        found["visits"] = str(table["protocol"]["visits"])
        found["entries"] = json.dumps([[entry[key] for key in ("op", "c_in", "c_out")] for entry in table["entries"]])
    return found


def jobs(folder: Path) -> dict[str, Job]:
    """The commands, and what they need: small data, a search to train from, a bundle."""
    data = few_digits(folder / "digits.npz", train=2, val=1, test=2)
    searched = folder / "searched"
    if not (searched / "run" / "report.json").exists():
        shutil.rmtree(searched, ignore_errors=True)
        searched.mkdir()
        assert run(supernet(search_words(data)), searched, folder / "searched.log") == 0, folder / "searched.log"
    train = ["train", "--arch", str(searched / "run"), "--epochs", "2", "--bootstrap", "0", "--export", "none", *SMALL, "--out", "run"]  # fmt: skip
    resume = {name: supernet([name, "--resume", "run"]) for name in ("search", "train")}
    random_words = [*search_words(data), "--strategy", "random", "--evaluations", "3"]
    return {
        "search": Job("search", supernet(search_words(data)), resume["search"], run_files),
        "random": Job("random", supernet(random_words), resume["search"], run_files),
        "train": Job("train", supernet(train), resume["train"], run_files),
        "table": Job("table", builder(folder / "bundle"), builder(folder / "bundle"), table_files),
    }


def builder(bundle: Path) -> Callable[[], object]:
    """The table builder on a bundle of a space as small as can be."""
    from latency_luts import runner
    from supernet.lut.bundle import export_bundle
    from supernet.spaces import LayerSpec, SearchSpace

    if not (bundle / "manifest.json").exists():
        ops = ("k3_e1", "k5_e1")
        layers = tuple(LayerSpec(8, 8, 1, 8, 0, ops) for _ in range(2))
        space = SearchSpace("tiny", ops, layers, 8, 8, 1, 16)
        log = bundle.with_name("export.log")  # in a process of its own: no thread of torch's may be there before a fork
        export = partial(export_bundle, space, bundle, cache=bundle.with_name("pieces"), validation_networks=4)
        assert run(export, bundle.parent, log) == 0, log.read_text()
    return lambda: runner.main(["--device", "x", "--out", "x.json", "--quick", "--rounds", "1"], bundle)


class Records:
    """One row a try, in a file that a stopped benchmark goes on from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = {row["try"]: row for row in map(json.loads, lines)}

    def once(self, name: str, attempt: Callable[[], dict[str, Any]]) -> None:
        if name not in self.rows:
            self.rows[name] = {"try": name, **attempt()}
            with self.path.open("a") as file:
                file.write(json.dumps(self.rows[name]) + "\n")
            print(json.dumps(self.rows[name]), flush=True)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if row["try"].startswith(f"{kind} ")]


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def kills(all_jobs: dict[str, Job], folder: Path, records: Records, every: int | None = None) -> None:
    """Points of each command (`every` so many; None: as in STEPS): killed there, gone on with, compared with what one call leaves.

    The table builder repeats a measurement that was disturbed: the next call may end before a late point, and is then no kill.
    """
    for job in all_jobs.values():
        place, log = folder / "place", folder / "log"
        counted = folder / f"{job.name}-points.json"
        assert run(job.command, fresh(place), log, counted=counted) == 0, log.read_text()
        expected, labels = job.same(place), json.loads(counted.read_text())

        def attempt(number: int, job: Job = job, labels: list[str] = labels, expected: dict[str, str] = expected, place: Path = place, log: Path = log) -> dict[str, Any]:  # fmt: skip
            killed = run(job.command, fresh(place), log, kill_at=number)
            begun, done = (place / "run" / "config.json").exists(), (place / "run" / "report.json").exists()
            command = job.again if begun and (done or number % 2) else job.command
            code = run(command, place, log)
            wrong = differing(expected, job.same(place)) if code == 0 else [log.read_text()[-300:]]
            return {
                "label": labels[number],
                "killed": killed == -9,
                "ok": killed in (-9, 0) and not wrong,
                "wrong": wrong,
            }

        for number in range(0, len(labels), every or STEPS[job.name]):
            records.once(f"kill {job.name} {number}", lambda number=number, attempt=attempt: attempt(number))


def differing(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return [name for name in {**expected, **found} if expected.get(name) != found.get(name)]


def disks(all_jobs: dict[str, Job], folder: Path, records: Records, number: int) -> str:
    """Each command on `number` disks that are too small, and again when there is room. Says how a disk is made full."""
    with_root = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(fresh(folder / "disk"))], capture_output=True).returncode == 0  # fmt: skip
    if with_root:
        subprocess.run(["umount", str(folder / "disk")], check=True)
    for job in all_jobs.values():
        place, log = folder / "place", folder / "log"
        assert run(job.command, fresh(place), log) == 0, log.read_text()
        expected = job.same(place)
        total = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        largest = max(path.stat().st_size for path in place.rglob("*") if path.is_file())
        most = 1.2 * total if with_root else largest
        for size in np.unique(np.geomspace(4096, max(most, 8192), number).astype(int) // 4096 * 4096):
            attempt = on_small_disk if with_root else with_small_files
            records.once(
                f"disk {job.name} {size}", lambda j=job, s=size, e=expected, a=attempt: a(j, folder, int(s), e)
            )
    return "tmpfs" if with_root else "limit on a file's size"


def on_small_disk(job: Job, folder: Path, size: int, expected: dict[str, str]) -> dict[str, Any]:
    place = fresh(folder / "disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        code = run(job.command, place, folder / "log")
        words = (folder / "log").read_text()
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        return after_full_disk(job, place, folder / "log", code, words, expected)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def with_small_files(job: Job, folder: Path, size: int, expected: dict[str, str]) -> dict[str, Any]:
    def limited() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return job.command()

    place = fresh(folder / "place")
    code = run(limited, place, folder / "log")
    return after_full_disk(job, place, folder / "log", code, (folder / "log").read_text(), expected)


def after_full_disk(
    job: Job, place: Path, log: Path, code: int, words: str, expected: dict[str, str]
) -> dict[str, Any]:
    """One line and exit code 2, and then the same command to its end; where there was room enough, 0."""
    again = run(job.command, place, log) if code else 0
    wrong = differing(expected, job.same(place)) if again == 0 else [log.read_text()[-300:]]
    lines = [line for line in words.splitlines() if "error: " in line]
    return {
        "code": code,
        "line": lines[-1][-150:] if lines else "",
        "traceback": "Traceback" in words,
        "ok": code in (0, 2) and (code == 0 or len(lines) == 1) and not wrong,
        "wrong": wrong,
    }


def pairs(all_jobs: dict[str, Job], folder: Path, records: Records, number: int) -> None:
    """Two processes at once: the same --out, no --out, two --resume; no folder may hold something of both."""
    data, log = f"writers:{folder / 'digits.npz'}", folder / "log"
    expected = {}
    for seed in (0, 1):
        place = fresh(folder / "place")
        assert run(supernet(search_words(data, seed=seed)), place, log) == 0, log.read_text()
        expected[seed] = {
            name: own for name, own in run_files(place).items() if name in ("front.json", "metrics.jsonl")
        }

    def both(first: Callable[[], object], second: Callable[[], object], place: Path) -> tuple[list[int], list[str]]:
        logs = [folder / "log-0", folder / "log-1"]
        processes = [start(first, place, logs[0]), start(second, place, logs[1])]
        return [wait(process) for process in processes], [log.read_text() for log in logs]

    def same_out() -> dict[str, Any]:
        place = fresh(folder / "place")
        codes, words = both(*(supernet(search_words(data, seed=seed)) for seed in (0, 1)), place)
        return judged(codes, words, place, lambda winner: expected[winner])

    def two_resumes() -> dict[str, Any]:
        place = fresh(folder / "place")
        assert run(all_jobs["search"].command, place, log, kill_at=30) == -9
        codes, words = both(all_jobs["search"].again, all_jobs["search"].again, place)
        return judged(codes, words, place, lambda winner: expected[0])

    def judged(codes: list[int], words: list[str], place: Path, of: Callable[[int], dict[str, str]]) -> dict[str, Any]:
        if sorted(codes) != [0, 2]:
            return {"ok": False, "codes": codes, "wrong": [text[-200:] for text in words]}
        named = "in use by process" in words[codes.index(2)] or "is there already" in words[codes.index(2)]
        found = {name: own for name, own in run_files(place).items() if name in ("front.json", "metrics.jsonl")}
        return {"ok": named and found == of(codes.index(0)), "codes": codes, "named": named}

    def no_out() -> dict[str, Any]:
        place = fresh(folder / "place")
        codes, _ = both(*(supernet(search_words(data, out=False, seed=seed)) for seed in (0, 1)), place)
        found = []
        for own in sorted((place / "runs").iterdir()):
            hashes = {name: hashlib.sha256((own / name).read_bytes()).hexdigest() for name in expected[0]}
            found.append([seed for seed in (0, 1) if hashes == expected[seed]])
        return {"ok": codes == [0, 0] and sorted(found) == [[0], [1]], "codes": codes, "found": found}

    for position in range(number):
        kind = (same_out, no_out, two_resumes)[position % 3]
        records.once(f"pair {kind.__name__} {position}", kind)


def flips(folder: Path, records: Records, number: int) -> None:
    """A bit flipped in checkpoint.pt and model.safetensors: every reader must notice."""
    from supernet.engine.checkpoint import read_checkpoint
    from supernet.errors import UserError
    from supernet.models import load_model

    place, log = folder / "flips", folder / "log"
    if not (place / "run" / "report.json").exists():
        assert run(jobs(folder)["train"].command, fresh(place), log) == 0, log.read_text()
    readers: dict[str, Callable[[], object]] = {
        "checkpoint.pt": lambda: read_checkpoint(place / "run" / "checkpoint.pt"),
        "model.safetensors": lambda: load_model(str(place / "run" / "model.json"), pretrained=True),
    }

    def attempt(name: str, rng: random.Random) -> dict[str, Any]:
        path, silent = place / "run" / name, 0
        whole = path.read_bytes()
        try:
            for _ in range(number):
                changed = bytearray(whole)
                changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
                path.write_bytes(changed)
                try:
                    readers[name]()
                    silent += 1
                except UserError:
                    pass
        finally:
            path.write_bytes(whole)
        readers[name]()
        return {"ok": not silent, "flips": number, "silent": silent}

    for name in readers:
        records.once(f"flip {name} {number}", lambda name=name: attempt(name, random.Random(name)))


def measure(quick: bool, folder: Path) -> dict[str, Any]:
    """The figures of `summary`. `folder` is on a disk with room, and keeps what is done already."""
    folder.mkdir(parents=True, exist_ok=True)
    records = Records(folder / ("quick.jsonl" if quick else "records.jsonl"))
    all_jobs = jobs(folder)
    kills(all_jobs, folder, records, 60 if quick else None)
    full_by = disks(all_jobs, folder, records, number=1 if quick else 8)
    pairs(all_jobs, folder, records, number=1 if quick else 24)
    flips(folder, records, number=20 if quick else 500)
    found = {kind: records.of(kind) for kind in ("kill", "disk", "pair", "flip")}
    return {
        "kill_points": sum(row["killed"] for row in found["kill"]),
        "kill_failures": _bad(found["kill"]),
        "full_disk_by": full_by,
        "full_disk_sizes": len(found["disk"]),
        "full_disk_tracebacks": sum(row["traceback"] for row in found["disk"]),
        "full_disk_failures": _bad(found["disk"]),
        "concurrent_pairs": len(found["pair"]),
        "concurrent_mixed": _bad(found["pair"]),
        "weight_flips": sum(row["flips"] for row in found["flip"]),
        "silent_weight_changes": sum(row["silent"] for row in found["flip"]),
    }


def _bad(rows: list[dict[str, Any]]) -> int:
    return sum(not row["ok"] for row in rows)


def failures(folder: Path, quick: bool) -> Iterator[dict[str, Any]]:
    """The tries that did not end as they should."""
    yield from (row for row in Records(folder / ("quick.jsonl" if quick else "records.jsonl")).rows.values() if not row["ok"])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the runs and what is done already (default: a temporary one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="robustness-"))
    summary = measure(options.quick, folder.absolute())
    print(json.dumps(summary, indent=1))
    if not options.quick:
        write_results("robustness_runs", summary, list(failures(folder.absolute(), options.quick)))
    sys.exit(bool(summary["kill_failures"] or summary["full_disk_failures"] or summary["concurrent_mixed"] or summary["silent_weight_changes"]))  # fmt: skip


if __name__ == "__main__":
    main()
