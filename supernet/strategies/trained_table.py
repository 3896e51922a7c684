"""A table of losses from networks that are each trained alone: dear, but no weights are shared, and a gap that it foretells counts fully.

On the ground truth of micro32, 50 trained networks rank an unseen one nearly as well as its second training would (docs/one_search.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from supernet.bars import bar as progress_bar
from supernet.config import SearchConfig
from supernet.data import Batches
from supernet.engine.rows import append_row, read_rows, write_rows
from supernet.engine.stopping import Interrupted, StopSignal
from supernet.errors import UserError
from supernet.problem import Problem
from supernet.quality import TRAINED, Quality
from supernet.quality_fit import fitted, judged, paths_of
from supernet.strategies.evaluators import alone
from supernet.transfer.score_table import score_table

ROWS = "trained.jsonl"
PRIOR_IMAGES = 64
TRIES = 20  # draws for each network that is wanted; a small space has not so many different ones


def trained_quality(config: SearchConfig, problem: Problem) -> Quality:
    """The table of `--trained` different networks, each trained alone. What the run's folder has already is not trained again."""
    assert config.trained is not None
    shown, place = judged(problem, config.eval_images), problem.folder.path / ROWS
    drawn_NL = paths_of(problem, TRIES * config.trained, config.seed)
    index_NL = np.unique(drawn_NL, axis=0)
    index_NL = np.random.default_rng(config.seed).permutation(index_NL)[: config.trained]
    losses, train = read_losses(place, index_NL, len(shown.groups)), alone(config, problem)
    with (
        StopSignal() as stop,
        progress_bar(total=len(index_NL), initial=len(losses), desc="trained", unit="network") as bar,
    ):
        for index_L in index_NL[len(losses) :]:
            if stop.came:
                raise Interrupted(f"Interrupted after {len(losses)} of {len(index_NL)} networks")
            network = train(index_L).eval()
            with torch.no_grad():
                losses.append(shown.loss_G(network(shown.batch.image)))
            append_row(place, {"index_L": index_L.tolist(), "loss_G": losses[-1].tolist()})
            bar.update()
    return fitted(problem, shown, index_NL, np.array(losses), TRAINED, prior(config, problem))


def prior(config: SearchConfig, problem: Problem) -> np.ndarray | None:
    """(L, K) synflow of each option, which few trained networks are a correction of; None where an option's score depends on its neighbour's."""
    data, space = problem.data, problem.space
    if space.choices.edges:
        return None
    batch = Batches(data.train, PRIOR_IMAGES, seed=config.seed, stratify=True, mean=data.mean, std=data.std).at(0)
    return score_table(space, "synflow", len(data.classes), batch.image, batch.label, config.seed).added_LK


def read_losses(path: Path, index_NL: np.ndarray, groups: int) -> list[np.ndarray]:
    """Losses (G,) of the networks trained so far, in their order; a last row that was cut off is taken out of the file.

    Raises UserError with the row's number for one that is not this run's.
    """
    rows = read_rows(path, "trained networks", _ROW)
    for number, row in enumerate(rows):
        if number >= len(index_NL) or row["index_L"] != index_NL[number].tolist() or len(row["loss_G"]) != groups:
            raise UserError(
                f"trained networks {path}: row {number + 1} is not what this run trains there: start a new run."
            )
    if rows:
        write_rows(path, rows)
    return [np.array(row["loss_G"]) for row in rows]


_ROW = {
    "type": "object",
    "required": ["index_L", "loss_G"],
    "additionalProperties": False,
    "properties": {
        "index_L": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 1000},
        "loss_G": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1e3}, "minItems": 1, "maxItems": 1000},
    },
}  # fmt: skip
