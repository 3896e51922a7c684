"""A training-free score of every architecture, as one (L, K) table: the networks are built, scored, and never trained.

A base network is scored, and all that differ from it in one layer: 1 + Σ_l (K_l − 1) networks give what each operation adds. Their
random weights are shared, so that a difference is the operation's and not the draw's. How nearly the score is such a sum is
measured on random architectures that the table has not seen. Shapes: L layers, K operations, N architectures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from supernet.blocks.ops import build_op
from supernet.choices import draw
from supernet.network import build_path
from supernet.programme import Pairs
from supernet.spaces import SearchSpace
from supernet.transfer import proxies
from supernet.transfer.further_proxies import AZ_NAS, FURTHER, joint_ranks
from supernet.transfer.proxies import Proxy

HELD_OUT = 12  # random architectures
Built = Callable[[np.ndarray], nn.Module]


def _log_snip(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    return math.log(max(proxies.snip(model, x_BCHW, y_B), 1e-300))


SCORES: dict[str, Proxy] = {
    "synflow": proxies.synflow,
    "snip": _log_snip,
    "zico": proxies.zico,
    "swap": proxies.swap,
    "nonlinear": proxies.nonlinear,
    **FURTHER,
}
RANKED: dict[str, tuple[Proxy, ...]] = {"az-nas": AZ_NAS}
"""Scores that are joint ranks of several figures, among the networks that are scored together."""
COUNTED = {"parameters": "params", "macs": "macs"}
"""Scores that are a cost already: name → the cost's."""


@dataclass(frozen=True)
class ScoreTable:
    """score(architecture) ≈ base + Σ_l added_LK[l, k(l)] (+ pairs, of a score that is a cost); `networks` were scored for it.

    kendall, r2: of the sum with the score itself on the held-out networks; None where these all score the same.
    name: of the score.
    """

    name: str
    base: float
    added_LK: np.ndarray
    networks: int
    kendall: float | None
    r2: float | None
    pairs: Pairs = field(default_factory=dict)


def score_table(space: SearchSpace, name: str, num_classes: int, x_BCHW: Tensor, y_B: Tensor, seed: int) -> ScoreTable:
    """The table of one of `SCORES` or `RANKED` on a batch of images and labels, at random weights drawn with the seed."""
    valid_LK = space.valid_LK
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = _builder(space, num_classes, x_BCHW.shape[1])
    base_L = np.array([np.flatnonzero(valid_K)[0] for valid_K in valid_LK])
    changes = [(layer, k) for layer, k in np.argwhere(valid_LK) if k != base_L[layer]]
    changed_NL = np.repeat(base_L[None], 1 + len(changes), 0)
    for row, (layer, k) in enumerate(changes, 1):
        changed_NL[row, layer] = k
    held_NL = draw(valid_LK, HELD_OUT, np.random.default_rng(seed))
    score_N = scores(name, (build(index_L) for index_L in (*changed_NL, *held_NL)), x_BCHW, y_B)
    base, added_LK, true_N = float(score_N[0]), np.zeros(valid_LK.shape), score_N[len(changed_NL) :]
    for (layer, k), score in zip(changes, score_N[1:], strict=False):
        added_LK[layer, k] = score - base
    told_N = base + added_LK[np.arange(len(base_L)), held_NL].sum(1)
    kendall, r2 = _agreement(told_N, true_N)
    return ScoreTable(name, base, added_LK, 1 + len(changes), kendall, r2)


def scores(name: str, networks: Iterable[nn.Module], x_BCHW: Tensor, y_B: Tensor) -> np.ndarray:
    """(N,) of each network, one at a time; the greater, the better it is expected to be."""
    if name in RANKED:
        return joint_ranks(np.array([[one(model, x_BCHW, y_B) for one in RANKED[name]] for model in networks]))
    return np.array([SCORES[name](model, x_BCHW, y_B) for model in networks])


def _builder(space: SearchSpace, num_classes: int, in_chans: int) -> Built:
    """(L,) → the network of that path; all of them share one stem, one head and one block of each operation at each layer."""
    frame = build_path(space, [layer.ops[0] for layer in space.layers], num_classes, in_chans)
    blocks = [{op: build_op(op, *layer.shape, space.style) for op in layer.ops} for layer in space.layers]

    def build(index_L: np.ndarray) -> nn.Module:
        path = [own[op] for own, op in zip(blocks, space.names(index_L), strict=True)]
        head = cast(list[nn.Module], [frame.conv_head, frame.bn2, frame.global_pool, frame.classifier])
        return nn.Sequential(cast(nn.Module, frame.conv_stem), cast(nn.Module, frame.bn1), *path, *head)

    return build


def _agreement(told_N: np.ndarray, true_N: np.ndarray) -> tuple[float | None, float | None]:
    """(Kendall's τ, R²); None where one of the two is constant."""
    if np.ptp(told_N) == 0 or np.ptp(true_N) == 0:
        return None, None
    residual = ((told_N - true_N) ** 2).sum() / ((true_N - true_N.mean()) ** 2).sum()
    return float(kendalltau(told_N, true_N).statistic), float(1 - residual)
