"""How a strategy that asks and tells, or one that trains nothing, came to its choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.report.words import amount, counted

ENDED = {
    "evaluations": "all that were allowed",
    "seconds": "the time was used up",
    "repeats": "the strategy only repeated itself",
    "calls": "the calls of the model were used up",
    "fruitless": "the model had nothing new to propose",
    "all": "there is no other architecture inside the budgets",
}


def evaluation_facts(found: Mapping[str, Any]) -> dict[str, str]:
    """How an ask/tell strategy got its front, or what a training-free choice rests on."""
    if found.get("score"):
        return _score_facts(found)
    if found["strategy"] == "one-shot":
        return _trained_facts(found)
    if found["strategy"] == "halving":
        return {
            "trained alone": f"{counted(found['evaluated'], 'network')}, the better half for longer ({', '.join(map(str, found['epochs']))} epochs), in {found['seconds']:.0f} s"
        }
    reference = ", ".join(f"{name} {amount(value)}" for name, value in found["reference"].items())
    scored = {"supernet": "with a supernet's shared weights", "scratch": "each trained alone"}
    return {
        "strategy": found["strategy"],
        "minimised": ", ".join(found["objectives"]),
        "scored on search-val": scored[found["evaluator"]],
        **({"training of the derived one": _options(found["options"])} if found.get("options") else {}),
        "evaluations": f"{found['evaluated']:,} in {found['seconds']:.0f} s ({ENDED[found['ended']]})",
        **(_model_facts(found["llm"]) if found.get("llm") else {}),
        "repeats, answered from the records": f"{found['asked'] - found['evaluated']:,}",
        "hypervolume": f"{found['hypervolume']:.4f} of 1, reference point: {reference}",
    }


def _trained_facts(found: Mapping[str, Any]) -> dict[str, str]:
    fit = (
        ""
        if found["kendall"] is None
        else f"; on networks left out it ranks losses with Kendall τ {found['kendall']:.2f}"
    )
    return {
        "table of losses": f"from {counted(found['networks'], 'network')}, each trained alone{fit}",
        "trained to compare": f"{counted(found['evaluated'], 'network')}, each trained alone, in {found['seconds']:.0f} s",
    }


def _model_facts(llm: Mapping[str, Any]) -> dict[str, str]:
    told = {
        "mended": "with a wrong name",
        "over_budget": "over a budget and repaired",
        "refused": "unreadable",
        "repeats": "known already",
    }
    fates = [f"{llm[name]:,} {words}" for name, words in told.items() if llm[name]]
    return {
        "asked": f"{llm['model']}, {counted(llm['calls'], 'request')}, {counted(llm['malformed'], 'answer')} without an architecture",
        "proposed": ", ".join([counted(llm["proposed"], "architecture"), *fates]),
    }


def _options(chosen: Mapping[str, Any]) -> str:
    words = {True: "on", False: "off"}
    return ", ".join(
        f"{name} {words[value] if isinstance(value, bool) else f'{value:g}'}" for name, value in chosen.items()
    )


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
