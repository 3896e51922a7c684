"""What a search step costs beside one network's step.

    python benchmarks/search_speed.py            # the table of issue 4, some 40 minutes
    python benchmarks/search_speed.py --quick    # batch 64, fbnet32, one thread, few paths: under a minute or two

Variants, each in a process of its own, interleaved path by path on the same images and the same sampled paths:
(a) the derived timm model of the path, our kernels, channels_last; (b) the supernet's ω step on that path; (c) the bilevel
step, ω and α (score function, two paths); (d) the full mixture (FBNet's way: every operation runs, soft Gumbel weights);
(e) as (a), but plain timm in the default memory format. Ratios are taken path by path, then the median.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from results_io import write_results

VARIANTS = {
    "a": "standalone, our kernels",
    "b": "supernet ω step",
    "c": "bilevel step",
    "d": "full mixture",
    "e": "standalone, plain timm",
}


def child(variant: str, space: str, batch: int, threads: int, seed: int) -> None:
    """Answers each path number on stdin with the seconds of one step of it; at the end, the peak memory in MB."""
    import torch

    torch.set_num_threads(threads)
    from timm.optim import create_optimizer_v2

    from supernet.commands.setting import prepare
    from supernet.config import SearchConfig
    from supernet.evaluate import standalone
    from supernet.kernels import fast_cpu, keep_freed_memory
    from supernet.strategies.differentiable import DifferentiableSearch

    device = "rpi4" if space != "fbnet224" else "pixel1_224"
    config = SearchConfig(
        latency_weight=0.0,
        space=space, device=device, batch_size=batch, threads=threads, max_train=1024, out=tempfile.mkdtemp() + "/run",
        relaxation="gumbel" if variant == "d" else "score", warmup_epochs=0,
    )  # fmt: skip
    problem = prepare(config)
    search = DifferentiableSearch(config, problem)
    search.step = 1
    rng = np.random.default_rng(seed)
    paths = torch.from_numpy(rng.integers(0, len(problem.space.ops), (1000, len(problem.space.layers))))
    if variant != "e":
        keep_freed_memory()
    idle_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    state = sum(p.numel() for p in search.supernet.parameters()) * 12 / 2**20  # AdamW's two moments and the gradient

    for line in sys.stdin:
        number, step = map(int, line.split())
        weight_batch, alpha_batch = search.train.at(step), search.val.at(step)
        path = paths[number]
        if variant in "ae":
            network = standalone(search.supernet, problem.space.names(path.numpy()))
            if variant == "a":
                network = fast_cpu(network.to(memory_format=torch.channels_last))
            else:
                weight_batch = weight_batch._replace(image=weight_batch.image.contiguous())
            network.train()
            optimizer = create_optimizer_v2(network, "adamw", config.lr, config.weight_decay, foreach=True)

            def one_step() -> None:
                loss = search.weight_objective(network(weight_batch.image)[None], weight_batch)  # noqa: B023
                optimizer.zero_grad(set_to_none=True)  # noqa: B023
                loss.total_N.sum().backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0, foreach=True)  # noqa: B023
                optimizer.step()  # noqa: B023
        else:

            def one_step() -> None:
                search.warmup.paths = [path]  # noqa: B023
                search.weight_step(weight_batch, warm=variant != "d")  # noqa: B023
                if variant == "c":
                    search.alpha_step(alpha_batch)  # noqa: B023

        one_step()
        started = time.perf_counter()
        one_step()
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        search.train.at(step + 1)
        print(json.dumps({"seconds": seconds, "data_seconds": time.perf_counter() - started}), flush=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mb": peak_mb, "idle_mb": idle_mb, "supernet_state_mb": state}), flush=True)


def measure(space: str, batch: int, threads: int, paths: int, variants: str, seed: int = 0) -> dict[str, Any]:
    """Seconds (variant → one a path), peak memory, of all variants interleaved."""
    command = [sys.executable, __file__, "--child", "--space", space, "--batch", str(batch), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    children = {
        variant: subprocess.Popen(
            [*command, "--variant", variant, "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for variant in variants
    }

    def answer(process: subprocess.Popen[str]) -> dict[str, float]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"a child ended with {process.wait()}")
        return json.loads(line)

    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    data: list[float] = []
    for number in range(paths):
        for variant, process in children.items():
            assert process.stdin is not None
            process.stdin.write(f"{number} {number}\n")
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
    return {
        "space": space, "batch": batch, "threads": threads, "paths": paths, "seconds": seconds, "data_seconds": data,
        "memory": memory,
    }  # fmt: skip


def ratio(record: dict[str, Any], above: str, below: str) -> dict[str, float]:
    """Median and quartiles over paths of one variant's seconds over another's."""
    quotients = np.array(record["seconds"][above]) / np.array(record["seconds"][below])
    low, middle, high = np.quantile(quotients, [0.25, 0.5, 0.75])
    return {"median": float(middle), "low": float(low), "high": float(high)}


def summarise(record: dict[str, Any]) -> dict[str, float]:
    """The summary's figures of one setting."""
    memory = record["memory"]
    # the supernet's process holds its weights, gradients and moments besides; (a) holds the supernet's weights too
    beyond = {v: memory[v]["peak_mb"] - memory[v]["idle_mb"] for v in "ab"}
    names = {"supernet_over_standalone": "ba", "bilevel_over_standalone": "ca", "mixture_over_supernet": "db", "standalone_over_plain_timm": "ae"}  # fmt: skip
    ratios = {
        name: ratio(record, *pair)["median"] for name, pair in names.items() if set(pair) <= set(record["seconds"])
    }
    return {
        **ratios,
        "memory_over_standalone": max(0.0, beyond["b"] - memory["b"]["supernet_state_mb"]) / beyond["a"],
        "data_fraction": float(np.median(record["data_seconds"]) / np.median(record["seconds"]["b"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--variant", default="a", help=argparse.SUPPRESS)
    parser.add_argument("--space", default="fbnet32", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.variant, options.space, options.batch, options.threads, options.seed)
        return
    settings = [("fbnet32", 64, 1, 2 if options.quick else 15, "abcde")]
    if not options.quick:
        settings += [("fbnet32", batch, 1, 5, "abce") for batch in (16, 32, 128, 256)]
        settings += [("fbnet32", 64, 2, 8, "abce"), ("fbnet224", 8, 1, 4, "abce")]
    records = []
    for setting in settings:
        records.append(measure(*setting))
        figures = summarise(records[-1])
        print(*setting, json.dumps({name: round(value, 3) for name, value in figures.items()}), flush=True)
        if not options.quick:
            write_results("search_speed", summarise(records[0]), records, "python benchmarks/search_speed.py")
    for variant, name in VARIANTS.items():
        print(f"{name:28s} {np.median(records[0]['seconds'][variant]):.3f} s/step")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
