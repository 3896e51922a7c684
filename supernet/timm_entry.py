"""`supernet_derived` in timm's registry. Imported as soon as timm is there (supernet/__init__.py), so it needs timm alone."""

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
