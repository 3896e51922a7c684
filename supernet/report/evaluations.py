"""How a strategy that asks and tells, or one that trains nothing, came to its choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.report.words import amount, counted

ENDED = {
    "evaluations": "all that were allowed",
    "seconds": "the time was used up",
    "repeats": "the strategy only repeated itself",
    "all": "there is no other architecture inside the budgets",
}


def evaluation_facts(found: Mapping[str, Any]) -> dict[str, str]:
    """How an ask/tell strategy got its front, or what a training-free choice rests on."""
    if found.get("score"):
        return _score_facts(found)
    reference = ", ".join(f"{name} {amount(value)}" for name, value in found["reference"].items())
    scored = {"supernet": "with a supernet's shared weights", "scratch": "each trained alone"}
    return {
        "strategy": found["strategy"],
        "minimised": ", ".join(found["objectives"]),
        "scored on search-val": scored[found["evaluator"]],
        "evaluations": f"{found['evaluated']:,} in {found['seconds']:.0f} s ({ENDED[found['ended']]})",
        "repeats, answered from the records": f"{found['asked'] - found['evaluated']:,}",
        "hypervolume": f"{found['hypervolume']:.4f} of 1, reference point: {reference}",
    }


def _score_facts(found: Mapping[str, Any]) -> dict[str, str]:
    score = found["score"]
    fit = (
        ""
        if score["kendall"] is None
        else f"; sums rank like the score, Kendall τ {score['kendall']:.2f}, on networks left out"
    )
    return {
        "score": f"{score['name']}, of networks that were never trained",
        "table": f"from {counted(score['networks'], 'network')}{fit}" if score["networks"] else "counted, exactly",
        "trained for the choice": "nothing",
        "trained to compare": f"{counted(found['evaluated'], 'network')}, each trained alone, in {found['seconds']:.0f} s",
    }
