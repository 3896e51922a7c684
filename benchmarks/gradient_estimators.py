"""How far each relaxation's gradient of α is from the true one, on real supernets small enough to enumerate.

    python benchmarks/gradient_estimators.py [--quick]

The truth is ∇_α E_p[loss(path)], p = softmax(α), over all 81 paths of a supernet of 4 layers × 3 operations, trained
on uniform paths on scikit-learn's 8×8 digits. Told for each relaxation: the cosine between the truth and the mean of
many draws (below 1: bias, up to sampling noise, which `noise_cosine` bounds), and of one single step (variance too).
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
import torch
from results_io import write_results
from sklearn.datasets import load_digits
from torch.nn import functional as F

from supernet.alpha.relaxation import PATHWISE, ScoreFunction, fair_paths, one_hot, sample_paths
from supernet.network import Supernet
from supernet.spaces import LayerSpec, SearchSpace

OPS = ("k3_e1", "k5_e3", "skip")
SPACE = SearchSpace(
    "digits",
    OPS,
    tuple(LayerSpec(8, c_out, 1, 8, 0, OPS) for c_out in (8, 8, 8)) + (LayerSpec(8, 16, 2, 8, 1, OPS),),
    resolution=8,
    stem_channels=8,
    stem_stride=1,
    head_channels=32,
)
PATHS_NL = torch.tensor(list(itertools.product(range(3), repeat=4)))
DRAWS, PATHS_A_STEP = 300, 4


def train(supernet: Supernet, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> None:
    optimizer = torch.optim.AdamW(supernet.parameters(), lr=3e-3)
    valid_LK = torch.from_numpy(SPACE.valid_LK)
    for _ in range(100):
        batch = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad()
        for path_L in fair_paths(valid_LK, generator):
            F.cross_entropy(supernet(images[batch], one_hot(path_L, torch.zeros(4, 3))), labels[batch]).backward()
        optimizer.step()


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def gradients(
    name: str,
    supernet: Supernet,
    x: torch.Tensor,
    y: torch.Tensor,
    alpha_LK: torch.Tensor,
    loss_by_path: dict[Any, float],
    temperature: float,
    generator: torch.Generator,
    draws: int,
) -> torch.Tensor:
    """(draws, L, K) gradients of α."""
    found = []
    score = ScoreFunction(torch.ones(alpha_LK.shape, dtype=torch.bool))
    for _ in range(draws):
        alpha = alpha_LK.clone().requires_grad_()
        if name == "score":
            path_NL = sample_paths(alpha, PATHS_A_STEP, generator)
            loss_N = torch.tensor([loss_by_path[tuple(path.tolist())] for path in path_NL])
            loss = score.surrogate_loss(alpha, path_NL, loss_N)
        else:
            loss = F.cross_entropy(supernet(x, PATHWISE[name](alpha, temperature, generator)), y)
        found.append(torch.autograd.grad(loss, alpha)[0])
        if name == "score":
            score.fit(path_NL, loss_N, alpha_LK.softmax(-1))
        if name == "softmax":
            break  # nothing is drawn
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, ten draws; nothing is written")
    quick = parser.parse_args().quick
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8) - 0.3
    labels = torch.tensor(labels)
    records = []
    for seed in range(1 if quick else 3):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        supernet = Supernet(SPACE, num_classes=10, in_chans=1)
        train(supernet, images[:1200], labels[:1200], generator)
        supernet.requires_grad_(False)
        x, y = images[1200:1264], labels[1200:1264]
        loss_by_path = {
            tuple(path.tolist()): float(F.cross_entropy(supernet(x, one_hot(path, torch.zeros(4, 3))), y))
            for path in PATHS_NL
        }
        for spread in (0.0, 1.0):  # α at the start of a search, and later
            alpha_LK = spread * torch.randn(4, 3, generator=generator)
            alpha = alpha_LK.clone().requires_grad_()
            log_p_N = alpha.log_softmax(-1)[torch.arange(4), PATHS_NL].sum(-1)
            truth = torch.autograd.grad((log_p_N.exp() * torch.tensor(list(loss_by_path.values()))).sum(), alpha)[0]
            for name, temperature in (("score", 1.0), ("softmax", 1.0), ("gumbel", 1.0), ("gumbel", 0.3),
                                      ("gumbel-top2", 1.0), ("gumbel-top2", 0.3), ("gumbel-hard", 1.0), ("gumbel-hard", 0.3)):  # fmt: skip
                drawn = gradients(
                    name, supernet, x, y, alpha_LK, loss_by_path, temperature, generator, 10 if quick else DRAWS
                )
                half = len(drawn) // 2
                records.append({
                    "seed": seed, "alpha_spread": spread, "relaxation": name, "temperature": temperature,
                    "mean_cosine": cosine(drawn.mean(0), truth),
                    "noise_cosine": cosine(drawn[:half].mean(0), drawn[half:].mean(0)) if half else 1.0,
                    "step_cosine": float(np.mean([cosine(step, truth) for step in drawn[-100:]])),
                    "mean_norm_over_truth": float(drawn.mean(0).norm() / truth.norm()),
                })  # fmt: skip
                print(records[-1], flush=True)
    summary = {}
    for name, temperature in dict.fromkeys((r["relaxation"], r["temperature"]) for r in records):
        mine = [r for r in records if (r["relaxation"], r["temperature"]) == (name, temperature)]
        label = name if name in ("score", "softmax") else f"{name}_{temperature}"
        summary[f"{label}_mean_cosine_least"] = min(r["mean_cosine"] for r in mine)
        summary[f"{label}_mean_cosine"] = float(np.mean([r["mean_cosine"] for r in mine]))
        summary[f"{label}_step_cosine"] = float(np.mean([r["step_cosine"] for r in mine]))
    if not quick:
        write_results("gradient_estimators", summary, records)
    print(summary)


if __name__ == "__main__":
    main()
