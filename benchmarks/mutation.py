"""Would the tests notice? Small faults are put into the code one at a time, and the tests that run the changed line must fail.

A mutant is one change of the syntax tree: a comparison, an arithmetic operator, a number, a sign, min for max, `and` for `or`,
a `not` left out, a return of None. torch is imported once; each mutant is a fork of that process which imports the changed
module and runs its tests, the quickest first, until one fails or its time (of the processor) is up. Which tests run which line is measured once.

    python benchmarks/mutation.py                          # everything: hours of one core; goes on where it was stopped
    python benchmarks/mutation.py --sample 200 --seed 1    # so many of them, drawn at random
    python benchmarks/mutation.py --modules objective,refit
    python benchmarks/mutation.py --survivors              # those that survived once more, after tests were added
    python benchmarks/mutation.py --quick                  # 10 mutants, nothing is written

Rows go into results/mutation.rows.jsonl.gz as they come; `summary` in results/mutation.json: killed, tried, share, total (all
that there are). What survived, with its line, are the records. Rows of a module that has been changed since do not count.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from mutation_tree import Mutant, mutants
from results_io import write_results

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "benchmarks" / "results" / "mutation.rows.jsonl.gz"
TESTS = {
    "objective/*.py": ("test_mechanisms.py", "test_fairness_methods.py", "test_fairness_minimax.py"),
    "alpha/*.py": ("test_relaxation.py", "test_mechanisms.py"),
    "derive.py": ("test_derive.py",),
    "programme.py": ("test_derive.py",),
    "fairness/*.py": (
        "test_gap_intervals.py", "test_fairness.py", "test_fairness_running.py", "test_fairness_methods.py", "test_fairness_minimax.py",
    ),
    "refit.py": ("test_refit.py",),
    "postprocessing.py": ("test_postprocessing.py",),
    "metrics.py": ("test_gap_intervals.py", "test_metrics.py"),
    "resampling.py": ("test_metrics.py", "test_paired.py"),
    "paired.py": ("test_metrics.py", "test_paired.py"),
    "class_metrics.py": ("test_class_metrics.py", "test_metrics.py", "test_metrics_by_class.py"),
    "intervals.py": ("test_gap_intervals.py", "test_metrics.py"),
    "gap_intervals.py": ("test_gap_intervals.py", "test_metrics.py"),
    "gap_figures.py": ("test_metrics.py",),
    "coverage.py": ("test_refit.py",),
    "paired_intervals.py": ("test_metrics.py", "test_paired.py"),
    "costs/*.py": ("test_costs.py", "test_costs_latency.py", "test_derive.py"),
}  # fmt: skip  # of each module: the files whose tests are its own
EQUAL = {
    "alpha/relaxation.py: (torch.arange(number) + offset) / number * cumulative_K[-1] → (torch.arange(number) + offset) / number / cumulative_K[-1]": "probabilities sum to 1",
    "alpha/relaxation.py: -1 → 1": "of two axes 1 is the last",
    "class_metrics.py: 1 → 2": "a second group without anybody; or any number above the units",
    "costs/factors.py: 1.0 → 2.0": "the solver's goal times 2",
    "derive.py: 1000.0 → 2000.0": "both stand for a probability of 0",
    "derive.py: 100 → 101": "both are above any multiplier that is needed",
    "derive.py: 1.0 → 2.0": "the limit itself caps it",
    "gap_intervals.py: 1 → 2": "the largest over both axes, in either order",
    "intervals.py: 1 → 2": "-1 is not to be told from 2 in a reshape of three axes",
    "intervals.py: len(ids) < len(group_N) → len(ids) <= len(group_N)": "samples by themselves have a design effect of 1",
    "fairness/gaps.py: 0 → 1": "a column's shape, whichever",
    "fairness/gaps.py: True → False": "zip is strict, but the lengths are asserted above",
    "fairness/running.py: self.step += 1 → self.step -= 1": "only its parity counts",
    "fairness/running.py: past_HSGE.sum → past_HSGE.mean": "rates are the same of sums and of means",
}  # survivors that no test can kill: module and change → why
LONGEST = 20.0  # seconds: tests that take longer are left out
SPARE = 10.0  # seconds of the processor that a mutant has beside four times those of its tests
WARM = ("torch", "torchvision", "timm", "fairlearn.metrics", "fairlearn.postprocessing", "sklearn.metrics", "pandas", "hypothesis",
        "scipy.optimize", "scipy.stats", "pytest", "onnxruntime")  # fmt: skip


class Changed(SourceFileLoader):
    """Finds and loads one module from other code than its file's."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        super().__init__(name, str(path))
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        return self.code

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        from importlib.util import spec_from_file_location

        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None


