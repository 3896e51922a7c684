"""REINFORCE with an LSTM controller and a scalar mixed reward (Zoph & Le, ICLR 2017; MONAS, Hsu et al., 2018)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.strategies.driver import Setting

HIDDEN, LR, ENTROPY, BASELINE, DRAWS = 32, 0.02, 0.02, 0.9, 16


class Controller(nn.Module):
    """Layer after layer: the LSTM sees the operation chosen before and gives the logits of the next."""

    def __init__(self, valid_LK: np.ndarray) -> None:
        super().__init__()
        layers, operations = valid_LK.shape
        self.embedding = nn.Embedding(operations + 1, HIDDEN)  # the last stands for the beginning
        self.position_LH = nn.Parameter(0.1 * torch.randn(layers, HIDDEN))
        self.lstm = nn.LSTMCell(HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, operations)
        self.forbidden_LK = torch.from_numpy(~valid_LK)

    def forward(
        self, index_BL: Tensor | None, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(index_BL, log-probability (B,), mean entropy (B,)) of the given architectures, or of `number` that are drawn."""
        before_B, state, chosen = torch.full((number,), self.embedding.num_embeddings - 1), None, []
        log_probability_B, entropy_B = torch.zeros(number), torch.zeros(number)
        for layer, position_H in enumerate(self.position_LH):
            state = self.lstm(self.embedding(before_B) + position_H, state)
            log_p_BK = F.log_softmax(self.head(state[0]).masked_fill(self.forbidden_LK[layer], -1e9), dim=-1)
            p_BK = log_p_BK.exp()
            if index_BL is None:
                before_B = torch.multinomial(p_BK.detach(), 1, generator=generator)[:, 0]
            else:
                before_B = index_BL[:, layer]
            chosen.append(before_B)
            log_probability_B = log_probability_B + log_p_BK.gather(1, before_B[:, None])[:, 0]
            entropy_B = entropy_B - (p_BK * log_p_BK).sum(1) / len(self.position_LH)
        return torch.stack(chosen, dim=1), log_probability_B, entropy_B


class Reinforce:
    """One step of the controller for each architecture told; the reward is −Σ of the objectives, each standardised.

    MONAS mixes accuracy and energy with a weight; here every objective is brought to mean 0 and deviation 1 over all that
    was told so far, and counts alike. The baseline is a moving average. Of `DRAWS` architectures the
    first is asked for that is inside the budgets and not known yet. Where there is none, the controller has settled: one
    layer of the first is changed, or some hundred evaluations would mostly be repeats.
    """

    def __init__(self, setting: Setting) -> None:
        self.region, self.objectives = setting.region, setting.objectives
        self.rng = np.random.default_rng(setting.seed)
        self.generator = torch.Generator().manual_seed(setting.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.controller = Controller(setting.region.valid_LK)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), LR)
        self.told: list[list[float]] = []
        self.known: set[tuple[int, ...]] = set()
        self.baseline = 0.0

    def ask(self) -> np.ndarray:
        with torch.no_grad():
            index_BL = self.controller(None, DRAWS, self.generator)[0].numpy()
        inside = [index_L for index_L in index_BL if self.region.keeps(index_L)]
        for index_L in inside:
            if tuple(index_L.tolist()) not in self.known:
                return index_L
        likely_L = inside[0] if inside else self.region.repair(index_BL[0], self.rng)
        return self.region.mutate(likely_L, self.rng)

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        self.known.add(tuple(int(k) for k in index_L))
        self.told.append([objectives[name] for name in self.objectives])
        told_NM = np.array(self.told)
        deviation_M = np.maximum(told_NM.std(axis=0), 1e-12)
        reward = float(-((told_NM[-1] - told_NM.mean(axis=0)) / deviation_M).mean())
        index_BL = torch.from_numpy(np.array(index_L))[None]
        _, log_probability_B, entropy_B = self.controller(index_BL, 1, self.generator)
        loss = (-(reward - self.baseline) * log_probability_B - ENTROPY * entropy_B).sum()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.controller.parameters(), 1.0)
        self.optimizer.step()
        self.baseline += (1 - BASELINE) * (reward - self.baseline)
