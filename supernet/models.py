"""Trained models on disk: model.json + model.safetensors, which `timm.create_model` loads after `import supernet`.

model = timm.create_model("supernet_derived", model_json="runs/train-rpi4-1/model.json", pretrained=True)
"""

from __future__ import annotations

import difflib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models import register_model
from torch import nn

from supernet.architecture import Architecture
from supernet.errors import UserError
from supernet.network import build_network
from supernet.preprocessing import JSON_SCHEMA as INPUT_SCHEMA
from supernet.preprocessing import Preprocessing
from supernet.schema import read_json, write_json

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
    },
}


def create_network(
    name: str, classes: tuple[str, ...], spec: Preprocessing, drop: float = 0.0, drop_path: float = 0.0
) -> nn.Module:
    """A timm model by name, with fresh weights. Raises UserError with the nearest names if timm has none so called."""
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UserError(
            f'"{name}" is neither a file nor a timm model.' + (f" Did you mean {', '.join(close)}?" if close else "")
        )
    return timm.create_model(
        name, num_classes=len(classes), in_chans=spec.channels, drop_rate=drop, drop_path_rate=drop_path
    )


def save_model(folder: Path, network: nn.Module, classes: tuple[str, ...], spec: Preprocessing, name: str) -> None:
    """Writes model.safetensors and model.json; a derived network (`name` is DERIVED) needs derived.json beside them."""
    weights = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    content = {
        "schema_version": 1,
        "model_name": name,
        "classes": list(classes),
        "input": asdict(spec),
        "derived": "derived.json" if name == DERIVED else None,
        "weights": "model.safetensors",
    }
    write_json(folder / "model.json", content)


@register_model
def supernet_derived(pretrained: bool = False, model_json: str = "", **kwargs: Any) -> nn.Module:
    """The model that a train run wrote, for `timm.create_model`; `pretrained` loads its weights.

    Raises UserError if model.json, derived.json or the weights cannot be read or do not belong together.
    """
    path = Path(model_json)
    content = read_json(path, "model", _SCHEMA)
    try:
        spec = Preprocessing.from_json(content["input"])
    except ValueError as error:
        raise UserError(f"model {path}: input: {error}.") from error
    if content["derived"] is None:
        network = create_network(content["model_name"], tuple(content["classes"]), spec)
    else:
        network = build_network(Architecture.load(path.parent / content["derived"]))
    if pretrained:
        weights = path.parent / content["weights"]
        try:
            network.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"weights {weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    network.pretrained_cfg = {  # type: ignore[assignment]
        "architecture": content["model_name"],
        "num_classes": len(content["classes"]),
        "label_names": content["classes"],
        **spec.timm_config(),
    }
    return network
