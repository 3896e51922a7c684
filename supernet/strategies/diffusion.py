"""A denoising generator of architectures, guided by a predictor (after DiffusionNAG: An et al., ICLR 2024).

Score-based diffusion over one-hot (L, K) tables (variance exploding, Song et al., ICLR 2021), learned from architectures inside the budgets. What it draws is
led towards what a ridge regression on the results so far holds to be good. Masks and `Region.repair` make every sample valid.

Shapes: B architectures, L layers, K operations, N told, M objectives.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import BayesianRidge
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.choices import draw
from supernet.strategies.driver import Setting

SEEN, FEWEST = (
    400,
    48,
)  # architectures inside that it learns from; of tight budgets, where each is dear, at least so many
STEPS, BATCH, HIDDEN, LR = 400, 128, 128, 3e-3  # a second or two
NOISE_L = np.geomspace(5.0, 0.1, 25)  # the paper's range
START, DRAWN, KEPT = 16, 48, 4  # evaluations without guidance; samples of a round, and how many of them are asked for
STRENGTH = 4.0  # of the guidance, in standard deviations of what is predicted


class Denoiser(nn.Module):
    """(B, L, K) noisy tables and their noise (B,) → each layer's probabilities: E[table | noisy table], so also the score."""

    def __init__(self, valid_LK: np.ndarray) -> None:
        super().__init__()
        self.valid_LK = torch.from_numpy(valid_LK)
        size = valid_LK.size
        self.layers = nn.Sequential(
            nn.Linear(size + 1, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, size)
        )

    def logits(self, x_BLK: Tensor, noise_B: Tensor) -> Tensor:
        scaled_BLK = x_BLK / (1 + noise_B[:, None, None] ** 2).sqrt()
        seen = torch.cat([scaled_BLK.flatten(1), noise_B[:, None].log() / 4], dim=1)
        return self.layers(seen).view_as(x_BLK).masked_fill(~self.valid_LK, -1e9)

    def forward(self, x_BLK: Tensor, noise_B: Tensor) -> Tensor:
        return self.logits(x_BLK, noise_B).softmax(-1)


class Diffusion:
    """The first `START` are samples of the unguided generator. Then, in rounds, weights of the objectives and of the ridge regression are drawn (Thompson
    sampling), `DRAWN` samples are led by them, and the `KEPT` best new ones are asked for.
    """

    def __init__(self, setting: Setting) -> None:
        self.region, self.objectives = setting.region, setting.objectives
        self.rng = np.random.default_rng(setting.seed)
        self.generator = torch.Generator().manual_seed(setting.seed)
        self.told: dict[tuple[int, ...], list[float]] = {}
        self.queue: list[np.ndarray] = []
        drawn_NL = draw(self.region.valid_LK, 10 * SEEN, self.rng)
        seen = [index_L for index_L in drawn_NL if self.region.keeps(index_L)][:SEEN]
        seen += [self.region.random(self.rng) for _ in range(FEWEST - len(seen))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.denoiser = Denoiser(self.region.valid_LK)
        self._learn(torch.from_numpy(np.array(seen)))

    def ask(self) -> np.ndarray:
        if not self.queue:
            self.queue = self._round()
        return self.queue.pop(0)

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        self.told[tuple(int(k) for k in index_L)] = [objectives[name] for name in self.objectives]

    def _learn(self, index_NL: Tensor) -> None:
        """Cross-entropy of each layer's operation, at a noise drawn evenly from the schedule."""
        noise_S = torch.from_numpy(NOISE_L).float()
        table_NLK = F.one_hot(index_NL, self.region.valid_LK.shape[1]).float()
        optimizer = torch.optim.Adam(self.denoiser.parameters(), LR)
        for _ in range(STEPS):
            row_B = torch.randint(len(index_NL), (BATCH,), generator=self.generator)
            noise_B = noise_S[torch.randint(len(noise_S), (BATCH,), generator=self.generator)]
            noisy_BLK = table_NLK[row_B] + noise_B[:, None, None] * self._normal(table_NLK[row_B].shape)
            loss = F.cross_entropy(self.denoiser.logits(noisy_BLK, noise_B).flatten(0, 1), index_NL[row_B].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def sample(self, number: int, worse_LK: np.ndarray | None = None) -> np.ndarray:
        """(number, L) allowed architectures, not always inside the budgets; led to where Σ worse_LK is small, if there is one.

        The reverse process, with −STRENGTH · ∇ Σ worse_LK · E[table | x] added to the score (classifier guidance).
        """
        shape = (number, *self.region.valid_LK.shape)
        x_BLK = NOISE_L[0] * self._normal(shape)
        lead_LK = None if worse_LK is None else STRENGTH * torch.from_numpy(worse_LK).float()
        for noise, next_noise in zip(NOISE_L, [*NOISE_L[1:], 0.0], strict=True):
            x_BLK = x_BLK.detach().requires_grad_(lead_LK is not None)
            clean_BLK = self.denoiser(x_BLK, torch.full((number,), float(noise)))
            score_BLK = (clean_BLK - x_BLK) / noise**2
            if lead_LK is not None:
                (towards_BLK,) = torch.autograd.grad((clean_BLK * lead_LK).sum(), x_BLK)
                score_BLK = score_BLK - towards_BLK
            change = noise**2 - next_noise**2
            x_BLK = x_BLK + change * score_BLK + next_noise / noise * change**0.5 * self._normal(shape)
        return np.where(self.region.valid_LK, x_BLK.detach().numpy(), -np.inf).argmax(axis=-1)

    def _round(self) -> list[np.ndarray]:
        """The next architectures to ask for: new ones, or a neighbour of the last drawn where all of them are known."""
        guided = len(self.told) >= START
        worse_LK = self._worse() if guided else None
        found: dict[tuple[int, ...], np.ndarray] = {}
        for drawn_L in self.sample(DRAWN if guided else START, worse_LK):
            index_L = drawn_L if self.region.keeps(drawn_L) else self.region.repair(drawn_L, self.rng)
            found[tuple(index_L.tolist())] = index_L
        new = [index_L for key, index_L in found.items() if key not in self.told]
        if worse_LK is not None:
            layers = np.arange(len(worse_LK))
            new = sorted(new, key=lambda index_L: float(worse_LK[layers, index_L].sum()))[:KEPT]
        return new or [self.region.mutate(index_L, self.rng)]

    def _worse(self) -> np.ndarray:
        """(L, K) how much each operation adds to what is to be small, in deviations of what the told ones are predicted to have."""
        told_NM = np.array(list(self.told.values()))
        told_NM = (told_NM - told_NM.mean(axis=0)) / np.maximum(told_NM.std(axis=0), 1e-12)
        value_N = told_NM @ self.rng.dirichlet(np.ones(told_NM.shape[1]))
        table_ND = np.eye(self.region.valid_LK.shape[1])[np.array(list(self.told))].reshape(len(value_N), -1)
        ridge = BayesianRidge().fit(table_ND, value_N)
        weight_D = self.rng.multivariate_normal(ridge.coef_, ridge.sigma_, method="eigh")
        return (weight_D / max(float((table_ND @ weight_D).std()), 1e-12)).reshape(self.region.valid_LK.shape)

    def _normal(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator)
