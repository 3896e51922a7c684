"""Zero-cost proxies: numbers of an untrained network that go with its accuracy after training.

Each takes a model and a batch (x_BCHW, y_B) and gives one float; the model comes back as it was, gradients cleared.
Overview: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Proxy = Callable[[nn.Module, Tensor, Tensor], float]


@contextmanager
def restored(model: nn.Module, *, train: bool) -> Iterator[None]:
    """In training or evaluation mode; weights, running statistics, mode and (no) gradients of the model are the same afterwards."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = {module: module.training for module in model.modules()}
    model.train(train)
    try:
        yield
    finally:
        model.load_state_dict(state)
        for module, mode in training.items():
            module.training = mode
        model.zero_grad(set_to_none=True)


def _weights(model: nn.Module) -> list[Tensor]:
    """Weights of convolutions and linear layers: what the proxies sum over."""
    return [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _gradients(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(weight, gradient of the cross-entropy) pairs; a weight that the output does not depend on is left out."""
    with torch.enable_grad():
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x_BCHW), y_B).backward()
    return [(weight.detach(), weight.grad) for weight in _weights(model) if weight.grad is not None]


def flops(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Multiply-adds of one image."""
    counter = FlopCounterMode(display=False)
    with restored(model, train=False), torch.no_grad(), counter:
        model(x_BCHW[:1])
    return counter.get_total_flops() / 2


def params(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Trainable parameters."""
    return float(sum(p.numel() for p in model.parameters()))


def l2_norm(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Σ ‖w‖₂ over weight tensors."""
    return float(sum(weight.detach().norm() for weight in _weights(model)))


def grad_norm(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Σ ‖∂loss/∂w‖₂ over weight tensors."""
    with restored(model, train=True):
        return float(sum(gradient.norm() for _, gradient in _gradients(model, x_BCHW, y_B)))


def snip(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Σ |w · ∂loss/∂w|: how much the loss answers to each connection. Lee et al., "SNIP", ICLR 2019, eq. 4."""
    with restored(model, train=True):
        return float(sum((w * gradient).abs().sum() for w, gradient in _gradients(model, x_BCHW, y_B)))


def synflow(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """log Σ w · ∂R/∂w, R the summed output for an image of ones with every weight replaced by |w|, no normalisation.

    Needs no data. Tanaka et al., "Pruning neural networks without any data", NeurIPS 2020, eq. 3. In float64, with
    batch norm in evaluation mode (an identity at fresh statistics); −inf becomes the log of the smallest number. ReLU6 is taken
    as ReLU: on images of ones all flows are large, and what is cut at 6 has no gradient.
    """
    dtype = next(model.parameters()).dtype
    with restored(model, train=False), _uncut(model):
        model.double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.abs_()
        with torch.enable_grad():
            model.zero_grad(set_to_none=True)
            model(torch.ones_like(x_BCHW[:1], dtype=torch.float64)).sum().backward()
        flows = [(w.detach() * w.grad).sum() for w in _weights(model) if w.grad is not None]
        flow = float(sum(flows))
    model.to(dtype)
    return math.log(max(flow, 5e-324))


@contextmanager
def _uncut(model: nn.Module) -> Iterator[None]:
    """ReLU6 without its 6."""
    cut = [module for module in model.modules() if isinstance(module, nn.ReLU6)]
    for module in cut:
        module.max_val = math.inf
    try:
        yield
    finally:
        for module in cut:
            module.max_val = 6.0


def zico(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Σ over weight tensors of log Σ_w mean|g| / sd(g), g = ∂loss/∂w on the two halves of the batch.

    Li et al., "ZiCo", ICLR 2023, eq. 13. A weight whose gradient is the same in both (0, behind a scale of 0) is left out.
    """
    half = len(x_BCHW) // 2
    with restored(model, train=True):
        halves = [slice(0, half), slice(half, 2 * half)]
        parts = [[gradient for _, gradient in _gradients(model, x_BCHW[h], y_B[h])] for h in halves]
    total = 0.0
    for both in zip(*parts, strict=True):
        gradient_2W = torch.stack(both).flatten(1)
        spread_W = gradient_2W.std(0, correction=0)
        seen_W = spread_W > 0
        ratio = (gradient_2W.abs().mean(0)[seen_W] / spread_W[seen_W]).sum()
        total += math.log(float(ratio)) if ratio > 0 else 0.0
    return total


def swap(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """log of the number of different sample-wise patterns: for each ReLU output, on which images it is above 0.

    Peng et al., "SWAP-NAS", ICLR 2024, definition 3.2, without its regularisation.
    """
    code_B = 2 ** torch.arange(min(len(x_BCHW), 62), dtype=torch.int64)
    patterns: list[Tensor] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        patterns.append(((output.detach().flatten(1).T > 0) * code_B).sum(1).unique())

    hooks = [module.register_forward_hook(see) for module in model.modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
    with restored(model, train=True), torch.no_grad():
        model(x_BCHW[: len(code_B)])
    for hook in hooks:
        hook.remove()
    return math.log(max(len(torch.cat(patterns).unique()) if patterns else 0, 1))


def nonlinear(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Nonlinear functions on the way from image to output. Lee & Ham, "Efficient few-shot NAS by counting …", AAAI 2025."""
    return float(sum(isinstance(module, nn.ReLU | nn.ReLU6) for module in model.modules()))


def naswot(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """log |det K|, K counting the ReLUs on whose side two images agree. Mellor et al., ICML 2021, eq. 2 and 3."""
    batch = len(x_BCHW)
    kernel_BB = torch.zeros(batch, batch, dtype=torch.float64)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        on = (output.detach() > 0).flatten(1).double()
        kernel_BB.add_(on @ on.T + (1 - on) @ (1 - on).T)

    hooks = [module.register_forward_hook(count) for module in model.modules() if isinstance(module, nn.ReLU)]
    with restored(model, train=True), torch.no_grad():
        model(x_BCHW)
    for hook in hooks:
        hook.remove()
    return float(torch.linalg.slogdet(kernel_BB + 1e-6 * torch.eye(batch, dtype=torch.float64)).logabsdet)


def zen(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """log of the mean change of the features under a small Gaussian step, plus Σ log of the batch norms' spread.

    Lin et al., "Zen-NAS", ICCV 2021, algorithm 1. Features: `forward_features` where the model has it, else its output.
    """
    features = getattr(model, "forward_features", model)
    generator = torch.Generator().manual_seed(0)
    spreads: list[float] = []

    def spread(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        variance = inputs[0].detach().var(dim=(0, 2, 3), unbiased=False).mean()
        spreads.append(0.5 * math.log(max(float(variance), 1e-12)))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with restored(model, train=True), torch.no_grad():
        x = torch.randn(x_BCHW.shape, generator=generator)
        hooks = [module.register_forward_hook(spread) for module in norms]
        before = features(x)
        for hook in hooks:
            hook.remove()
        after = features(x + 0.01 * torch.randn(x_BCHW.shape, generator=generator))
        change = (after - before).abs().flatten(1).sum(1).mean()
    return math.log(max(float(change), 1e-12)) + sum(spreads)


PROXIES: dict[str, Proxy] = {
    "flops": flops,
    "params": params,
    "l2_norm": l2_norm,
    "grad_norm": grad_norm,
    "snip": snip,
    "synflow": synflow,
    "naswot": naswot,
    "zico": zico,
    "swap": swap,
    "nonlinear": nonlinear,
    "zen": zen,
}
