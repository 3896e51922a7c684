"""One supernet for several devices and budgets: what it foretells of every architecture then answers each of them.

No α is moved: the weights ω learn on paths that are drawn in turn inside each asked device's budget, so that every region is trained
alike (Cai et al., "Once-for-all", ICLR 2020, train one network for many devices; the regions are ours). Then a table of log losses by
group is fitted to sampled paths (quality_fit.py), and an integer programme answers any device, budget and fairness weight (answers.py).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from supernet.alpha import warmup
from supernet.answers import answers
from supernet.config import SearchConfig
from supernet.engine.loop import train
from supernet.engine.supernet_trainer import SupernetTrainer
from supernet.problem import Outcome, Problem
from supernet.quality import QUALITY
from supernet.quality_fit import fit_quality, quality_notes
from supernet.scoring import compare, marked
from supernet.strategies.beside import beside_hand_made, comparison_notes
from supernet.strategies.evaluators import all_epochs
from supernet.strategies.trained_table import trained_quality
from supernet.wish import Wish


class RegionTrainer(SupernetTrainer):
    """A supernet trainer whose paths come from each of the problem's regions in turn."""

    def __init__(self, config: SearchConfig, problem: Problem) -> None:
        assert problem.regions, "there is one at least"
        begun = [
            warmup.begin(
                config, problem.space, {**problem.costs, "latency": region.latency},
                {**problem.budgets, "latency": region.limit_ms},
            )
            for region in problem.regions
        ]  # fmt: skip
        super().__init__(config, problem.space, problem.data, begun[0], problem.device, problem.task)
        self.hand_made_L = begun[0].hand_made_D
        self.p_RLK = [start.alpha().softmax(-1).detach() for start in begun]
        self.warmups = [warmup.WarmUp(start.anchor_D, self.warmup_steps) for start in begun]

    def one_step(self, step: int) -> dict[str, Tensor]:
        """One path of the next region's curriculum."""
        region = step % len(self.warmups)
        weights_LK = self.warmups[region].weights(self.p_RLK[region], step, self.generator)
        return self.weight_step(self.train.at(step), step, weights_LK)

    def rest(self) -> dict[str, Any]:
        return super().rest() | {"paths": [path for one in self.warmups for path in one.paths],
                                 "left": [len(one.paths) for one in self.warmups]}  # fmt: skip

    def restore_rest(self, rest: dict[str, Any], step: int) -> None:
        super().restore_rest(rest, step)
        paths = iter([path_L.reshape(len(self.p_DK)) for path_L in rest["paths"]])
        for one, number in zip(self.warmups, rest["left"], strict=True):
            one.paths = [next(paths) for _ in range(number)]


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """Trains the supernet, fits the table of losses, and answers the first region; the run's commands answer the others.

    With `--trained N` the losses are those of N networks, each trained alone (trained_table.py).
    Raises UserError (no architecture inside the budgets, loss not finite) and Interrupted.
    """
    if config.trained is not None:
        return search_trained(config, problem)
    weights_only = replace(config, warmup_epochs=all_epochs(config), epochs=0)
    running, started = RegionTrainer(weights_only, problem), time.monotonic()
    running.learn_rotations(problem.folder)
    first_step = train(running, problem.folder)
    trained = time.monotonic()
    running.supernet.train()
    quality = fit_quality(config, problem, running.logits)
    if problem.folder.writes:
        quality.save(problem.folder.path / QUALITY)
    fitted = time.monotonic()
    found = answers(
        quality, list(problem.costs.values()), problem.budgets, Wish(config.answered_weights[0]), config.candidates
    )
    index_NL = [one.index_L for one in found]
    if not any(np.array_equal(running.hand_made_L, index_L) for index_L in index_NL):
        index_NL.append(running.hand_made_L)
    scored = compare(config, problem, running.supernet, index_NL, None)
    by_hand = problem.space.names(running.hand_made_L)
    seconds = {"search": trained - started, "quality": fitted - trained, "compare": time.monotonic() - fitted}
    return Outcome(tuple(replace(one, by_hand=one.ops == by_hand) for one in scored), None, seconds,
                   running.total_steps - first_step, notes=quality_notes(quality))  # fmt: skip


def search_trained(config: SearchConfig, problem: Problem) -> Outcome:
    """Trains the networks, fits the table, answers the first region; that answer and the hand-made network are trained alone, too.

    Raises UserError (no architecture inside the budgets, loss not finite) and Interrupted.
    """
    started = time.monotonic()
    quality = trained_quality(config, problem)
    quality.save(problem.folder.path / QUALITY)
    fitted_at = time.monotonic()
    (best,) = answers(quality, list(problem.costs.values()), problem.budgets, Wish(config.answered_weights[0]))
    run, rows = beside_hand_made(config, problem, best.index_L)
    seconds = {"quality": fitted_at - started, "compare": time.monotonic() - fitted_at}
    facts = {"strategy": config.strategy, "evaluator": "scratch", "networks": quality.fit["paths"], "kendall": quality.fit["kendall"],
             "evaluated": len(run.records), "seconds": run.seconds}  # fmt: skip
    trained = f"{facts['networks']} networks were each trained alone for the table of losses."
    return Outcome(marked(rows), None, seconds, 0, facts, (trained, *quality_notes(quality), *comparison_notes(rows)))
