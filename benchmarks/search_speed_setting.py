"""What the processes of search_speed.py share: a search that is ready for its steps, a clock and a look at memory."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from supernet.alpha.relaxation import one_hot
from supernet.config import SearchConfig
from supernet.costs.analytic import macs_table
from supernet.costs.latency import load_table
from supernet.data import Batch, load_data
from supernet.engine.runs import RunFolder
from supernet.problem import Problem
from supernet.spaces import SearchSpace
from supernet.strategies.differentiable import DifferentiableSearch


def setting(space: SearchSpace, **options: Any) -> DifferentiableSearch:
    """A search at its first step after the warm-up, without a budget that could move its paths."""
    config = SearchConfig(space=space.name, warmup_epochs=0, epochs=1, latency_weight=0.0, **options)
    data = load_data(config.data, resolution=space.resolution, max_train=1024, max_eval=1024)
    costs = {"latency": replace(macs_table(space, data.channels, len(data.classes)), name="latency")}
    folder = RunFolder(Path(tempfile.gettempdir()))  # nothing is written
    asked = {"latency": 1e12}, 1e12, torch.device("cpu"), ()
    return DifferentiableSearch(config, Problem(folder, space, data, load_table("rpi4"), costs, *asked))


def mixture(search: DifferentiableSearch, batch: Batch) -> None:
    """The ω step on weights drawn from the relaxation."""
    search.weight_step(batch, 1, search.sampled_weights(1))


def sampled(search: DifferentiableSearch, path_L: torch.Tensor, batch: Batch) -> None:
    """The ω step on a given path."""
    search.weight_step(batch, 1, one_hot(path_L, search.p_DK))


def memory_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(line.split()[1]) / 1024


def idle() -> float:
    """Memory now, with the peak set back to it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
