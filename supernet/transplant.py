"""Blocks of a trained network made smaller without training: the best channels stay, and the last convolution is fitted anew.

Of an inverted residual block the expansion channels that matter least are left out, a kernel is cropped to its middle, batch
statistics are measured anew, and the projection is the least-squares solution that reproduces the trained block's output, near its own (He et al.,
"Channel pruning", ICCV 2017, eq. 2, in closed form). So a candidate block costs a matrix solve instead of a training.

Between blocks the channels may be turned: what a block gives is linear, and so is what the next one does first. So a narrower stage keeps
the first principal axes of what its blocks give (as SliceGPT does in transformers: Ashkboos et al., ICLR 2024).

Shapes: N images, E expansion channels kept, L layers of the space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from supernet.blocks.ops import build_op
from supernet.blocks.sharing import SharedBlock
from supernet.data import GroupedData
from supernet.network import Supernet
from supernet.spaces import LayerSpec, Place, SearchSpace, Style

FITTED = 256  # images that blocks are fitted to
ROWS = 40_000  # pixels that a projection is fitted to
RIDGE = 0.05  # of the mean variance of a channel: pull of a fitted projection to the trained block's own, cut


def blocks_of(network: EfficientNet) -> list[nn.Module]:
    """The blocks in order, one a layer of the space that the network is the largest path of."""
    return [block for stage in cast(nn.Sequential, network.blocks) for block in cast(nn.Sequential, stage)]


def stem(network: EfficientNet, image_NCHW: Tensor) -> Tensor:
    """What the first block is fed."""
    return cast(Tensor, network.bn1(network.conv_stem(image_NCHW)))


def head(network: EfficientNet, x_NCHW: Tensor) -> Tensor:
    """(N, classes) logits of what the last block gives."""
    return cast(Tensor, network.classifier(network.global_pool(network.bn2(network.conv_head(x_NCHW)))))


def block_inputs(network: EfficientNet, image_NCHW: Tensor) -> Iterator[Tensor]:
    """The input of each block, then the last one's output; L + 1 tensors, one at a time."""
    x = stem(network, image_NCHW)
    for block in blocks_of(network):
        yield x
        x = block(x)
    yield x


@torch.no_grad()
def channel_order(block: Any, x_NCHW: Tensor) -> Tensor:
    """(E,) expansion channels, those first whose outputs vary most in what the projection makes of them."""
    hidden = _hidden(block, x_NCHW)
    return (hidden.std((0, 2, 3)) * block.conv_pwl.weight.flatten(1).norm(dim=0)).argsort(descending=True)


@torch.no_grad()
def channel_orders(network: EfficientNet, image_NCHW: Tensor) -> list[Tensor | None]:
    """`channel_order` of each block; None of one that has nothing to leave out."""
    inputs = zip(blocks_of(network), block_inputs(network, image_NCHW), strict=False)
    return [channel_order(block, x) if hasattr(block, "conv_pwl") else None for block, x in inputs]


def fitted_images(data: GroupedData, seed: int) -> Tensor:
    """(N, C, H, W) training images that blocks are fitted to, as the teacher takes them; at most FITTED."""
    return torch.from_numpy(
        data.preprocessing.normalised(np.asarray(data.train.images_NCHW[fitted_positions(data, seed)]))
    )