class Lines:
    """A pytest plugin: which lines of some files each test runs, as "file:line", and its seconds. Lines that run while tests
    are collected count for all tests."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths, self.now = {str(path) for path in paths}, set[str]()
        self.imported: list[str] = []
        self.tests: dict[str, dict[str, Any]] = {}
        self.setups: dict[str, set[str]] = {}

    def pytest_collection_finish(self) -> None:
        self.imported = sorted(self.now)

    def pytest_runtest_protocol(self, item: Any) -> None:
        self.now = set()
        self.tests[item.nodeid] = {"started": time.process_time()}

    def pytest_runtest_call(self, item: Any) -> None:
        self.setups.setdefault(item.nodeid.split("::")[0], set()).update(self.now)

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = self.tests[report.nodeid]
        if report.when == "call":
            test["passed"] = report.passed
            test["seconds"] = time.process_time() - test.pop("started")
            test["lines"] = sorted(self.now)

    def trace(self, frame: Any, event: str, argument: object) -> Any:
        """For sys.settrace."""
        if frame.f_code.co_filename not in self.paths:
            return None
        self.now.add(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return self.trace

    def found(self) -> dict[str, Any]:
        """Lines that an import runs; of each test that passes, in time: seconds and lines, those of its file's fixtures too."""
        kept = {n: t for n, t in self.tests.items() if t.get("passed") and t["seconds"] < LONGEST}
        for name, test in kept.items():
            test["lines"] = sorted({*test["lines"], *self.setups.get(name.split("::")[0], ())})
        return {"imported": self.imported, "tests": kept}


class Chosen:
    """A pytest plugin: these tests alone, in this order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.place = {name: n for n, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda item: self.place[item.nodeid])


def forked(work: Any, seconds: float | None) -> tuple[str, Any]:
    """What `work()` returns (as JSON) from a fork: ("done", it), ("timeout", None) or ("broken", None)."""
    with tempfile.TemporaryDirectory() as folder:
        answer, began = Path(folder) / "answer", time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                if seconds is not None:
                    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 3))
                os.setpgid(0, 0)
                nothing = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(nothing, number)
                os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
                answer.write_text(json.dumps(work()))
            finally:
                os._exit(0)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if seconds is not None and time.monotonic() - began > 10 * seconds:  # it sleeps, or the machine is busy
                os.killpg(child, 9)
            time.sleep(0.02)
        if answer.exists() and answer.stat().st_size:
            return "done", json.loads(answer.read_text())
        return ("timeout" if os.WIFSIGNALED(status) else "broken"), None


def run_tests(files: Sequence[str], plugin: object, *more: str) -> int:
    """pytest's exit status, in this process. Tests that start processes are left out: these import the code as it is."""
    import hypothesis.core
    import pytest

    hypothesis.core.global_force_seed = 0  # as --hypothesis-seed does: a mutant's fate is the same every time
    paths = [str(ROOT / "tests" / name) for name in files]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", "-k", "not processes", f"--rootdir={ROOT}"]
    return int(pytest.main([*options, *more, *paths], plugins=[plugin]))


def measure(paths: Sequence[Path], files: Sequence[str]) -> dict[str, Any]:
    """`Lines.found` of the tests that these modules share, on the code as it is."""

    def work() -> dict[str, Any]:
        lines = Lines(paths)
        sys.settrace(lines.trace)
        run_tests(files, lines, "--maxfail=1000000")
        sys.settrace(None)
        return lines.found()

    state, found = forked(work, 1800)
    assert state == "done" and found["tests"], f"{', '.join(files)} do not run: try pytest ({state})"
    return found


def tried(path: Path, name: str, mutant: Mutant, baseline: Mapping[str, Any]) -> dict[str, Any]:
    """A row: killed, timeout (counts as killed), survived, or not covered by any test."""
    own, tests = {f"{path}:{line}" for line in range(mutant.line, mutant.end + 1)}, baseline["tests"]
    everybody = bool(own & set(baseline["imported"]))
    chosen = [test for test, ran in tests.items() if everybody or own & set(ran["lines"])]
    chosen.sort(key=lambda test: tests[test]["seconds"])
    row = {"line": mutant.line, "kind": mutant.kind, "change": mutant.change, "tests": len(chosen)}
    if not chosen:
        return row | {"state": "not covered", "seconds": 0.0}
    files = sorted({Path(test.split("::")[0]).name for test in chosen})

    def work() -> int:
        sys.meta_path.insert(0, Changed(name, path, mutant.code))
        return run_tests(files, Chosen(chosen))

    began = time.monotonic()
    state, status = forked(work, SPARE + 4 * sum(tests[test]["seconds"] for test in chosen))
    if state == "done":
        state = "survived" if status == 0 else "killed"
    return row | {"state": "killed" if state == "broken" else state, "seconds": round(time.monotonic() - began, 1)}


