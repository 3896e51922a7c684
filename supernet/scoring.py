"""How architectures are scored on search-val, and which of them none other dominates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from supernet.bars import bar as progress_bar
from supernet.config import SearchConfig
from supernet.data import Batches, GroupedData
from supernet.data.batches import order_epoch, plan_epoch
from supernet.data.grouped import Split
from supernet.engine.evaluate import brief_scores, predict, subnet
from supernet.front import non_dominated
from supernet.network import Supernet
from supernet.problem import Candidate, Problem

CALIBRATION_BATCHES = 10
EVAL_BATCH = 256
TOLD_MODEL = ("unfairness", "equal_opportunity", "equalized_odds")  # notions that FL-NAS' model is told: U, EOPP, EODD
FEWEST = 16  # images of a group among those that architectures are compared on, where it has as many


def val_scores(config: SearchConfig, problem: Problem) -> Callable[[nn.Module], dict[str, Any]]:
    """network → `brief_scores` on the images of search-val that `compared_images` chooses."""
    data, val = problem.data, problem.data.val
    index_N = compared_images(val.group_NA, config.eval_images)
    chosen = Split(val.images_NCHW[index_N], val.label_N[index_N], val.group_NA[index_N])
    shown = Batches(chosen, EVAL_BATCH, shuffle=False, mean=data.mean, std=data.std, device=problem.device)
    batches = list(shown.epoch())
    others = TOLD_MODEL if config.strategy == "llm" else ()
    return lambda network: brief_scores(
        predict(network, batches), chosen.label_N, chosen.group_NA, data, config.fairness, others
    )


def compared_images(group_NA: np.ndarray, most: int) -> np.ndarray:
    """Sorted positions of `most` images, the same for every seed: in the data's own proportions, but of a group that would have
    fewer than `FEWEST` so many, or all that it has. Where these alone are more than `most`, they are all there is.
    """
    order_N = np.concatenate(order_epoch(plan_epoch(group_NA, EVAL_BATCH, floor=0.0), seed=0, epoch=0))
    columns = group_NA[order_N].T
    needed = [
        order_N[column_N == group][:FEWEST] for column_N in columns for group in np.unique(column_N[column_N >= 0])
    ]
    number = max(most, len(np.unique(np.concatenate(needed))))
    return np.sort(list(dict.fromkeys(np.concatenate([*needed, order_N]).tolist()))[:number])


class PresentGroup(NamedTuple):
    """A group of an attribute, which is this column of the images' groups.

    attribute, group: names.  code: its number in that column.
    """

    attribute: str
    group: str
    column: int
    code: int

    @property
    def name(self) -> str:
        return f"{self.attribute}: {self.group}"


def present_groups(group_VA: np.ndarray, attributes: Mapping[str, Sequence[str]]) -> list[PresentGroup]:
    """The groups of all attributes that these images have."""
    every = [
        PresentGroup(attribute, group, column, code)
        for column, (attribute, groups) in enumerate(attributes.items())
        for code, group in enumerate(groups)
    ]
    return [one for one in every if (group_VA[:, one.column] == one.code).any()]


def members_GV(groups: Sequence[PresentGroup], group_VA: np.ndarray) -> np.ndarray:
    """(G, V) 1 where the image is of the group, else 0."""
    return np.array([group_VA[:, one.column] == one.code for one in groups], float)


def undefined_gaps(data: GroupedData, notion: str) -> list[str]:
    """The attributes whose gap search-val does not define, whatever is predicted: too few groups have images of an event."""
    prob_VC = np.eye(len(data.classes))[data.val.label_N]
    scores = brief_scores(prob_VC, data.val.label_N, data.val.group_NA, data, notion)
    return [name for name in data.attributes if scores.get(f"gap_{name}", scores["gap"]) is None]


def gaps_by_attribute(scores: Mapping[str, Any], attributes: Iterable[str]) -> dict[str, float | None]:
    """`Candidate.gaps` of `brief_scores`, or of what was told of an evaluation."""
    return {name: scores[f"gap_{name}"] for name in attributes if f"gap_{name}" in scores}


def supernet_scores(
    config: SearchConfig, problem: Problem, supernet: Supernet
) -> Callable[[np.ndarray], dict[str, Any]]:
    """(L,) → `val_scores` with the supernet's weights, batch-norm statistics measured anew for each architecture."""
    data, scores = problem.data, val_scores(config, problem)
    train = Batches(
        data.train,
        config.batch_size,
        seed=config.seed,
        stratify=True,
        mean=data.mean,
        std=data.std,
        device=problem.device,
    )
    calibration = [train.at(step) for step in range(min(CALIBRATION_BATCHES, len(train)))]
    return lambda index_L: scores(subnet(supernet, supernet.space.names(index_L), calibration))


def compare(
    config: SearchConfig,
    problem: Problem,
    supernet: Supernet,
    index_NL: Sequence[np.ndarray],
    log_p_LK: np.ndarray | None,
) -> tuple[Candidate, ...]:
    """Scores architectures on search-val with the supernet's weights.

    Such scores can rank networks weakly (Yu et al., "Evaluating the search phase of NAS", ICLR 2020): how well they do here
    is measured by benchmarks/search_quality.py.
    """
    scores = supernet_scores(config, problem, supernet)
    rows = []
    for index_L in progress_bar(index_NL, desc="compare", unit="architecture", disable=not problem.folder.writes):
        found = scores(index_L)
        rows.append(
            Candidate(
                ops=supernet.space.names(index_L),
                costs={name: cost.total(index_L) for name, cost in problem.costs.items()},
                log_probability=None if log_p_LK is None else float(log_p_LK[np.arange(len(index_L)), index_L].sum()),
                accuracy=found["accuracy"],
                mean_group_accuracy=found["mean_group_accuracy"],
                cross_entropy=found["cross_entropy"],
                gap=found["gap"],
                gaps=gaps_by_attribute(found, problem.data.attributes),
                non_dominated=True,
            )
        )
    return marked(rows)


def marked(rows: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates with `non_dominated` as it is among them: in error, gap and latency (or what stands for it), or without a gap that is unknown."""
    columns = [[1 - row.mean_group_accuracy for row in rows], [row.costs[row.sized_by] for row in rows]]
    gaps = [row.gap for row in rows if row.gap is not None]
    if len(gaps) == len(rows):
        columns.append(gaps)
    front_N = non_dominated(np.array(columns).T)
    return tuple(replace(row, non_dominated=bool(on_front)) for row, on_front in zip(rows, front_N, strict=True))
