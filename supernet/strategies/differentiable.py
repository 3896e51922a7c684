"""The differentiable search: a supernet's weights ω on search-train, architecture parameters α on search-val.

DARTS' first-order bilevel loop (Liu et al., ICLR 2019, algorithm 1) on sampled paths. An ω step trains one path; an α step
minimises E_p[cross-entropy + λ_fair · soft gap] + λ_lat · (expected latency / budget − 1), the last with its exact
expectation. How α gets the gradient of the first is the relaxation's matter (alpha/relaxation.py).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.alpha import warmup
from supernet.alpha.relaxation import (
    PATHWISE,
    RELAXATIONS,
    ArchitectureParameters,
    ScoreFunction,
    one_hot,
    sample_paths,
)
from supernet.bars import bar as progress_bar
from supernet.config import SearchConfig
from supernet.data import Batch, Batches
from supernet.derive import candidates
from supernet.engine import distributed
from supernet.engine.checkpoint import progress_of
from supernet.engine.runs import Interrupted, RunFolder, StopSignal, check_finite, precision
from supernet.errors import UserError, nearest
from supernet.kernels import fast_cpu
from supernet.network import Supernet
from supernet.objective import BudgetPenalty, data_objective, least_share
from supernet.problem import Candidate, Outcome, Problem
from supernet.scoring import compare
from supernet.strategies import progress

LOG_EVERY = 20


class DifferentiableSearch:
    """One search: everything that changes is in `state` (modules), two optimisers, one generator and `step`."""

    def __init__(self, config: SearchConfig, problem: Problem) -> None:
        torch.manual_seed(config.seed)
        data, space, device = problem.data, problem.space, problem.device
        self.config, self.data, self.costs = config, data, problem.costs
        assert config.anchor is not None, "known by the space"
        assert config.epochs is not None and config.warmup_epochs is not None, "known by the data"
        valid_LK = torch.from_numpy(space.valid_LK)
        supernet = Supernet(space, len(data.classes), data.channels)
        (Supernet.compile_ops if config.compile else fast_cpu)(supernet)
        supernet = distributed.join_batch_norms(supernet.to(memory_format=torch.channels_last).to(device))

        # α, its estimator and the budgets' multipliers stay on the CPU: a GPU is never asked for them
        self.supernet, self.parameters = supernet, ArchitectureParameters(valid_LK)
        budget = problem.budgets["latency"] if config.latency_weight is None else None
        self.hand_made_L = warmup.hand_made(space, problem.costs, problem.budgets)
        anchor_L = torch.from_numpy(self.hand_made_L)
        self.parameters.logits_LK.data.copy_(
            warmup.start(valid_LK, problem.costs["latency"], budget, anchor_L, config.anchor)
        )
        self.score = ScoreFunction(valid_LK)
        self.weight_objective, self.alpha_objective = (
            data_objective(config, data, split, reduce_sums=distributed.all_reduce_sums).to(device)
            for split in (data.train, data.val)
        )
        self.penalties = [
            BudgetPenalty(problem.costs[name], budget, config.latency_weight if name == "latency" else None)
            for name, budget in problem.budgets.items()
        ]
        self.state = nn.ModuleDict(
            {"supernet": supernet, "architecture_parameters": self.parameters, "score": self.score,
             "weight_objective": self.weight_objective, "alpha_objective": self.alpha_objective,
             "penalties": nn.ModuleList(self.penalties)}
        )  # fmt: skip
        shared: dict[str, Any] = {"mean": data.mean, "std": data.std, "seed": config.seed, "device": device}
        shared |= distributed.own_slice() | {"floor": least_share(config)}
        augment = data.augment if config.augment else None
        self.train = Batches(data.train, config.batch_size, stratify=True, augment=augment, **shared)
        self.val = Batches(data.val, config.batch_size, stratify=True, **shared)
        self.warmup_steps = config.warmup_epochs * len(self.train)
        self.total_steps = self.warmup_steps + config.epochs * len(self.train)
        self.warmup = warmup.WarmUp(anchor_L if config.anchor else None, self.warmup_steps)
        self.weights = list(supernet.parameters())  # walking through all modules at each step would take its time
        self.optimizer = create_optimizer_v2(supernet, "adamw", config.lr, config.weight_decay, fused=True)
        self.scheduler = CosineLRScheduler(
            self.optimizer, t_initial=self.total_steps, lr_min=config.lr / 50, t_in_epochs=False,
            warmup_t=min(50, self.total_steps // 10), warmup_lr_init=config.lr / 50,
        )  # fmt: skip
        self.alpha_optimizer = torch.optim.Adam(self.parameters.parameters(), config.alpha_lr, betas=(0.5, 0.999))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.sums: dict[str, Tensor] = {}  # of this epoch's losses, for its row

    @property
    def p_LK(self) -> Tensor:
        """Probability of each operation, without gradient."""
        return F.softmax(self.parameters(), dim=-1).detach()

    @property
    def temperature(self) -> float:
        """Falls geometrically from `temperature` to `temperature_end` over the steps after the warm-up."""
        done = (self.step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps - 1)
        start, end = self.config.temperature, self.config.temperature_end
        return start * (end / start) ** min(max(done, 0.0), 1.0)

    def run(self, folder: RunFolder) -> int:
        """Trains to the last step, from the folder's checkpoint where there is one; returns the step it began with.

        Raises Interrupted after SIGINT or SIGTERM (checkpoint written), UserError when the loss is not finite.
        """
        first_step = self._restore(folder)
        with StopSignal() as stop, progress_bar(
            total=self.total_steps, initial=self.step, desc="search", unit="step",
            disable=not folder.writes,
        ) as bar:  # fmt: skip
            while self.step < self.total_steps:
                warm = self.step < self.warmup_steps
                parts = self.weight_step(self.train.at(self.step), warm)
                if not warm:
                    parts |= self.alpha_step(self.val.at(self.step - self.warmup_steps))
                    # α is on the CPU, and no path can be drawn from one that is NaN
                    check_finite(float(self.p_LK.sum()), f"step {self.step + 1}", folder)
                self.step += 1
                bar.update()
                for name, value in (parts | {"steps": torch.tensor(1.0)}).items():
                    self.sums[name] = self.sums.get(name, 0.0) + value
                epoch_ends, stopping = self.step % len(self.train) == 0, stop.reached()
                if epoch_ends or stopping or self.step % LOG_EVERY == 0:
                    self.sums = {name: distributed.mean(value) for name, value in self.sums.items()}
                    check_finite(float(self.sums["loss"]), f"step {self.step}", folder)
                    bar.set_postfix_str(progress.line(self, warm))
                if epoch_ends:
                    folder.log(progress.row(self, warm))
                    self.sums = {}
                if epoch_ends or stopping:
                    folder.save_checkpoint(self._checkpoint())
                if stopping and self.step < self.total_steps:
                    raise Interrupted(f"Interrupted at step {self.step} of {self.total_steps}")
        return first_step

    def weight_step(self, batch: Batch, warm: bool) -> dict[str, Tensor]:
        """One step of ω on search-train: a balanced path while warming up, else weights drawn from the relaxation."""
        weights_LK = self.warmup.weights(self.p_LK, self.step, self.generator) if warm else self._sampled_weights()
        loss = self.weight_objective(self._logits(batch, weights_LK)[None], batch)
        self.optimizer.zero_grad(set_to_none=True)  # weights that did not run have no gradient and do not move
        loss.total_N.sum().backward()
        distributed.average_gradients(self.weights)
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.optimizer.step()
        self.scheduler.step_update(self.step + 1)
        return {"loss": loss.total_N.detach().sum(), "cross_entropy": loss.task_N.detach().sum()}

    def alpha_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of α on search-val."""
        alpha_LK = self.parameters()
        if self.config.relaxation in PATHWISE:
            loss, parts = self._pathwise_loss(alpha_LK, batch)
        else:
            loss, parts = self._score_loss(alpha_LK, batch)
        p_LK = F.softmax(alpha_LK, dim=-1)
        for penalty in self.penalties:
            loss = loss + penalty(p_LK)
        # α's gradient alone: ω's, the dearest part of the backward pass, is not asked for
        grads = torch.autograd.grad(loss, list(self.parameters.parameters()))
        for parameter, grad in zip(self.parameters.parameters(), grads, strict=True):
            parameter.grad = distributed.mean(grad)
        self.alpha_optimizer.step()
        return parts

    def _pathwise_loss(self, alpha_LK: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss whose gradient reaches α through the operation weights; `paths` samples where paths are sampled."""
        relax = PATHWISE[self.config.relaxation]
        number = self.config.paths if self.config.relaxation == "gumbel-hard" else 1
        logits_NBC = torch.stack(
            [self._logits(batch, relax(alpha_LK, self.temperature, self.generator)) for _ in range(number)]
        )
        loss = self.alpha_objective(logits_NBC, batch)
        return loss.total_N.mean(), {"val_cross_entropy": loss.task_N.detach().mean()}

    def _score_loss(self, alpha_LK: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The score-function estimator: forward passes of `paths` sampled paths, no backward pass through the supernet."""
        path_NL = sample_paths(alpha_LK, self.config.paths, self.generator)
        with torch.no_grad():
            logits_NBC = torch.stack([self._logits(batch, one_hot(p_L, alpha_LK)) for p_L in path_NL])
            loss = self.alpha_objective(logits_NBC, batch)
        loss_N = distributed.mean(loss.total_N).cpu()  # the one wait for a GPU: the next paths depend on it
        surrogate = self.score.surrogate_loss(alpha_LK, path_NL, loss_N)
        self.score.fit(path_NL, loss_N, self.p_LK)
        return surrogate, {"val_cross_entropy": loss.task_N.mean()}

    def _logits(self, batch: Batch, weights_LK: Tensor) -> Tensor:
        with precision(self.config.precision, batch.image.device):
            logits_BC = self.supernet(batch.image, weights_LK)
        return logits_BC.float() if self.config.precision == "bf16" else logits_BC

    def _sampled_weights(self) -> Tensor:
        alpha_LK = self.parameters().detach()
        if self.config.relaxation in ("softmax", "gumbel"):
            return PATHWISE[self.config.relaxation](alpha_LK, self.temperature, self.generator)
        return one_hot(sample_paths(alpha_LK, 1, self.generator)[0], alpha_LK)

    def _checkpoint(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "fingerprint": self.data.fingerprint,
            "state": self.state.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "paths": self.warmup.paths,
            "sums": self.sums,
        }

    def _restore(self, folder: RunFolder) -> int:
        checkpoint = folder.load_checkpoint()
        if checkpoint is None:
            return 0
        with folder.restoring():
            self.state.load_state_dict(checkpoint["state"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.alpha_optimizer.load_state_dict(checkpoint["alpha_optimizer"])
            self.generator.set_state(checkpoint["generator"])
            self.step, self.sums = progress_of(checkpoint, self.total_steps)
            self.warmup.paths = [path_L.reshape(len(self.p_LK)) for path_L in checkpoint["paths"]]
        return self.step


def search(config: SearchConfig, problem: Problem) -> Outcome:
    """Trains the supernet and α; derives the best of some probable architectures inside the budgets and the hand-made one.

    Raises UserError (unknown relaxation, no architecture inside the budgets, loss not finite) and Interrupted.
    """
    if config.relaxation not in RELAXATIONS:
        raise UserError(f'Unknown relaxation "{config.relaxation}".{nearest(config.relaxation, RELAXATIONS)}')
    running = DifferentiableSearch(config, problem)
    started = time.monotonic()
    first_step = running.run(problem.folder)
    searched = time.monotonic()
    compared = ranked_candidates(config, problem, running)
    seconds = {"search": searched - started, "compare": time.monotonic() - searched}
    return Outcome(compared, running.p_LK.numpy(), seconds, running.step - first_step)


def ranked_candidates(config: SearchConfig, problem: Problem, running: DifferentiableSearch) -> tuple[Candidate, ...]:
    """Probable architectures inside the budgets and the hand-made one; that with the smallest cross-entropy on search-val first.

    Mean over groups, with the supernet's weights; a fixed latency weight counts, too. α alone chooses worse, and the
    supernet's gap does not rank true gaps (docs/quality.md). Where the warm-up began with the hand-made one, its weights are the best
    trained: it wins where nothing clearly beats it.
    """
    alpha_LK = running.parameters().detach().double().numpy()
    found = candidates(
        alpha_LK, problem.space.valid_LK, list(problem.costs.values()), problem.budgets, config.candidates, config.seed
    )
    if not any(np.array_equal(running.hand_made_L, index_L) for index_L in found):
        found.append(running.hand_made_L)  # what a search must beat
    compared = compare(config, problem, running.supernet, found, log_softmax(alpha_LK, axis=1))
    by_hand = problem.space.names(running.hand_made_L)
    compared = tuple(replace(one, by_hand=one.ops == by_hand) for one in compared)
    weight = (config.latency_weight or 0.0) / problem.budgets["latency"]
    return tuple(sorted(compared, key=lambda one: (one.cross_entropy or 0.0) + weight * one.costs["latency"]))
