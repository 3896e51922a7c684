"""How long a run is where nobody said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from supernet.config.shared import Config
from supernet.config.train import TrainConfig

FEW_IMAGES = 12_000  # seen once they are enough for each phase of a search, three times for a training (main_job.py)


def with_epochs(config: Config, images: int) -> Config:
    """Epochs that were left open, by the number of training images: few images are seen as often as it takes."""
    times = -(-FEW_IMAGES // images)
    usual = {"epochs": 3 * times if isinstance(config, TrainConfig) else times, "warmup_epochs": times}
    missing: dict[str, Any] = {name: n for name, n in usual.items() if getattr(config, name, 0) is None}
    return replace(config, **missing)
