"""Deep feature reweighting: the trained network's classifier is fitted anew on held-out images, every group × class weighing
the same; the features stay (Kirichenko, Izmailov & Wilson, "Last layer re-training is sufficient for robustness to spurious
correlations", ICLR 2023).

Theirs averages sparse logistic regressions on balanced subsets. Ours is one, weighted, and pulled towards the trained classifier,
so that few held-out images change little:

    min over Δ, c   Σ_i w_i · CE(W₀ f_i + b₀ + Δ z_i + β c, y_i) / N + λ (‖Δ‖² + ‖c‖²),   z = (f − mean) / s

with one s for all features, so that Δ is penalised in the network's own scale: a feature that hardly varies would need large weights
to be heard, and these would make the network brittle. The bias is penalised less (β > 1). λ is by cross-validation on the same images
(whole clusters stay together); to leave the classifier as it was is one of the choices. It needs what training lacked: images of the
rare group.

A class or group × class that the held-out images lack would be unlearned: the fit refuses. Where they have fewer than `FOLDS`, images of
search-train join them; these count twice, since what was trained on is easier than what is new. Shapes: N images, D features, C classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.coverage import check_coverage, coverage, named
from supernet.data import Batches, GroupedData, Split
from supernet.errors import UserError
from supernet.fairness.weights import CellWeights
from supernet.objective import cell_counts

FOLDS, STEPS = 4, 100
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # λ, from hardly any change to as good as none
BIAS = 3.0  # β: the bias is penalised a ninth as much (docs/log.md)
STAND_INS, STAND_IN_WEIGHT = 64, 2.0  # images of search-train at most for one group × class, and how much they count


class Refit(NamedTuple):
    """`penalty` λ, None where no λ did better than the classifier as it was. Losses: balanced cross-entropy, each image's by
    classifiers that were not fitted to it. `images` of the split; `helped`: the group × class that images of search-train joined.

    loss_before, loss_after: in nats.
    """

    penalty: float | None
    loss_before: float
    loss_after: float
    images: int
    helped: tuple[str, ...] = ()

    def words(self) -> str:
        """For a report's notes."""
        if self.penalty is None:
            return (
                f"--refit-classifier: the classifier stays as it was trained; fitted anew on {self.images:,} images of search-val it did "
                f"no better on those left out (balanced cross-entropy {self.loss_before:.4f})."
            )
        told = (
            f"--refit-classifier: the classifier was fitted anew on the {self.images:,} images of search-val, every group × class "
            f"weighing the same; balanced cross-entropy on those left out {self.loss_before:.4f} → {self.loss_after:.4f}. Search-val is "
            f"not held out any more: what else is fitted on it (outputs adjusted by group) has learned from the same images."
        )
        if self.helped:
            told += (
                f" Search-val has fewer than {FOLDS} images of {named(self.helped)}: images of search-train joined them, so that the "
                f"fit does not unlearn them."
            )
        return told


def refit_classifier(network: nn.Module, data: GroupedData, split: Split, device: torch.device | str = "cpu") -> Refit:
    """Fits the classifier of a timm model anew on `split`, in place; the network is left in eval mode.

    Raises UserError if its classifier is no linear layer, or as `check_coverage`.
    """
    classifier = linear_classifier(network)
    check_coverage(data, split)
    stand_in_M, helped = _stand_ins(data, split)
    parts = [(split.images_NCHW, split.label_N, split.group_NA)]
    parts.append(tuple(part[stand_in_M] for part in (data.train.images_NCHW, data.train.label_N, data.train.group_NA)))
    joined = Split(*(np.concatenate(both) for both in zip(*parts, strict=True)))
    batches = Batches(joined, 256, shuffle=False, mean=data.mean, std=data.std, device=device)
    feature_ND = _features(network, batches)
    label_N, weight_N = torch.from_numpy(joined.label_N), balanced_weights(data, joined).double()
    weight_N[len(split) :] *= STAND_IN_WEIGHT
    W_CD, b_C = (parameter.detach().double().cpu() for parameter in (classifier.weight, classifier.bias))
    base_NC = feature_ND @ W_CD.T + b_C
    mean_D = feature_ND.mean(0)
    spread, size = ((feature_ND - away).square().mean().sqrt() for away in (mean_D, 0.0))
    scale = max(float(spread), 1e-2 * float(size), 1e-12)  # of a network that has collapsed, noise is not blown up
    bias_N1 = torch.full((len(feature_ND), 1), BIAS, dtype=torch.float64)
    z_NE = torch.cat([(feature_ND - mean_D) / scale, bias_N1], 1)

    fold_N = torch.cat([_folds(split), torch.full((len(stand_in_M),), -1)])
    loss_before, loss_after, penalty, start_CE = _cross_validated(base_NC, z_NE, label_N, weight_N, fold_N)
    if penalty is None:
        return Refit(None, loss_before, loss_before, len(split), helped)
    change_CE = _fit(base_NC, z_NE, label_N, weight_N, penalty, start_CE)
    change_CD = change_CE[:, :-1] / scale
    with torch.no_grad():
        classifier.weight.copy_(W_CD + change_CD)
        classifier.bias.copy_(b_C + BIAS * change_CE[:, -1] - change_CD @ mean_D)
    return Refit(penalty, loss_before, loss_after, len(split), helped)


