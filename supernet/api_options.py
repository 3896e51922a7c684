"""The commands' options as keywords: what `supernet.search`, `train` and `load_data` take beside their own arguments.

The dataclasses of `supernet.config` are where each is described and has its default and range; a test keeps the names and types equal.
"""

from __future__ import annotations

from typing import TypedDict


class DataOptions(TypedDict, total=False):
    """How the data is read."""

    label_col: str | None
    group_cols: str | None
    file_col: str | None
    cluster_col: str | None
    positive: str | None
    channels: int | None
    allow_duplicates: bool
    group_mix: str | None
    class_mix: str | None
    max_train: int | None
    intersections: bool
    seed: int


class CommonOptions(DataOptions, total=False):
    """What a search and a training share."""

    task: str
    noise_sigma: float
    mask_col: str | None
    mask_classes: str | None
    fairness: str
    fairness_method: str
    fairness_weight: float
    max_gap: float | None
    batch_size: int
    weight_decay: float
    augment: bool
    compute_device: str
    precision: str
    compile: bool
    log_to: str | None
    threads: int | None


class SearchOptions(CommonOptions, total=False):
    """Of a search."""

    space: str
    budget_ms: float | None
    devices: str | None
    budgets_ms: str | None
    fairness_weights: str | None
    max_params: float | None
    max_macs: float | None
    max_bops: float | None
    bits: str | None
    dtype: str | None
    max_flash_kb: float | None
    max_sram_kb: float | None
    max_input_kb: float | None
    max_mj: float | None
    latency_weight: float | None
    latency_quantile: float | None
    accept_poor_table: bool
    teacher: str | None
    quality: str | None
    strategy: str
    trained: int | None
    score: str
    evaluations: int
    max_seconds: float | None
    evaluator: str
    objectives: str
    storage: str | None
    llm_url: str | None
    llm_model: str | None
    llm_timeout: float
    max_calls: int
    tune: str | None
    relaxation: str
    paths: int
    epochs: int | None
    warmup_epochs: int | None
    anchor: float | None
    lr: float | None
    ssl_epochs: int | None
    sam: float | None
    sam_adaptive: bool
    alpha_lr: float
    temperature: float
    temperature_end: float
    candidates: int
    finalists: int | None
    distil_steps: int
    eval_images: int


class TrainOptions(CommonOptions, total=False):
    """Of a training."""

    device: str
    baseline: str | None
    space: str
    budget_ms: float | None
    epochs: int | None
    opt: str
    pretrained: str | None
    resolution: int | None
    teacher: str | None
    feature_weight: float | None
    from_scratch: bool
    lr: float | None
    ssl_epochs: int | None
    qat_epochs: int | None
    sam: float | None
    sam_adaptive: bool
    layer_decay: float | None
    head_steps: int | None
    augmentation: str | None
    warmup_steps: int
    smoothing: float
    ema_decay: float
    class_weight: str | None
    keep: str
    patience: int | None
    train_on_val: bool
    refit_classifier: bool
    exits: int | None
    exit_weight: float
    export: str
    images: bool
    drop: float
    drop_path: float
    margin: float | None
    corruptions: int | None
    bootstrap: int
