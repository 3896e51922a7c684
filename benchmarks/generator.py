"""The rival of a table of losses: α as a function of device, budget and fairness weight, trained in the same bilevel loop.

A small network takes a device's latencies (each layer × operation, standardised), the budget's place between the device's fastest and slowest
network and log(1 + weight), and gives the logits of every operation (MODNAS, Sukthanker et al., ICLR 2025, has such a hypernetwork;
its preference vector is the budget's and the weight's place here). Each step draws one device, budget and weight: ω learns one path of the
generator's, α's loss is that of the ordinary search with this budget and weight. Devices take turns, so no gradient is combined.
Answers: the most probable architectures inside the budget. Used by one_search.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.config import SearchConfig
from supernet.derive import most_probable
from supernet.objective import CostTerm
from supernet.problem import Problem, Region
from supernet.strategies.differentiable import DifferentiableSearch
from supernet.strategies.one_shot import RegionTrainer

HIDDEN = 64


class Condition(NamedTuple):
    """What is asked for: region is its number among the problem's."""

    region: int
    weight: float


class Generator(nn.Module):
    """Condition → (L, K) logits: those of the region's broadest distribution, and what the network adds."""

    def __init__(self, valid_LK: Tensor, regions: Sequence[Region], p_RLK: Sequence[Tensor]) -> None:
        super().__init__()
        self.valid_LK, self.asked = valid_LK, 0
        features, valid = [], valid_LK.numpy()
        for region in regions:
            ms_LK = np.where(valid, region.latency.unary_DK, np.nan)
            fastest, slowest = region.latency.bounds(valid)
            place = (min(region.limit_ms, slowest) - fastest) / (slowest - fastest)
            features.append([*np.nan_to_num((ms_LK - np.nanmean(ms_LK)) / np.nanstd(ms_LK)).ravel(), place])
        self.feature_RF = torch.tensor(np.array(features), dtype=torch.float32)
        self.start_RLK = torch.stack([p_LK.clamp_min(1e-12).log() for p_LK in p_RLK])
        self.net = nn.Sequential(nn.Linear(self.feature_RF.shape[1] + 1, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN),
                                 nn.SiLU(), nn.Linear(HIDDEN, valid_LK.numel()))  # fmt: skip
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.now = Condition(0, 0.0)

    def forward(self) -> Tensor:
        """Of the condition `now`."""
        region, weight = self.now
        feature_F = torch.cat([self.feature_RF[region], torch.tensor([np.log1p(weight)], dtype=torch.float32)])
        logits_LK = self.start_RLK[region] + self.net(feature_F).view(self.valid_LK.shape)
        return logits_LK.masked_fill(~self.valid_LK, -torch.inf)


class GeneratorSearch(DifferentiableSearch):
    """The bilevel loop with another device, budget and weight each step."""

    def __init__(self, config: SearchConfig, problem: Problem, weights: Sequence[float]) -> None:
        super().__init__(config, problem)
        paths = RegionTrainer(config, problem)
        self.p_RLK, self.warmups, self.problem = paths.p_RLK, paths.warmups, problem
        self.alpha: Generator = Generator(torch.from_numpy(problem.space.valid_LK), problem.regions, paths.p_RLK)
        self.alpha_optimizer = torch.optim.Adam(self.alpha.parameters(), 1e-2, betas=(0.5, 0.999))
        self.conditions = [Condition(r, w) for r, w in product(range(len(problem.regions)), weights)]
        self.terms = [CostTerm(region.latency, region.limit_ms) for region in problem.regions]
        self.objectives = {w: self.objective_for(w) for w in weights}
        self.rng = np.random.default_rng(config.seed)

    def objective_for(self, weight: float) -> nn.Module:
        config, self.config = self.config, replace(self.config, fairness_weight=weight)
        found = self.objective_on("val")
        self.config = config
        return found

    def one_step(self, step: int) -> dict[str, Tensor]:
        if self.warm(step):
            region = step % len(self.warmups)
            weights_LK = self.warmups[region].weights(self.p_RLK[region], step, self.generator)
            return self.weight_step(self.train.at(step), step, weights_LK)
        self.alpha.now = self.conditions[self.rng.integers(len(self.conditions))]
        self.cost_terms = [self.terms[self.alpha.now.region]]
        self.alpha_objective = self.objectives[self.alpha.now.weight]
        return super().one_step(step)

    def answer(self, condition: Condition) -> np.ndarray:
        """(L,) the most probable architecture inside the region."""
        self.alpha.now = condition
        region = self.problem.regions[condition.region]
        alpha_LK = F.log_softmax(self.alpha().detach().double(), -1).numpy()
        return next(
            most_probable(alpha_LK, self.problem.space.valid_LK, [region.latency], {"latency": region.limit_ms})
        )
