"""The only training loop: a step, the sums of its losses, a row now and then, a checkpoint, and a stop that can be gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from supernet.bars import bar as progress_bar
from supernet.engine import distributed
from supernet.engine.checkpoint import progress_of
from supernet.engine.runs import RunFolder
from supernet.engine.stopping import Interrupted, StopSignal
from supernet.errors import UserError

LOG_EVERY = 20

Means = Mapping[str, float]


class Trained(Protocol):
    """What the loop trains. Everything that changes is in `modules` and `rest`, so that a checkpoint is whole."""

    name: str  # beside the bar
    total_steps: int
    modules: nn.ModuleDict

    def one_step(self, step: int) -> dict[str, Tensor]:
        """Makes step number `step`, counted from 0; "loss" and other scalars that the row has the means of.

        Raises FloatingPointError where no further step can be made.
        """

    def over(self) -> bool:
        """Whether there is no need to go on."""

    def row_due(self, step: int) -> bool:
        """Whether a row of metrics.jsonl is due after so many steps."""

    def row(self, step: int, means: Means) -> dict[str, Any]:
        """The row, from the means since the last one. May evaluate."""

    def words(self, row: dict[str, Any]) -> str | None:
        """What to print of the row."""

    def line(self, step: int, means: Means) -> str:
        """Beside the bar."""

    def rest(self) -> dict[str, Any]:
        """What changes and is no module: optimisers, generators."""

    def restore_rest(self, rest: dict[str, Any], step: int) -> None:
        """As it was after so many steps. Raises what `RunFolder.restoring` knows where that cannot be."""


def train(trained: Trained, folder: RunFolder, first: int = 0) -> int:
    """Trains to the last step, from the folder's checkpoint where there is one; returns the step that it began with.

    Raises Interrupted after SIGINT or SIGTERM (checkpoint written), and UserError where the loss is not finite.
    """
    step, sums = first, dict[str, Tensor]()
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        with folder.restoring():
            trained.modules.load_state_dict(checkpoint["modules"])
            step, sums = progress_of(checkpoint, trained.total_steps)
            trained.restore_rest(checkpoint["rest"], step)
    first = step
    with StopSignal() as stop, progress_bar(
        total=trained.total_steps, initial=step, desc=trained.name, unit="step", disable=not folder.writes
    ) as bar:  # fmt: skip
        while step < trained.total_steps and not trained.over():
            try:
                parts = trained.one_step(step)
            except FloatingPointError as error:
                raise _diverged(str(error), step + 1, folder) from error
            step += 1
            bar.update()
            for name, value in (parts | {"steps": torch.tensor(1.0)}).items():
                sums[name] = sums.get(name, 0.0) + value
            due, stopping = trained.row_due(step), stop.reached()
            if due or stopping or step % LOG_EVERY == 0:
                sums = {name: distributed.mean(value) for name, value in sums.items()}
                means = {name: float(value) / float(sums["steps"]) for name, value in sums.items() if name != "steps"}
                if not torch.isfinite(torch.tensor(means["loss"])):
                    raise _diverged(f"The loss is {means['loss']}", step, folder)
                bar.set_postfix_str(trained.line(step, means))
            if due:
                row = trained.row(step, means)
                folder.log(row)
                if folder.writes and (words := trained.words(row)) is not None:
                    bar.write(words)
                sums = {}
            if due or stopping:
                folder.save_checkpoint(
                    {"step": step, "sums": sums, "modules": trained.modules.state_dict(), "rest": trained.rest()}
                )
            if stopping and step < trained.total_steps and not trained.over():
                raise Interrupted(f"Interrupted at step {step} of {trained.total_steps}")
    return first


def _diverged(what: str, step: int, folder: RunFolder) -> UserError:
    return UserError(
        f"{what} at step {step}: stopped. The last good checkpoint is kept in {folder.path}; "
        "a lower --lr (in a new run) usually helps."
    )
