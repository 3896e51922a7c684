"""What is learned: how wide the network's output is, what an output costs beside what was true, and how good outputs are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.data import Batch
from supernet.data.masks import IGNORED


@dataclass(frozen=True)
class Task:
    """A task.

    outputs:     width of the network's head
    loss:        (outputs (B, outputs), labels (B,)) → (B,) loss of each sample, with gradient
    predictions: (…, outputs) → what is scored. Of classification: what a fairness notion looks at, of the same shape, with gradient
    made:        (batch, step) → what the network is shown, and as its label what is true of it; None: the batch as it is
    scores:      (predictions (N, outputs), labels (N,)) → scores by name. None: the predictions are probabilities of classes, whose
                 scores are by group, and which the fairness notions speak of; no notion speaks of other tasks yet
    loss_name:   short, for the line of progress
    """

    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    predictions: Callable[[Tensor], Tensor]
    scores: Callable[[np.ndarray, np.ndarray], dict[str, float]] | None = None
    made: Callable[[Batch, int], Batch] | None = None
    loss_name: str = "ce"


def probabilities(output: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return output.softmax(-1)


def classification(num_classes: int, smoothing: float = 0.0) -> Task:
    """One of several classes, by cross-entropy; `smoothing` of the labels in [0, 1). Predictions are probabilities."""
    loss = partial(F.cross_entropy, reduction="none", label_smoothing=smoothing)
    return Task(num_classes, loss, probabilities)


def denoising(channels: int, sigma: float) -> Task:
    """Gaussian noise of standard deviation `sigma` (of 255) is added to pictures of pixels in 0 … 1; the network predicts it.

    Outputs (B, channels, height, width) are the noise in units of its deviation (residual learning: Zhang et al., "DnCNN", IEEE TIP
    2017), the loss is their mean squared error: 1 for a network that says nothing. The noise of a batch is a function of its number.
    `scores`: the mean PSNR over the images, dB.
    """

    def made(batch: Batch, number: int) -> Batch:
        noise = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(number)).to(batch.image.device)
        noisy = (batch.image + sigma / 255 * noise).contiguous(memory_format=torch.channels_last)
        return batch._replace(image=noisy, label=noise)

    def loss(output_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        return ((output_BCHW - noise_BCHW) ** 2).flatten(1).mean(1)

    def scores(output_NCHW: np.ndarray, noise_NCHW: np.ndarray) -> dict[str, float]:
        return {"psnr": float(psnr(sigma / 255 * (output_NCHW - noise_NCHW)).mean())}

    return Task(channels, loss, lambda output: output, scores, made, "mse")


def segmentation(classes: int) -> Task:
    """The class of each pixel, by cross-entropy: outputs (B, classes, height, width), labels (B, height, width), 255 ignored.

    The loss of a picture is the mean over its pixels that count, 0 where none does. Predictions are class numbers (B, height, width).
    `scores`: the mean IoU over the classes that the pictures have.
    """

    def loss(output_BCHW: Tensor, mask_BHW: Tensor) -> Tensor:
        loss_BHW = F.cross_entropy(output_BCHW, mask_BHW, ignore_index=IGNORED, reduction="none")
        return loss_BHW.sum((1, 2)) / (mask_BHW != IGNORED).sum((1, 2)).clamp(min=1)

    def scores(predicted_NHW: np.ndarray, mask_NHW: np.ndarray) -> dict[str, float]:
        iou_C = iou(pixel_counts(predicted_NHW, mask_NHW, classes).sum(0))
        return {"miou": float(np.nanmean(iou_C))}

    return Task(classes, loss, lambda output: output.argmax(1), scores)


def pixel_counts(predicted_NHW: np.ndarray, mask_NHW: np.ndarray, classes: int) -> np.ndarray:
    """(N, 3, classes): of each picture and class the pixels that are rightly said to be of it, that are of it, that are said to be."""
    counts_NHW = mask_NHW != IGNORED
    image_P = np.nonzero(counts_NHW)[0]
    true_P, said_P = mask_NHW[counts_NHW].astype(np.int64), predicted_NHW[counts_NHW].astype(np.int64)
    right_P = true_P == said_P

    def counted(of_P: np.ndarray, class_P: np.ndarray) -> np.ndarray:
        return np.bincount(of_P * classes + class_P, minlength=len(mask_NHW) * classes).reshape(-1, classes)

    right_NC = counted(image_P[right_P], true_P[right_P])
    return np.stack([right_NC, counted(image_P, true_P), counted(image_P, said_P)], 1)


def iou(counts_3C: np.ndarray) -> np.ndarray:
    """(…, classes) intersection over union from counts (…, 3, classes); NaN of a class that no pixel is of: it is undefined."""
    right, true, said = np.moveaxis(counts_3C, -2, 0)
    return np.where(true > 0, right / np.maximum(true + said - right, 1), np.nan)


def psnr(error_NCHW: np.ndarray) -> np.ndarray:
    """(N,) peak signal-to-noise ratio of each picture, dB, from the errors of its pixels, which are in 0 … 1; nothing is clipped."""
    mse_N = np.square(error_NCHW, dtype=np.float64).mean(axis=(1, 2, 3))
    return np.asarray(-10 * np.log10(np.maximum(mse_N, 1e-10)))


def ssim(one_NCHW: np.ndarray, other_NCHW: np.ndarray) -> np.ndarray:
    """(N,) structural similarity of pictures of pixels in 0 … 1, mean over channels and places.

    Wang et al. (IEEE TIP 2004): a Gaussian window of 11 pixels and deviation 1.5, C₁ = .01², C₂ = .03²; only whole windows count.
    """
    at = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(at**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def mean(picture: Tensor) -> Tensor:
        return F.conv2d(picture, window)

    x, y = (torch.from_numpy(own).double().flatten(0, 1)[:, None] for own in (one_NCHW, other_NCHW))
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y, cov = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
    likeness = (
        (2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4) / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
    )
    return likeness.flatten(1).mean(1).view(one_NCHW.shape[:2]).mean(1).numpy()
