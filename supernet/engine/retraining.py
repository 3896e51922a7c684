"""Retraining: one network from scratch, with timm's optimiser, schedule and moving average."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from timm.models.efficientnet import EfficientNet
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from supernet.config import TrainConfig
from supernet.data import Batch, Batches, GroupedData
from supernet.engine import distributed
from supernet.engine.course import Course, figure, mean_recall
from supernet.engine.descent import descend
from supernet.engine.evaluate import brief_scores, predict, signed, worst_gap
from supernet.engine.finetuning import HeadFirst, head_steps, trivial_augment
from supernet.engine.loop import Means, train
from supernet.engine.rotation import learn_rotations
from supernet.engine.runs import RunFolder, precision
from supernet.engine.sam import Sam
from supernet.exits import outputs
from supernet.kernels import fast_cpu
from supernet.objective import Loss, data_objective, least_share
from supernet.task import Task, classification
from supernet.teacher import Distance, Teacher, with_features


class Retraining:
    """For `loop.train`: one network on search-train, its moving average validated on search-val.

    A row is written after each epoch; where search-train is small, after so many that validating takes less time than the training.

    config:  epochs, lr and layer_decay are known
    data:    search-train is trained on, search-val validates
    network: (B, channels, size, size) → (B, outputs); in place; its early exits (exits.py), if it has any, learn with it
    device:  where it is trained
    teacher: its outputs take the place of the labels
    task:    classification of the data's classes if None
    epochs_before: of the same schedule, which another training took; what `qat_epochs` asks for comes after this one
    """

    name = "train"

    def __init__(
        self,
        config: TrainConfig,
        data: GroupedData,
        network: nn.Module,
        device: torch.device,
        teacher: Teacher | None = None,
        task: Task | None = None,
        epochs_before: int = 0,
    ) -> None:
        assert config.epochs is not None, "known by the data"
        assert config.lr is not None and config.layer_decay is not None, "known by --pretrained"
        if config.compile:
            network.compile()
        else:
            fast_cpu(network)
        distributed.join_batch_norms(network.to(memory_format=torch.channels_last).to(device))
        self.config, self.data, self.network, self.device = config, data, network, device
        self.weights, self.distance = (
            list(network.parameters()),
            Distance(teacher, device, config.feature_weight or 0.0),
        )
        self.task = task or classification(len(data.classes), config.smoothing)
        shared: dict[str, Any] = {"mean": data.mean, "std": data.std, "device": device, "made": self.task.made}
        augment = replace(data.augment, trivial=trivial_augment(config, data)) if config.augment else None
        drawn: dict[str, Any] = {"seed": config.seed, "floor": least_share(config), **distributed.own_slice()}
        self.train = Batches(data.train, config.batch_size, stratify=True, augment=augment, **drawn, **shared)
        self.val = Batches(data.val, 256, shuffle=False, **shared)
        epochs_a_row = -(-2 * len(data.val) // len(data.train))  # training an image takes some three forward passes
        self.steps_a_row = epochs_a_row * len(self.train)
        sums = distributed.all_reduce_sums
        self.objective = data_objective(config, data, data.train, self.task, sums).to(device)
        self.averaged = ModelEmaV3(network, decay=config.ema_decay, use_warmup=True)
        options: dict[str, Any] = {"fused": True} if config.opt == "adamw" else {}
        if config.layer_decay != 1:
            options["layer_decay"] = config.layer_decay
        self.optimizer = create_optimizer_v2(network, config.opt, config.lr, config.weight_decay, **options)
        self.sam = None if config.sam is None else Sam(network, config.sam, config.sam_adaptive)
        self.total_steps = config.epochs * len(self.train)
        self.head_first = HeadFirst(network, head_steps(config, len(self.train), self.total_steps))
        self.steps_before = epochs_before * len(self.train)
        steps_after = (config.qat_epochs or 0) * len(self.train)
        self.scheduler = CosineLRScheduler(
            self.optimizer, t_initial=self.steps_before + self.total_steps + steps_after, lr_min=config.lr / 100, t_in_epochs=False,
            warmup_t=min(config.warmup_steps, self.total_steps // 2), warmup_lr_init=config.lr / 100,
        )  # fmt: skip
        self.scheduler.step_update(self.steps_before)
        averaged = self.averaged.module
        self.modules = nn.ModuleDict({"network": network, "averaged": averaged, "objective": self.objective})
        patience = None if config.patience is None else config.patience * len(self.train)
        self.course = Course(figure(config), config.keep == "best", patience)
        self.output_weight_N = torch.tensor([*[config.exit_weight] * (config.exits or 0), 1.0], device=device)
        self._own_dropout(0)

    def one_step(self, step: int) -> dict[str, Tensor]:
        """One step of the network on search-train."""
        batch = self.train.at(step)
        self.network.train()
        self.head_first.at(step)
        output_NBC, distance_NB, loss = self._loss(batch)
        total = (self.output_weight_N * loss.total_N).sum()
        if self.sam is not None:
            again = lambda: (self.output_weight_N * self._loss(batch)[2].total_N).sum()  # noqa: E731
            total = self.sam.climb(total, self.weights, again)
        # what the terms remember, and so what a cap holds, is the full network's
        self.objective.update(output_NBC[-1:], batch, None if distance_NB is None else distance_NB[-1:])
        descend(total, self.optimizer, self.weights, self.sam)
        self.scheduler.step_update(self.steps_before + step + 1)
        self.averaged.update(self.network, step=step + 1)
        return {"loss": total.detach(), "cross_entropy": loss.task_N.detach()[-1]}

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor | None, Loss]:
        """(outputs (N, B, C), the full network's last; their distance to a teacher's (N, B); the loss) of a forward pass."""
        with precision(self.config.precision, self.device):
            if self.distance.feature_weight:
                output_BC, features = with_features(cast(EfficientNet, self.network), batch.image)
                output_NBC = output_BC[None]
            else:
                output_NBC, features = outputs(self.network, batch.image), []
        output_NBC = output_NBC.float()
        distance_NB = self.distance(output_NBC, batch.image, features)
        return output_NBC, distance_NB, self.objective.value(output_NBC, batch, distance_NB)

    def over(self) -> bool:
        return self.course.over

    def result(self) -> nn.Module:
        """The averaged network; by `keep` with the best weights on search-val."""
        averaged = self.averaged.module
        if self.course.best_weights is not None:
            averaged.load_state_dict(self.course.best_weights)
        return averaged

    def row_due(self, step: int) -> bool:
        return step % self.steps_a_row == 0 or step == self.total_steps

    def row(self, step: int, means: Means) -> dict[str, Any]:
        """Validates."""
        data, objective = self.data, self.objective
        batches = list(self.val.epoch()) if self.task.scores is not None else self.val.epoch()
        predicted_NC = predict(self.averaged.module, batches, self.task.predictions)
        if self.task.scores is not None:
            true_N = torch.cat([batch.label for batch in batches]).cpu().numpy()
            scores: dict[str, Any] = self.task.scores(predicted_NC, true_N)
        else:
            scores = brief_scores(predicted_NC, data.val.label_N, data.val.group_NA, data, self.config.fairness)
            scores["mean_recall"] = mean_recall(predicted_NC.argmax(1), data.val.label_N)
            self.course.note(step, scores, self.averaged.module)
        return {
            "step": step,
            "epoch": step // len(self.train),
            **means,
            **{f"gap_{name}": gap for name, gap in zip(data.attributes, objective.estimate_A(), strict=True)},
            **{f"lambda_gap_{name}": w for name, w in zip(data.attributes, objective.weight_A(), strict=True)},
            **{f"val_{name}": value for name, value in scores.items()},
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def words(self, row: dict[str, Any]) -> str | None:
        if self.task.scores is not None:
            told = ", ".join(f"{name[4:]} {value:.4f}" for name, value in row.items() if name.startswith("val_"))
        else:
            told = f"accuracy {row['val_accuracy']:.4f}, gap {signed(row['val_gap'])}"
        return f"epoch {row['epoch']}/{self.config.epochs}: search-val {told}"

    def line(self, step: int, means: Means) -> str:
        what = self.task.loss_name if self.distance.network is None else "distance"
        gap = f" gap {signed(worst_gap(self.objective.estimate_A()))}" if self.task.scores is None else ""
        return f"{what} {means['cross_entropy']:.3f}{gap}"

    def rest(self) -> dict[str, Any]:
        course, optimizer = self.course.state, self.optimizer.state_dict()
        return {"optimizer": optimizer, "rng": torch.get_rng_state(), "course": course}

    def restore_rest(self, rest: dict[str, Any], step: int) -> None:
        self.optimizer.load_state_dict(rest["optimizer"])
        torch.set_rng_state(rest["rng"])
        self.course.restore(rest["course"])
        self._own_dropout(step)

    def _own_dropout(self, step: int) -> None:
        """Of several processes each drops out other neurons."""
        if distributed.rank():
            torch.manual_seed(self.config.seed + 1_000_003 * distributed.rank() + step)


def train_network(
    config: TrainConfig,
    data: GroupedData,
    network: nn.Module,
    folder: RunFolder,
    device: torch.device,
    teacher: Teacher | None = None,
    task: Task | None = None,
) -> nn.Module:
    """Trains on search-train, validates on search-val, returns the averaged network.

    With a teacher its outputs take the place of the labels (`teacher.distillation`); fairness penalties stay.

    Goes on from the folder's checkpoint where there is one. The last epoch's weights are returned, or by `keep` the best
    ones on search-val. Raises Interrupted (checkpoint written) and UserError (loss not finite).
    """
    retraining = Retraining(config, data, network, device, teacher, task)
    if config.ssl_epochs:
        learn_rotations(config, data, network, folder, device)
        retraining.averaged.module.load_state_dict(network.state_dict())
    train(retraining, folder)
    return retraining.result()
