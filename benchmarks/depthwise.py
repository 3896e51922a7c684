"""What supernet.kernels saves of a CPU training step: per shape, and of a whole network's step.

    python benchmarks/depthwise.py            # fbnet32 at batch 64 and fbnet224 at batch 8; the whole step at batch 64
    python benchmarks/depthwise.py --quick    # fewer shapes and repeats, nothing written

One thread. Every variant of a comparison is run in turn, and the ratio is taken within a turn; the time is the thread's
CPU time (user and system), since other work on the machine stretches wall time; both are recorded. The network
alternates k5_e6 and k3_e3 layers. Each variant of the whole step has a process of its own, because keeping freed memory is process-wide.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch
from results_io import write_results
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.blocks.ops import arch_strings
from supernet.kernels import DepthwiseConv2d, FastBatchNormAct2d, fast_cpu, keep_freed_memory
from supernet.kernels.depthwise import weight_gradient
from supernet.kernels.native import library
from supernet.network import build_efficientnet
from supernet.spaces import SPACES

CHANNELS_LAST = torch.channels_last
VARIANTS = {  # channels_last, kernels, freed memory kept
    "plain": (False, (), False),
    "plain+memory": (False, (), True),
    "channels_last": (True, (), False),
    "channels_last+memory": (True, (), True),
    "channels_last+depthwise": (True, (DepthwiseConv2d,), False),
    "channels_last+depthwise+memory": (True, (DepthwiseConv2d,), True),
    "channels_last+kernels": (True, (DepthwiseConv2d, FastBatchNormAct2d), False),
    "all": (True, (DepthwiseConv2d, FastBatchNormAct2d), True),
}
QUICK = ("plain", "channels_last", "channels_last+depthwise+memory", "all")


def timed(function: Callable[[], Any]) -> float:
    """CPU seconds of this thread."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def shapes(space: str) -> Iterator[tuple[int, int, int]]:
    """(channels, resolution, stride) of every depthwise convolution that the space can have, each once."""
    found = {
        (layer.c_in * int(op[-1]), layer.resolution, layer.stride)
        for layer in SPACES[space].layers
        for op in layer.ops
        if op.startswith("k")
    }
    yield from sorted(found, key=lambda shape: (-shape[1], shape[0], shape[2]))


def compare(functions: dict[str, Callable[[], Any]], repeats: int, **labels: Any) -> list[dict[str, Any]]:
    """Records of every run, each turn's variants one after another; the first turn is thrown away."""
    records = []
    for turn in range(repeats + 1):
        for variant, function in functions.items():
            seconds = timed(function)
            if turn:
                records.append({**labels, "variant": variant, "turn": turn, "cpu_ms": seconds * 1e3})
    return records


def ratio(records: list[dict[str, Any]], over: str, under: str, key: str = "cpu_ms") -> tuple[float, float, float]:
    """Quartiles (25%, median, 75%) of the turns' ratios."""
    times = {(record["variant"], record["turn"]): record[key] for record in records}
    ratios = [time / times[under, turn] for (variant, turn), time in times.items() if variant == over]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high


