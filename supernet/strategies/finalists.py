"""Networks that are each trained alone before one is chosen: successive halving (Jamieson & Talwalkar, AISTATS 2016, figure 1).

A round trains each for some epochs, and the better half is trained for twice as many, up to the search's epochs. Each round begins with
fresh weights, so that every training has a whole schedule. The network that one would build by hand is in every round: it is what a
search must beat, and the last round's networks are trained alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from supernet.config import SearchConfig
from supernet.problem import Candidate, Problem
from supernet.scoring import val_scores
from supernet.strategies.beside import Listed
from supernet.strategies.driver import Record, drive
from supernet.strategies.evaluators import all_epochs, alone, objectives_of
from supernet.strategies.region import Region


class Halved(NamedTuple):
    """What came out of the rounds.

    records: the last round's evaluations, best first.  number: of networks in the first round.  epochs: of each round's trainings.  seconds: of wall time.
    """

    records: tuple[Record, ...]
    number: int
    epochs: tuple[int, ...]
    seconds: float

    @property
    def words(self) -> str:
        """What was trained, for the person."""
        epochs = ", ".join(map(str, self.epochs))
        return f"{self.number} networks were each trained alone, the better half for longer ({epochs} epochs): {self.seconds:.0f} s."


def rounds(epochs: int, networks: int) -> tuple[int, ...]:
    """Epochs of each round's trainings, at least one round: the last has `epochs`, and each half of the next one's, 1 at least."""
    number = max(1, (networks - 1).bit_length())
    return tuple(sorted({max(1, epochs >> back) for back in range(number)}))


def halved(config: SearchConfig, problem: Problem, index_NL: Sequence[np.ndarray], control_L: np.ndarray) -> Halved:
    """Trains the architectures in rounds, and keeps the half with the less cross-entropy on search-val (mean over groups), and the control.

    An interrupted round goes on where it was. Raises UserError (loss not finite) and Interrupted.
    """
    started, region = time.monotonic(), Region(problem.space.valid_LK, problem.costs, problem.budgets)
    planned, left = rounds(all_epochs(config), len(index_NL)), list(index_NL)
    ranked: list[Record] = []
    for epochs in planned:
        run = drive(
            Listed(left), trained_for(config, problem, epochs), region, max_evaluations=len(left),
            journal=problem.folder.path / f"finalists-{epochs}.jsonl", progress=problem.folder.writes,
        )  # fmt: skip
        ranked = sorted(run.records, key=lambda record: record.objectives["cross_entropy"])
        left = [np.array(record.index_L) for record in ranked[: -(-len(left) // 2)]]
        if not any(np.array_equal(control_L, index_L) for index_L in left):
            left.append(control_L)
    return Halved(tuple(ranked), len(index_NL), planned, time.monotonic() - started)


def trained_for(config: SearchConfig, problem: Problem, epochs: int) -> Callable[[np.ndarray], dict[str, float]]:
    """What an architecture (L,) gives on search-val after so many epochs of its own."""
    trained = alone(replace(config, warmup_epochs=0, epochs=epochs), problem, f"finalists-{epochs}")
    scores = val_scores(config, problem)

    def evaluate(index_L: np.ndarray) -> dict[str, float]:
        found = scores(trained(index_L))
        return {**objectives_of(found), "cross_entropy": found["cross_entropy"]}

    return evaluate


def chosen_alone(
    config: SearchConfig, problem: Problem, ranked: Sequence[Candidate]
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The candidates of a supernet, the last round's order first, and a line that says what was trained. ranked: best first by the supernet."""
    assert config.finalists is not None, "asked for"
    control = next(one for one in ranked if one.by_hand)
    finalists = list(ranked[: config.finalists])
    if control not in finalists:
        finalists[-1] = control
    index = {one.ops: problem.space.index_L(one.ops) for one in finalists}
    found = halved(config, problem, list(index.values()), index[control.ops])
    last = {problem.space.names(record.index_L): place for place, record in enumerate(found.records)}
    order = sorted(ranked, key=lambda one: last.get(one.ops, len(last)))  # stable: the others stay as they were
    return tuple(order), (found.words,)
