"""Losses of sampled paths → quality.json: the log loss of each group on search-val, as a table. Of a supernet, or of networks trained alone.

Paths of all sizes are drawn. In a supernet each runs once on the same images with the batch norms' statistics of these images. A Bayesian ridge
regression (MacKay, 1992; scikit-learn's) explains the log loss of each group by the operations. What the table is worth is
measured on paths that were left out, in five folds. Shapes: N paths, L layers, K operations, V images, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import KFold
from torch import Tensor
from torch.nn import functional as F

from supernet.alpha.relaxation import one_hot
from supernet.bars import bar as progress_bar
from supernet.config import SearchConfig
from supernet.costs.factors import Cost
from supernet.data import Batch, Batches
from supernet.data.grouped import Split
from supernet.derive import broadest_alpha
from supernet.problem import Problem
from supernet.quality import QUALITY, SUPERNET, Quality, gaps
from supernet.scoring import PresentGroup, compared_images, members_GV, present_groups

IMAGES = 128  # of search-val, an eighth of those that networks are compared on, and more where a group would have few
FEWEST_PATHS, PATHS_A_NUMBER = 96, 1.0  # paths: at least so many, and so many for each number of the table
BEYOND = 1.25  # times the budget: the largest paths
LEAST_LOSS = 1e-4

Logits = Callable[[Batch, Tensor], Tensor]
"""(batch, one-hot operation weights (L, K)) → (B, C)."""


class Judged(NamedTuple):
    """The images of search-val on which losses are taken, in one batch of V, and their G groups."""

    batch: Batch
    groups: list[PresentGroup]
    member_GV: np.ndarray

    def loss_G(self, output_VC: Tensor) -> np.ndarray:
        """(G,) mean cross-entropy of each group, nats."""
        loss_V = F.cross_entropy(output_VC.float(), self.batch.label, reduction="none").cpu().double().numpy()
        return np.asarray((self.member_GV @ loss_V) / self.member_GV.sum(axis=1))


def judged(problem: Problem, images: int) -> Judged:
    """About so many images of search-val, the same for every seed (`compared_images`)."""
    data, val = problem.data, problem.data.val
    index_V = compared_images(val.group_NA, images)
    shown = Split(val.images_NCHW[index_V], val.label_N[index_V], val.group_NA[index_V])
    (batch,) = Batches(shown, len(index_V), shuffle=False, mean=data.mean, std=data.std, device=problem.device).epoch()
    groups = present_groups(shown.group_NA, data.attributes)
    return Judged(batch, groups, members_GV(groups, shown.group_NA))


def fit_quality(config: SearchConfig, problem: Problem, logits: Logits) -> Quality:
    """The table of a supernet, whose `logits` are in training mode: nothing but running statistics is changed."""
    valid_LK, shown = problem.space.valid_LK, judged(problem, min(config.eval_images // 8, IMAGES))
    numbers = 1 + int((valid_LK.sum(axis=1) - 1).sum())
    number = max(FEWEST_PATHS, int(PATHS_A_NUMBER * numbers))
    index_NL = paths_of(problem, number, config.seed)
    like_LK, loss_NG = torch.zeros(valid_LK.shape), np.empty((number, len(shown.groups)))
    with torch.no_grad():
        for n in progress_bar(range(number), desc="quality", unit="path", disable=not problem.folder.writes):
            loss_NG[n] = shown.loss_G(logits(shown.batch, one_hot(torch.from_numpy(index_NL[n]), like_LK)))
    return fitted(problem, shown, index_NL, loss_NG, SUPERNET)


def fitted(
    problem: Problem,
    shown: Judged,
    index_NL: np.ndarray,
    loss_NG: np.ndarray,
    source: str,
    prior_LK: np.ndarray | None = None,
) -> Quality:
    """The table of these paths' losses, with what it is worth on paths left out. source: of the losses, for people. prior_LK: see `fit_table`."""
    space, groups = problem.space, shown.groups
    attributes, names = tuple(one.attribute for one in groups), tuple(one.name for one in groups)
    base_G, added_LKG = fit_table(space.valid_LK, index_NL, loss_NG, prior_LK)
    error_G, told = cross_validated(space.valid_LK, index_NL, loss_NG, attributes, prior_LK)
    facts = {
        "paths": len(index_NL),
        "images": shown.member_GV.shape[1],
        "source": source,
        "group_images": dict(zip(names, shown.member_GV.sum(axis=1).astype(int).tolist(), strict=True)),
        **told,
    }
    return Quality(space, names, attributes, "log", base_G, added_LKG, error_G, facts, problem.data.fingerprint)


def paths_of(problem: Problem, number: int, seed: int) -> np.ndarray:
    """(N, L) `spread_paths` over all that is asked for."""
    regions = [(one.latency, one.limit_ms) for one in problem.regions]
    regions = regions or [(problem.costs["latency"], problem.budgets["latency"])]
    return spread_paths(problem.space.valid_LK, regions, number, seed)


