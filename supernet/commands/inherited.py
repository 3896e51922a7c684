"""What a training takes from the search: the architecture, its options, the weights that it left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.config import INHERITED, TrainConfig, is_file
from supernet.errors import UserError
from supernet.options import check_values, flag

if TYPE_CHECKING:
    from torch import nn

    from supernet.data import GroupedData
    from supernet.spaces.architecture import Architecture


def find_architecture(config: TrainConfig) -> Path | None:
    """The derived.json to train, of a resumed run its own copy; None for a timm model."""
    from supernet.engine.claim import read_content, run_input

    path = Path(config.arch)
    path = path / "derived.json" if path.is_dir() else path
    if config.resume is None:
        return path if is_file(config.arch) else None
    if "derived.json" not in read_content(Path(config.resume))["inputs"]:
        return None
    return run_input(config.resume, "derived.json", path)


def inherit(config: TrainConfig, arch: Architecture, given: Collection[str], quick: bool) -> TrainConfig:
    """The data, device and fairness options that the user left open (are not `given`), as the search had them.

    A weight given to `train`, or a method without a penalty, takes the place of the search's cap: else the cap would win. A mix of groups takes that of its
    mix of classes, and the other way round.
    Raises UserError where --space names another space than the file does.
    """
    from supernet.fairness import METHODS, parse_methods

    if config.resume is not None:  # the run's own options were filled in when it began
        return config
    if "space" in given and config.space != arch.space:
        raise UserError(f"--space {config.space}: {config.arch} is an architecture of {arch.space}: leave --space out.")
    searched = {name: arch.config[name] for name in INHERITED if name in arch.config and name not in given}
    searched |= {name: value for name, value in arch.training.items() if name not in given}
    check_values(TrainConfig, searched, f"{config.arch}: config")
    methods = parse_methods(
        config.fairness_method
        if "fairness_method" in given
        else searched.get("fairness_method", config.fairness_method)
    )
    if "fairness_weight" in given or not any(METHODS[name].penalty for name in methods):
        searched.pop("max_gap", None)
    searched = with_one_mix(searched, given)
    if quick:
        searched.pop("max_train", None)
    return replace(config, **searched, space=arch.space)


def with_one_mix(inherited: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """What is inherited, without the mix that a given one takes the place of: only one can be drawn."""
    other = {"group_mix": "class_mix", "class_mix": "group_mix"}
    replaced = {other[name] for name in given if name in other}
    return {name: value for name, value in inherited.items() if name not in replaced}


def tuned_notes(config: TrainConfig, arch: Architecture) -> list[str]:
    """What the search chose for the training, and whether it is taken."""
    if not arch.training:
        return []
    told = ", ".join(f"{name} {value}" for name, value in arch.training.items())
    other = [flag(name) for name, value in arch.training.items() if getattr(config, name) != value]
    return [f"The search chose for this network: {told}." + (f" Given otherwise: {', '.join(other)}." if other else "")]


def build(config: TrainConfig, arch: Architecture | None, data: GroupedData) -> nn.Module:
    """The network with fresh weights. Raises UserError if the data does not fit the architecture."""
    import torch

    from supernet.models import create_network
    from supernet.network import build_network

    torch.manual_seed(config.seed)
    if arch is None:
        return create_network(config.arch, data.classes, data.preprocessing, config.drop, config.drop_path)
    if arch.input.channels != data.channels:
        kinds = {1: "grey", 3: "colour"}
        found = f" ({data.first_colour})" if data.first_colour is not None and data.channels == 3 else ""
        raise UserError(
            f"{config.arch} was searched for {kinds[arch.input.channels]} pictures, and {data.name} has pictures in "
            f"{kinds[data.channels]}{found}: --channels {arch.input.channels} reads all in {kinds[arch.input.channels]}."
        )
    if arch.classes != data.classes:
        same = set(arch.classes) == set(data.classes)
        raise UserError(
            f"{config.arch} was searched with {arch.classes[1]} as the positive class: --positive {arch.classes[1]}, or search again."
            if same
            else f"{config.arch} was searched for {len(arch.classes)} classes, {class_names(arch.classes)}; {data.name} has "
            f"{len(data.classes)}, {class_names(data.classes)}."
        )
    return build_network(arch, config.drop, config.drop_path)


def class_names(classes: Sequence[str], most: int = 5) -> str:
    """The first few, for a message."""
    return ", ".join(classes[:most]) + (" …" if len(classes) > most else "")


def inherited_weights(config: TrainConfig, arch_file: Path, digest: str | None) -> Path | None:
    """The weights that the search left beside derived.json, of a resumed run its own copy.

    Raises UserError where they are not those of which derived.json states the SHA-256.
    """
    from supernet.engine.claim import read_content, run_input, sha256
    from supernet.pretrained import INHERITED_WEIGHTS

    path = arch_file.parent / INHERITED_WEIGHTS
    if config.resume is None:
        if digest is not None and (not path.is_file() or sha256(path) != digest):
            what = "is not what the search left there" if path.is_file() else "is missing: the search left it there"
            raise UserError(f"{path} {what}. Restore it beside derived.json, or train with --from-scratch.")
        return path if path.exists() else None
    if INHERITED_WEIGHTS not in read_content(Path(config.resume))["inputs"]:
        return None
    return run_input(config.resume, INHERITED_WEIGHTS, path)


def tuned(config: TrainConfig, given: Collection[str]) -> TrainConfig:
    """The options of a training that begins with trained weights, where the user left them open."""
    usual = {"lr": 1e-3, "layer_decay": 1.0, "head_steps": 0, "augmentation": "trivial"}
    open_ones: dict[str, Any] = {
        name: value for name, value in usual.items() if name not in given and config.resume is None
    }
    return replace(config, **open_ones)
