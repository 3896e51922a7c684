"""Trains a supernet's weights ω on search-train, one path a step. Nothing here moves α: a search that does adds its own step."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.alpha.relaxation import one_hot
from supernet.alpha.warmup import Start, WarmUp
from supernet.config import SearchConfig
from supernet.data import Batch, Batches, GroupedData
from supernet.engine import distributed
from supernet.engine.descent import descend
from supernet.engine.evaluate import signed, worst_gap
from supernet.engine.loop import Means
from supernet.engine.rotation import learn_rotations
from supernet.engine.runs import RunFolder, precision
from supernet.engine.sam import Sam
from supernet.kernels import fast_cpu
from supernet.network import Supernet
from supernet.objective import DataObjective, Loss, data_objective, least_share
from supernet.spaces import SearchSpace
from supernet.task import Task, classification
from supernet.teacher import Distance, Teacher
from supernet.transplant import channel_orders, fitted_images, inherit


class SupernetTrainer:
    """For `loop.train`. In `modules`: the supernet, α (which stays where it starts) and the objective.

    config: epochs and warmup_epochs are known; during the warm-up paths follow its curriculum
    space:  what is searched
    data:   search-train is trained on
    start:  α, which paths are drawn from, and the warm-up's anchor; the rows tell the costs expected under α
    device: of the supernet; α stays on the CPU, so that a GPU is never asked for it
    task:   classification of the data's classes if None
    teacher: the supernet begins with its weights, and its outputs take the place of the labels
    """

    name = "search"

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        data: GroupedData,
        start: Start,
        device: torch.device,
        task: Task | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        assert config.epochs is not None and config.warmup_epochs is not None, "known by the data"
        assert config.lr is not None, "known by --teacher"
        self.config, self.data, self.device = config, data, device
        self.task = task or classification(len(data.classes))
        self.alpha, self.expected, self.sized_by = start.alpha, start.expected, start.sized_by
        supernet = Supernet(space, self.task.outputs, data.channels)
        if teacher is not None:
            inherit(supernet, teacher.network, channel_orders(teacher.network, fitted_images(data, config.seed)))
        self.distance = Distance(teacher, device)
        (Supernet.compile_ops if config.compile else fast_cpu)(supernet)
        self.supernet = distributed.join_batch_norms(supernet.to(memory_format=torch.channels_last).to(device))
        self.objective = self.objective_on("train")
        self.modules = nn.ModuleDict({"supernet": self.supernet, "alpha": self.alpha, "objective": self.objective})
        augment = data.augment if config.augment else None
        self.train = self.batches("train", augment=augment)
        self.warmup_steps = config.warmup_epochs * len(self.train)
        self.total_steps = self.warmup_steps + config.epochs * len(self.train)
        self.warmup = WarmUp(start.anchor_D, self.warmup_steps)
        self.weights = list(self.supernet.parameters())  # walking through all modules at each step would take its time
        self.sam = None if config.sam is None else Sam(self.supernet, config.sam, config.sam_adaptive)
        self.optimizer = create_optimizer_v2(self.supernet, "adamw", config.lr, config.weight_decay, fused=True)
        self.scheduler = CosineLRScheduler(
            self.optimizer, t_initial=self.total_steps, lr_min=config.lr / 50, t_in_epochs=False,
            warmup_t=min(50, self.total_steps // 10), warmup_lr_init=config.lr / 50,
        )  # fmt: skip
        self.generator = torch.Generator().manual_seed(config.seed)

    def learn_rotations(self, folder: RunFolder) -> None:
        """The self-supervised warm-up that the options ask for, on paths drawn from α where it starts; raises as `loop.train`."""

        def drawn(image: Tensor, step: int) -> Tensor:
            generator = torch.Generator().manual_seed(1_000_003 * self.config.seed + step)
            path_D = torch.multinomial(self.p_DK, 1, generator=generator)[:, 0]
            return self.supernet(image, one_hot(path_D, self.p_DK))

        learn_rotations(self.config, self.data, self.supernet, folder, self.device, drawn)

    def objective_on(self, split: str) -> DataObjective:
        """The objective that the options ask for, on "train" or "val"."""
        images, sums = getattr(self.data, split), distributed.all_reduce_sums
        return data_objective(self.config, self.data, images, self.task, sums).to(self.device)

    def batches(self, split: str, images: int | None = None, **options: Any) -> Batches:
        """Stratified batches of "train" or "val", this process's slice of each. images: of the joint batch, if not --batch-size."""
        shared: dict[str, Any] = {
            "mean": self.data.mean,
            "std": self.data.std,
            "seed": self.config.seed,
            "device": self.device,
        }
        shared |= distributed.own_slice() | {"floor": least_share(self.config), "made": self.task.made}
        return Batches(getattr(self.data, split), images or self.config.batch_size, stratify=True, **shared, **options)

    @property
    def p_DK(self) -> Tensor:
        """Probability of each option, without gradient."""
        return F.softmax(self.alpha(), dim=-1).detach()

    def logits(self, batch: Batch, weights_DK: Tensor) -> Tensor:
        """(B, C) of the supernet under operation weights, float32."""
        with precision(self.config.precision, batch.image.device):
            logits_BC = self.supernet(batch.image, weights_DK)
        return logits_BC.float() if self.config.precision == "bf16" else logits_BC

    def _loss(self, batch: Batch, weights_DK: Tensor) -> tuple[Tensor, Tensor | None, Loss]:
        """(outputs (1, B, C), the distance to a teacher's (1, B), the loss) of a forward pass."""
        output_NBC = self.logits(batch, weights_DK)[None]
        distance_NB = self.distance(output_NBC, batch.image)
        return output_NBC, distance_NB, self.objective.value(output_NBC, batch, distance_NB)

    def weight_step(self, batch: Batch, step: int, weights_DK: Tensor) -> dict[str, Tensor]:
        """One step of ω on a batch of search-train under these operation weights."""
        output_NBC, distance_NB, loss = self._loss(batch, weights_DK)
        total = loss.total_N.sum()
        if self.sam is not None:
            total = self.sam.climb(total, self.weights, lambda: self._loss(batch, weights_DK)[2].total_N.sum())
        self.objective.update(output_NBC, batch, distance_NB)
        descend(total, self.optimizer, self.weights, self.sam)
        self.scheduler.step_update(step + 1)
        return {"loss": loss.total_N.detach().sum(), "cross_entropy": loss.task_N.detach().sum()}

    def one_step(self, step: int) -> dict[str, Tensor]:
        """One path of the warm-up's curriculum."""
        return self.weight_step(self.train.at(step), step, self.warmup.weights(self.p_DK, step, self.generator))

    def over(self) -> bool:
        return False

    def row_due(self, step: int) -> bool:
        """After each epoch."""
        return step % len(self.train) == 0

    def row(self, step: int, means: Means) -> dict[str, Any]:
        """Reads tensors: a GPU is waited for."""
        return self.row_of(step, means, "warm-up", self.objective)

    def row_of(self, step: int, means: Means, phase: str, objective: DataObjective) -> dict[str, Any]:
        """The means, where the objective's gaps and α stand."""
        p_DK, attributes = self.p_DK, self.data.attributes
        return {
            "step": step,
            "epoch": step // len(self.train),
            "phase": phase,
            **means,
            **{f"gap_{name}": gap for name, gap in zip(attributes, objective.estimate_A(), strict=True)},
            **{f"lambda_gap_{name}": weight for name, weight in zip(attributes, objective.weight_A(), strict=True)},
            **{f"expected_{name}": float(expected(p_DK)) for name, expected in self.expected.items()},
            "entropy": float(-(p_DK * p_DK.clamp_min(1e-12).log()).sum(1).mean() / math.log(p_DK.shape[1])),
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def words(self, row: dict[str, Any]) -> str | None:
        return None

    def line(self, step: int, means: Means) -> str:
        """The row in one short line."""
        found = self.row(step, means)
        gaps = [found[f"gap_{name}"] for name in self.data.attributes]
        gap = f" gap {signed(worst_gap(gaps))}" if gaps else ""
        what = self.task.loss_name if self.distance.network is None else "distance"
        sized = self.sized_by
        short, unit = ("lat", "ms") if sized == "latency" else (sized, sized)
        return (
            f"{found['phase']} {what} {found['cross_entropy']:.2f}{gap} "
            f"{found[f'expected_{sized}']:.3g} {unit} λ_{short} {found.get(f'lambda_{sized}', 0):.2f}"
        )

    def rest(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "paths": self.warmup.paths,
        }

    def restore_rest(self, rest: dict[str, Any], step: int) -> None:
        self.optimizer.load_state_dict(rest["optimizer"])
        self.generator.set_state(rest["generator"])
        self.warmup.paths = [path_D.reshape(len(self.p_DK)) for path_D in rest["paths"]]
