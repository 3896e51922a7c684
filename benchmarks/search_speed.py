"""What a search step costs beside one network's step.

    python benchmarks/search_speed.py            # the record: some ten minutes on a quiet core; goes on where it was cut
    python benchmarks/search_speed.py --quick    # the same summary from one path at batch 16; writes nothing

Variants, each in a process of its own, in turn path by path on the same images and the same sampled paths: (a) the derived
timm model of the path, our kernels, channels_last; (b) the supernet's ω step on that path; (c) the bilevel step, ω and α
(score function, two paths); (d) the full mixture (FBNet's way: every operation runs, soft Gumbel weights); (e) as (a), but
plain timm in the default memory format with the default allocator. Ratios are taken path by path, then median and quartiles.

Memory is the peak beyond what the process held at rest (torch, images, the supernet's parameters), less the optimiser's moments, and
in (a) less the network's own parameters too: activations and gradients of both. With all of (a)'s process below the line, the
ratio would be smaller. Further: a profile of the ω step, a default search cut short with its parts scaled to all its steps, and
growth with fitted exponents (y ∝ x^exponent).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from results_io import HERE, RESULTS, commit, read_records, write_results

VARIANTS = {
    "a": "standalone, our kernels",
    "b": "supernet ω step",
    "c": "bilevel step",
    "d": "full mixture",
    "e": "standalone, plain timm",
}
RATIOS = {
    "supernet_over_standalone": "ba",
    "bilevel_over_standalone": "ca",
    "mixture_over_supernet": "db",
    "standalone_over_plain_timm": "ae",
}
MIXTURE_PATHS = 4  # its cost does not depend on the path
GROWTH = {
    "layers": [{"stage_layers": n} for n in (1, 2, 4, 8)],
    "operations": [{"operations": n} for n in (1, 2, 4, 8)],
    "resolution": [{"resolution": n} for n in (16, 32, 64)],
}


def start(kind: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "search_speed_child.py"), kind, json.dumps(options)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.get("threads", 1))}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a child ended with {process.wait()}")
    return json.loads(line)


def ask(kind: str, **options: Any) -> dict[str, Any]:
    """A child that answers once."""
    process = start(kind, **options)
    found = answer(process)
    process.communicate()
    return found


def measure(space: str, batch: int, threads: int, paths: int, variants: str) -> dict[str, Any]:
    """Seconds (variant → one a path) and memory of all variants, interleaved."""
    options = {"space": space, "batch": batch, "threads": threads, "seed": 0}
    children = {v: start("steps", variant=v, **options) for v in variants}
    for process in children.values():  # none is timed while another still starts
        answer(process)
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    data: list[float] = []
    for number in range(paths):
        for variant, process in children.items():
            if variant == "d" and number >= min(MIXTURE_PATHS, max(1, paths // 2)):
                continue
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            result = answer(process)
            seconds[variant].append(result["seconds"])
            if variant == "b":
                data.append(result["data_seconds"])
    memory = {}
    for variant, process in children.items():
        assert process.stdin is not None
        process.stdin.close()
        memory[variant] = answer(process)
        process.wait()
    record = {"space": space, "batch": batch, "threads": threads, "seconds": seconds, "data_seconds": data, "memory": memory}  # fmt: skip
    return record | {
        "ratios": {name: ratio(record, *pair) for name, pair in RATIOS.items() if set(pair) <= set(variants)},
        "seconds_per_step": {v: float(np.median(values)) for v, values in seconds.items()},
        "images_per_second": {v: float(batch / np.median(values)) for v, values in seconds.items()},
        "peak_mb": {v: memory[v]["peak_mb"] for v in variants},
    }


def ratio(record: dict[str, Any], above: str, below: str) -> dict[str, float]:
    """Median and quartiles over paths of one variant's seconds over another's."""
    pairs = zip(record["seconds"][above], record["seconds"][below], strict=False)
    low, middle, high = np.quantile([one / other for one, other in pairs], [0.25, 0.5, 0.75])
    return {"median": float(middle), "low": float(low), "high": float(high)}


def summarise(record: dict[str, Any]) -> dict[str, float]:
    """The summary's figures of one setting."""
    beyond = {v: m["peak_mb"] - m["idle_mb"] - m["state_mb"] for v, m in record["memory"].items()}
    return {
        **{name: found["median"] for name, found in record["ratios"].items()},
        "memory_over_standalone": beyond["b"] / beyond["a"],
        "data_fraction": float(np.median(record["data_seconds"]) / np.median(record["seconds"]["b"])),
    }


