"""A trained network to start from: its blocks are the largest path of a space, its outputs are what a smaller one learns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.errors import UserError
from supernet.models import read_model
from supernet.preprocessing import Preprocessing
from supernet.spaces.lite import LITE_SIZES, TEACHER

TEMPERATURE = 2.0  # of the teacher's and the student's probabilities
FEATURE_WEIGHT = 10.0  # of hidden features beside outputs (benchmarks/few_images.py)


class Teacher(NamedTuple):
    """network: in evaluation mode, on the CPU, without gradient.  sha256: of its weights.

    classes: in the order of its outputs.  spec: what is done to a picture.  folder: of its run.
    """

    network: EfficientNet
    classes: tuple[str, ...]
    spec: Preprocessing
    folder: Path
    sha256: str


def read_teacher(folder: str) -> Teacher:
    """The network of a run of `train --arch tf_efficientnet_lite0`.

    Raises UserError for another network or input size than the space `lite` has.
    """
    path = Path(folder)
    if not path.exists():
        raise UserError(f"--teacher {folder} does not exist: it is the run folder of train --arch {TEACHER}.")
    if path.is_dir() and not (path / "model.json").is_file():
        raise UserError(
            f"--teacher {folder}: a folder without model.json is no finished run of train --arch {TEACHER}."
        )
    model = read_model(path / "model.json" if path.is_dir() else path)
    if model.name != TEACHER:
        raise UserError(f"--teacher {folder}: a run of {model.name}; the space lite is made around {TEACHER}.")
    if model.spec.size not in LITE_SIZES:
        sizes = ", ".join(map(str, LITE_SIZES))
        raise UserError(
            f"--teacher {folder}: trained at {model.spec.size} px; the space lite has {sizes}: train it at one of these."
        )
    network = cast(EfficientNet, model.network.eval().requires_grad_(False).to(memory_format=torch.channels_last))
    weights = (path if path.is_dir() else path.parent) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Teacher(network, model.classes, model.spec, path.resolve(), digest)


def check_classes(teacher: Teacher, classes: tuple[str, ...], channels: int) -> None:
    """Raises UserError where the teacher knows other classes, or was trained on pictures of another kind."""
    if teacher.classes != classes:
        raise UserError(f"--teacher {teacher.folder.name}: trained for the classes {_listed(teacher.classes)}; the data has {_listed(classes)}.")  # fmt: skip
    if teacher.spec.channels != channels:
        raise UserError(
            f"--teacher {teacher.folder.name}: trained on {teacher.spec.channels} channel(s), the data has {channels}: --channels {teacher.spec.channels}."
        )


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:5]) + (f" … ({len(classes)})" if len(classes) > 5 else "")


def check_input(teacher: Teacher, spec: Preprocessing) -> None:
    """Raises UserError where the teacher would be shown other inputs than it was trained on: its outputs would mean nothing."""
    for name in ("size", "mean", "std"):
        own, shown = getattr(teacher.spec, name), getattr(spec, name)
        if own != shown:
            raise UserError(
                f"--teacher {teacher.folder.name}: its inputs have the {name} {own}, this network's {shown}: take the teacher of the "
                "search, or leave --teacher out."
            )


def distillation(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """(..., B) T² · KL(teacher ∥ student) at temperature T (Hinton et al. 2015, section 2.1), without the label's own loss.

    Added to it the label loss made compressed networks worse (Puzzle, Bercovich et al. 2024, table of losses).
    """
    log_student_BC = F.log_softmax(student_BC / TEMPERATURE, dim=-1)
    probability_BC = F.softmax(teacher_BC / TEMPERATURE, dim=-1)
    return TEMPERATURE**2 * F.kl_div(log_student_BC, probability_BC, reduction="none").sum(-1)


def with_features(network: EfficientNet, image_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(B, classes) logits, and what the last block at each picture size gives: (B, C, H, W) each."""
    x, features = network.forward_intermediates(image_BCHW)
    return cast(Tensor, network.forward_head(x)), cast(list[Tensor], features)


@torch.no_grad()
def shared_features(network: nn.Module, teacher: Teacher) -> int:
    """How many hidden features have the teacher's shape; 0 of a network that has other ones."""
    if not isinstance(network, EfficientNet):
        return 0
    image_BCHW = torch.zeros(1, teacher.spec.channels, teacher.spec.size, teacher.spec.size)
    trains = network.training
    student, wanted = (with_features(own.eval(), image_BCHW)[1] for own in (network, teacher.network))
    network.train(trains)
    return sum(s.shape == t.shape for s, t in zip(student, wanted, strict=True)) if len(student) == len(wanted) else 0


def feature_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """(B,) 1 − cosine of the channels at each pixel, the mean over pixels and over the features whose shapes agree.

    The hidden-state loss of Puzzle (Bercovich et al., ICML 2025, section 4).
    """
    pairs = [(s, t) for s, t in zip(student, teacher, strict=True) if s.shape == t.shape]
    assert pairs, "the space keeps the widths of its stages"
    apart = [1 - F.cosine_similarity(s.float(), t.float(), dim=1).mean((1, 2)) for s, t in pairs]
    return torch.stack(apart).mean(0)


class Distance:
    """(N, B) distances of N networks' logits to the teacher's for the same images; None without a teacher.

    Where hidden features of the networks are given, too, theirs is added with `feature_weight`.
    """

    def __init__(self, teacher: Teacher | None, device: torch.device, feature_weight: float = 0.0) -> None:
        self.network = None if teacher is None else teacher.network.to(device)
        self.feature_weight = feature_weight

    def __call__(self, logits_NBC: Tensor, image_BCHW: Tensor, features: Sequence[Tensor] = ()) -> Tensor | None:
        if self.network is None:
            return None
        with torch.no_grad():
            wanted_BC, wanted = with_features(self.network, image_BCHW) if features else (self.network(image_BCHW), [])
        distance_NB = distillation(logits_NBC.float(), wanted_BC.float().expand_as(logits_NBC))
        return distance_NB + self.feature_weight * feature_distance(features, wanted) if features else distance_NB


def distil(network: nn.Module, teacher: Teacher, batches: list[Tensor], rate: float) -> None:
    """A short training of the whole network towards the teacher's outputs, one step a batch of images; in place."""
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches) + 1)
    network.train()
    for image_BCHW in batches:
        with torch.no_grad():
            wanted_BC = teacher.network(image_BCHW)
        loss = distillation(network(image_BCHW), wanted_BC).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    network.eval()
