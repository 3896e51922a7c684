"""A finished training → its report, its files for a device, and what the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from supernet.commands.bits import counted
from supernet.commands.cap import trained_cap_notes
from supernet.commands.comparison import (
    against_baseline,
    against_teacher,
    comparison_words,
    postprocess,
    save_predictions,
)
from supernet.commands.exports import Exportable
from supernet.commands.facts import data_facts, energy_mj, energy_words
from supernet.commands.look import closer_facts
from supernet.commands.promise import beside_latency, latency_facts, whole_ms
from supernet.commands.seen import save_seen
from supernet.commands.under_corruptions import of_training
from supernet.commands.without_groups import notions_of
from supernet.config import TrainConfig, limits_of
from supernet.costs.analytic import count
from supernet.costs.latency import load_table
from supernet.costs.memory import peak_activation_bytes
from supernet.coverage import advice
from supernet.data import Batches, GroupedData
from supernet.data.grouped import Split
from supernet.engine.course import course_words, mean_recall
from supernet.engine.evaluate import predict
from supernet.engine.runs import RunFolder
from supernet.errors import UserError
from supernet.exits import Exits
from supernet.export import onnx_metadata
from supernet.metrics import evaluate_predictions
from supernet.preprocessing import Preprocessing
from supernet.refit import refit_classifier
from supernet.report.anytime import anytime_lines
from supernet.report.classes import shot_lines
from supernet.report.comparisons import teacher_words
from supernet.report.corruptions import corruption_words
from supernet.report.facts import Metrics, Shots, Trained, TrainFacts, read
from supernet.report.terminal import metric_lines
from supernet.report.words import EACH_BITS, bops_words
from supernet.resampling import Predictions
from supernet.shots import shot_figures
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.teacher import Teacher
from supernet.transfer.kernel_model import estimate_network

ESTIMATED = "estimated from the times of other networks' blocks"


class Training(NamedTuple):
    """What is trained, on what, and where: before the training with fresh weights, after it with trained ones.

    arch:     None for a timm baseline
    inputs:   files that the run keeps a copy of, by the copy's name
    baseline: the arrays of an earlier run to compare with
    pretrained: where the weights that it began with are from
    teacher:  whose outputs it learns
    exits:    after the training, what leaves early; before it they are part of the network
    config, data, device: what is asked for, the images, where it is trained
    network:  (B, channels, size, size) → (B, C)
    notes:    lines for the person
    """

    config: TrainConfig
    arch: Architecture | None
    data: GroupedData
    network: nn.Module
    device: torch.device
    inputs: dict[str, Path]
    baseline: dict[str, np.ndarray] | None
    notes: list[str]
    pretrained: dict[str, Any] | None
    teacher: Teacher | None
    exits: Exits | None = None


def finish(trained: Training, folder: RunFolder) -> list[str]:
    """Fits the classifier anew where that was asked for; what a person should know of the training, printed too."""
    config, data = trained.config, trained.data
    hints = course_words(config, folder.rows(), len(data.val))
    if config.qat_epochs and hints:
        hints.append(
            "With int8 in the loop these weights were trained on; figures on test are of the weights after that."
        )
    if config.refit_classifier:
        hints.append(refit_classifier(trained.network, data, data.val, trained.device).words())
    elif not config.train_on_val:
        hints += advice(data)
    print("".join(f"{line}\n" for line in hints), end="")
    return hints


def report_facts(trained: Training, folder: RunFolder, hints: list[str]) -> TrainFacts:
    """The facts, save seconds and exports; writes predictions.npz."""
    config, arch, data, network, device, _, baseline, notes, pretrained, teacher, _ = trained
    spec = data.preprocessing

    def predicted(model: nn.Module, part: Split) -> np.ndarray:
        shown = Batches(part, 256, shuffle=False, mean=spec.mean, std=spec.std, device=device)
        return predict(model, shown.epoch())

    val_prob_VC, prob_NC = predicted(network, data.val), predicted(network, data.test)
    metrics = read(Metrics, evaluate_predictions(
        prob_NC, data.test.label_N, data.test.group_NA, data.classes, data.attributes,
        cluster=data.test.cluster_N, n_boot=config.bootstrap, seed=config.seed, margin=config.margin,
        notions=notions_of(config.fairness, data.by_class),
    ))  # fmt: skip
    adjusted_facts, adjusted = postprocess(config, data, val_prob_VC, prob_NC)
    save_predictions(folder.path, data, prob_NC, adjusted)
    save_seen(folder.path, data)
    latency = latency_facts(config, arch)
    return TrainFacts(
        command="train",
        name=folder.path.name,
        asked=asdict(config),
        notes=[*notes, *folder.notes, *hints, *trained_cap_notes(config, data, folder.rows(), metrics)],
        seconds={},
        data=data_facts(config, data),
        arch=arch_facts(config, arch, network, spec),
        preprocessing=asdict(spec) | {"words": spec.words()},
        pretrained=pretrained,
        files={},
        metrics=metrics,
        search_val=None if config.train_on_val or config.refit_classifier else on_val(val_prob_VC, data.val),
        corruptions=of_training(config, data, lambda split: predicted(network, split)),
        closer=closer_facts(
            prob_NC,
            data.test.label_N,
            data.test.group_NA,
            metrics,
            data.attributes,
            data.test.images_NCHW.__getitem__ if config.images else None,
        ),
        adjusted=adjusted_facts,
        baseline=None if baseline is None else against_baseline(config, data, prob_NC, baseline),
        teacher=None
        if teacher is None
        else against_teacher(
            config, data, prob_NC, predicted(teacher.network.to(device), data.test), whole_ms(config, arch)
        ),
        shots=shots(config, data, prob_NC),
        history=folder.rows(),
        **({} if latency is None else vars(latency)),
        **folder.circumstances(),
    )


def on_val(prob_VC: np.ndarray, val: Split) -> dict[str, float]:
    """What networks are chosen by: figures on search-val of the weights that are kept."""
    predicted_V = prob_VC.argmax(1)
    return {"accuracy": float((predicted_V == val.label_N).mean()), "mean_recall": mean_recall(predicted_V, val.label_N)}  # fmt: skip


def shots(config: TrainConfig, data: GroupedData, prob_NC: np.ndarray) -> list[Shots] | None:
    """Recall of the classes with many, medium and few training images; None where all are of one kind."""
    test, count_C = data.test, np.bincount(data.train.label_N, minlength=len(data.classes))
    checked = Predictions.checked(
        prob_NC, test.label_N, test.group_NA, data.classes, data.attributes, test.cluster_N, {}
    )
    images = dict(zip(data.classes, count_C.tolist(), strict=True))
    found = shot_figures(checked, data.classes, images, config.bootstrap > 0)
    return None if found is None else [read(Shots, own) for own in found]


def exportable(trained: Training) -> Exportable:
    """What the exporters need of a training."""
    config, data = trained.config, trained.data
    metadata = onnx_metadata(data.preprocessing, data.classes, trained.arch, config.budget_ms)
    return Exportable(trained.network, data.preprocessing, metadata, config.fairness, lambda: data, trained.exits)


def arch_facts(config: TrainConfig, arch: Architecture | None, network: nn.Module, spec: Preprocessing) -> Trained:
    """What the report says of the architecture. A timm baseline has no entries in a table, and a space may have no table of
    its own: the latency is then an estimate from the table's blocks (`estimated` says how good), or unknown (`estimated` says why).
    """
    macs, params = count(network, 1, spec.channels, spec.size, spec.size)
    plain = Trained(
        name=config.arch, ops=None, arch_def=None, predicted_ms=None, predicted_error=None, device=None,
        budget_ms=config.budget_ms, macs=macs, params=params,
        peak_activation_bytes=peak_activation_bytes(network, spec.channels, spec.size),
    )  # fmt: skip
    if arch is None:
        return _estimated(plain, config.device, network, spec)
    by_model = (arch.table or {}).get("provenance") == "estimated" and arch.predicted_error is not None
    if get_space(arch.space).bits:  # what its fake numbers take in float32 says nothing
        plain = replace(plain, bops=counted(arch), bits=EACH_BITS, peak_activation_bytes=None)
    return replace(
        plain, name=arch.space, ops=arch.ops, arch_def=arch.arch_def, predicted_ms=arch.predicted_ms,
        predicted_error=arch.predicted_error, device=arch.device, budget_ms=config.budget_ms or arch.budget_ms,
        estimated=ESTIMATED if by_model else None, limits=limits_of(arch.config) or None, **beside_latency(config, arch),
    )  # fmt: skip


def _estimated(found: Trained, device: str, network: nn.Module, spec: Preprocessing) -> Trained:
    """With the estimated latency of a network that no table holds, its error and what to know of it; or with the reason for none."""
    try:
        table = load_table(device)
        told = estimate_network(table, network, spec.channels, spec.size)
    except UserError as error:
        return replace(found, estimated=str(error))
    notes = "; ".join((ESTIMATED, *told.notes))
    return replace(
        found, predicted_ms=told.ms, predicted_error=told.error, device=table.device, estimated=notes,
        energy_mj=energy_mj(table, told.ms),
    )  # fmt: skip


def closing_words(facts: TrainFacts, folder: Path, cap: Sequence[str] = ()) -> str:
    """What the terminal shows at the end; `cap`: the notes on --max-gap."""
    arch, notion = facts.arch, facts.asked["fairness"]
    lines = metric_lines("Test accuracy", facts.metrics, facts.data, notion)
    lines += shot_lines(facts.shots)
    lines += corruption_words(facts.corruptions, notion) if facts.corruptions else []
    if arch.predicted_ms is not None:
        budget = "" if arch.budget_ms is None else f" of {arch.budget_ms:g} ms"
        how, spread = ("Estimated", f" (± {arch.predicted_error:.0%})") if arch.estimated else ("Predicted", "")
        over = arch.budget_ms is not None and arch.predicted_ms > arch.budget_ms
        lines.append(
            f"{how} latency {arch.predicted_ms:.4g} ms{spread}{budget} on {arch.device}{', OVER the budget' if over else ''}."
        )
    elif arch.bits == EACH_BITS:
        lines.append(f"{bops_words(arch.bops or 0.0, (arch.limits or {}).get('bops'))}.")
    elif arch.budget_ms is not None:
        why = f": {arch.estimated}" if arch.estimated else "."
        lines.append(f"Its latency is unknown, and so whether it keeps {arch.budget_ms:g} ms{why}")
    lines += energy_words(arch.energy_mj, (arch.limits or {}).get("energy")).splitlines()
    lines += cap
    lines += anytime_lines(facts.anytime, notion) if facts.anytime else []
    lines += comparison_words(facts.baseline, notion) if facts.baseline else []
    if facts.teacher:
        lines += [teacher_words(facts.teacher, notion), *comparison_words(facts.teacher, notion)]
    lines.append(f"{arch.macs / 1e6:.1f} M MACs, {arch.params / 1e6:.2f} M parameters.")
    lines += [f"{name}: {words}" for name, words in (facts.files or {}).items()]
    lines += [f"Report: {folder / 'report.html'}", f"Model: {folder / 'model.json'}"]
    return "\n".join(lines)
