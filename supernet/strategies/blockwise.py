"""Block by block: what each smaller block costs each group, measured in the trained network; then one exact programme.

Each candidate block is fitted to the teacher's block (transplant.py) and scored by replacing only it in the whole teacher: how far the
outputs are from the teacher's, by group (shown.py), an (L, K, G) table that stays in the run folder (quality.json). The integer programme picks
the least loss inside every budget. Such sums mislead where blocks depend on each other: depth is only cut from a stage's end, and
the best few are assembled, trained shortly towards the teacher and compared, beside the uniform network of the same budget.

LANA (Molchanov et al., ECCV 2022), Puzzle (Bercovich et al., ICML 2025); the groups are ours. Shapes: L layers, K operations,
G groups of all attributes, V images of search-val.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.bars import bar as progress_bar
from supernet.config import SearchConfig
from supernet.costs.factors import Cost
from supernet.derive import best_first
from supernet.errors import UserError
from supernet.problem import Outcome, Problem
from supernet.quality import QUALITY, Quality
from supernet.scoring import marked
from supernet.spaces import SearchSpace
from supernet.strategies.assembled import Material, compared, controls, keep_weights, material, with_control
from supernet.transplant import block_inputs, blocks_of, fit, head, smaller

POOL = 4  # architectures for each weighting of the groups
SOURCE = "single blocks replaced in the teacher: KL divergence"
APART = 3  # layers in which two of them differ: the next best ones are often the best one with a kernel changed


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """The (L, K, G) table, the programme, the best few compared. Raises UserError where nothing keeps the budgets."""
    torch.manual_seed(config.seed)
    started = time.monotonic()
    made_of = material(config, problem)
    quality = scores(problem, made_of) if config.quality is None else read_quality(config.quality, problem, made_of)
    scored = time.monotonic()
    quality.save(problem.folder.path / QUALITY)
    found = pool(problem, quality.added_LKG, config.candidates)
    by_hand = controls(problem.space, list(problem.costs.values()), problem.budgets)
    named = [*(problem.space.names(index_L) for index_L in found), *by_hand]
    ranked, control = with_control(compared(config, problem, made_of, named), by_hand)
    keep_weights(problem, ranked, control)
    candidates = marked([one for one, _ in ranked])
    return Outcome(candidates, None, {"scores": scored - started, "compare": time.monotonic() - scored}, 1)


@torch.no_grad()
def scores(problem: Problem, made_of: Material) -> Quality:
    """How far each operation alone leads from the teacher, by group."""
    space, (teacher, orders, fitted_NCHW, shown) = problem.space, made_of
    blocks = blocks_of(teacher.network)
    fitted, seen = block_inputs(teacher.network, fitted_NCHW), block_inputs(teacher.network, shown.image_VCHW)
    added_LKG = np.zeros((*space.valid_LK.shape, len(shown.groups)))
    x, z = next(fitted), next(seen)
    with progress_bar(
        total=int(space.valid_LK.sum()), desc="blocks", unit="block", disable=not problem.folder.writes
    ) as bar:
        for layer, (block, spec) in enumerate(zip(blocks, space.layers, strict=True)):
            target = next(fitted)
            for op in spec.ops:
                order = orders[layer]
                if order is not None and not _is_whole(op, block):
                    made: Any = torch.nn.Identity() if op == "skip" else smaller(space, layer, op, block, order)
                    fit(made, x, target)
                    y = made(z)
                    for later in blocks[layer + 1 :]:
                        y = later(y)
                    added_LKG[layer, space.ops.index(op)] = shown.distance_G(head(teacher.network, y))
                bar.update()
            x, z = target, next(seen)
    return Quality(
        space, tuple(one.name for one in shown.groups), tuple(one.attribute for one in shown.groups), "identity",
        shown.base_G, added_LKG, None, {"source": SOURCE, "images": len(shown.image_VCHW)},
        problem.data.fingerprint, teacher.sha256,
    )  # fmt: skip


def read_quality(run: str, problem: Problem, made_of: Material) -> Quality:
    """As `scores`, from an earlier run's folder. Raises UserError where it is of another space, teacher or data."""
    found = Quality.load(Path(run))
    if found.fit.get("source") != SOURCE:
        raise UserError(f"table of losses {run}: it is of a supernet, or of an earlier version: leave --quality out.")
    told = {"space": found.space.name, "teacher_sha256": found.teacher_sha256, "fingerprint": found.fingerprint}
    here = {
        "space": problem.space.name,
        "teacher_sha256": made_of.teacher.sha256,
        "fingerprint": problem.data.fingerprint,
    }
    for name, value in told.items():
        if value != here[name]:
            raise UserError(f"table of losses {run}: {name}: it is of another run's: leave --quality out.")
    return found


def _is_whole(op: str, block: Any) -> bool:
    """Whether the operation is the teacher's own block."""
    expansion = block.conv_pw.out_channels // block.conv_pw.in_channels
    return op == f"k{block.conv_dw.kernel_size[0]}_e{expansion}"


def depth_order(space: SearchSpace) -> Cost:
    """A cost of 0 where each stage lacks only its last blocks, else more: as a budget of 0 it keeps depth contiguous."""
    pairs, skip = {}, space.ops.index("skip")
    for layer in range(len(space.layers) - 1):
        if space.layers[layer].stage == space.layers[layer + 1].stage and space.valid_LK[layer, skip]:
            table_KK = np.zeros((len(space.ops),) * 2)
            table_KK[skip] = 1.0
            table_KK[skip, skip] = 0.0
            pairs[layer, layer + 1] = table_KK
    return Cost("depth_order", "", 0.0, np.zeros(space.valid_LK.shape), pairs)


def pool(problem: Problem, added_LKG: np.ndarray, number: int) -> list[np.ndarray]:
    """Up to `number` architectures inside the budgets: the least loss on average over groups, and with each group weighing more.

    Raises UserError where nothing fits.
    """
    order = depth_order(problem.space)
    costs, budgets = [*problem.costs.values(), order], {**problem.budgets, order.name: 0.0}
    groups = added_LKG.shape[2]
    weightings = [np.full(groups, 1 / groups), *(0.5 / groups + 0.5 * np.eye(groups))]
    found: list[np.ndarray] = []
    for weight_G in weightings:
        score_LK = -(added_LKG @ weight_G)
        for index_L in islice(best_first(score_LK, problem.space.valid_LK, costs, budgets, apart=APART), POOL):
            if all((index_L != other).sum() >= APART for other in found):
                found.append(index_L)
    return found[:number]
