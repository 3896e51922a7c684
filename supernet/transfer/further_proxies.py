"""Further training-free scores, each measured against parameters and multiply-adds (docs/one_search.md says which are below that bar).

As in proxies.py: a model and a batch (x_BCHW, y_B) give one float, and the model comes back as it was. Shapes beside those: P parameters,
S positions (images × pixels), N networks, F figures of a network.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from supernet.transfer.proxies import Proxy, flops, restored

LEAST = 1e-300  # in place of 0 under a logarithm
KERNEL_IMAGES = 32  # of the batch: a kernel takes a backward pass for each


def nn_degree(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """NN-Degree: Σ over cells of mean width + skip channels / (width · depth).

    Li et al., "FLASH", ACM TECS 2021, definition 2 (no code is public). A cell is here a block with a residual connection of its own, of
    `depth` convolutions with `width` output channels each on average; its skip adds its channels where it is there (FLASH's skips
    concatenate). A convolution outside of blocks is a cell of depth 1 without a skip.
    """
    blocks = [module for module in model.modules() if hasattr(module, "has_skip")]
    inside = {conv for block in blocks for conv in block.modules() if isinstance(conv, nn.Conv2d)}
    degree = float(sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d) and m not in inside))
    for block in blocks:
        widths = [conv.out_channels for conv in block.modules() if isinstance(conv, nn.Conv2d)]
        width = sum(widths) / len(widths)
        degree += width + (widths[-1] / (width * len(widths)) if block.has_skip else 0.0)
    return degree


def neural_tangent_kernel(model: nn.Module, x_BCHW: Tensor) -> Tensor:
    """(B, B), float64: ∇f(x_i) · ∇f(x_j) over all weights, f the sum of the outputs (Jacot et al., NeurIPS 2018).

    In evaluation mode, so that an image's output is its own; B is at most `KERNEL_IMAGES`.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    with restored(model, train=False), torch.enable_grad():
        for image in x_BCHW[:KERNEL_IMAGES]:
            gradients = torch.autograd.grad(
                model(image[None]).sum(), weights, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    gradient_BP = torch.stack(rows).double()
    return gradient_BP @ gradient_BP.T


def ntk_least(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """log of the least eigenvalue of the neural tangent kernel: Zhu et al., "Generalization Properties of NAS under Activation and Skip
    Connection Search", NeurIPS 2022, select by it."""
    return math.log(max(float(torch.linalg.eigvalsh(neural_tangent_kernel(model, x_BCHW))[0]), LEAST))


def ntk_alignment(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Alignment of the neural tangent kernel with the kernel of the labels (1 where two images are of one class), both centred: −1 to 1.

    Chen, He and Su, "Label-Aware Neural Tangent Kernel", NeurIPS 2020, add the labels' kernel to the other; how well the two agree already is
    centred kernel alignment (Cortes et al., JMLR 2012, definition 4). 0 where one of the two is constant.
    """
    kernel_BB = neural_tangent_kernel(model, x_BCHW)
    label_B = y_B[: len(kernel_BB)]
    same_BB = (label_B[:, None] == label_B).double()
    centred = [k_BB - k_BB.mean(0) - k_BB.mean(1, keepdim=True) + k_BB.mean() for k_BB in (kernel_BB, same_BB)]
    norm = float(centred[0].norm() * centred[1].norm())
    return float((centred[0] * centred[1]).sum()) / norm if norm > 0 else 0.0


def meco(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Σ over layers of the least eigenvalue of the correlation (Pearson) of its feature maps, on one image of noise.

    Jiang et al., "MeCo: Zero-Shot NAS with One Data and Single Forward Pass", NeurIPS 2023, eq. 8. A layer: a module without parts that gives maps.
    A correlation with a constant map is 0, as in the authors' code.
    """
    least: list[float] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            map_CS = output[0].detach().double().flatten(1)
            correlation_CC = torch.nan_to_num(torch.corrcoef(map_CS), nan=0.0, posinf=0.0, neginf=0.0)
            least.append(float(torch.linalg.eigvalsh(torch.atleast_2d(correlation_CC))[0]))

    hooks = [module.register_forward_hook(see) for module in model.modules() if not list(module.children())]
    noise_1CHW = torch.randn(1, *x_BCHW.shape[1:], generator=torch.Generator().manual_seed(0))
    with restored(model, train=True), torch.no_grad():
        model(noise_1CHW)
    for hook in hooks:
        hook.remove()
    return sum(least)


def az_expressivity(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Σ over blocks of the entropy of the spectrum of their features' covariance: Lee & Ham, "AZ-NAS", CVPR 2024, eq. 3."""
    return float(sum(_entropies(model, x_BCHW)))


def az_progressivity(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """The smallest rise of that entropy from a block to the next: AZ-NAS, eq. 4. Blocks are the model's own, of one width or not."""
    return float(np.diff(_entropies(model, x_BCHW), prepend=0.0).min())


def az_trainability(model: nn.Module, x_BCHW: Tensor, y_B: Tensor) -> float:
    """Mean over blocks of 2 − σ − 1/σ, σ the greatest singular value of the block's approximate Jacobian: AZ-NAS, eq. 7.

    The Jacobian is estimated from random signs sent backwards (Hutchinson). Weights are as they were drawn; the authors draw He's.
    """
    generator, scores = torch.Generator().manual_seed(0), []
    with restored(model, train=True):
        for block, inputs in _steps(model, x_BCHW):
            with torch.enable_grad():
                before = inputs.detach().requires_grad_()
                output = block(before)
                sign = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
                back = torch.autograd.grad(output, before, sign)[0]
            stride = back.shape[2] // output.shape[2]
            back_SC = nn.functional.pixel_unshuffle(back, stride).movedim(1, -1).flatten(0, 2)
            sign_SC = sign.movedim(1, -1).flatten(0, 2)
            largest = float(torch.linalg.matrix_norm(back_SC.T @ sign_SC / len(sign_SC), 2))
            scores.append(2 - largest - 1 / (largest + 1e-6))
    return float(np.mean(scores)) if scores else 0.0


def _steps(model: nn.Module, x_BCHW: Tensor) -> list[tuple[nn.Sequential, Tensor]]:
    """(a block, what it is given) in order; the stem, which is given the image, is none. Blocks: the parts of a Sequential, a convolution
    together with what follows it up to the next; those that give no maps or change nothing are left out.
    """
    parts = list(model.children()) if isinstance(model, nn.Sequential) else _chain(model)
    joined: list[list[nn.Module]] = []
    for part in parts:
        alone = any(True for _ in part.parameters()) and not isinstance(part, nn.modules.batchnorm._BatchNorm)
        if not joined or alone:
            joined.append([])
        joined[-1].append(part)
    found, features = [], x_BCHW
    for number, group in enumerate(joined):
        block = nn.Sequential(*group)
        with torch.no_grad():
            output = block(features)
        if output.dim() != 4 or output.shape[2] * output.shape[3] == 1:
            break
        if number:
            found.append((block, features))
        features = output
    return found


def _chain(model: nn.Module) -> list[nn.Module]:
    """The parts of one of timm's EfficientNets, in order."""
    blocks = [block for stage in model.blocks for block in stage]  # type: ignore[union-attr]
    return [model.conv_stem, model.bn1, *blocks, model.conv_head, model.bn2, model.global_pool, model.classifier]


def _entropies(model: nn.Module, x_BCHW: Tensor) -> list[float]:
    """Of each block's output: −Σ p log p over the eigenvalues of the channels' covariance, divided by their sum."""
    entropies = []
    with restored(model, train=True), torch.no_grad():
        for block, inputs in _steps(model, x_BCHW):
            map_SC = block(inputs).double().movedim(1, -1).flatten(0, 2)
            share_C = torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(map_SC.T, correction=0))).clamp_min(0)
            share_C = share_C / share_C.sum().clamp_min(LEAST)
            entropies.append(float(-(share_C * (share_C + 1e-8).log()).sum()))
    return entropies or [0.0]


AZ_NAS: tuple[Proxy, ...] = (az_expressivity, az_progressivity, az_trainability, flops)


def joint_ranks(figure_NF: np.ndarray) -> np.ndarray:
    """(N,) Σ_F log(rank / N) of each network among the others, 1 the least: AZ-NAS, eq. 9. Of these networks alone."""
    return np.log(rankdata(figure_NF, axis=0) / len(figure_NF)).sum(1)


FURTHER: dict[str, Proxy] = {
    "nn-degree": nn_degree,
    "ntk": ntk_least,
    "label-ntk": ntk_alignment,
    "meco": meco,
}
