"""The options of `search`: each field with its text, range and effect, once, here."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.config.shared import SAM, CommonConfig
from supernet.options import Needs, needs, needs_none, needs_other, numbers
from supernet.options import option as _option
from supernet.spaces import BITS, PAIRED, SENSOR, SPACES

FEW_LAYERS = 10  # measured with 5 and with 22
FROM_TEACHER = ("blockwise", "uniform")  # strategies that need --teacher; differentiable can have one
CONTROL = "control"  # folder in a search's run, of the network that one would build without a search
STORED = ("nsga2", "motpe", "gp")  # strategies with a database
ASK_TELL = ("random", "evolution", *STORED, "reinforce", "progressive", "diffusion", "llm", "exhaustive")
TUNED = ("lr", "weight_decay", "augment")  # training options that a search may choose with the architecture

_ASK_TELL = needs("strategy", *ASK_TELL)
_DIFFERENTIABLE = needs("strategy", "differentiable")
_LLM = needs("strategy", "llm")
_ONE_SHOT = needs("strategy", "one-shot")
_SUPERNET = (needs_other("strategy", "score", "halving"), needs("evaluator", "supernet"))  # the default of all others
_NOT_BY_BLOCKS = needs_other("strategy", *FROM_TEACHER)  # whose blocks learn from the teacher in a few steps each
_TRAINED_WEIGHTS = (*_SUPERNET, _NOT_BY_BLOCKS, needs_none("trained"))  # a supernet's own
_TEMPERATURE = (_DIFFERENTIABLE, needs("relaxation", "gumbel", "gumbel-top2", "softmax", "gumbel-hard"))
_TAUGHT = Needs("teacher", lambda run: run is not None, "it is for --teacher")
_BOPS = Needs("max_bops", lambda limit: limit is not None, "it is for --max-bops")


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
    objectives: str = _option("error,gap", "what is minimised: any of error, gap, latency, params, macs", choices=("error", "gap", "latency", "params", "macs"), several=True, where=[_ASK_TELL], group="ask/tell strategies", more=True)  # fmt: skip
    storage: str | None = _option(None, "nsga2, motpe, gp: URL of an Optuna database that machines may share", where=[needs("strategy", *STORED)], group="ask/tell strategies", more=True)  # fmt: skip
    llm_url: str | None = _option(None, "the model's address, OpenAI's protocol: …/v1 or …/v1/chat/completions", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    llm_model: str | None = _option(None, "the model's name there; a key is read from SUPERNET_LLM_KEY", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    llm_timeout: float = _option(120.0, "seconds that an answer of the model may take", within="(0, 3600]", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    max_calls: int = _option(40, "requests to the model at most: the cost cap", within="[1, 100000]", where=[_LLM], group="ask/tell strategies", more=True)  # fmt: skip
    tune: str | None = _option(None, "choose these with each network that is trained: lr, weight_decay, augment", choices=TUNED, several=True, where=[_ASK_TELL, needs("evaluator", "scratch")], group="ask/tell strategies", more=True)  # fmt: skip
    relaxation: str = _option("", "gradient of α; default: gumbel-top2, or score where shapes are decided", choices=("", "gumbel-top2", "gumbel", "score", "softmax", "gumbel-hard"), where=[_DIFFERENTIABLE], group="differentiable strategy", more=True)  # fmt: skip
    paths: int = _option(2, "sampled paths of an α step", within="[2, 1000]", where=[_DIFFERENTIABLE, needs("relaxation", "score", "gumbel-hard")], group="differentiable strategy", more=True)  # fmt: skip
    epochs: int | None = _option(None, "epochs after the warm-up; default: 1, or as many as see 12,000 images", 1, within="[1, 1000000]", where=[_NOT_BY_BLOCKS])  # fmt: skip
    warmup_epochs: int | None = _option(None, "epochs in which only the weights learn; default: as --epochs", 1, within="[0, 1000000]", where=[_NOT_BY_BLOCKS])  # fmt: skip
    anchor: float | None = _option(None, "extra logit of the warm-up's first path; default: 1.8; few layers, --teacher: 0", within="[0, 100]", where=_TRAINED_WEIGHTS, more=True)  # fmt: skip
    lr: float | None = _option(None, "learning rate of the supernet; default: 5e-3, or 1e-3 with --teacher", within="(0, 100]", where=_TRAINED_WEIGHTS)  # fmt: skip
    ssl_epochs: int | None = _option(None, "epochs of a self-supervised warm-up: by how much was a picture turned?", within="[1, 1000000]", where=[*_TRAINED_WEIGHTS, needs_none("teacher")], more=True)  # fmt: skip
    sam: float | None = _option(None, "sharpness-aware steps: gradients so far uphill, e.g. 0.05; twice the time", within="(0, 100]", where=_TRAINED_WEIGHTS, more=True)  # fmt: skip
    sam_adaptive: bool = _option(False, "the distance is relative to each weight (ASAM; 0.5 is usual)", where=[SAM], more=True)  # fmt: skip
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
