"""The course of a training on search-val: its best so far, whether to go on, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from supernet.config import TrainConfig


class Course:
    """Remembers where search-val was best: by accuracy, of equal ones by cross-entropy. Its `state` goes into the checkpoint.

    keep_weights:   also remember the network's weights there
    patience_steps: training is over after so many steps without a better one; None: it never is
    """

    def __init__(self, keep_weights: bool, patience_steps: int | None) -> None:
        self.keep_weights, self.patience_steps = keep_weights, patience_steps
        self.state: dict[str, Any] = {"step": 0, "best": None, "weights": None, "over": False}

    def note(self, step: int, scores: Mapping[str, float], network: nn.Module) -> None:
        """Scores of `network` on search-val after `step` steps."""
        rank = [scores["accuracy"], -scores["cross_entropy"]]
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
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_cross_entropy"]))
    last, lines = rows[-1], []
    if config.patience is not None and last["epoch"] < (config.epochs or 0):
        lines.append(
            f"--patience {config.patience}: the training stopped after epoch {last['epoch']} of {config.epochs}; search-val accuracy was "
            f"best after epoch {best['epoch']}."
        )
    fallen = best["val_accuracy"] - last["val_accuracy"]
    told = (
        f"Search-val accuracy was {best['val_accuracy']:.4f} at its best, after epoch {best['epoch']}, and {last['val_accuracy']:.4f} at "
        f"the end: {100 * fallen:.1f} points lower, {round(fallen * images)} of {images:,} images."
    )
    if config.keep == "best":
        lines.append(
            f"--keep best: the weights are those after epoch {best['epoch']}, the best of {len(rows)} by search-val accuracy "
            f"({best['val_accuracy']:.4f}; the last {last['val_accuracy']:.4f}). What was chosen by search-val looks too good on "
            f"search-val; test had no part in the choice."
        )
    elif fallen > 0:
        lines.append(f"{told} The last weights are kept (--keep best: the best ones).")
    return lines
