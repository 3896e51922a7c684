"""The course of a training on search-val: its best so far, whether to go on, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from supernet.config import TrainConfig


def figure(config: TrainConfig) -> str:
    """By which of search-val's figures a training is followed: where every class weighs the same, accuracy would not see the rare ones."""
    return "accuracy" if config.class_weight is None else "mean_recall"


WORDS = {"accuracy": "accuracy", "mean_recall": "mean recall of the classes"}


def mean_recall(predicted_N: np.ndarray, label_N: np.ndarray) -> float:
    """The mean recall of the classes that there are."""
    return float(np.mean([(predicted_N[label_N == k] == k).mean() for k in np.unique(label_N)]))


class Course:
    """Remembers where search-val was best: by its `figure`, of equal ones by cross-entropy. Its `state` goes into the checkpoint.

    figure:         the name of a score, of which more is better
    keep_weights:   also remember the network's weights there
    patience_steps: training is over after so many steps without a better one; None: it never is
    """

    def __init__(self, figure: str, keep_weights: bool, patience_steps: int | None) -> None:
        self.figure = figure
        self.keep_weights, self.patience_steps = keep_weights, patience_steps
        self.state: dict[str, Any] = {"step": 0, "best": None, "weights": None, "over": False}

    def note(self, step: int, scores: Mapping[str, float], network: nn.Module) -> None:
        """Scores of `network` on search-val after `step` steps."""
        rank = [scores[self.figure], -scores["cross_entropy"]]
        if self.state["best"] is None or rank > self.state["best"]:
            self.state |= {"step": step, "best": rank}
            if self.keep_weights:
                self.state["weights"] = {name: value.detach().clone() for name, value in network.state_dict().items()}
        if self.patience_steps is not None:
            self.state["over"] = step - self.state["step"] >= self.patience_steps

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over a checkpoint's state. Raises ValueError where it is not one that this class writes."""
        kinds: dict[str, tuple[type, ...]] = {"step": (int,), "best": (list, type(None)), "weights": (dict, type(None)), "over": (bool,)}  # fmt: skip
        if any(not isinstance(value, kinds.get(name, ())) for name, value in state.items()):
            raise ValueError("not the course of a training")
        self.state |= state

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return bool(self.state["over"])

    @property
    def best_weights(self) -> Mapping[str, Tensor] | None:
        return self.state["weights"]


def course_words(config: TrainConfig, rows: Sequence[Mapping[str, Any]], images: int) -> list[str]:
    """Lines for terminal and report: which weights were kept, how far search-val fell, and why the training ended.

    rows: of metrics.jsonl, one a validation. images: those of search-val.
    """
    if not rows or config.train_on_val:  # search-val was trained on: its accuracy says nothing
        return []
    name = figure(config)
    key, told = f"val_{name}", f"search-val {WORDS[name]}"
    best, last, lines = max(rows, key=lambda row: (row[key], -row["val_cross_entropy"])), rows[-1], []
    if config.patience is not None and last["epoch"] < (config.epochs or 0):
        lines.append(
            f"--patience {config.patience}: the training stopped after epoch {last['epoch']} of {config.epochs}; {told} was best after "
            f"epoch {best['epoch']}."
        )
    fallen = best[key] - last[key]
    if config.keep == "best":
        lines.append(
            f"--keep best: the weights are those after epoch {best['epoch']}, the best of {len(rows)} by {told} ({best[key]:.4f}; the last "
            f"{last[key]:.4f}). What was chosen by search-val looks too good on search-val; test had no part in the choice."
        )
    elif fallen > 0:
        counted = f", {round(fallen * images)} of {images:,} images" if name == "accuracy" else ""
        lines.append(
            f"S{told[1:]} was {best[key]:.4f} at its best, after epoch {best['epoch']}, and {last[key]:.4f} at the end: "
            f"{100 * fallen:.1f} points lower{counted}. The last weights are kept (--keep best: the best ones)."
        )
    return lines