def weight_gradients(x: Tensor, K: int, stride: int) -> dict[str, Callable[[], Any]]:
    C = x.shape[1]
    weight = torch.randn(C, 1, K, K)
    grad = torch.randn_like(F.conv2d(x, weight, None, stride, K // 2, 1, C))
    options = [stride] * 2, [K // 2] * 2, [1, 1], False, [0, 0], C, [False, True, False]
    return {
        "torch": lambda: torch.ops.aten.convolution_backward(grad, x, weight, None, *options),
        "ours": lambda: weight_gradient(x, grad, K, stride),
    }


def batch_norms(x: Tensor) -> dict[str, Callable[[], Any]]:
    x, grad = x.requires_grad_(), torch.randn_like(x)
    plain = BatchNormAct2d(x.shape[1])
    fast = fast_cpu(nn.Sequential(BatchNormAct2d(x.shape[1])))
    return {"torch": lambda: plain(x).backward(grad), "ours": lambda: fast(x).backward(grad)}


def per_shape(space: str, batch: int, repeats: int, quick: bool) -> list[dict[str, Any]]:
    records = []
    print(f"\n{space}, batch {batch}: ours over torch, CPU time, median [quartiles]")
    for C, size, stride in list(shapes(space))[:: 5 if quick else 1]:
        x = torch.randn(batch, C, size, size).to(memory_format=CHANNELS_LAST)
        runs = {f"weight gradient {K}×{K}": weight_gradients(x, K, stride) for K in (3, 5)}
        runs["batch norm + ReLU"] = batch_norms(x.clone(memory_format=torch.preserve_format))
        cells = []
        for part, functions in runs.items():
            labels = {"space": space, "batch": batch, "channels": C, "resolution": size, "stride": stride, "part": part}
            new = compare(functions, repeats, **labels)
            low, middle, high = ratio(new, "ours", "torch")
            cells.append(f"{part} {middle:.2f} [{low:.2f} {high:.2f}]")
            records += new
        print(f"  {C:4d} channels, {size:3d} px, stride {stride}:  {'  '.join(cells)}", flush=True)
    return records


def network_step(variant: str, space: str, batch: int, pipe: Connection) -> None:
    """A process that makes one training step each time it is asked, and answers with its times."""
    channels_last, kernels, memory = VARIANTS[variant]
    torch.set_num_threads(1)
    if memory:
        keep_freed_memory()
    torch.manual_seed(0)
    layout, place = CHANNELS_LAST if channels_last else torch.contiguous_format, SPACES[space]
    ops = ["k3_e3" if number % 2 else "k5_e6" for number in range(len(place.layers))]
    sizes = {"stem_channels": place.stem_channels, "stem_stride": place.stem_stride}
    model = build_efficientnet(
        arch_strings(place, ops), head_channels=place.head_channels, num_classes=100, in_chans=3, **sizes
    )
    if kernels:
        fast_cpu(model.to(memory_format=layout))
        for module in model.modules():
            if isinstance(module, FastBatchNormAct2d) and FastBatchNormAct2d not in kernels:
                module.__class__ = BatchNormAct2d
    model.to(memory_format=layout)
    image = torch.randn(batch, 3, place.resolution, place.resolution).to(memory_format=layout)
    label = torch.randint(0, 100, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(image), label).backward()
        optimizer.step()

    while pipe.recv():
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        cpu = timed(step)
        after = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(
            {
                "cpu_ms": cpu * 1e3,
                "wall_ms": (time.perf_counter() - wall) * 1e3,
                "page_faults": after.ru_minflt - before.ru_minflt,
                "peak_mb": after.ru_maxrss / 1024,
            }
        )


def whole_step(space: str, batch: int, repeats: int, variants: tuple[str, ...]) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for variant in variants:
        pipes[variant], end = context.Pipe()
        context.Process(target=network_step, args=(variant, space, batch, end), daemon=True).start()
    records = []
    for turn in range(-1, repeats + 1):  # two turns to warm up: memory settles in the second
        for variant, pipe in pipes.items():
            pipe.send(True)
            answer = pipe.recv()
            if turn > 0:
                record = {"space": space, "batch": batch, "part": "whole step", "variant": variant, "turn": turn}
                records.append({**record, **answer})
    for pipe in pipes.values():
        pipe.send(False)
    print(f"\n{space}, batch {batch}: whole step over plain timm's, median [quartiles]")
    for variant in variants:
        own = [record for record in records if record["variant"] == variant]
        texts = (
            "{1:.3f} [{0:.3f} {2:.3f}]".format(*ratio(records, variant, "plain", f"{k}_ms")) for k in ("cpu", "wall")
        )
        print(
            f"  {variant:32s} CPU {next(texts)}  wall {next(texts)}"
            f"  {statistics.median(r['cpu_ms'] for r in own):6.0f} ms CPU"
            f"  {statistics.median(r['page_faults'] for r in own):7.0f} page faults  peak {own[-1]['peak_mb']:5.0f} MB",
            flush=True,
        )
    return records


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Flat figures: the whole step's ratios to plain timm, and the median ratio of each part over its shapes."""
    summary: dict[str, Any] = {}
    for part in sorted({record["part"] for record in records}):
        by_shape: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for record in records:
            if record["part"] == part:
                shape = tuple(record.get(key) for key in ("space", "batch", "channels", "resolution", "stride"))
                by_shape.setdefault(shape, []).append(record)
        if part != "whole step":
            medians = sorted(ratio(runs, "ours", "torch")[1] for runs in by_shape.values())
            name = part.replace(" + ", "_").replace(" ", "_").replace("×", "x").lower()
            summary[f"{name}_ours_over_torch"] = statistics.median(medians)
            summary[f"{name}_best"], summary[f"{name}_worst"] = medians[0], medians[-1]
            continue
        for (space, batch, *_), runs in by_shape.items():
            for variant in sorted({record["variant"] for record in runs} - {"plain"}):
                name = f"{space}_{batch}_{variant.replace('+', '_')}_over_plain"
                low, middle, high = ratio(runs, variant, "plain")
                summary |= {name: middle, f"{name}_q25": low, f"{name}_q75": high}
                summary[f"{name}_wall"] = ratio(runs, variant, "plain", "wall_ms")[1]
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="every fifth shape, few repeats, four variants; nothing is written"
    )
    parser.add_argument("--only-step", action="store_true", help="the whole step alone")
    parser.add_argument("--repeats", type=int, default=None, help="turns (default 7, quick 3)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats = options.repeats or (3 if options.quick else 7)
    start = time.perf_counter()
    if library(torch.float32) is None:
        raise SystemExit("No C compiler here (cc, or $CC): there is nothing to compare.")
    compile_s = time.perf_counter() - start
    records = whole_step("fbnet32", 64, repeats, QUICK if options.quick else tuple(VARIANTS))
    if not options.only_step:
        keep_freed_memory()
        for space, batch in (("fbnet32", 64),) if options.quick else (("fbnet32", 64), ("fbnet224", 8)):
            records += per_shape(space, batch, repeats, options.quick)
    summary = {"compile_s": compile_s, **summarise(records)}
    print("\n" + "\n".join(f"{name}: {value:.3f}" for name, value in summary.items()))
    if not options.quick:
        write_results("depthwise", summary, records)


if __name__ == "__main__":
    main()
