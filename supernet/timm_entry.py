"""`supernet_derived`, `supernet_resnet8` and `supernet_resnet14` in timm's registry. Imported as soon as timm is there (supernet/__init__.py), so it needs timm alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models import register_model

if TYPE_CHECKING:
    from torch import nn


@register_model
def supernet_derived(pretrained: bool = False, model_json: str = "", **kwargs: Any) -> nn.Module:
    """The model that a train run wrote, for `timm.create_model`; see `supernet.models.load_model`."""
    from supernet.models import load_model

    return load_model(model_json, pretrained)


@register_model
def supernet_resnet8(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A ResNet of 8 layers for small pictures (`small_resnet.py`); there are no trained weights."""
    return _small_resnet(1, pretrained, kwargs)


@register_model
def supernet_resnet14(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The same with 14 layers."""
    return _small_resnet(2, pretrained, kwargs)


_OF_WEIGHTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # arguments of timm's factory


def _small_resnet(depth: int, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    from supernet.small_resnet import SmallResNet

    if pretrained:
        raise RuntimeError("No pretrained weights exist for this model.")
    own = {name: value for name, value in kwargs.items() if name not in _OF_WEIGHTS}
    return SmallResNet(depth, **own)
