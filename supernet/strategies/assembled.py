"""Architectures assembled from a teacher's blocks, trained shortly towards it, and compared: what its strategies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
from safetensors.torch import save
from timm.models.efficientnet import EfficientNet
from torch import Tensor

from latency_luts.files import write_whole
from supernet.bars import bar as progress_bar
from supernet.config import CONTROL, SearchConfig
from supernet.costs.factors import Cost
from supernet.data import Batches
from supernet.derive import largest_inside, uniform
from supernet.network import build_path
from supernet.pretrained import INHERITED_WEIGHTS
from supernet.problem import Candidate, Problem
from supernet.scoring import gaps_by_attribute, val_scores
from supernet.spaces import SearchSpace
from supernet.spaces.lite import scaled, uniform_sizes
from supernet.strategies.shown import Shown
from supernet.teacher import Teacher, distil
from supernet.transplant import assemble, channel_orders, fitted_images, stream_axes

RATE = 5e-4  # of the short training


class Material(NamedTuple):
    """What networks are assembled of and held against.

    orders:      `channel_order` of each of the teacher's blocks; None of one that has nothing to leave out
    fitted_NCHW: images that blocks are fitted to
    shown:       images that distances are measured on
    axes:        `stream_axes` of the stages whose width is decided
    """

    teacher: Teacher
    orders: list[Tensor | None]
    fitted_NCHW: Tensor
    shown: Shown
    axes: dict[int, Tensor]


def material(config: SearchConfig, problem: Problem) -> Material:
    """Of the problem's teacher."""
    assert problem.teacher is not None, "checked with the options"
    fitted_NCHW = fitted_images(problem.data, config.seed)
    network = problem.teacher.network
    orders, axes = channel_orders(network, fitted_NCHW), stream_axes(problem.space, network, fitted_NCHW)
    return Material(problem.teacher, orders, fitted_NCHW, Shown(problem, problem.teacher, config.seed), axes)


def compared(
    config: SearchConfig, problem: Problem, made_of: Material, named: Sequence[tuple[str, ...]]
) -> list[tuple[Candidate, EfficientNet]]:
    """Each architecture assembled, trained shortly and compared, the one with the least merit (problem.py) first.

    With --max-gap those whose gap on search-val exceeds it come after the others, the least excess first.
    """
    space, data, (teacher, orders, fitted_NCHW, shown, axes) = problem.space, problem.data, made_of
    scored = val_scores(config, problem)
    augment = data.augment if config.augment else None
    train = Batches(data.train, config.batch_size, seed=config.seed, stratify=True, augment=augment,
                    mean=teacher.spec.mean, std=teacher.spec.std)  # fmt: skip
    batches = [train.at(step).image for step in range(config.distil_steps)]
    rows = []
    unique = list(dict.fromkeys(named))
    for ops in progress_bar(unique, desc="compare", unit="network", disable=not problem.folder.writes):
        torch.manual_seed(config.seed)
        network = assemble(space, ops, teacher.network, orders, fitted_NCHW,
                           cast(EfficientNet, build_path(space, ops, len(data.classes), data.channels)), axes)  # fmt: skip
        if batches:
            distil(network, teacher, batches, RATE)
        found = scored(network)
        with torch.no_grad():
            distance_G = shown.distance_G(torch.cat([network(part) for part in shown.image_VCHW.split(256)]))
        index_L = space.index_L(ops)
        rows.append((
            Candidate(
                ops, {name: cost.total(index_L) for name, cost in problem.costs.items()}, None, found["accuracy"],
                found["mean_group_accuracy"], found["gap"], True, found["cross_entropy"],
                gaps=gaps_by_attribute(found, data.attributes), distance=float(distance_G.mean()),
            ), network,
        ))  # fmt: skip
    cap = config.max_gap

    def merit(row: tuple[Candidate, EfficientNet]) -> tuple[float, float]:
        one = row[0]
        excess = 0.0 if cap is None or one.gap is None else max(0.0, one.gap - cap)
        return excess, one.merit or 0.0

    return sorted(rows, key=merit)


def controls(space: SearchSpace, costs: Sequence[Cost], budgets: Mapping[str, float]) -> list[tuple[str, ...]]:
    """What one would build without a search inside the budgets: every block narrower at full depth; depth and width smaller alike."""
    sizes_LK = uniform_sizes(space)
    levels = (scaled(space, share) for share in np.arange(1, 0, -0.05))
    found = (uniform(sizes_LK, costs, budgets), largest_inside(levels, sizes_LK, costs, budgets))
    return list(dict.fromkeys(space.names(index_L) for index_L in found if index_L is not None))


def with_control(
    rows: Sequence[tuple[Candidate, EfficientNet]], named: Sequence[tuple[str, ...]]
) -> tuple[list[tuple[Candidate, EfficientNet]], tuple[str, ...] | None]:
    """The rows, best first, with the better one of the controls marked as such; and its operations."""
    control = next((one.ops for one, _ in rows if one.ops in named), None)
    return [(replace(one, by_hand=one.ops == control), network) for one, network in rows], control


def keep_weights(
    problem: Problem, rows: Sequence[tuple[Candidate, EfficientNet]], control: Sequence[str] | None
) -> None:
    """What `train` begins with: the first one's weights beside derived.json, the control's (by its operations) in CONTROL."""
    if not problem.folder.writes:  # one of several processes does
        return
    kept = [(problem.folder.path, rows[0][1])]
    kept += [(problem.folder.path / CONTROL, network) for one, network in rows[1:] if one.ops == control]
    for folder, network in kept:
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        write_whole(folder / INHERITED_WEIGHTS, save(state))
