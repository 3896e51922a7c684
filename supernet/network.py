"""The supernet, and the derived network as a plain timm model. Both are made of the same blocks (blocks/ops.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from supernet.blocks.fresh import zero_init_residual
from supernet.blocks.ops import arch_strings, build_op, style_arguments
from supernet.blocks.rounding import round_network
from supernet.blocks.sensing import SensingConv2d
from supernet.blocks.sharing import SharedBlock, share_weights
from supernet.errors import UserError
from supernet.spaces import BITS, DENSE, MADE, PLAIN, SPACES, Bits, SearchSpace, Style, View, get_space
from supernet.spaces.architecture import Architecture


def build_efficientnet(
    arch_def: Sequence[Sequence[str]],
    *,
    stem_channels: int,
    stem_stride: int,
    head_channels: int,
    num_classes: int,
    in_chans: int,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    style: Style = PLAIN,
    view: View | None = None,
    bits: Sequence[Bits] = (),
) -> EfficientNet:
    """A plain timm EfficientNet from architecture strings; with a view its stem takes a part of the picture, with bits of each block it rounds.

    Raises UserError for strings timm cannot build.
    """
    try:
        model = EfficientNet(
            decode_arch_def([list(stage) for stage in arch_def]),
            num_classes=num_classes,
            num_features=head_channels,
            in_chans=in_chans if view is None else view.channels,
            stem_size=stem_channels,
            fix_stem=True,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            **style_arguments(style),
        )
    except (AssertionError, KeyError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"arch_def: timm cannot build these blocks ({error or 'unknown block'}).") from error
    model.conv_stem.stride = (stem_stride, stem_stride)  # timm's stem always has stride 2
    if view is not None:
        model.conv_stem = SensingConv2d(view, model.conv_stem)
    # timm scales the classifier by its outputs: with few classes the first losses are then twice the right size
    model.classifier.reset_parameters()
    zero_init_residual(model)
    if bits:
        round_network(model, bits)
    return model


class DenseNetwork(nn.Module):
    """Blocks between a stem and a 3×3 convolution: (B, channels, size, size) → (B, outputs, size, size). It begins near 0."""

    def __init__(self, frame: EfficientNet, outputs: int) -> None:
        super().__init__()
        self.conv_stem, self.bn1, self.blocks = frame.conv_stem, frame.bn1, frame.blocks
        self.conv_out = nn.Conv2d(frame.classifier.in_features, outputs, 3, padding=1)
        nn.init.normal_(self.conv_out.weight, std=1e-3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return cast(Tensor, self.conv_out(self.blocks(self.bn1(self.conv_stem(x_BCHW)))))


Network = EfficientNet | DenseNetwork


def build_path(space: SearchSpace, ops: Sequence[str], num_classes: int, in_chans: int) -> Any:
    """The network of one path of a space, by the name of each layer's operation, with fresh weights: a `Network`, dense as the space is."""
    frame = build_efficientnet(
        arch_strings(space, ops),
        stem_channels=space.stem_channels,
        stem_stride=space.stem_stride,
        head_channels=space.head_channels,
        num_classes=num_classes,
        in_chans=in_chans,
        style=space.style,
        view=space.inputs.get(ops[0]),
        bits=space.bits_of(ops),
    )
    return DenseNetwork(frame, num_classes) if space.dense else frame


MAX_PARAMETERS = 1_000_000_000


