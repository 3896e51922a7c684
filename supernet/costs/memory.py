"""Peak activation memory of a network: a maximum over time, not a sum over layers, so it is no (L, K) table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supernet.costs.analytic import weight_bytes


def peak_activation_bytes(network: nn.Module, channels: int, size: int, dtype: str = "float32") -> float:
    """The most bytes of activations that are alive at one moment of inference, for one image (1, channels, size, size).

    The operations run in the order of the forward pass. During one, its inputs, its output and all that a later
    one still reads (a residual block's input) are alive; the image counts until it was read. Batch norm and
    functions of one tensor (ReLU) that are its last readers write in place, as runtimes fold them into the
    convolution; views cost nothing. Weights, workspace and a runtime's own planning are not in it.
    """
    image = torch.zeros(1, channels, size, size, device=next(network.parameters()).device)
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), _Recorder() as recorder:
            network(image)
    finally:
        network.train(training)
    weights = {_storage(tensor) for tensor in (*network.parameters(), *network.buffers())}
    return weight_bytes(_peak_values(recorder.steps, weights), dtype)


Step = tuple[Any, list[Tensor], list[Tensor]]


class _Recorder(TorchDispatchMode):
    """Lists each operation with its tensors; it keeps them, so that no storage's address is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.steps.append((func, _tensors((args, kwargs)), _tensors(result)))
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.numel()]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _peak_values(steps: list[Step], weights: set[int]) -> int:
    """The largest sum of live buffers' sizes, in values."""
    buffer_of: dict[int, int] = {}  # storage → buffer, which in-place operations hand on
    size: dict[int, int] = {}
    span: dict[int, tuple[int, int]] = {}
    last_read = {_storage(t): time for time, (_, inputs, _) in enumerate(steps) for t in inputs}
    for time, (func, inputs, outputs) in enumerate(steps):
        read = {_storage(t): t.numel() for t in inputs if _storage(t) not in weights}
        written = {_storage(t): t.numel() for t in outputs if _storage(t) not in weights}
        fused = len(read) == 1 and (torch.Tag.pointwise in func.tags or "batch_norm" in str(func))
        for storage, numel in (read | written).items():
            if storage not in buffer_of:
                source = next(iter(read), storage)
                in_place = fused and source in buffer_of and last_read[source] == time and read[source] == numel
                buffer_of[storage] = buffer_of[source] if in_place else storage
            buffer = buffer_of[storage]
            size[buffer] = max(size.get(buffer, 0), numel)
            span[buffer] = (span.get(buffer, (time, time))[0], time)
    return max(
        sum(size[buffer] for buffer, (first, last) in span.items() if first <= time <= last)
        for time in range(len(steps))
    )
