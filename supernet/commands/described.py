"""What derived.json says of an architecture that a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from supernet.blocks.ops import arch_strings
from supernet.commands.promise import table_identity
from supernet.config import SearchConfig
from supernet.costs.memory import path_peak_bytes
from supernet.engine.circumstances import commit, versions
from supernet.engine.claim import sha256
from supernet.pretrained import INHERITED_WEIGHTS
from supernet.problem import Problem
from supernet.spaces.architecture import Architecture


def derived_architecture(
    config: SearchConfig,
    problem: Problem,
    ops: tuple[str, ...],
    place: str = "",
    *,
    training: Mapping[str, float | bool] | None = None,
) -> Architecture:
    """What derived.json says of an architecture; it and its weights are at this place in the run folder.

    training: options of its training that were chosen with it.
    """
    weights = problem.folder.path / place / INHERITED_WEIGHTS
    space, data, table = problem.space, problem.data, problem.table
    outputs = data.channels if config.task == "denoise" else len(data.classes)
    return Architecture(
        space=space.name,
        ops=ops,
        arch_def=arch_strings(space, ops),
        stem_channels=space.stem_channels,
        stem_stride=space.stem_stride,
        head_channels=space.head_channels,
        input=data.preprocessing,
        classes=data.classes,
        groups=data.attributes,
        device=None if table is None else table.device,
        budget_ms=problem.budget_ms,
        predicted_ms=None if table is None else problem.costs["latency"].total(space.index_L(ops)),
        predicted_error=None if table is None else table.error,
        table=None if table is None else table_identity(table),
        data={"name": data.name, "fingerprint": data.fingerprint},
        config=asdict(config),
        seed=config.seed,
        versions=versions(),
        commit=commit(),
        weights_sha256=sha256(weights) if config.teacher is not None else None,
        peak_activation_bytes=None
        if table is None
        else path_peak_bytes(space, ops, data.channels, outputs, table.dtype),
        training=dict(training or {}),
        sensor=space.sensor_of(ops),
    )