def fitted_positions(data: GroupedData, seed: int) -> np.ndarray:
    """Sorted positions in search-train of the images that blocks are fitted to: half of them at most."""
    rng, number = np.random.default_rng(seed), len(data.train)
    return np.sort(rng.choice(number, min(FITTED, -(-number // 2)), replace=False))


class Ends(NamedTuple):
    """The axes (C, width) that a narrower network keeps of the channels before and behind a block; None: all, as they are."""

    before: Tensor | None
    behind: Tensor | None


ALL = Ends(None, None)


@torch.no_grad()
def stream_axes(space: SearchSpace, network: EfficientNet, image_NCHW: Tensor) -> dict[int, Tensor]:
    """(C, C) principal axes of what the blocks of each stage give, the first one first; of the stages whose width is decided."""
    decided = {
        layer.stage: layer.c_out for number, layer in enumerate(space.layers)
        if any(space.place(number, option)[1].c_out != layer.c_out for option in layer.ops)
    }  # fmt: skip
    covariance = {stage: torch.zeros(c_out, c_out, dtype=torch.double) for stage, c_out in decided.items()}
    inputs = block_inputs(network, image_NCHW) if decided else iter(())
    next(inputs, None)
    for layer, y in zip(space.layers, inputs, strict=False):
        if layer.stage in covariance:  # about each block's own mean: a constant is the next batch norm's matter
            covariance[layer.stage] += torch.cov(_rows(y).double().T)
    return {stage: torch.linalg.eigh(own)[1].flip(1).float() for stage, own in covariance.items()}


def ends(space: SearchSpace, layer: int, spec: LayerSpec, axes: Mapping[int, Tensor]) -> Ends:
    """Of a block of the shapes `spec` in this layer."""
    whole = space.layers[layer]
    before = None if spec.c_in == whole.c_in else axes[space.layers[layer - 1].stage][:, : spec.c_in]
    return Ends(before, None if spec.c_out == whole.c_out else axes[whole.stage][:, : spec.c_out])


@torch.no_grad()
def smaller(place: Place, style: Style, block: Any, order_E: Tensor, at: Ends = ALL) -> nn.Module:
    """A block of the operation with the trained block's weights: its first channels by `order_E`, the middle of its kernel."""
    op, spec = place
    new: Any = build_op(op, *spec.shape, style)
    if not hasattr(new, "conv_pwl"):  # the operation has nothing to leave out
        new.load_state_dict(block.state_dict())
        return cast(nn.Module, new.eval())
    keep_E = order_E[: new.conv_pw.out_channels]
    new.conv_pw.weight.copy_(_turned(block.conv_pw.weight[keep_E], at.before))
    crop = (block.conv_dw.kernel_size[0] - new.conv_dw.kernel_size[0]) // 2
    end = block.conv_dw.kernel_size[0] - crop
    new.conv_dw.weight.copy_(block.conv_dw.weight[keep_E, :, crop:end, crop:end])
    projection = block.conv_pwl.weight[:, keep_E]
    if at.behind is None:
        new.conv_pwl.weight.copy_(projection)
        new.bn3.load_state_dict(block.bn3.state_dict())
    else:
        new.conv_pwl.weight.copy_(torch.einsum("ceij,c,cd->deij", projection, _scale(block.bn3), at.behind))
    for name in ("bn1", "bn2"):
        for key, value in getattr(block, name).state_dict().items():
            getattr(getattr(new, name), key).copy_(value[keep_E] if value.dim() else value)
    return cast(nn.Module, new.eval())


@torch.no_grad()
def fit(new: Any, x_NCHW: Tensor, target_NCHW: Tensor, behind: Tensor | None = None) -> None:
    """Measures the block's batch statistics anew on `x`, and fits its projection so that the block gives `target`, or of it the
    axes (C, width) `behind`; in place."""
    if not hasattr(new, "conv_pwl"):
        return
    for norm in (new.bn1, new.bn2):
        momentum, norm.momentum = norm.momentum, 1.0
        norm.train()
        _hidden(new, x_NCHW)
        norm.eval()
        norm.momentum = momentum
    target_NCHW = target_NCHW if behind is None else torch.einsum("nchw,cd->ndhw", target_NCHW, behind)
    residual = target_NCHW - x_NCHW if new.has_skip else target_NCHW
    norm = new.bn3
    if behind is None:
        scale_C = torch.where(
            _scale(norm).abs() < 1e-6, 1e-6, _scale(norm)
        )  # a channel that batch norm shut off stays as it is
    else:  # the trained block has no batch norm of these axes
        norm.bias.copy_(residual.mean((0, 2, 3)))
        scale_C = torch.ones_like(norm.bias)
    wanted_RC = _rows((residual - norm.bias[:, None, None]) / scale_C[:, None, None]).double()
    hidden_RE = _rows(_hidden(new, x_NCHW)).double()
    mean_E, mean_C = hidden_RE.mean(0), wanted_RC.mean(0)
    centred_RE = hidden_RE - mean_E
    gram_EE = centred_RE.T @ centred_RE
    gram_EE += RIDGE * gram_EE.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram_EE), dtype=gram_EE.dtype)
    cut_EC = new.conv_pwl.weight.flatten(
        1
    ).T.double()  # near it, since few pixels of a small picture would fit anything
    weight_EC = cut_EC + torch.linalg.solve(gram_EE, centred_RE.T @ (wanted_RC - mean_C - centred_RE @ cut_EC))
    new.conv_pwl.weight.copy_(weight_EC.T[:, :, None, None])
    norm.running_mean.copy_(mean_E @ weight_EC - mean_C)  # conv(h) − running_mean has the wanted mean
    if behind is not None:  # it changes no scale, neither here nor in training
        norm.running_var.copy_((centred_RE @ weight_EC).var(0))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())


def assemble(
    space: SearchSpace, ops: Sequence[str], teacher: EfficientNet, orders: Sequence[Tensor | None], image_NCHW: Tensor,
    network: EfficientNet, axes: Mapping[int, Tensor],
) -> EfficientNet:  # fmt: skip
    """Fills the derived network of `ops` from the teacher's blocks, each fitted to what the teacher has there; in place.

    axes: `stream_axes`, of a space that decides widths.

    A block is fed what the blocks before it give, so that it makes up for what they lost. Inputs: as the teacher takes them.
    """
    for name in ("conv_stem", "bn1", "conv_head", "bn2", "classifier"):
        getattr(network, name).load_state_dict(getattr(teacher, name).state_dict())
    own = iter(blocks_of(network))
    with torch.no_grad():
        targets = block_inputs(teacher, image_NCHW)
        x = next(targets)
        for layer, (place, block) in enumerate(zip(space.placed(ops), blocks_of(teacher), strict=True)):
            target = next(targets)
            if place[0] == "skip":
                continue
            order, at = orders[layer], ends(space, layer, place[1], axes)
            made = smaller(place, space.style, block, order if order is not None else torch.arange(0), at)
            fit(made, x, target, at.behind)
            mine = next(own)
            mine.load_state_dict(made.state_dict())
            x = mine.eval()(x)
    assert next(own, None) is None, "every block has been filled"
    return network.eval()


@torch.no_grad()
def inherit(supernet: Supernet, teacher: EfficientNet, orders: Sequence[Tensor | None]) -> None:
    """Begins a supernet of the space around the teacher with its weights: each operation is the teacher's block, cut; in place.

    The expansion channels are put in `orders`, so that the inner part that small operations share has the best of them.
    """
    for name in ("conv_stem", "bn1", "conv_head", "bn2", "classifier"):
        getattr(supernet, name).load_state_dict(getattr(teacher, name).state_dict())
    space = supernet.space
    for layer, (block, order) in enumerate(zip(blocks_of(teacher), orders, strict=True)):
        own_order = torch.arange(0) if order is None else order
        for op, module in zip(space.ops, cast(Any, supernet.layers)[layer], strict=True):
            if not isinstance(module, nn.Identity):
                made = smaller(space.place(layer, op), space.style, block, own_order)
                if isinstance(module, SharedBlock):
                    module.take(made)
                else:
                    module.load_state_dict(made.state_dict())


def _scale(norm: Any) -> Tensor:
    """(C,) what a batch norm in evaluation mode multiplies each channel with."""
    return cast(Tensor, norm.weight / (norm.running_var + norm.eps).sqrt())


def _turned(weight_EC11: Tensor, axes_CD: Tensor | None) -> Tensor:
    """A pointwise convolution that takes the axes in place of the channels."""
    return weight_EC11 if axes_CD is None else torch.einsum("ecij,cd->edij", weight_EC11, axes_CD)


def _hidden(block: Any, x_NCHW: Tensor) -> Tensor:
    """What the projection is fed."""
    return cast(Tensor, block.bn2(block.conv_dw(block.bn1(block.conv_pw(x_NCHW)))))


def _rows(x_NCHW: Tensor) -> Tensor:
    """(R, C): a row a pixel, at most ROWS of them, evenly taken."""
    rows_RC = x_NCHW.permute(0, 2, 3, 1).flatten(0, 2)
    return rows_RC[:: -(-len(rows_RC) // ROWS)]