def quality_notes(quality: Quality) -> tuple[str, ...]:
    """What later budgets and devices are answered from, and how well it foretells."""
    fit, error = quality.fit, quality.error_G
    if fit["kendall"] is None or error is None:
        return ()
    gap = "unknown" if fit["kendall_gap"] is None else f"{fit['kendall_gap']:.2f}"
    return (
        f"{QUALITY} answers other devices and budgets (supernet derive, supernet front). On paths left out it ranks the losses of "
        f"{'the supernet' if fit['source'] == SUPERNET else 'networks trained alone'} with Kendall τ {fit['kendall']:.2f}, their gap with {gap}; a loss is off by {np.expm1(error.mean()):.0%}.",
    )


def spread_paths(valid_LK: np.ndarray, regions: Sequence[tuple[Cost, float]], number: int, seed: int) -> np.ndarray:
    """(N, L) random paths of all sizes in turn inside each region (latency, budget in ms), and up to `BEYOND` its budget.

    Each is drawn from the broadest distribution with the wanted latency. What is much larger the supernet was not trained for, and
    running it would take most of the time.
    """
    rng, paths = np.random.default_rng(seed), []
    for n in range(number):
        latency, budget_ms = regions[n % len(regions)]
        fastest, slowest = latency.bounds(valid_LK)
        share = (n // len(regions) + 0.5) / -(-number // len(regions))
        wanted_ms = fastest + share * (min(BEYOND * budget_ms, slowest) - fastest)
        alpha_LK = broadest_alpha(latency, valid_LK, wanted_ms)
        noisy_LK = alpha_LK + rng.gumbel(size=valid_LK.shape)
        paths.append(np.where(valid_LK, noisy_LK, -np.inf).argmax(axis=1))
    return np.array(paths)


def fit_table(
    valid_LK: np.ndarray, index_NL: np.ndarray, loss_NG: np.ndarray, prior_LK: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(base_G, added_LKG) of log loss, by Bayesian ridge regression for each group.

    prior_LK: a score of each option. Its sum over layers explains what it can (one slope for each group), the regression the rest: with few paths
    the table then leans on the score (docs/one_search.md).
    """
    scored_LK = np.zeros(valid_LK.shape) if prior_LK is None else np.where(valid_LK, prior_LK, 0.0)
    total_N = scored_LK[np.arange(index_NL.shape[1]), index_NL].sum(axis=1)
    columns = np.flatnonzero(valid_LK)
    shown_NP = np.eye(valid_LK.shape[1])[index_NL].reshape(len(index_NL), -1)[:, columns]
    base_G, added_LKG = np.empty(loss_NG.shape[1]), np.zeros((valid_LK.size, loss_NG.shape[1]))
    for g, loss_N in enumerate(np.log(loss_NG.clip(LEAST_LOSS)).T):
        slope = float(np.polyfit(total_N, loss_N, 1)[0]) if np.ptp(total_N) > 0 else 0.0
        model = BayesianRidge().fit(shown_NP, loss_N - slope * total_N)
        base_G[g], added_LKG[columns, g] = model.intercept_, model.coef_ + slope * scored_LK.ravel()[columns]
    return base_G, added_LKG.reshape(*valid_LK.shape, -1)


def cross_validated(
    valid_LK: np.ndarray,
    index_NL: np.ndarray,
    loss_NG: np.ndarray,
    attributes: tuple[str, ...],
    prior_LK: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, float | None]]:
    """((G,) root mean square of what log losses of left-out paths are off, Kendall's τ there of the mean loss and of the gap)."""
    told_NG, layers = np.empty(loss_NG.shape), np.arange(index_NL.shape[1])
    for rest, held in KFold(5, shuffle=True, random_state=0).split(index_NL):
        base_G, added_LKG = fit_table(valid_LK, index_NL[rest], loss_NG[rest], prior_LK)
        told_NG[held] = base_G + added_LKG[layers, index_NL[held]].sum(axis=1)
    error_G = np.sqrt(((told_NG - np.log(loss_NG.clip(LEAST_LOSS))) ** 2).mean(axis=0))

    return error_G, {
        "kendall": _tau(np.exp(told_NG).mean(axis=1), loss_NG.mean(axis=1)),
        "kendall_gap": _tau(gaps(np.exp(told_NG), attributes), gaps(loss_NG, attributes)),
    }


def _tau(told_N: np.ndarray, true_N: np.ndarray) -> float | None:
    """Kendall's τ; None where one of the two is constant."""
    known = np.ptp(told_N) > 0 and np.ptp(true_N) > 0
    return float(kendalltau(told_N, true_N).statistic) if known else None