def modules(wanted: str | None) -> dict[Path, tuple[str, ...]]:
    """Each module's file, and those of its tests that are there."""
    found = {}
    for pattern, files in TESTS.items():
        there = tuple(name for name in files if (ROOT / "tests" / name).exists())
        for path in sorted((ROOT / "supernet").glob(pattern)):
            parts = {path.stem, path.parent.name}
            if there and (wanted is None or parts & set(wanted.split(","))):
                found[path] = there
    return found


def read_rows() -> list[dict[str, Any]]:
    if not ROWS.exists():
        return []
    with gzip.open(ROWS, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(rows: Sequence[Mapping[str, Any]], total: int) -> None:
    """Summary and survivors of the rows that count; prints them."""
    last = {(row["module"], row["number"]): row for row in rows}  # a survivor may have been tried again
    kept = [row for row in last.values() if row["state"] != "not covered"] + [
        row for row in last.values() if row["state"] == "not covered"
    ]
    killed = sum(row["state"] in ("killed", "timeout") for row in kept)
    summary = {"killed": killed, "tried": len(kept), "share": round(killed / max(1, len(kept)), 4), "total": total}
    records = [
        {name: row[name] for name in ("module", "line", "kind", "change", "state")}
        | {"reason": EQUAL.get(f"{row['module']}: {row['change']}", "not looked at")}
        for row in sorted(kept, key=lambda row: (row["module"], row["line"]))
        if row["state"] not in ("killed", "timeout")
    ]
    for record in records:
        print("{module}:{line} {kind}: {change} ({state}: {reason})".format(**record))
    print(", ".join(f"{name} {value}" for name, value in summary.items()))
    write_results("mutation", summary, records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many mutants, drawn by --seed, of those of --modules")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", help="names of modules or folders, joined by commas")
    parser.add_argument("--survivors", action="store_true", help="try those again that survived")
    parser.add_argument("--quick", action="store_true", help="ten mutants, nothing is written")
    options = parser.parse_args()
    os.environ |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "OMP_NUM_THREADS": "1",
    }  # plugins are imported already: a warning
    sys.path.insert(0, str(ROOT))  # the code beside this script, whichever is installed
    for module in WARM:
        __import__(module)
    assert "supernet" not in sys.modules, "each fork imports it anew"

    every_module = modules(None)
    every = [(path, files, one) for path, files in modules(options.modules).items() for one in mutants(path)]
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in every_module}
    names = {path: str(path.relative_to(ROOT / "supernet")) for path in hashes}
    current = {names[path]: value for path, value in hashes.items()}
    rows = [row for row in read_rows() if current.get(row["module"]) == row["hash"]]
    state = {(row["module"], row["number"]): row["state"] for row in rows}
    todo = every
    if options.sample or options.quick:
        todo = random.Random(options.seed).sample(every, min(10 if options.quick else options.sample, len(every)))
    if options.survivors:
        todo = [t for t in todo if state.get((names[t[0]], t[2].number)) in ("survived", "not covered")]
    elif not options.quick:
        todo = [t for t in todo if (names[t[0]], t[2].number) not in state]
    todo.sort(key=lambda t: names[t[0]])
    baselines: dict[tuple[str, ...], dict[str, Any]] = {}
    for count, (path, files, mutant) in enumerate(todo, 1):
        if files not in baselines:
            baselines[files] = measure([path for path, own in every_module.items() if own == files], files)
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        row = {"module": names[path], "number": mutant.number, "hash": hashes[path]} | tried(
            path, dotted, mutant, baselines[files]
        )
        print(f"{count}/{len(todo)} {row['module']}:{row['line']} {row['kind']}: {row['change']}: {row['state']}, {row['seconds']} s", flush=True)  # fmt: skip
        rows.append(row)
        if not options.quick:
            with gzip.open(ROWS, "at", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    if not options.quick:
        write(rows, sum(len(mutants(path)) for path in hashes))


if __name__ == "__main__":
    main()