def build_network(arch: Architecture, drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> Any:
    """The derived network of an architecture, with fresh weights: (B, channels, size, size) → (B, C), or of a dense space a picture.

    Raises UserError if its blocks are not those of its operations, or it has more than 10⁹ parameters.
    """
    space = get_space(arch.space) if arch.space in {*SPACES, *MADE, *BITS} else None
    if space is not None and arch_strings(space, arch.ops) != arch.arch_def:
        raise UserError(f"arch_def: these blocks are not those of `ops` in {arch.space}; one of the two was changed.")
    build = partial(
        build_efficientnet,
        arch.arch_def,
        stem_channels=arch.stem_channels,
        stem_stride=arch.stem_stride,
        head_channels=arch.head_channels,
        num_classes=len(arch.classes),
        in_chans=arch.input.channels,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        style=PLAIN if space is None else space.style,
        view=None if space is None else space.inputs.get(arch.ops[0]),
        bits=() if space is None else space.bits_of(arch.ops),
    )
    with torch.device("meta"):  # no memory until the size is known: the file may come from anywhere
        parameters = sum(p.numel() for p in build().parameters())
    if parameters > MAX_PARAMETERS:
        raise UserError(f"The architecture has {parameters:,} parameters; more than {MAX_PARAMETERS:,} are not built.")
    if arch.space not in DENSE:
        return build()
    segments = arch.config.get("task") == "segment"  # a search of before --task segment denoises
    return DenseNetwork(build(), len(arch.classes) if segments else arch.input.channels)


def _operations(space: SearchSpace, row: int) -> tuple[nn.ModuleList, list[list[int]]]:
    """(a layer's operations, [column of the layer before][own column] → position among them).

    Where the channels are fixed, position k is column k, and an option that is not allowed is an identity that never runs. Where
    they are another layer's choice, an operation is there once for each shape.
    """
    options, before = space.choices.decisions[row].options, space.before(row)

    def built(option: str | None, taken: str | None = None) -> nn.Module:
        if option is None:
            return nn.Identity()
        op, layer = space.place(row, option, taken)
        return build_op(op, *layer.shape, space.style)

    if before is None:
        return nn.ModuleList(built(option) for option in options), [list(range(len(options)))]
    number: dict[object, int] = {}
    ops, position = nn.ModuleList(), []
    for taken in space.choices.decisions[before].options:
        position.append([0] * len(options))
        for k, option in enumerate(options):
            if option is not None and taken is not None:
                place = space.place(row, option, taken)
                position[-1][k] = number.setdefault(place, len(number))
                if len(number) > len(ops):
                    ops.append(built(option, taken))
    return ops, position


class Supernet(nn.Module):
    """All candidate operations of a search space with shared weights (Liu et al., DARTS, 2019; Wu et al., FBNet, 2019).

    `layers[l][k]` is operation k of layer l (see `_operations`). Operations of a
    layer that are one kind of block share its weights, too (blocks/sharing.py), which are in `shared[l]`.
    """

    def __init__(self, space: SearchSpace, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.space, self.outputs, self.in_chans = space, num_classes, in_chans
        frame = build_path(space, [layer.ops[0] for layer in space.layers], num_classes, in_chans)
        self.fixed = ("conv_out",) if space.dense else ("conv_head", "bn2", "classifier")
        if not space.inputs:  # else the stem is the first layer's
            self.conv_stem, self.bn1 = frame.conv_stem, frame.bn1
            self.fixed = ("conv_stem", "bn1", *self.fixed)
        built = [_operations(space, row) for row in range(len(space.layers))]
        self.layers = nn.ModuleList(ops for ops, _ in built)
        self._position = [position for _, position in built]
        self.shared = nn.ModuleList(share_weights(ops) for ops in self._layers())
        if space.dense:
            self.conv_out = frame.conv_out
        else:
            self.conv_head, self.bn2 = frame.conv_head, frame.bn2
            self.global_pool, self.classifier = frame.global_pool, frame.classifier

    def forward(self, x_BCHW: Tensor, weights_LK: Tensor) -> Tensor:
        """(B, C) logits (or pictures, of a dense space) under operation weights (L, K): soft, sampled or one-hot. Weight zero: not run.

        Keep the weights on the CPU: they are read here, and reading them from a GPU would stop it.
        """
        x = x_BCHW if self.space.inputs else self.bn1(self.conv_stem(x_BCHW))
        plain = not weights_LK.requires_grad
        values_LK = weights_LK.tolist()
        for row, (ops, values_K) in enumerate(zip(self._layers(), values_LK, strict=True)):
            terms = []
            position_K = self._positions(row, values_LK)
            for k, value in enumerate(values_K):
                if value != 0:
                    term = ops[position_K[k]](x)
                    terms.append(term if value == 1 and plain else weights_LK[row, k] * term)
            x = sum(terms[1:], start=terms[0])
        if self.space.dense:
            return cast(Tensor, self.conv_out(x))
        return self.classifier(self.global_pool(self.bn2(self.conv_head(x))))

    def _positions(self, row: int, values_LK: Sequence[Sequence[float]]) -> Sequence[int]:
        """Where in `layers[row]` each option stands, beside the option that another layer takes."""
        before = self.space.before(row)
        if before is None:
            return self._position[row][0]
        taken = [k for k, value in enumerate(values_LK[before]) if value != 0]
        assert len(taken) == 1, "outputs of several shapes have no sum"
        return self._position[row][taken[0]]

    def _layers(self) -> Iterable[nn.ModuleList]:
        return cast(Iterable[nn.ModuleList], self.layers)

    def compile_ops(self) -> None:
        """torch.compile for each operation, when it first runs. The whole would be compiled anew for each path."""
        ops = [op for op in chain.from_iterable(self._layers()) if not isinstance(op, nn.Identity)]
        # all share a few forward functions, of which torch would compile 8 shapes and then run the rest as it is
        limit = torch._dynamo.config
        limit.recompile_limit = limit.accumulated_recompile_limit = max(limit.accumulated_recompile_limit, 8 * len(ops))
        for op in ops:
            op.compile()

    def copy_weights(self, ops: Sequence[str], network: Network) -> None:
        """Copies the weights of one path, with batch-norm statistics, into its derived network."""
        for name in self.fixed:
            getattr(network, name).load_state_dict(getattr(self, name).state_dict())
        index_L = self.space.index_L(ops)
        one_hot_LK = np.eye(self.space.valid_LK.shape[1])[index_L].tolist()
        path = (own[self._positions(row, one_hot_LK)[index_L[row]]] for row, own in enumerate(self._layers()))
        states = [
            op.block_state() if isinstance(op, SharedBlock) else op.state_dict()
            for op in path
            if not isinstance(op, nn.Identity)
        ]
        if self.space.inputs:
            stem = {name.replace("conv.", "conv_stem."): value for name, value in states.pop(0).items()}
            assert not network.load_state_dict(stem, strict=False).unexpected_keys, "a stem is a convolution and a norm"
        for block, state in zip(
            chain.from_iterable(cast(Iterable[nn.Sequential], network.blocks)), states, strict=True
        ):
            block.load_state_dict(state)
