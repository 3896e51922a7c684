"""Everything that a training begins with."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import replace

from torch import nn

from supernet.commands.comparison import read_baseline
from supernet.commands.exports import require_exporters
from supernet.commands.inherited import build, find_architecture, inherit, inherited_weights, tuned, tuned_notes
from supernet.commands.opening import check, open_run
from supernet.commands.promise import other_data, priced
from supernet.commands.setting import TEACHER_WEIGHTS, read_data, teacher_weights, use_machine
from supernet.commands.trained import Training
from supernet.config import TrainConfig, with_epochs
from supernet.costs.latency import load_table
from supernet.coverage import check_coverage
from supernet.data import GroupedData
from supernet.engine.rotation import linear_classifier_of
from supernet.errors import UserError
from supernet.exits import attach
from supernet.objective import class_weights
from supernet.options import check_effect
from supernet.preprocessing import Preprocessing
from supernet.pretrained import INHERITED_WEIGHTS, Pretrained, find_weights, load_weights, read_weights
from supernet.refit import linear_classifier
from supernet.spaces import SIZED, get_space
from supernet.spaces.architecture import Architecture
from supernet.teacher import FEATURE_WEIGHT, Teacher, check_classes, check_input, read_teacher, shared_features


def set_up(options: argparse.Namespace) -> Training:
    """Everything a training needs. Raises UserError for what the user can mend, before anything is written."""
    config, given = open_run(options, "train", TrainConfig)
    if not config.arch:
        raise UserError("--arch is needed: a derived.json (or its run folder), or a timm model's name.")
    arch_file = find_architecture(config)
    arch = None if arch_file is None else Architecture.load(arch_file)
    if arch is not None:
        config = inherit(config, arch, given, quick=options.quick)
        check(config)
    check_effect(config, given)
    require_exporters(config.export)
    if arch is None and "device" in given:
        load_table(config.device)  # a wrong name is said now
    notes: list[str] = []
    if arch is not None:
        arch, notes = priced(config, arch, given)
    if config.feature_weight and (config.teacher is None or config.from_scratch):
        raise UserError("--feature-weight compares hidden features with a teacher's, and there is none: leave it out.")
    weights = None if config.pretrained is None else find_weights(config.pretrained, config.arch)
    device = use_machine(config)
    data = read_data(config, arch.input.size if arch is not None else config.resolution or _space_resolution(config))
    config = with_epochs(config, len(data.train))
    class_weights(config, data, data.train)  # says now whether it has an effect
    baseline = None if config.baseline is None else read_baseline(config.baseline, data)
    data = replace(data, preprocessing=preprocessing(data.preprocessing, arch, weights))
    network = build(config, arch, data)
    left = None
    if arch is not None and arch_file is not None and not config.from_scratch:
        left = inherited_weights(config, arch_file, arch.weights_sha256)
    if config.ssl_epochs and left is not None:
        raise UserError("--ssl-epochs is for a training from scratch, and the search left weights: add --from-scratch, or leave it out.")  # fmt: skip
    if config.ssl_epochs:
        linear_classifier_of(network)  # now rather than in the run folder
    if arch is not None and left is not None:
        state, digest = read_weights(left)
        load_weights(network, Pretrained(state, arch.input.mean, arch.input.std, str(left), None, digest))
        config = tuned(config, given)
        notes.append("Begun with the weights that the search left, which are the teacher's (--from-scratch: without).")
    teacher = None
    if config.teacher is not None and not config.from_scratch:
        teacher = checked_teacher(config, data, given)
        config = replace(config, feature_weight=feature_weight(config, network, teacher))
        hidden = f" Hidden features, too (--feature-weight {config.feature_weight:g})." if config.feature_weight else ""
        notes.append(f"The teacher's outputs are learned, in place of the labels: {config.teacher}.{hidden}")
    if weights is not None:
        anew = load_weights(network, weights)
        notes.append(f"Begun with trained weights: {weights.source}; anew: {', '.join(anew) or 'nothing'}.")
    if config.exits is not None:
        attach(network, config.exits, data.channels, data.preprocessing.size)
    notes += [] if arch is None else tuned_notes(config, arch)
    notes += [*data.notes, *([] if arch is None else other_data(config, arch, data.fingerprint))]
    if config.refit_classifier:
        linear_classifier(network)  # now rather than after the training
        check_coverage(data, data.val)
    taught = None if teacher is None or config.teacher is None else teacher_weights(config.resume, config.teacher)
    kept = {"derived.json": arch_file, INHERITED_WEIGHTS: left, TEACHER_WEIGHTS: taught}
    inputs = {name: path for name, path in kept.items() if path is not None}
    facts = None if weights is None else weights.facts()
    return Training(config, arch, data, network, device, inputs, baseline, notes, facts, teacher)


def preprocessing(spec: Preprocessing, arch: Architecture | None, weights: Pretrained | None) -> Preprocessing:
    """The data's own, at the scale that trained weights are used to."""
    if arch is not None and arch.space in SIZED:
        return replace(spec, mean=arch.input.mean, std=arch.input.std)
    return spec if weights is None else weights.preprocessing(spec)


def checked_teacher(config: TrainConfig, data: GroupedData, given: Collection[str]) -> Teacher:
    """Raises UserError where it does not fit the data, or beside an option without effect."""
    assert config.teacher is not None, "asked for"
    teacher = read_teacher(config.teacher)
    check_classes(teacher, data.classes, data.channels)
    check_input(teacher, data.preprocessing)
    if "smoothing" in given:
        raise UserError("--smoothing has no effect on a teacher's outputs, which are learned in place of the labels: leave it out.")  # fmt: skip
    if config.class_weight == "logit-adjust":
        raise UserError("--class-weight logit-adjust has no effect on a teacher's outputs, which are learned in place of the labels: take balanced, or --from-scratch.")  # fmt: skip
    return teacher


def feature_weight(config: TrainConfig, network: nn.Module, teacher: Teacher) -> float:
    """As asked, or FEATURE_WEIGHT where hidden features can be compared. Raises UserError where they are to be and cannot."""
    shared = shared_features(network, teacher)
    if config.feature_weight is None:
        return FEATURE_WEIGHT if shared and not config.compile and config.exits is None else 0.0
    if config.feature_weight and not shared:
        raise UserError("--feature-weight: no hidden feature of this network has the teacher's shape: leave it out.")
    return config.feature_weight


def _space_resolution(config: TrainConfig) -> int:
    return get_space(config.space).resolution
