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
from torch import Tensor

from supernet.bars import bar as progress_bar
from supernet.config import SearchConfig
from supernet.costs.factors import Cost
from supernet.derive import best_first
from supernet.errors import UserError
from supernet.problem import Outcome, Problem
from supernet.quality import QUALITY, Quality
from supernet.scoring import marked
from supernet.spaces import SearchSpace
from supernet.spaces.lite import uniform_sizes
from supernet.strategies.assembled import Material, compared, controls, keep_weights, material, with_control
from supernet.transplant import block_inputs, blocks_of, ends, fit, head, smaller

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
    """How far each operation alone leads from the teacher, and each width of a stage, by group."""
    space, teacher, shown = problem.space, made_of.teacher, made_of.shown
    fitted, seen = block_inputs(teacher.network, made_of.fitted_NCHW), block_inputs(teacher.network, shown.image_VCHW)
    added_LKG = np.zeros((*space.valid_LK.shape, len(shown.groups)))
    x, z = next(fitted), next(seen)
    kinds = [({space.operation(o): None for o in spec.ops}, _widths(space, n)) for n, spec in enumerate(space.layers)]
    with progress_bar(
        total=sum(len(ops) + len(widths) - 1 for ops, widths in kinds), desc="blocks", unit="block",
        disable=not problem.folder.writes,
    ) as bar:  # fmt: skip
        for layer, (ops, widths) in enumerate(kinds):
            target, whole = next(fitted), space.layers[layer].c_out
            loss = {}
            for op in ops:
                loss[op] = _replaced(space, made_of, layer, op, (x, target, z))
                bar.update()
            narrow = {whole: np.zeros(len(shown.groups))}
            for width in widths - {whole}:
                narrow[width] = _narrowed(space, made_of, layer, width, (x, z))
                bar.update()
            for column, option in enumerate(space.choices.decisions[layer].options):
                if option is not None:
                    width = space.place(layer, option)[1].c_out
                    added_LKG[layer, column] = loss[space.operation(option)] + narrow[width]
            x, z = target, next(seen)
    return Quality(
        space, tuple(one.name for one in shown.groups), tuple(one.attribute for one in shown.groups), "identity",
        shown.base_G, added_LKG, None, {"source": SOURCE, "images": len(shown.image_VCHW)},
        problem.data.fingerprint, teacher.sha256,
    )  # fmt: skip


def _replaced(
    space: SearchSpace, made_of: Material, layer: int, op: str, streams: tuple[Tensor, Tensor, Tensor]
) -> np.ndarray:
    """(G,) how far the teacher with this operation in one layer, at its own widths, leads from itself.

    streams: what comes into the block, and out of it, of the images that it is fitted to; what comes into it of those that are shown.
    """
    network, order, (x, target, z) = made_of.teacher.network, made_of.orders[layer], streams
    block = blocks_of(network)[layer]
    if order is None or _is_whole(op, block):
        return np.zeros(len(made_of.shown.groups))
    made: Any = torch.nn.Identity()
    if op != "skip":
        made = smaller((op, space.layers[layer]), space.style, block, order)
        fit(made, x, target)
    return _led(made_of, made(z), layer + 1)


def _narrowed(
    space: SearchSpace, made_of: Material, first: int, width: int, streams: tuple[Tensor, Tensor]
) -> np.ndarray:
    """(G,) how far the teacher with one stage of this width, each block fitted after the ones before it, leads from itself.

    first: the stage's first layer.  streams: what comes into it, of the images that blocks are fitted to, and of those that are shown.
    """
    (x, z), target, blocks = streams, streams[0], blocks_of(made_of.teacher.network)
    options = list(space.names(np.nanargmax(uniform_sizes(space), axis=1)))
    op = space.operation(options[first])
    options[first] = next(
        option for option in space.layers[first].ops
        if space.operation(option) == op and space.place(first, option)[1].c_out == width
    )  # fmt: skip
    placed, stages = space.placed(options), [layer.stage for layer in space.layers]
    behind = (
        stages.index(stages[first] + 1) + 1
    )  # after the block that takes the narrow stage and gives what the teacher does
    for layer in range(first, behind):
        order, at = made_of.orders[layer], ends(space, layer, placed[layer][1], made_of.axes)
        assert order is not None, "only the first stage has nothing to leave out"
        target = blocks[layer](target)
        made: Any = smaller(placed[layer], space.style, blocks[layer], order, at)
        fit(made, x, target, at.behind)
        x, z = made(x), made(z)
    return _led(made_of, z, behind)


def _led(made_of: Material, z_VCHW: Tensor, layer: int) -> np.ndarray:
    """(G,) the distance to the teacher's outputs, of what its blocks from `layer` on make of z."""
    for block in blocks_of(made_of.teacher.network)[layer:]:
        z_VCHW = block(z_VCHW)
    return made_of.shown.distance_G(head(made_of.teacher.network, z_VCHW))


def _widths(space: SearchSpace, layer: int) -> set[int]:
    """Of what a layer may give."""
    return {space.place(layer, option)[1].c_out for option in space.layers[layer].ops}


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
