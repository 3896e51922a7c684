"""A teacher: one of random weights in memory, and one that a run of `train` left."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from timm.models.efficientnet import EfficientNet
from torch import nn

from supernet.commands.main import main
from supernet.models import create_network
from supernet.preprocessing import Preprocessing
from supernet.spaces.lite import TEACHER

CLASSES = ("a", "b", "c")
TRAINING = ["--batch-size", "16", "--threads", "1", "--epochs", "1", "--export", "none", "--bootstrap", "10"]


def random_teacher() -> EfficientNet:
    """Random weights with random batch statistics, so that nothing is trivially alike."""
    torch.manual_seed(0)
    network = cast(EfficientNet, create_network(TEACHER, CLASSES, Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3)))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(16, 3, 64, 64))
    return network.eval().requires_grad_(False)


def photos(folder: Path) -> None:
    rng, rows = np.random.default_rng(0), ["file_name,label,group,split"]
    for split, number in (("train", 48), ("val", 24), ("test", 24)):
        for i in range(number):
            label, group = "xy"[i % 2], "uv"[i // 2 % 2]
            picture = rng.integers(0, 90, (64, 64, 3))
            picture[:, (0 if label == "x" else 32) :][:, :32] += 120
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"{split}{i}.png")
            rows.append(f"{split}{i}.png,{label},{group},{split}")
    (folder / "metadata.csv").write_text("\n".join(rows))


def taught_run(folder: Path) -> tuple[str, str]:
    """(photos, a run of the teacher on them), made in the folder."""
    data, run = folder / "photos", folder / "teacher"
    data.mkdir()
    photos(data)
    main(["train", "--arch", TEACHER, "--resolution", "64", "--data", str(data), *TRAINING, "--out", str(run)])
    return str(data), str(run)
