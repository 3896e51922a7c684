"""--task denoise: how pictures are shown, and how restored ones are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from supernet.commands.dense import DenseTask, shown, units
from supernet.config import CommonConfig, TrainConfig
from supernet.data import GroupedData
from supernet.data.grouped import Batch, Split
from supernet.fairness import NOTIONS
from supernet.figures import NONE, figure, rates
from supernet.gap_intervals import gap_interval
from supernet.intervals import TOO_FEW, cells
from supernet.report.dense import figure_words
from supernet.task import Task, denoising, psnr, ssim


def as_pictures(data: GroupedData) -> GroupedData:
    """The data with pixels in 0 … 1."""
    spec = replace(data.preprocessing, mean=(0.0,) * data.channels, std=(1.0,) * data.channels)
    return replace(data, preprocessing=spec)


@torch.no_grad()
def measured(
    network: nn.Module, data: GroupedData, config: TrainConfig, task: Task, device: torch.device
) -> dict[str, Any]:
    """PSNR (dB) and SSIM of the test pictures as they are restored, and PSNR with the noise left; by group, where there are groups.

    data: with its attributes. Each is the mean over pictures with Student's 95% interval; a gap is the largest difference between groups. JSON-ready.
    """
    network.eval()
    sigma = config.noise_sigma
    scores: dict[str, list[np.ndarray]] = {"psnr": [], "psnr_noisy": [], "ssim": [], "ssim_noisy": []}
    for batch in shown(data, data.test, task, device).epoch():
        noisy, noise = batch.image.cpu().numpy(), batch.label.cpu().numpy()
        clean, restored = noisy - sigma / 255 * noise, noisy - sigma / 255 * network(batch.image).float().cpu().numpy()
        for name, picture in (("", restored), ("_noisy", noisy)):
            scores[f"psnr{name}"].append(psnr(picture - clean))
            scores[f"ssim{name}"].append(ssim(picture, clean))
    score = {name: np.concatenate(parts) for name, parts in scores.items()}
    everyone = np.zeros(len(data.test), int)
    found: dict[str, Any] = {name: _groups(own_N, everyone, 1, data.test)[0][0] for name, own_N in score.items()}
    found["images"] = len(data.test)
    found["attributes"] = {}
    for column, (attribute, names) in enumerate(data.attributes.items()):
        figures, gap = _groups(score["psnr"], data.test.group_NA[:, column], len(names), data.test)
        found["attributes"][attribute] = {"psnr": dict(zip(names, figures, strict=True)), "gap": gap}
    return found


def _groups(
    score_N: np.ndarray, group_N: np.ndarray, number: int, test: Split
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A figure for each group, and the largest difference between those of enough pictures; unknown where there are not two."""
    own = cells(score_N[:, None], np.ones((len(score_N), 1)), group_N, number, units(test), is_rate=False)
    figures = [row[0] for row in rates(own, True)]
    enough_G = own.size_GE[:, 0] >= TOO_FEW
    if enough_G.sum() < 2:
        return figures, figure(np.nan, *NONE)
    kept = type(own)(*(array[enough_G] for array in own))
    value = float(np.ptp(kept.rate_GE[:, 0]))
    return figures, figure(value, *gap_interval(kept, NOTIONS["accuracy_parity"]))


def _lines(found: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """What the terminal shows of the test pictures."""
    lines = [
        f"Noise of {config.noise_sigma:g} of 255 on {found['images']:,} test images (95% intervals): PSNR {figure_words('psnr', found['psnr'])} dB, with the noise "
        f"{figure_words('psnr_noisy', found['psnr_noisy'])} dB; SSIM {figure_words('ssim', found['ssim'])}, with the noise {figure_words('ssim_noisy', found['ssim_noisy'])}."
    ]
    for attribute, own in found["attributes"].items():
        groups = ", ".join(f"{name} {figure_words('psnr', value)}" for name, value in own["psnr"].items())
        lines.append(f"  {attribute}: PSNR {groups}; gap {figure_words('psnr', own['gap'])} dB")
    return lines


def _task(data: GroupedData, config: CommonConfig) -> Task:
    return denoising(data.channels, config.noise_sigma)


def _drawn(data: GroupedData, batch: Batch, output: torch.Tensor, config: CommonConfig) -> tuple[np.ndarray, ...]:
    noise = config.noise_sigma / 255
    shown = (batch.image, batch.image - noise * output, batch.image - noise * batch.label)
    return tuple((255 * picture.clamp(0, 1)).round().byte().cpu().numpy() for picture in shown)


DENOISE = DenseTask(
    name="denoise",
    words="removes noise",
    score="psnr",
    told=lambda value: f"PSNR {value:.2f} dB",
    options=frozenset({"noise_sigma", "label_col"}),
    task=_task,
    pictures=as_pictures,
    measured=measured,
    lines=_lines,
    output=lambda config: {"output": "noise / sigma", "noise_sigma": f"{config.noise_sigma:g}"},
    drawn=_drawn,
    strip="with noise, restored, as it was",
)
