"""What a differentiable search says of itself while it runs: an epoch's row of metrics.jsonl, the line beside the bar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from supernet.engine.evaluate import signed, worst_gap

if TYPE_CHECKING:
    from supernet.strategies.differentiable import DifferentiableSearch


def row(search: DifferentiableSearch, warm: bool) -> dict[str, Any]:
    """Means since the epoch began, and where α and the multipliers stand. Reads tensors: a GPU is waited for."""
    steps = float(search.sums["steps"])
    means = {name: float(value) / steps for name, value in search.sums.items() if name != "steps"}
    objective = search.weight_objective if warm else search.alpha_objective
    gaps, weights, attributes = objective.estimate_A(), objective.weight_A(), search.data.attributes
    p_LK = search.p_LK
    return {
        "step": search.step,
        "epoch": search.step // len(search.train),
        "phase": "warm-up" if warm else "search",
        **means,
        **{f"gap_{name}": gap for name, gap in zip(attributes, gaps, strict=True)},
        **{f"lambda_gap_{name}": weight for name, weight in zip(attributes, weights, strict=True)},
        **{f"expected_{name}": float(cost.expected(p_LK)) for name, cost in search.costs.items()},
        **{f"lambda_{penalty.cost.name}": float(penalty.multiplier.value) for penalty in search.penalties},
        "entropy": float(-(p_LK * p_LK.clamp_min(1e-12).log()).sum(1).mean() / math.log(p_LK.shape[1])),
        "lr": search.optimizer.param_groups[0]["lr"],
    }


def line(search: DifferentiableSearch, warm: bool) -> str:
    """The row in one short line."""
    found = row(search, warm)
    gap = worst_gap(found[f"gap_{name}"] for name in search.data.attributes)
    return (
        f"{found['phase']} ce {found['cross_entropy']:.2f} gap {signed(gap)} "
        f"{found['expected_latency']:.1f} ms λ_lat {found.get('lambda_latency', 0):.2f}"
    )
