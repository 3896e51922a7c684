"""A run folder: what was asked, a row of metrics an epoch, a checkpoint that a later call continues from."""

from __future__ import annotations

import json
import pickle
import platform
import signal
import subprocess
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch
from torch import nn

from supernet import __version__
from supernet.config import RETIRED, CommonConfig
from supernet.engine import distributed
from supernet.errors import UserError, nearest
from supernet.options import check_values
from supernet.schema import read_json, write_json

Config = TypeVar("Config", bound=CommonConfig)


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the checkpoint is written."""


class RunFolder:
    """config.json, metrics.jsonl and checkpoint.pt of one run, and TensorBoard events (`board`) where it is installed.

    Of several processes only the first one writes; all must see the folder to resume it.
    """

    def __init__(self, path: Path, board: bool = True) -> None:
        self.path, self.writes = path, distributed.rank() == 0
        self._board: Any = None
        if not self.writes or not board:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(path / "tensorboard"))

    @classmethod
    def open(cls, config: CommonConfig, command: str, fingerprint: str) -> RunFolder:
        """A new folder with its config, or the one that is resumed; the first process chooses for all.

        Raises UserError if --out is there already and not empty, or if a resumed run's data is no longer the same.
        """
        return cls(distributed.from_first(lambda: cls._prepare(config, command, fingerprint)))

    @staticmethod
    def _prepare(config: CommonConfig, command: str, fingerprint: str) -> Path:
        content = {"command": command, "fingerprint": fingerprint, **asdict(config)}
        if config.resume is not None:
            path = Path(config.resume)
            before = read_json(path / "config.json", "run config", {"type": "object"}).get("fingerprint")
            if before != fingerprint:
                raise UserError(f"The data is not what {path} began with (fingerprint {fingerprint}, was {before}): start a new run.")  # fmt: skip
            return path
        if config.out is not None:
            path = Path(config.out)
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UserError(f"{path} is there already: choose another --out, or continue it with --resume {path}.")
        else:
            device = Path(config.device).stem
            path = next(p for n in range(1, 100_000) if not (p := Path("runs") / f"{command}-{device}-{n}").exists())
        write_json(path / "config.json", content)
        return path

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Writes checkpoint.pt whole or not at all."""
        if not self.writes:
            return
        part = self.path / "checkpoint.pt.part"
        try:
            torch.save(state, part)
            part.replace(self.path / "checkpoint.pt")
        finally:
            part.unlink(missing_ok=True)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, None if there is none yet. Raises UserError if it cannot be read."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it to start anew.") from error

    def restore(self, module: nn.Module, state: dict[str, Any]) -> None:
        """The checkpoint's state into the module. Raises UserError where it is another version's."""
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            path = self.path / "checkpoint.pt"
            raise UserError(f"{path} was written by another version of supernet: start a new run.") from error

    def log(self, row: dict[str, Any]) -> None:
        """Appends a row to metrics.jsonl; `step` says where it belongs."""
        if not self.writes:
            return
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(name, value, row["step"])

    def rows(self, until_step: int | None = None) -> list[dict[str, Any]]:
        """The rows so far. With `until_step`, later ones are dropped from the file: a resumed run writes them again."""
        path = self.path / "metrics.jsonl"
        if not path.exists() or not self.writes:
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        if until_step is not None:
            rows = [row for row in rows if row["step"] <= until_step]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return rows

    def circumstances(self) -> dict[str, Any]:
        """When, where and with what: for reports."""
        return {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()} {platform.system()}, {torch.get_num_threads()} threads",
            "versions": versions(),
            "commit": commit(),
        }


class StopSignal:
    """`with StopSignal() as stop:` — SIGINT and SIGTERM only set `stop.came`; a second one ends the run at once.

    With several processes it does not: the terminal and torchrun both pass a signal on, and torchrun kills after 30 s.
    """

    def __enter__(self) -> StopSignal:
        self.came = False
        self._before: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if distributed.world_size() == 1:
            signal.signal(number, self._before[number])

    def reached(self) -> bool:
        """Whether a signal came to any process: the same answer in all of them, so that all stop at the same step."""
        return distributed.any_process(self.came)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def read_config(path: str, command: str, kind: type[Config]) -> Config:
    """An earlier run's options. Raises UserError if it is not a run of this command, or a field does not fit."""
    file = Path(path) / "config.json"
    content = read_json(file, "run config")
    if not isinstance(content, dict) or content.pop("command", None) != command:
        raise UserError(f"{path} is not a run of {command}: nothing to resume.")
    for name in ("fingerprint", *RETIRED.get(command, ())):
        content.pop(name, None)
    known = [item.name for item in fields(kind)]
    for name in content:
        if name not in known:
            raise UserError(f'{file}: "{name}" is not an option of {command}.{nearest(name, known)}')
    check_values(kind, content, str(file))
    return kind(**{**content, "resume": path})


def check_finite(loss: float, where: str, folder: RunFolder) -> None:
    """Raises UserError when training has broken down; the last good checkpoint is untouched."""
    if loss != loss or loss in (float("inf"), -float("inf")):
        raise UserError(
            f"The loss is {loss} at {where}: stopped. The last good checkpoint is kept in {folder.path}; "
            "a lower --lr (in a new run) usually helps."
        )


def compute_device(name: str) -> torch.device:
    """`auto` is CUDA, then Apple's MPS, then the CPU. Raises UserError if torch does not have the device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--compute-device {name}: torch cannot use it here ({str(error).splitlines()[0]}).") from error
    return device


def precision(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context of a forward pass: bf16 is autocast to bfloat16 (weights stay float32), float32 nothing."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bf16" else nullcontext()


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("torch", "torchvision", "timm", "fairlearn", "numpy", "scipy")
    return {"supernet": __version__, "python": platform.python_version(), **{n: metadata.version(n) for n in names}}


def commit() -> str | None:
    """The checkout's commit, None outside of one."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
