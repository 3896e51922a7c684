"""The options of each command: one dataclass a command, each field documented once, here, for code and command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from supernet.errors import UserError
from supernet.space import SPACES

FEW_LAYERS = 10  # measured with 5 and with 22

Config = TypeVar("Config", bound="CommonConfig")


def _option(default: Any, help: str, quick: Any = None) -> Any:
    """A field with its help text; `quick` is its value under --quick."""
    return field(default=default, metadata={"help": help, "quick": quick})


@dataclass(frozen=True)
class CommonConfig:
    """What search and train share."""

    device: str = _option("rpi4", "the device to be fast on: a shipped table's name, or the path of your own table")
    data: str = _option("writers", "writers (shipped), writers:FILE.npz, mnist:DIR, qmnist:DIR, celeba:DIR, or a folder or CSV of images")  # fmt: skip
    label_col: str | None = _option(None, "column or attribute that holds the label")
    group_cols: str | None = _option(None, "columns or attributes that hold the groups, separated by commas")
    file_col: str | None = _option(None, "CSV column that holds the file name")
    cluster_col: str | None = _option(None, "CSV column that tells who an image is of (writer, patient), for intervals")
    group_mix: str | None = _option(None, "draw a biased training set, e.g. student=0.05")
    max_train: int | None = _option(None, "use so many training images at most", quick=512)
    fairness: str = _option(
        "accuracy_parity",
        "fairness notion: accuracy_parity, demographic_parity, equal_opportunity, equalized_odds, loss_parity, worst_group_accuracy, unfairness, "
        "accuracy_ratio or mmd; may say how it is aggregated over groups (difference, mean, sum, ratio, worst, square) and classes (worst, mean, "
        "sum), e.g. equalized_odds:mean:worst",
    )
    fairness_method: str = _option("gap", "how fairness is reached: gap, hsic or adversary (penalties, with --fairness-weight or --max-gap), dro, minimax, reweigh or balance (weights of groups); several joined by commas")  # fmt: skip
    fairness_weight: float = _option(1.0, "weight λ_fair of the penalty (the soft gap) in the loss; 0 turns it off")
    intersections: bool = _option(False, "with several attributes: their combinations count as one more attribute")
    max_gap: float | None = _option(None, "instead of a weight: a cap on the soft gap, held by a multiplier that adapts itself")  # fmt: skip
    batch_size: int = _option(32, "images a step")
    weight_decay: float = _option(1e-2, "weight decay of the network's weights")
    augment: bool = _option(True, "shift and turn the training images at random (and flip them where that is harmless)")
    seed: int = _option(0, "seed of everything that is random")
    out: str | None = _option(None, "run folder; default: runs/<command>-<device>-<number>")
    resume: str | None = _option(None, "run folder of an interrupted run: continues it with its own options")
    compute_device: str = _option("auto", "where to compute: auto, cpu, cuda, cuda:1, mps …")
    precision: str = _option(
        "float32", "float32, or bf16: forward passes in bfloat16 (autocast); measure first on a CPU"
    )
    compile: bool = _option(False, "torch.compile: minutes at the start, in place of our CPU kernels")
    threads: int | None = _option(None, "CPU threads; default: torch's own choice")
    bootstrap: int = _option(1000, "bootstrap draws for each interval", quick=200)


@dataclass(frozen=True)
class SearchConfig(CommonConfig):
    """Options of `search`."""

    space: str = _option("fbnet32", "search space")
    budget_ms: float | None = _option(None, "latency budget in milliseconds; default: half way from the fastest to the median architecture of the space")  # fmt: skip
    max_params: float | None = _option(None, "budget of parameters, e.g. 1e6; held together with the others")
    max_macs: float | None = _option(None, "budget of multiply-accumulates for one image, e.g. 30e6")
    latency_weight: float | None = _option(None, "fixed weight λ_lat of expected latency / budget; default: a multiplier that adapts itself")  # fmt: skip
    latency_quantile: float | None = _option(None, "keep the budget with this probability, e.g. 0.9: tightens it by the table's predictive error (adapted tables)")  # fmt: skip
    accept_poor_table: bool = _option(False, "search even with a table that failed its own validation")
    strategy: str = _option("differentiable", "how to search: differentiable, or by ask/tell: random, evolution, nsga2, motpe, reinforce, progressive, exhaustive")  # fmt: skip
    evaluations: int = _option(100, "ask/tell: architectures to evaluate at most", quick=4)
    max_seconds: float | None = _option(None, "ask/tell: seconds that the evaluations may take; the last may run over")
    evaluator: str = _option("supernet", "ask/tell: supernet (trained once, its weights scored on search-val) or scratch (each architecture trained alone: slow), for warmup_epochs + epochs")  # fmt: skip
    objectives: str = _option("error,gap", "ask/tell: what is minimised, any of error, gap, latency, params, macs")
    storage: str | None = _option(None, "nsga2, motpe: Optuna database URL that several machines may share, each with its own --seed; default: a SQLite file in the run folder")  # fmt: skip
    relaxation: str = _option("score", "how α gets its gradient: score (sampled paths, forward only), gumbel, softmax (all operations run), gumbel-hard (one path, badly biased: for comparison)")  # fmt: skip
    paths: int = _option(2, "sampled paths of an α step (score and gumbel-hard)")
    epochs: int | None = _option(None, "epochs of the search, warm-up not counted; default: 1, or as many as see 12,000 images", quick=1)  # fmt: skip
    warmup_epochs: int | None = _option(None, "epochs in which only the weights learn, on paths inside the budget; default: 1, or as many as see 12,000 images", quick=1)  # fmt: skip
    anchor: float | None = _option(None, "how much more logit the path that the warm-up begins with has when the search starts; 0: none, and the warm-up draws every layer from its first step; default: 1.8, 0 in spaces of few layers (micro32)")  # fmt: skip
    lr: float = _option(5e-3, "learning rate of the weights (AdamW, cosine)")
    alpha_lr: float = _option(0.1, "learning rate of α (Adam)")
    temperature: float = _option(5.0, "first temperature τ of the Gumbel relaxations; falls to temperature_end")
    temperature_end: float = _option(0.5, "last temperature τ")
    candidates: int = _option(
        8,
        "probable architectures that are compared on search-val at the end, beside the network one would build by hand; the one with the smallest loss is derived",
        quick=2,
    )
    eval_images: int = _option(2048, "search-val images for comparing candidates at most", quick=256)

    def __post_init__(self) -> None:
        """An anchor is a bias that costs a supernet of few layers more than it brings (docs/quality.md); a deep one learns more with it (docs/decisions.md)."""
        if self.anchor is None:
            few = self.space in SPACES and len(SPACES[self.space].layers) <= FEW_LAYERS
            object.__setattr__(self, "anchor", 0.0 if few else 1.8)


@dataclass(frozen=True)
class TrainConfig(CommonConfig):
    """Options of `train`."""

    baseline: str | None = _option(
        None, "folder of an earlier train run on the same test images: the report compares with it, in pairs"
    )
    arch: str = _option("", "derived.json of a search (or its folder), or the name of any timm model as a baseline")
    space: str = _option("fbnet32", "for a timm baseline: the search space whose input size is used")
    budget_ms: float | None = _option(None, "latency budget in milliseconds, for the report; default: the search's")
    epochs: int | None = _option(None, "epochs; default: 3, or as many as see 36,000 images", quick=1)
    opt: str = _option("adamw", "optimiser, any of timm's")
    lr: float = _option(5e-3, "learning rate")
    warmup_steps: int = _option(50, "steps in which the learning rate rises", quick=2)
    smoothing: float = _option(0.1, "label smoothing")
    ema_decay: float = _option(0.995, "decay of the moving average of the weights that is evaluated; 0 turns it off")
    train_on_val: bool = _option(False, "train on search-train and search-val together: nothing is decided on search-val any more, and it may have more images of a rare group")  # fmt: skip
    refit_classifier: bool = _option(False, "after the training, fit the classifier anew on search-val, every group × class weighing the same (deep feature reweighting): where search-val has more images of a rare group than search-train")  # fmt: skip
    export: str = _option("onnx,int8", "files for a device's runtime: any of onnx, int8, litert, executorch, or none")
    drop: float = _option(0.0, "dropout before the classifier")
    drop_path: float = _option(0.0, "stochastic depth")


FEW_IMAGES = 12_000  # seen once they are enough for each phase of a search, three times for a training (main_job.py)


def with_epochs(config: Config, images: int) -> Config:
    """Epochs that were left open, by the number of training images: few images are seen as often as it takes."""
    times = -(-FEW_IMAGES // images)
    usual = {"epochs": 3 * times if isinstance(config, TrainConfig) else times, "warmup_epochs": times}
    missing: dict[str, Any] = {name: n for name, n in usual.items() if getattr(config, name, 0) is None}
    return replace(config, **missing)


GROUPS = {
    "task": "arch baseline device space budget_ms latency_quantile accept_poor_table max_params max_macs max_gap fairness fairness_method fairness_weight train_on_val refit_classifier latency_weight",
    "data": "data label_col group_cols intersections file_col cluster_col group_mix max_train augment",
    "run": "out resume export seed compute_device precision compile threads bootstrap",
}  # of options in the help text; the rest is the method's


def add_options(parser: argparse.ArgumentParser, config: type[CommonConfig]) -> None:
    """One option a field. What the user does not give stays out of the namespace."""
    hints = get_type_hints(config)
    group_of = {name: title for title, names in GROUPS.items() for name in names.split()}
    groups = {title: parser.add_argument_group(title) for title in (*GROUPS, "method")}
    for item in fields(config):
        kind = hints[item.name]
        if isinstance(kind, UnionType):
            kind = get_args(kind)[0]
        extra: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        if kind is not bool:
            extra["metavar"] = {int: "N", float: "X"}.get(kind, item.name.upper())
        shown = "" if item.default in (None, "") else f" (default: {item.default})"
        groups[group_of.get(item.name, "method")].add_argument(
            f"--{item.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=item.metadata["help"].replace("%", "%%") + shown,
            **extra,
        )
    groups["run"].add_argument(
        "--quick", action="store_true", help="the whole path in under a minute: a smoke test, not a result"
    )


def check_types(config: type[CommonConfig], values: Mapping[str, Any], where: str) -> None:
    """Raises UserError where the value of an option is not of its type. A whole number is a float, too; a bool is no number."""
    hints = get_type_hints(config)
    for name, value in values.items():
        kinds = get_args(hints[name]) or (hints[name],)
        if type(value) not in (*kinds, *((int,) if float in kinds else ())):
            raise UserError(f"{where}: {name}: {value!r} is not of type {kinds[0].__name__}.")


def from_options(config: type[Config], options: argparse.Namespace) -> Config:
    """The config of what was given, the quick values (under --quick) and the defaults, in this order."""
    names = {item.name for item in fields(config)}
    given = {name: value for name, value in vars(options).items() if name in names}
    quick = {i.name: i.metadata["quick"] for i in fields(config) if options.quick and i.metadata["quick"] is not None}
    return config(**{**quick, **given})
