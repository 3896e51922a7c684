"""Retraining: one network from scratch, with timm's optimiser, schedule and moving average."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from supernet.bars import bar as progress_bar
from supernet.config import TrainConfig
from supernet.data import Batches, GroupedData
from supernet.engine import distributed
from supernet.engine.checkpoint import progress_of
from supernet.engine.course import Course, figure, mean_recall
from supernet.engine.evaluate import brief_scores, predict, signed, worst_gap
from supernet.engine.finetuning import HeadFirst, head_steps, trivial_augment
from supernet.engine.runs import Interrupted, RunFolder, StopSignal, check_finite, precision
from supernet.kernels import fast_cpu
from supernet.objective import data_objective, least_share
from supernet.teacher import Distance, Teacher

LOG_EVERY = 20


def train_network(
    config: TrainConfig,
    data: GroupedData,
    network: nn.Module,
    folder: RunFolder,
    device: torch.device,
    teacher: Teacher | None = None,
) -> nn.Module:
    """Trains on search-train, validates on search-val, returns the averaged network.

    With a teacher its outputs take the place of the labels (`teacher.distillation`); fairness penalties stay.

    Validates, logs and writes a checkpoint after each epoch; where search-train is small, after so many that it takes less time than
    the training. Goes on from the folder's checkpoint where there is one. The last epoch's weights are returned, or by `keep` the best
    ones on search-val. Raises Interrupted (checkpoint written) and UserError (loss not finite).
    """
    assert config.epochs is not None, "known by the data"
    if config.compile:
        network.compile()
    else:
        fast_cpu(network)
    distributed.join_batch_norms(network.to(memory_format=torch.channels_last).to(device))
    weights = list(network.parameters())
    shared: dict[str, Any] = {"mean": data.mean, "std": data.std, "device": device}
    augment = replace(data.augment, trivial=trivial_augment(config, data)) if config.augment else None
    slices = distributed.own_slice()
    drawn: dict[str, Any] = {"seed": config.seed, "floor": least_share(config)}
    train = Batches(data.train, config.batch_size, stratify=True, augment=augment, **drawn, **shared, **slices)
    val = Batches(data.val, 256, shuffle=False, **shared)
    epochs_a_row = -(-2 * len(data.val) // len(data.train))  # training an image takes some three forward passes
    steps_a_row = epochs_a_row * len(train)
    objective = data_objective(config, data, data.train, config.smoothing, distributed.all_reduce_sums).to(device)
    averaged = ModelEmaV3(network, decay=config.ema_decay, use_warmup=True)
    fused: dict[str, Any] = {"fused": True} if config.opt == "adamw" else {}
    assert config.lr is not None and config.layer_decay is not None, "known by --pretrained"
    if config.layer_decay != 1:
        fused["layer_decay"] = config.layer_decay
    optimizer = create_optimizer_v2(network, config.opt, config.lr, config.weight_decay, **fused)
    total_steps = config.epochs * len(train)
    distance = Distance(teacher, device)
    head_first = HeadFirst(network, head_steps(config, len(train), total_steps))
    scheduler = CosineLRScheduler(
        optimizer, t_initial=total_steps, lr_min=config.lr / 100, t_in_epochs=False,
        warmup_t=min(config.warmup_steps, total_steps // 2), warmup_lr_init=config.lr / 100,
    )  # fmt: skip
    state = nn.ModuleDict({"network": network, "averaged": averaged.module, "objective": objective})
    course = Course(
        figure(config), config.keep == "best", None if config.patience is None else config.patience * len(train)
    )
    step = 0
    sums: dict[str, Any] = {}
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        with folder.restoring():
            state.load_state_dict(checkpoint["state"])
            optimizer.load_state_dict(checkpoint["optimizer"])
            torch.set_rng_state(checkpoint["rng"])
            step, sums = progress_of(checkpoint, total_steps)
            course.restore(checkpoint.get("course", {}))  # runs of before had neither --keep nor --patience
    if distributed.rank():  # each process drops out other neurons
        torch.manual_seed(config.seed + 1_000_003 * distributed.rank() + step)

    with StopSignal() as stop, progress_bar(
        total=total_steps, initial=step, desc="train", unit="step",
        disable=not folder.writes,
    ) as bar:  # fmt: skip
        while step < total_steps and not course.over:
            batch = train.at(step)
            network.train()
            head_first.at(step)
            with precision(config.precision, device):
                logits_BC = network(batch.image)
            loss = objective(logits_BC.float()[None], batch, distance(logits_BC, batch.image))
            optimizer.zero_grad(set_to_none=True)
            loss.total_N.sum().backward()
            distributed.average_gradients(weights)
            nn.utils.clip_grad_norm_(weights, 5.0)
            optimizer.step()
            step += 1
            scheduler.step_update(step)
            averaged.update(network, step=step)
            bar.update()
            sums = {
                "loss": sums.get("loss", 0.0) + loss.total_N.detach().sum(),
                "cross_entropy": sums.get("cross_entropy", 0.0) + loss.task_N.detach().sum(),
                "steps": sums.get("steps", 0) + 1,
            }
            row_due, stopping = step % steps_a_row == 0 or step == total_steps, stop.reached()
            if row_due or stopping or step % LOG_EVERY == 0:
                sums |= {name: distributed.mean(sums[name]) for name in ("loss", "cross_entropy")}
                check_finite(float(sums["loss"]), f"step {step}", folder)
                bar.set_postfix_str(
                    f"{'ce' if teacher is None else 'distance'} {float(sums['cross_entropy']) / sums['steps']:.3f} gap {signed(worst_gap(objective.estimate_A()))}"
                )
            if row_due:
                prob_NC = predict(averaged.module, val.epoch())
                scores = brief_scores(prob_NC, data.val.label_N, data.val.group_NA, data, config.fairness)
                scores["mean_recall"] = mean_recall(prob_NC.argmax(1), data.val.label_N)
                row = {
                    "step": step,
                    "epoch": step // len(train),
                    "loss": float(sums["loss"]) / sums["steps"],
                    "cross_entropy": float(sums["cross_entropy"]) / sums["steps"],
                    **{f"gap_{name}": gap for name, gap in zip(data.attributes, objective.estimate_A(), strict=True)},
                    **{f"lambda_gap_{name}": w for name, w in zip(data.attributes, objective.weight_A(), strict=True)},
                    **{f"val_{name}": value for name, value in scores.items()},
                    "lr": optimizer.param_groups[0]["lr"],
                }
                folder.log(row)
                if folder.writes:
                    bar.write(
                        f"epoch {row['epoch']}/{config.epochs}: search-val accuracy {row['val_accuracy']:.4f}, gap {signed(row['val_gap'])}"
                    )
                course.note(step, scores, averaged.module)
                sums = {}
            if row_due or stopping:
                folder.save_checkpoint(
                    {"step": step, "state": state.state_dict(), "optimizer": optimizer.state_dict(),
                     "rng": torch.get_rng_state(), "sums": sums, "course": course.state, "fingerprint": data.fingerprint}
                )  # fmt: skip
            if stopping and step < total_steps and not course.over:
                raise Interrupted(f"Interrupted at step {step} of {total_steps}")
    if course.best_weights is not None:
        averaged.module.load_state_dict(course.best_weights)
    return averaged.module