def _stand_ins(data: GroupedData, split: Split) -> tuple[np.ndarray, tuple[str, ...]]:
    """Sorted positions in search-train of the images that join the split's rare cells, and these cells' names."""
    rng = np.random.default_rng(0)
    rare = [cell for cell in coverage(data, split) if cell.owners < FOLDS and cell.train_M.size]
    chosen = [rng.permutation(cell.train_M)[:STAND_INS] for cell in rare]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *chosen])), tuple(cell.name for cell in rare)


def linear_classifier(network: nn.Module) -> nn.Linear:
    """What is fitted. Raises UserError where a timm model ends otherwise."""
    body: Any = network  # timm's models have more methods than nn.Module
    classifier = body.get_classifier()
    if not isinstance(classifier, nn.Linear) or classifier.bias is None:
        raise UserError(
            f"The classifier of {type(network).__name__} is no linear layer with a bias: leave out --refit-classifier."
        )
    return classifier


def balanced_weights(data: GroupedData, split: Split) -> Tensor:
    """(N,) weights under which every group × class counts the same, mean over the attributes; 1 where a group is unknown."""
    label_N, ones_N = torch.from_numpy(split.label_N), torch.ones(len(split))
    factors = []
    for count_GC, group_N in zip(cell_counts(data, split), torch.from_numpy(split.group_NA).T, strict=True):
        factors.append(CellWeights(count_GC, equal=True).value(ones_N, label_N, group_N, ones_N))
    return torch.stack(factors).mean(0)


@torch.no_grad()
def _features(network: nn.Module, batches: Batches) -> Tensor:
    """(N, D) float64, what the classifier is fed."""
    network.eval()
    body: Any = network
    return torch.cat(
        [body.forward_head(body.forward_features(b.image), pre_logits=True).double().cpu() for b in batches.epoch()]
    )


def _folds(split: Split) -> Tensor:
    """(N,) fold of each image: at random, but the same in every run, and one for all images of a cluster.

    Dealt out by group × class of a cluster's first image, so that no group × class with several clusters is in one fold alone.
    """
    rng, owner_N = np.random.default_rng(0), np.arange(len(split)) if split.cluster_N is None else split.cluster_N
    _, first_O, owner_N = np.unique(owner_N, return_index=True, return_inverse=True)
    cell_N = np.unique(np.column_stack([split.group_NA, split.label_N]), axis=0, return_inverse=True)[1].ravel()
    fold_O = np.empty(len(first_O), np.int64)
    fold_O[np.lexsort((rng.random(len(first_O)), cell_N[first_O]))] = np.arange(len(first_O)) % FOLDS
    return torch.from_numpy(fold_O[owner_N])


def _cross_validated(
    base_NC: Tensor, z_NE: Tensor, label_N: Tensor, weight_N: Tensor, fold_N: Tensor
) -> tuple[float, float, float | None, Tensor]:
    """Loss without a change, loss with the best λ, that λ (None where none is better), and where the last fit may start.

    fold_N: −1 for what is in every fit, and is never scored.
    """
    scored_N, folds = fold_N >= 0, sorted(set(fold_N.tolist()) - {-1})

    def loss_of(logits_NC: Tensor, chosen_N: Tensor) -> float:
        entropy_N = F.cross_entropy(logits_NC, label_N[chosen_N], reduction="none")
        return float((weight_N[chosen_N] * entropy_N).sum()) / int(scored_N.sum())

    before = best = loss_of(base_NC[scored_N], scored_N)
    change_FCE = [torch.zeros(base_NC.shape[1], z_NE.shape[1], dtype=torch.float64) for _ in folds]
    penalty, start_CE = None, change_FCE[0]
    for candidate in PENALTIES if len(folds) > 1 else ():  # of one cluster nothing can be left out
        loss = 0.0
        for number, fold in enumerate(folds):
            fit_N, held_N = fold_N != fold, fold_N == fold
            own = base_NC[fit_N], z_NE[fit_N], label_N[fit_N], weight_N[fit_N]
            change_FCE[number] = _fit(*own, candidate, change_FCE[number])
            loss += loss_of(base_NC[held_N] + z_NE[held_N] @ change_FCE[number].T, held_N)
        if not loss < best:
            break
        best, penalty, start_CE = loss, candidate, torch.stack(change_FCE).mean(0)
    return before, best, penalty, start_CE


def _fit(base_NC: Tensor, z_NE: Tensor, label_N: Tensor, weight_N: Tensor, penalty: float, start_CE: Tensor) -> Tensor:
    """(C, D + 1): Δ and c, by L-BFGS from `start_CE`."""
    change_CE = start_CE.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [change_CE], max_iter=STEPS, tolerance_grad=1e-4, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        entropy_N = F.cross_entropy(base_NC + z_NE @ change_CE.T, label_N, reduction="none")
        value = (weight_N * entropy_N).mean() + penalty * change_CE.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return change_CE.detach()
