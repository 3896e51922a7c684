"""What the options of `search` and `train` share, and what both know of budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from supernet.options import Needs, needs, needs_none, needs_other
from supernet.options import option as _option

DENSE_TASKS = ("denoise", "segment")  # whose output is a picture
PENALTIES = ("gap", "hsic", "adversary")  # fairness methods that a weight or a cap belongs to
COMPUTE_DEVICES = r"auto|cpu|cuda|cuda:\d{1,2}|mps|xpu|xpu:\d{1,2}|hpu|npu|npu:\d{1,2}"
DATA = ("data", "label_col", "group_cols", "intersections", "file_col", "cluster_col", "positive", "channels",
        "allow_duplicates", "group_mix", "class_mix", "max_train")  # fmt: skip # what a search takes from its teacher's run
INHERITED = (*DATA, "task", "noise_sigma", "mask_col", "mask_classes", "fairness", "fairness_method", "fairness_weight", "max_gap",
             "device", "teacher")  # fmt: skip # what `train` takes from derived.json's search
RETIRED = {"search": ("bootstrap",)}  # options that run folders of before still name, without effect

Config = TypeVar("Config", bound="CommonConfig")

SAM = Needs("sam", lambda rho: rho is not None, "it needs --sam RHO")
_TABULAR = needs_other("data", "writers", "fashion", "mnist", "qmnist", "celeba")

LIMITS = {"macs": "max_macs", "params": "max_params", "peak_memory": "max_sram_kb", "weights": "max_flash_kb",
          "input": "max_input_kb", "bops": "max_bops", "energy": "max_mj"}  # fmt: skip
"""Of each cost beside latency, the option that limits it."""


def limits_of(options: Any) -> dict[str, float]:
    """The budgets beside latency that a command's options, or a file's, ask for, in each cost's unit."""
    told = options if isinstance(options, Mapping) else vars(options)
    asked = {cost: told.get(option) for cost, option in LIMITS.items()}
    return {cost: float(limit) for cost, limit in asked.items() if isinstance(limit, int | float)}


@dataclass(frozen=True)
class CommonConfig:
    """What search and train share."""

    device: str = _option("rpi4", "the device to be fast on: a shipped table's name, or a table's path", group="task")
    task: str = _option("classify", "classify, denoise (PSNR) or segment (mean IoU); see below", pattern="classify|denoise|segment", group="task", more=True)  # fmt: skip
    noise_sigma: float = _option(25.0, "standard deviation of the noise, of 255", within="(0, 255]", where=[needs("task", "denoise")], group="task", more=True)  # fmt: skip
    data: str = _option("writers", "images: a folder, a CSV file, a .zip, or a data set's name; see below", group="data")  # fmt: skip
    label_col: str | None = _option(None, "column or attribute that holds the label", group="data")
    group_cols: str | None = _option(
        None, 'columns or attributes of the groups, joined by commas; "": none', group="data"
    )
    file_col: str | None = _option(None, "CSV column that holds the file name", where=[_TABULAR], group="data", more=True)  # fmt: skip
    cluster_col: str | None = _option(None, "CSV column of what belongs together (patient, writer): for intervals", group="data", more=True)  # fmt: skip
    mask_col: str | None = _option(None, "CSV column of the mask's file; default: mask_file", where=[needs("task", "segment"), _TABULAR], group="data", more=True)  # fmt: skip
    mask_classes: str | None = _option(None, "the pixels' classes in the order of their numbers, or how many", where=[needs("task", "segment"), _TABULAR], group="data", more=True)  # fmt: skip
    positive: str | None = _option(None, "which of two classes is the positive one; default: the second", group="data")
    channels: int | None = _option(None, "1 reads all pictures in grey, 3 in colour; default: 1 if all are grey", within="[1, 3]", group="data", more=True)  # fmt: skip
    allow_duplicates: bool = _option(False, "accept pictures that are in two splits, with a note", group="data", more=True)  # fmt: skip
    group_mix: str | None = _option(None, "draw a biased training set, e.g. student=0.05", group="data")
    class_mix: str | None = _option(None, "draw a long-tailed training set, e.g. longtail=100 (first class : last class)", where=[needs_none("group_mix")], group="data", more=True)  # fmt: skip
    max_train: int | None = _option(None, "training images at most", 512, within="[2, 1000000000]", group="data")
    fairness: str = _option("accuracy_parity", "the notion of fairness; see below", group="task")
    fairness_method: str = _option("gap", "how it is reached, see below; several are joined by commas", group="task")
    fairness_weight: float = _option(
        1.0, "weight λ_fair of the penalty (the soft gap) in the loss; 0: none", within="[0, 1e6]",
        where=[needs_none("max_gap"), needs("fairness_method", *PENALTIES)], group="task",
    )  # fmt: skip
    intersections: bool = _option(False, "combinations of the attributes count as one more attribute", group="data")
    max_gap: float | None = _option(None, "instead of the weight: the most that the soft gap may be", within="[0, 1000]", where=[needs("fairness_method", *PENALTIES)], group="task")  # fmt: skip
    batch_size: int = _option(32, "images a step", within="[2, 100000]")
    weight_decay: float = _option(1e-2, "weight decay of the network's weights", within="[0, 10]", more=True)
    augment: bool = _option(True, "shift and turn the training images (flip them where harmless)", group="data", more=True)  # fmt: skip
    seed: int = _option(0, "seed of everything that is random", within="[0, 4294967295]", group="run")
    out: str | None = _option(None, "run folder; default: runs/<command>-<device>-<number>", group="run")
    resume: str | None = _option(None, "continue the run of this folder, with its own options", group="run")
    compute_device: str = _option("auto", "where to compute: auto, cpu, cuda, cuda:1, mps …", pattern=COMPUTE_DEVICES, group="run", more=True)  # fmt: skip
    precision: str = _option("float32", "float32, or bf16 (forward passes in bfloat16)", choices=("float32", "bf16"), group="run", more=True)  # fmt: skip
    compile: bool = _option(False, "torch.compile: minutes at the start, then faster", group="run", more=True)
    log_to: str | None = _option(None, "follow the run there, too: tensorboard, mlflow", choices=("tensorboard", "mlflow"), several=True, group="run", more=True)  # fmt: skip
    threads: int | None = _option(None, "CPU threads; default: torch's choice", within="[1, 1024]", group="run")
