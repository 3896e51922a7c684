"""Model + images → predicted probabilities; a supernet's path → a network with its own batch-norm statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from supernet.data import Batch, GroupedData
from supernet.exits import Exits
from supernet.fairness import get_notion
from supernet.metrics import evaluate_predictions
from supernet.network import Network, Supernet, build_path
from supernet.task import probabilities


@torch.no_grad()
def predict(
    network: nn.Module, batches: Iterable[Batch], predictions: Callable[[Tensor], Tensor] = probabilities
) -> np.ndarray:
    """(N, C) predictions in the batches' order, by default softmax probabilities; the network is left in eval mode."""
    network.eval()
    return torch.cat([predictions(network(batch.image).float()).cpu() for batch in batches]).numpy()


@torch.no_grad()
def predict_exits(network: EfficientNet, exits: Exits, batches: Iterable[Batch]) -> np.ndarray:
    """(N, S, C) softmax probabilities of each exit in the batches' order, the full network's last; both are left in eval mode."""
    network.eval(), exits.eval()
    return torch.cat([exits(network, batch.image).float().softmax(-1).cpu() for batch in batches], 1).numpy()


def standalone(supernet: Supernet, ops: Sequence[str]) -> Network:
    """The derived network of one path, with the supernet's weights and batch-norm statistics."""
    network = build_path(supernet.space, ops, supernet.outputs, supernet.in_chans)
    supernet.copy_weights(ops, network)
    moved: Network = network.to(next(supernet.parameters()).device)
    return moved


def subnet(supernet: Supernet, ops: Sequence[str], calibration: Sequence[Batch]) -> Network:
    """As `standalone`, with batch-norm statistics measured anew on `calibration`.

    The shared layers' statistics are those of a mixture of paths, which fits none of them (Yu & Huang, "Universally
    slimmable networks", ICCV 2019, section 4.1).
    """
    network = standalone(supernet, ops).to(memory_format=torch.channels_last)
    update_bn((batch.image for batch in calibration), network)
    return network


def brief_scores(
    prob_NC: np.ndarray,
    label_N: np.ndarray,
    group_NA: np.ndarray,
    data: GroupedData,
    notion: str,
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """accuracy, mean_group_accuracy and cross_entropy (means over groups) and hard gap of a notion, to follow a run.

    Of several attributes the worst counts, and `gap_ATTRIBUTE` tells of each: one may improve while another worsens. A gap
    that these images do not define is None, and so is the worst of several where one of them is. `others` are notions whose
    worst gap stands under its own name.
    """
    notions = {name: get_notion(name) for name in (notion, *others)}
    report = evaluate_predictions(prob_NC, label_N, group_NA, data.classes, data.attributes, n_boot=0, notions=notions)
    attributes = report["attributes"]
    gaps = {f"gap_{name}": found["gaps"][notion]["value"] for name, found in attributes.items()}
    loss_N = -np.log(prob_NC[np.arange(len(label_N)), label_N].clip(1e-12))
    loss_A = [
        np.mean([loss_N[group_N == group].mean() for group in np.unique(group_N[group_N >= 0])])
        for group_N in group_NA.T
    ]
    return {
        "accuracy": report["accuracy"]["value"],
        "mean_group_accuracy": min(found["mean_group_accuracy"]["value"] for found in attributes.values()),
        "cross_entropy": float(max(loss_A)),
        "gap": worst_gap(gaps.values()),
        **(gaps if len(gaps) > 1 else {}),
        **{name: worst_gap(found["gaps"][name]["value"] for found in attributes.values()) for name in others},
    }


def worst_gap(gaps: Iterable[float | None]) -> float | None:
    """The largest gap; unknown where one of them is: nobody can say that another is the worst."""
    found = list(gaps)
    known = [gap for gap in found if gap is not None]
    return max(known) if known and len(known) == len(found) else None


def signed(gap: float | None) -> str:
    """A gap in a progress line."""
    return "unknown" if gap is None else f"{gap:+.3f}"
