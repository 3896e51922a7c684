"""Weights that the candidate operations of a layer share: a smaller block is the inner part of the larger ones.

k3_e1 is the leading channels and the middle of the kernel of k5_e6, and of all between, so that each step of an operation
teaches the others too. In the optimiser a layer's shared weights are one tensor: where a small operation ran, momentum and weight
decay move the rest of it as well. Stamoulis et al., "Single-Path NAS" (ECML PKDD 2019, section 3); "weight entanglement" in Chen et
al., "AutoFormer" (ICCV 2021, section 3.2). What it brings where steps are few: docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


class SharedBlock(nn.Module):
    """A block without parameters of its own: they are slices of `shared`. Batch-norm statistics are its own."""

    def __init__(self, block: nn.Module, shared: nn.ParameterDict) -> None:
        super().__init__()
        self.shape = {path: parameter.shape for path, parameter in block.named_parameters()}
        for path in self.shape:
            owner, _, name = path.rpartition(".")
            delattr(block.get_submodule(owner), name)
        self.block = block
        self._shared = (shared,)  # in a tuple: it is registered by who made it, and once

    def forward(self, x: Tensor) -> Tensor:
        return functional_call(self.block, self.parameters_by_path(), (x,))

    def parameters_by_path(self) -> dict[str, Tensor]:
        """The block's parameters by their names in it, views of the shared ones."""
        return {path: inner(self._shared[0][_key(path)], shape) for path, shape in self.shape.items()}

    @torch.no_grad()
    def take(self, block: nn.Module) -> None:
        """The weights and statistics of a block of its shape. They are shared: larger and smaller ones change with it."""
        for path, mine in self.parameters_by_path().items():
            mine.copy_(block.get_parameter(path))
        self.block.load_state_dict(dict(block.named_buffers()), strict=False)

    def block_state(self) -> dict[str, Tensor]:
        """The state_dict that the block has when it stands alone."""
        return {**self.block.state_dict(), **self.parameters_by_path()}


def share_weights(ops: nn.ModuleList) -> nn.ModuleList:
    """Makes those operations that are one kind of block (parameters of the same names) share them; in place.

    Returns the shared parameters, one ParameterDict a kind. They begin as the blocks did, the smaller ones inside.
    """
    kinds: dict[tuple[str, ...], list[int]] = {}
    for k, op in enumerate(ops):
        kinds.setdefault(tuple(path for path, _ in op.named_parameters()), []).append(k)
    found = nn.ModuleList()
    for paths, members in kinds.items():
        if len(members) < 2 or not paths:
            continue
        by_size = sorted((ops[k] for k in members), key=lambda op: -sum(p.numel() for p in op.parameters()))
        shared = nn.ParameterDict()
        for path in paths:
            parts = [op.get_parameter(path).detach() for op in by_size]
            whole = parts[0].new_zeros([max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)])
            for part in parts:
                inner(whole, part.shape).copy_(part)
            shared[_key(path)] = nn.Parameter(whole)
        for k in members:
            ops[k] = SharedBlock(ops[k], shared)
        found.append(shared)
    return found


def inner(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The view of that shape: the leading channels (axes 0 and 1), the middle of a kernel (the others)."""
    for axis, (size, wanted) in enumerate(zip(tensor.shape, shape, strict=True)):
        if size != wanted:
            tensor = tensor.narrow(axis, 0 if axis < 2 else (size - wanted) // 2, wanted)
    return tensor


def _key(path: str) -> str:
    """A ParameterDict's keys have no dots."""
    return path.replace(".", "-")
