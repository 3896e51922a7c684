"""Deep feature reweighting: the trained network's classifier is fitted anew on held-out images, every group × class weighing
the same; the features stay (Kirichenko, Izmailov & Wilson, "Last layer re-training is sufficient for robustness to spurious
correlations", ICLR 2023).

Theirs averages sparse logistic regressions on balanced subsets. Ours is one, weighted, and pulled towards the trained classifier,
so that few held-out images change little:

    min over Δ, c   Σ_i w_i · CE(W₀ f_i + b₀ + Δ z_i + c, y_i) / N + λ ‖Δ‖²,   z = (f − mean) / sd

with λ by cross-validation on the same images (whole clusters stay together); to leave the classifier as it was is one of the
choices. It needs what training lacked: images of the rare group. Shapes: N images, D features, C classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.data import Batches, GroupedData, Split
from supernet.errors import UserError
from supernet.fairness.weights import CellWeights
from supernet.objective import cell_counts

FOLDS, STEPS = 4, 100
RARE = 0.25
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # λ, from hardly any change to as good as none


class Refit(NamedTuple):
    """`penalty` λ, None where no λ did better than the classifier as it was. Losses: balanced cross-entropy, each image's by
    classifiers that were not fitted to it."""

    penalty: float | None
    loss_before: float
    loss_after: float
    images: int

    def words(self) -> str:
        """For a report's notes."""
        if self.penalty is None:
            return (
                f"--refit-classifier: the classifier stays as it was trained; fitted anew on {self.images:,} images of search-val it did "
                f"no better on those left out (balanced cross-entropy {self.loss_before:.4f})."
            )
        return (
            f"--refit-classifier: the classifier was fitted anew on the {self.images:,} images of search-val, every group × class "
            f"weighing the same; balanced cross-entropy on those left out {self.loss_before:.4f} → {self.loss_after:.4f}. Search-val is "
            f"not held out any more: what else is fitted on it (outputs adjusted by group) has learned from the same images."
        )


def refit_classifier(network: nn.Module, data: GroupedData, split: Split, device: torch.device | str = "cpu") -> Refit:
    """Fits the classifier of a timm model anew on `split`, in place; the network is left in eval mode.

    Raises UserError if its classifier is no linear layer.
    """
    classifier = linear_classifier(network)
    batches = Batches(split, 256, shuffle=False, mean=data.mean, std=data.std, device=device)
    feature_ND, label_N = _features(network, batches), torch.from_numpy(split.label_N)
    weight_N = balanced_weights(data, split).double()
    W_CD, b_C = (parameter.detach().double().cpu() for parameter in (classifier.weight, classifier.bias))
    base_NC = feature_ND @ W_CD.T + b_C
    mean_D, sd_D = feature_ND.mean(0), feature_ND.std(0)
    sd_D = sd_D + 1e-3 * sd_D.mean() + 1e-12  # features that hardly ever speak are not blown up
    one_N1 = torch.ones(len(feature_ND), 1, dtype=torch.float64)
    z_NE = torch.cat([(feature_ND - mean_D) / sd_D, one_N1], 1)

    loss_before = best = float((weight_N * F.cross_entropy(base_NC, label_N, reduction="none")).mean())
    fold_N, penalty = _folds(split), None
    change_FCE = [torch.zeros(len(b_C), z_NE.shape[1], dtype=torch.float64)] * FOLDS
    for candidate in PENALTIES:
        loss = 0.0
        for fold in range(FOLDS):
            fit_N, held_N = fold_N != fold, fold_N == fold
            own = base_NC[fit_N], z_NE[fit_N], label_N[fit_N], weight_N[fit_N]
            change_FCE[fold] = _fit(*own, candidate, change_FCE[fold])
            logits_NC = base_NC[held_N] + z_NE[held_N] @ change_FCE[fold].T
            loss += float((weight_N[held_N] * F.cross_entropy(logits_NC, label_N[held_N], reduction="none")).sum())
        if loss / len(label_N) >= best:
            break
        best, penalty = loss / len(label_N), candidate
    if penalty is not None:
        change_CE = _fit(base_NC, z_NE, label_N, weight_N, penalty, torch.stack(change_FCE).mean(0))
        change_CD = change_CE[:, :-1] / sd_D
        with torch.no_grad():
            classifier.weight.copy_(W_CD + change_CD)
            classifier.bias.copy_(b_C + change_CE[:, -1] - change_CD @ mean_D)
    return Refit(penalty, loss_before, best, len(label_N))


def advice(data: GroupedData) -> list[str]:
    """A line for each group that is rare in search-train and at least twice as frequent in search-val."""
    lines = []
    for column, (attribute, groups) in enumerate(data.attributes.items()):
        for code, group in enumerate(groups):
            train, val = (float((split.group_NA[:, column] == code).mean()) for split in (data.train, data.val))
            if 0 < train < RARE and val >= 2 * train:
                lines.append(
                    f'"{group}" ({attribute}) is {train:.0%} of search-train and {val:.0%} of search-val: --refit-classifier or '
                    f"--train-on-val would let the network learn from these images, too (docs/fairness.md)."
                )
    return lines


def linear_classifier(network: nn.Module) -> nn.Linear:
    """What is fitted. Raises UserError where a timm model ends otherwise."""
    body: Any = network  # timm's models have more methods than nn.Module
    classifier = body.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise UserError(f"The classifier of {type(network).__name__} is no linear layer: leave out --refit-classifier.")
    return classifier


def balanced_weights(data: GroupedData, split: Split) -> Tensor:
    """(N,) weights under which every group × class counts the same, mean over the attributes; 1 where a group is unknown."""
    label_N, ones_N = torch.from_numpy(split.label_N), torch.ones(len(split))
    factors = []
    for count_GC, group_N in zip(cell_counts(data, split), torch.from_numpy(split.group_NA).T, strict=True):
        factors.append(CellWeights(count_GC, equal=True)(ones_N, label_N, group_N, ones_N))
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
    """(N,) fold of each image: at random, but the same in every run, and one for all images of a cluster."""
    owner_N = np.arange(len(split)) if split.cluster_N is None else split.cluster_N
    _, owner_N = np.unique(owner_N, return_inverse=True)
    return torch.from_numpy(np.random.default_rng(0).permutation(owner_N.max() + 1)[owner_N] % FOLDS)


def _fit(base_NC: Tensor, z_NE: Tensor, label_N: Tensor, weight_N: Tensor, penalty: float, start_CE: Tensor) -> Tensor:
    """(C, D + 1): Δ and c, by L-BFGS from `start_CE`."""
    change_CE = start_CE.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [change_CE], max_iter=STEPS, tolerance_grad=1e-4, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        entropy_N = F.cross_entropy(base_NC + z_NE @ change_CE.T, label_N, reduction="none")
        value = (weight_N * entropy_N).mean() + penalty * change_CE[:, :-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return change_CE.detach()
