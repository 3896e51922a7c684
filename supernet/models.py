"""Trained models on disk: model.json + model.safetensors, which `timm.create_model` loads after `import supernet`.

model = timm.create_model("supernet_derived", model_json="runs/train-rpi4-1/model.json", pretrained=True)
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from latency_luts.files import write_whole
from supernet.errors import UserError
from supernet.network import build_network
from supernet.preprocessing import JSON_SCHEMA as INPUT_SCHEMA
from supernet.preprocessing import Preprocessing
from supernet.schema import read_json, write_json
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

DERIVED = "supernet_derived"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema_version", "model_name", "classes", "input", "derived", "weights"],
    "properties": {
        "schema_version": {"const": 1},
        "model_name": {"type": "string", "maxLength": 200},
        "classes": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "input": INPUT_SCHEMA,
        "derived": {"type": ["string", "null"], "pattern": r"^[\w.-]+$"},
        "weights": {"type": "string", "pattern": r"^[\w.-]+$"},
        "pretrained": {"type": ["object", "null"]},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},  # of the weights; earlier versions wrote none
    },
}


def create_network(
    name: str, classes: tuple[str, ...], spec: Preprocessing, drop: float = 0.0, drop_path: float = 0.0
) -> nn.Module:
    """A timm model by name, with fresh weights: (B, channels, size, size) → (B, C).

    Of image size, dropout and stochastic depth (0 to 1) it is given what it takes. Raises UserError where timm has none so
    called (with the nearest names), where it does not take a dropout that was asked for, and where it cannot be built for
    such images.
    """
    if not timm.is_model(name):
        raise UserError(no_model(name))
    wanted = {"img_size": spec.size, "drop_rate": drop, "drop_path_rate": drop_path}
    taken = dict(wanted)
    shape = (2, spec.channels, spec.size, spec.size)
    try:
        network = _build(name, {"num_classes": len(classes), "in_chans": spec.channels}, taken)
        logits_BC = _output(network, shape)
    except UserError:
        raise
    except Exception as error:  # anything: hundreds of models, each with limits of its own
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"timm's {name} cannot take images of {spec.size}x{spec.size} pixels and {spec.channels} channel(s) ({told[:200]}). "
            f"Choose another model, or a --space with another input size."
        ) from error
    if not isinstance(logits_BC, Tensor) or logits_BC.shape != (2, len(classes)):
        raise UserError(f"timm's {name} is no classifier: its output is not one number a class.")
    for option, argument in (("--drop", "drop_rate"), ("--drop-path", "drop_path_rate")):
        if wanted[argument] and argument not in taken:
            raise UserError(f"timm's {name} does not take {option}: leave it out.")
    return network


def no_model(name: str) -> str:
    """That timm has none so called, with the nearest names."""
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    return f'"{name}" is neither a file nor a timm model.' + (f" Did you mean {', '.join(close)}?" if close else "")


def _build(name: str, needed: dict[str, Any], optional: dict[str, Any]) -> nn.Module:
    """The model with the optional arguments that it takes; the others are removed from `optional`.

    timm does not tell which they are: Python does, by the TypeError that names them.
    """
    while True:
        try:
            return timm.create_model(name, **needed, **optional)
        except TypeError as error:
            refused = [argument for argument in optional if f"'{argument}'" in str(error)]
            if not refused:
                raise
            for argument in refused:
                del optional[argument]


def _output(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """The output for blank images; neither the network nor the random numbers to come are changed."""
    training = network.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = network.eval()(torch.zeros(shape))
    network.train(training)
    return output


def save_model(
    folder: Path,
    network: nn.Module,
    classes: tuple[str, ...],
    spec: Preprocessing,
    name: str,
    pretrained: dict[str, Any] | None = None,
) -> None:
    """Writes model.safetensors and model.json; a derived network (`name` is DERIVED) needs derived.json beside them.

    pretrained: source, licence and SHA-256 of the weights that the training began with.
    """
    weights = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    stored = save(weights)
    write_whole(folder / "model.safetensors", stored)
    content = {
        "schema_version": 1,
        "model_name": name,
        "classes": list(classes),
        "input": asdict(spec),
        "derived": "derived.json" if name == DERIVED else None,
        "weights": "model.safetensors",
        "sha256": hashlib.sha256(stored).hexdigest(),
        "pretrained": pretrained,
    }
    write_json(folder / "model.json", content)


def _check_belongs(path: Path, classes: tuple[str, ...], spec: Preprocessing, arch: Architecture) -> None:
    """Raises UserError where model.json says other classes or another input than the derived.json beside it."""
    if classes != arch.classes:
        raise UserError(
            f"model {path}: classes: not those of derived.json, in its order: one of the two files was changed."
        )
    if (spec.size, spec.channels) != (arch.input.size, arch.input.channels):
        raise UserError(
            f"model {path}: input: {spec.channels} channel(s) of {spec.size} pixels, but derived.json says "
            f"{arch.input.channels} of {arch.input.size}: one of the two files was changed."
        )


class SavedModel(NamedTuple):
    """A model as a train run wrote it. `arch` is None for a timm baseline, whose name is `name`.

    network: in evaluation mode.  classes: names in the order of its outputs.  spec: what is done to a picture.
    """

    network: nn.Module
    name: str
    classes: tuple[str, ...]
    spec: Preprocessing
    arch: Architecture | None


def read_model(path: Path, pretrained: bool = True, dense: bool = False) -> SavedModel:
    """From a model.json, with its weights if `pretrained`.

    dense: it may be a denoiser. Raises UserError where it is one and may not, and if model.json, derived.json or the weights cannot be read or do not belong together.
    """
    content = read_json(path, "model", _SCHEMA)
    classes = tuple(content["classes"])
    try:
        spec = Preprocessing.from_json(content["input"])
    except ValueError as error:
        raise UserError(f"model {path}: input: {error}.") from error
    if content["derived"] is None:
        arch, network = None, create_network(content["model_name"], classes, spec)
    else:
        arch = Architecture.load(path.parent / content["derived"])
        _check_belongs(path, classes, spec, arch)
        if get_space(arch.space).dense and not dense:
            raise UserError(f"model {path} gives pictures (--task denoise or segment): this is for classifiers.")
        network = build_network(arch)
    if pretrained:
        weights = path.parent / content["weights"]
        try:
            stored = weights.read_bytes()
            if content.get("sha256", digest := hashlib.sha256(stored).hexdigest()) != digest:
                raise UserError(f"weights {weights} are damaged, or another model's: {path} states another SHA-256.")
            network.load_state_dict(load(stored))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"weights {weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    return SavedModel(network, content["model_name"], classes, spec, arch)


def load_model(model_json: str, pretrained: bool = False) -> nn.Module:
    """As `read_model`, the network alone, with a `pretrained_cfg`. timm calls it for "supernet_derived" (timm_entry.py)."""
    model = read_model(Path(model_json), pretrained, dense=True)
    model.network.pretrained_cfg = {  # type: ignore[assignment]
        "architecture": model.name,
        "num_classes": len(model.classes),
        "label_names": list(model.classes),
        **model.spec.timm_config(),
    }
    return model.network
