"""How fresh weights begin, beside what timm does."""

from __future__ import annotations

from typing import cast

from timm.models._efficientnet_blocks import EdgeResidual, InvertedResidual, UniversalInvertedResidual
from torch import nn


def zero_init_residual(network: nn.Module) -> None:
    """Residual blocks begin as the identity: scale 0 in their last batch norm (Goyal et al. 2017, section 5.1).

    A supernet needs it: the operations of a layer begin alike, so that what follows learns from all of them.
    """
    for block in network.modules():
        if isinstance(block, InvertedResidual | EdgeResidual | UniversalInvertedResidual) and block.has_skip:
            nn.init.zeros_(_last_norm(block).weight)


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    """The batch norm before a residual block's addition."""
    return cast(nn.BatchNorm2d, [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)][-1])