def growth(axis: str) -> dict[str, Any]:
    """Points along one axis from 22 layers, 2 operations, 32 px, batch 16, and the exponents fitted to them."""
    points = []
    for changed in GROWTH[axis]:
        setting = {"stage_layers": 4, "operations": 2, "resolution": 32, "batch": 16} | changed
        size = 2 + 5 * setting["stage_layers"] if axis == "layers" else next(iter(changed.values()))
        points.append({"x": size, **ask("growth", **setting)})
    return {"points": points, "exponents": exponents(points)}


def exponents(points: list[dict[str, Any]]) -> dict[str, float]:
    """Slope of log y over log x for each figure of the points."""
    x = np.log([point["x"] for point in points])
    names = [name for name in points[0] if name != "x"]
    return {name: float(np.polyfit(x, np.log([max(p[name], 1e-9) for p in points]), 1)[0]) for name in names}


def batch_growth(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The same from the steps of batch 16 to 256."""
    points = []
    for record in sorted((r for r in records if r.get("space") == "fbnet32" and r["threads"] == 1), key=lambda r: r["batch"]):  # fmt: skip
        memory = record["memory"]["b"]
        mb = memory["peak_mb"] - memory["idle_mb"] - memory["state_mb"]
        paths = slice(5)  # those that every batch size has
        points.append({"x": record["batch"], "sampled_seconds": float(np.median(record["seconds"]["b"][paths])), "sampled_mb": mb})  # fmt: skip
    return {"points": points, "exponents": exponents(points)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="measure anew what an earlier run has written")
    options = parser.parse_args()
    began = time.monotonic()
    if options.quick:
        record = measure("fbnet32", 16, 1, 1, "abcde")
        show(record)
        print(json.dumps(summarise(record), indent=1))
        return
    first = ("fbnet32", 64, 1, 9, "abcde")
    rest = [("fbnet32", batch, 1, 5, "abce") for batch in (16, 32, 128)]
    rest += [("fbnet32", 256, 1, 3, "ab")]  # each process needs 7 GB: four do not fit into 24
    rest += [("fbnet32", 64, 2, 7, "abce"), ("fbnet224", 8, 1, 4, "abce")]
    tasks = {
        **{f"{space}, batch {batch}, {threads} thread(s)": lambda s=(space, batch, threads, *more): measure(*s)
           for space, batch, threads, *more in (first, *rest)},
        "profile": lambda: ask("profile", space="fbnet32", batch=64, paths=5, seed=0),
        "default search": lambda: ask("whole", warmup_steps=40, steps=40),
        **{f"growth: {axis}": lambda axis=axis: growth(axis) for axis in GROWTH},
    }  # fmt: skip
    path = RESULTS / "search_speed.json"
    records = [] if options.fresh or not path.exists() else read_records("search_speed")
    records = [record for record in records if record["task"] in tasks]
    for name, task in tasks.items():
        if name not in {record["task"] for record in records}:
            found = task()
            records.append({"task": name, "commit": commit(), **found})
            if "memory" in found:
                show(found)
            else:
                print(name, json.dumps(found, indent=1), flush=True)
            # the summary is of the first task, which is always there by now
            write_results("search_speed", summarise(records[0]), records, "python benchmarks/search_speed.py")
    records = [r for r in records if r["task"] != "growth: batch"] + [
        {"task": "growth: batch", **batch_growth(records)}
    ]
    write_results("search_speed", summarise(records[0]), records, "python benchmarks/search_speed.py")
    print(json.dumps(records[-1]), f"\n{time.monotonic() - began:.0f} s")
    print(json.dumps(summarise(records[0]), indent=1))


def show(record: dict[str, Any]) -> None:
    """One setting as a table."""
    print(f"{record['space']}, batch {record['batch']}, {record['threads']} thread(s)")
    for variant, seconds in record["seconds_per_step"].items():
        print(f"  {VARIANTS[variant]:26s} {seconds:8.3f} s/step {record['images_per_second'][variant]:8.1f} images/s {record['peak_mb'][variant]:7.0f} MB peak")  # fmt: skip
    for name, found in record["ratios"].items():
        print(f"  {name:28s} {found['median']:6.3f} [{found['low']:.3f}, {found['high']:.3f}]", flush=True)


if __name__ == "__main__":
    main()
