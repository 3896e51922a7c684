"""The differentiable search: a supernet's weights ω on search-train, architecture parameters α on search-val.

DARTS' first-order bilevel loop (Liu et al., ICLR 2019, algorithm 1) on sampled paths. An ω step trains one path; an α step
minimises E_p[cross-entropy + λ_fair · soft gap] + λ_lat · (expected latency / budget − 1), the last with its exact
expectation. With a teacher, the distance to its outputs takes the place of the cross-entropy in both steps. How α gets the gradient of the first is the relaxation's matter (alpha/relaxation.py).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.alpha import warmup
from supernet.alpha.relaxation import PATHWISE, RELAXATIONS, ScoreFunction, one_hot, sample_paths
from supernet.config import SearchConfig
from supernet.costs.factors import leading
from supernet.data import Batch
from supernet.derive import candidates
from supernet.engine import distributed
from supernet.engine.loop import Means, train
from supernet.engine.supernet_trainer import SupernetTrainer
from supernet.errors import UserError, nearest
from supernet.objective import CostTerm
from supernet.problem import Candidate, Outcome, Problem
from supernet.quality import QUALITY
from supernet.quality_fit import fit_quality, quality_notes
from supernet.scoring import compare, marked
from supernet.strategies.assembled import compared, controls, keep_weights, material, with_control
from supernet.strategies.finalists import chosen_alone

COSTLY = {"gumbel-top2": 2}
"""By relaxation, how often the images of an α step are fewer than the batch: two operations a layer, forward and backward, cost twice
what two paths cost forward, and the step is to take the same time."""


class DifferentiableSearch(SupernetTrainer):
    """A supernet trainer whose α moves: after the warm-up, each step of ω is followed by one of α on search-val."""

    def __init__(self, config: SearchConfig, problem: Problem) -> None:
        begun = warmup.begin(config, problem.space, problem.costs, problem.budgets)
        super().__init__(config, problem.space, problem.data, begun, problem.device, problem.task, problem.teacher)
        self.hand_made_L = begun.hand_made_D
        self.score = ScoreFunction(begun.alpha.valid_DK)
        self.alpha_objective = self.objective_on("val")
        self.cost_terms = [
            CostTerm(problem.costs[name], budget, config.latency_weight if name == "latency" else None)
            for name, budget in problem.budgets.items()
            if problem.costs[name].expectable  # another budget still forbids what exceeds it
        ]
        self.modules["score"], self.modules["alpha_objective"] = self.score, self.alpha_objective
        self.modules["cost_terms"] = nn.ModuleList(self.cost_terms)
        fewest = max(2, distributed.world_size())
        self.val = self.batches("val", images=max(fewest, config.batch_size // COSTLY.get(config.relaxation, 1)))
        self.alpha_optimizer = torch.optim.Adam(self.alpha.parameters(), config.alpha_lr, betas=(0.5, 0.999))

    def warm(self, step: int) -> bool:
        """Whether α still stands in this step."""
        return step < self.warmup_steps

    def temperature(self, step: int) -> float:
        """Falls geometrically from `temperature` to `temperature_end` over the steps after the warm-up."""
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps - 1)
        start, end = self.config.temperature, self.config.temperature_end
        return start * (end / start) ** min(max(done, 0.0), 1.0)

    def one_step(self, step: int) -> dict[str, Tensor]:
        """A path of the warm-up, or: ω on weights drawn from the relaxation, then α."""
        if self.warm(step):
            return super().one_step(step)
        parts = self.weight_step(self.train.at(step), step, self.sampled_weights(step))
        parts |= self.alpha_step(self.val.at(step - self.warmup_steps), step)
        if not torch.isfinite(self.p_DK.sum()):  # no path can be drawn from it
            raise FloatingPointError("α is not finite")
        return parts

    def alpha_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One step of α on a batch of search-val."""
        alpha_LK = self.alpha()
        if self.config.relaxation in PATHWISE:
            loss, parts = self._pathwise_loss(alpha_LK, batch, self.temperature(step))
        else:
            loss, parts = self._score_loss(alpha_LK, batch)
        p_LK = F.softmax(alpha_LK, dim=-1)
        for term in self.cost_terms:
            loss = loss + term.value(p_LK)
            term.update(p_LK)
        # α's gradient alone: ω's, the dearest part of the backward pass, is not asked for
        parameters = list(self.alpha.parameters())
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = distributed.mean(grad)
        self.alpha_optimizer.step()
        return parts

    def _pathwise_loss(self, alpha_LK: Tensor, batch: Batch, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss whose gradient reaches α through the operation weights; `paths` samples where paths are sampled."""
        relax = PATHWISE[self.config.relaxation]
        number = self.config.paths if self.config.relaxation == "gumbel-hard" else 1
        logits_NBC = torch.stack(
            [self.logits(batch, relax(alpha_LK, temperature, self.generator)) for _ in range(number)]
        )
        distance_NB = self.distance(logits_NBC, batch.image)
        loss = self.alpha_objective.value(logits_NBC, batch, distance_NB)
        self.alpha_objective.update(logits_NBC, batch, distance_NB)
        return loss.total_N.mean(), {"val_cross_entropy": loss.task_N.detach().mean()}

    def _score_loss(self, alpha_LK: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The score-function estimator: forward passes of `paths` sampled paths, no backward pass through the supernet."""
        path_NL = sample_paths(alpha_LK, self.config.paths, self.generator)
        with torch.no_grad():
            logits_NBC = torch.stack([self.logits(batch, one_hot(p_L, alpha_LK)) for p_L in path_NL])
            distance_NB = self.distance(logits_NBC, batch.image)
            loss = self.alpha_objective.value(logits_NBC, batch, distance_NB)
            self.alpha_objective.update(logits_NBC, batch, distance_NB)
        loss_N = distributed.mean(loss.total_N).cpu()  # the one wait for a GPU: the next paths depend on it
        surrogate = self.score.surrogate_loss(alpha_LK, path_NL, loss_N)
        self.score.fit(path_NL, loss_N, self.p_DK)
        return surrogate, {"val_cross_entropy": loss.task_N.mean()}

    def sampled_weights(self, step: int) -> Tensor:
        """(L, K) operation weights of a step of ω after the warm-up."""
        alpha_LK = self.alpha().detach()
        if self.config.relaxation in ("softmax", "gumbel"):
            return PATHWISE[self.config.relaxation](alpha_LK, self.temperature(step), self.generator)
        return one_hot(sample_paths(alpha_LK, 1, self.generator)[0], alpha_LK)

    def row(self, step: int, means: Means) -> dict[str, Any]:
        """As the trainer's; after the warm-up the gaps are those that α sees."""
        warm = self.warm(step - 1)
        found = self.row_of(step, means, *(("warm-up", self.objective) if warm else ("search", self.alpha_objective)))
        return found | {f"lambda_{term.cost.name}": float(term.multiplier.value) for term in self.cost_terms}

    def rest(self) -> dict[str, Any]:
        return super().rest() | {"alpha_optimizer": self.alpha_optimizer.state_dict()}

    def restore_rest(self, rest: dict[str, Any], step: int) -> None:
        super().restore_rest(rest, step)
        self.alpha_optimizer.load_state_dict(rest["alpha_optimizer"])


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """Trains the supernet and α; derives the best of some probable architectures inside the budgets and the hand-made one.

    Raises UserError (unknown relaxation, no architecture inside the budgets, loss not finite) and Interrupted.
    """
    if config.relaxation not in RELAXATIONS:
        raise UserError(f'Unknown relaxation "{config.relaxation}".{nearest(config.relaxation, RELAXATIONS)}')
    running = DifferentiableSearch(config, problem)
    started = time.monotonic()
    running.learn_rotations(problem.folder)
    first_step = train(running, problem.folder)
    searched = time.monotonic()
    ranked = (ranked_candidates if problem.teacher is None else assembled_candidates)(config, problem, running)
    ended = time.monotonic()
    notes: tuple[str, ...] = ()
    if problem.table is not None:  # it answers other latency budgets
        running.supernet.train()
        quality = fit_quality(config, problem, running.logits)
        notes = quality_notes(quality)
        if problem.folder.writes:
            quality.save(problem.folder.path / QUALITY)
    fitted = time.monotonic()
    if config.finalists is not None:
        ranked, told = chosen_alone(config, problem, ranked)
        notes = (*notes, *told)
    seconds = {"search": searched - started, "compare": ended - searched, "quality": fitted - ended, "finalists": time.monotonic() - fitted}  # fmt: skip
    return Outcome(ranked, running.p_DK.numpy(), seconds, running.total_steps - first_step, notes=notes)


def ranked_candidates(config: SearchConfig, problem: Problem, running: DifferentiableSearch) -> tuple[Candidate, ...]:
    """Probable architectures inside the budgets and the hand-made one; that with the smallest cross-entropy on search-val first.

    Mean over groups, with the supernet's weights; a fixed latency weight counts, too. α alone chooses worse, and the
    supernet's gap does not rank true gaps (docs/quality.md). Where the warm-up began with the hand-made one, its weights are the best
    trained: it wins where nothing clearly beats it.
    """
    found, alpha_LK = probable(config, problem, running)
    if not any(np.array_equal(running.hand_made_L, index_L) for index_L in found):
        found.append(running.hand_made_L)  # what a search must beat
    scored = compare(config, problem, running.supernet, found, log_softmax(alpha_LK, axis=1))
    by_hand = problem.space.names(running.hand_made_L)
    scored = tuple(replace(one, by_hand=one.ops == by_hand) for one in scored)
    sized = leading(problem.costs)
    weight = (config.latency_weight or 0.0) / problem.budgets[sized]
    return tuple(sorted(scored, key=lambda one: (one.cross_entropy or 0.0) + weight * one.costs[sized]))


def assembled_candidates(
    config: SearchConfig, problem: Problem, running: DifferentiableSearch
) -> tuple[Candidate, ...]:
    """Probable architectures inside the budgets and the uniform one, each assembled from the teacher's blocks and trained shortly.

    The derived one's weights are kept beside it: not the supernet's, so that it begins as the uniform one does.
    """
    assert problem.teacher is not None
    found, alpha_LK = probable(config, problem, running)
    log_p_LK = log_softmax(alpha_LK, axis=1)
    by_hand = controls(problem.space, list(problem.costs.values()), problem.budgets)
    named = [*(problem.space.names(index_L) for index_L in found), *by_hand]
    rows, control = with_control(compared(config, problem, material(config, problem), named), by_hand)
    keep_weights(problem, rows, control)

    def told(one: Candidate) -> Candidate:
        index_L = problem.space.index_L(one.ops)
        return replace(one, log_probability=float(log_p_LK[np.arange(len(index_L)), index_L].sum()))

    return marked([told(one) for one, _ in rows])


def probable(
    config: SearchConfig, problem: Problem, running: DifferentiableSearch
) -> tuple[list[np.ndarray], np.ndarray]:
    """(architectures inside the budgets, the likeliest first; α (L, K) as it stands)."""
    alpha_LK = running.alpha().detach().double().numpy()
    costs = list(problem.costs.values())
    number = max(config.candidates, (config.finalists or 0) - 1)  # the hand-made network is a finalist, too
    return candidates(alpha_LK, problem.space.valid_LK, costs, problem.budgets, number, config.seed), alpha_LK
