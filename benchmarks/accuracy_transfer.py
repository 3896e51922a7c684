"""Accuracy of NAS-Bench-201 cells from few trained ones, by the same encoding and predictor as latency.

    python benchmarks/accuracy_transfer.py [--data nb201.npz] [--architectures 240] [--quick]

In place of source devices stand zero-cost proxies of the untrained network (one cell a stage instead of five, one
batch of 16 noise images; `seconds_per_architecture` is what they cost). Spearman against accuracy after 200 epochs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from results_io import write_results  # noqa: E402

from supernet.transfer import bayes  # noqa: E402
from supernet.transfer.encoding import NB201_EDGES, NB201_OPS, nb201_encoder  # noqa: E402
from supernet.transfer.proxies import PROXIES  # noqa: E402
from supernet.transfer.sampling import d_optimal  # noqa: E402
from supernet.transfer.source import Basis, Samples, from_measurements  # noqa: E402

DATA = HERE.parent.parent / "shared" / "data" / "latency" / "bench" / "nb201.npz"


class Zero(nn.Module):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * 0


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    weights = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), weights, nn.BatchNorm2d(c_out))


class Cell(nn.Module):
    """Dong & Yang, "NAS-Bench-201", ICLR 2020, figure 1: 4 nodes, 6 edges."""

    def __init__(self, channels: int, index_L: np.ndarray) -> None:
        super().__init__()
        build = {
            "none": Zero,
            "skip_connect": nn.Identity,
            "nor_conv_1x1": lambda: conv(channels, channels, 1),
            "nor_conv_3x3": lambda: conv(channels, channels, 3),
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        }
        self.edges = nn.ModuleList(build[NB201_OPS[op]]() for op in index_L)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        nodes = [x_BCHW, 0, 0, 0]
        for edge, (a, b) in zip(self.edges, NB201_EDGES, strict=True):
            nodes[b] = nodes[b] + edge(nodes[a])
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(c_in, c_out, 3, 2), conv(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.body(x_BCHW) + self.shortcut(x_BCHW)


class Network(nn.Module):
    """The benchmark's skeleton with one cell a stage."""

    def __init__(self, index_L: np.ndarray, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), Cell(16, index_L), Reduction(16, 32),
            Cell(32, index_L), Reduction(32, 64), Cell(64, index_L), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        return self.body(x_BCHW)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.body(x_BCHW).mean((2, 3)))


def proxy_scores(index_NL: np.ndarray) -> np.ndarray:
    """(N, proxies), every one of a freshly drawn network."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, 3, 32, 32, generator=generator), torch.randint(0, 10, (16,), generator=generator)
    rows = []
    for seed, index_L in enumerate(tqdm(index_NL, unit="network")):
        torch.manual_seed(seed)
        network = Network(index_L)
        rows.append([proxy(network, x, y) for proxy in PROXIES.values()])
    return np.array(rows)


def standard(values: np.ndarray) -> np.ndarray:
    """Ranks, then mean 0 and standard deviation 1: proxies differ by orders of magnitude."""
    ranks = values.argsort(0).argsort(0).astype(float)
    return (ranks - ranks.mean(0)) / ranks.std(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--architectures", type=int, default=240)
    parser.add_argument("--quick", action="store_true", help="30 architectures, one draw; nothing is written")
    options = parser.parse_args()
    if options.quick:
        options.architectures = 30
    sizes, draws = ((20,), 1) if options.quick else ((20, 50, 100), 10)
    with np.load(options.data, allow_pickle=False) as file:
        rows = np.random.default_rng(0).choice(len(file["ops"]), options.architectures, replace=False)
        index_NL, accuracy_NT = file["ops"][rows].astype(int), file["acc200_test"][rows]
        tasks = [str(name) for name in file["acc_datasets"]]
    began = time.perf_counter()
    scores = proxy_scores(index_NL)
    seconds = (time.perf_counter() - began) / len(index_NL)
    bare = from_measurements(nb201_encoder(), (), index_NL, np.zeros((len(index_NL), 0)))
    counted, none = bare.basis(index_NL), np.zeros((len(index_NL), 0))
    bases = {
        "encoding": counted,
        "proxies": Basis(standard(scores), none, none, none),
        "both": Basis(standard(scores), counted.analytic_NA, counted.phi_NP, counted.onehot_ND),
    }
    records, summary = [], {"seconds_per_architecture": round(seconds, 3), "architectures": len(index_NL)}
    for column, task in enumerate(tasks):
        truth = accuracy_NT[:, column].astype(float)
        for name, score in zip(PROXIES, scores.T, strict=True):
            summary[f"{task}_{name}_alone"] = round(float(spearmanr(score, truth).statistic), 3)
        for what, basis in bases.items():
            mean_std = max(float(basis.source_NS.mean(1).std()), 1e-3) if basis.source_NS.shape[1] else 1.0
            for sampler in ("random", "d_optimal"):
                for n in sizes:
                    for draw in range(draws):
                        rng = np.random.default_rng([draw, n])
                        pool = rng.permutation(len(truth))[: 3 * len(truth) // 4]
                        picked = pool[:n] if sampler == "random" else pool[d_optimal(basis[pool], n, rng)]
                        fitted = bayes.fit_with(Samples(basis[picked], truth[picked]), mean_std)
                        rest = np.setdiff1d(np.arange(len(truth)), picked)
                        value = spearmanr(fitted.predict(basis[rest])[0], truth[rest]).statistic
                        records.append({"task": task, "basis": what, "sampler": sampler, "n": n, "draw": draw,
                                        "spearman": round(float(value), 4)})  # fmt: skip
                    found = [r["spearman"] for r in records[-draws:]]
                    summary[f"{task}_{what}_{sampler}_{n}"] = round(float(np.mean(found)), 3)
    if not options.quick:
        write_results("accuracy_transfer", summary, records)
    for key, value in summary.items():
        print(f"{key:45} {value}")


if __name__ == "__main__":
    main()
