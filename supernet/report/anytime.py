"""Early exits: what the page and the terminal show of them."""

from __future__ import annotations

from typing import Any

from supernet.report import words
from supernet.report.facts import Anytime, Difference, Figure, LeftEarly, OperatingPoint, Verdict

WIDER = {
    Verdict.FIRST: "narrower with exits",
    Verdict.SECOND: "wider with exits",
    Verdict.OPEN: words.NOT_SHOWN,
}


def anytime_view(found: Anytime, number: str) -> dict[str, Any]:
    """`number`: what the gap is called."""
    full = found.exits[-1].cost
    exits = [
        {
            "name": _place(own.stage, at),
            "cost": f"{cost_words(own.cost, found.unit)}, {words.percent(own.cost / full, 0)}",
            "accuracy": words.interval(own.accuracy),
        }
        for at, own in enumerate(found.exits)
    ]
    attributes = list(found.points[0].attributes) if found.points else []
    return {
        "exits": exits,
        "counted": words.capital(found.counted),
        "points": [_point(one, found, full) for one in found.points],
        "groups": [{"attribute": name, "rows": _group_rows(name, found, full)} for name in attributes],
        "number": number,
        "verdict": anytime_words(found, number),
        "notes": found.notes,
    }


def anytime_lines(found: Anytime, notion: str) -> list[str]:
    """For the terminal: an operating point a line, then whether exits widen the gap."""
    full = found.exits[-1].cost
    lines = [
        f"Early exits within {cost_words(one.budget, found.unit)} on average ({words.percent(one.budget / full, 0)}): "
        f"test accuracy {words.estimate(one.accuracy)}, {words.percent(1 - (one.leaving[-1].value or 0.0), 0)} leave early"
        for one in found.points
    ]
    return [*lines, *found.notes, anytime_words(found, words.number_name(notion))]


def anytime_words(found: Anytime, number: str) -> str:
    """Whether easy exits widen the gap between groups, at the tightest budget of the table."""
    if not found.points:
        return "No early exit is cheap enough for any budget of the table."
    told = []
    tightest, full = found.points[-1], found.exits[-1].cost
    for name, own in tightest.attributes.items():
        told.append(f"by {name} {words.estimate(own.change, '+')}, {WIDER[own.change.verdict]}")
    return (
        f"Change of the {number} at {words.percent(tightest.budget / full, 0)} of the full cost: {'; '.join(told)}. "
        "“Not shown” is no proof that there is none."
    )


def cost_words(cost: float, unit: str) -> str:
    return f"{cost:.4g} ms" if unit == "ms" else f"{cost / 1e6:.3g} M MACs"


def _place(stage: int | None, at: int) -> str:
    return "the end" if stage is None else f"exit {at + 1}, after stage {stage + 1}"


def _point(one: OperatingPoint, found: Anytime, full: float) -> dict[str, Any]:
    scale = 1.0 if found.unit == "ms" else 1e-6
    cost = Figure(
        **{end: None if (x := getattr(one.cost, end)) is None else scale * x for end in ("value", "low", "high")}
    )
    return {
        "budget": f"{cost_words(one.budget, found.unit)}, {words.percent(one.budget / full, 0)}",
        "cost": words.estimate(cost, digits=3),
        "thresholds": ", ".join("never" if x is None else f"{x:.3f}" for x in one.thresholds),
        "leaving": ", ".join(words.percent(share.value, 0) for share in one.leaving),
        "accuracy": words.interval(one.accuracy),
        "change": _difference(one.change, {Verdict.FIRST: "better", Verdict.SECOND: "worse"}),
    }


def _group_rows(attribute: str, found: Anytime, full: float) -> list[dict[str, Any]]:
    return [_group_row(one.attributes[attribute], words.percent(one.budget / full, 0)) for one in found.points]


def _group_row(own: LeftEarly, budget: str) -> dict[str, Any]:
    return {
        "budget": budget,
        "early": ", ".join(
            f"{name} {words.interval(share, 0)}" for name, share in own.early.items() if share.value is not None
        ),
        "apart": words.estimate(own.early_gap),
        "gap": words.estimate(own.gap),
        "change": words.estimate(own.change, "+"),
        "verdict": WIDER[own.change.verdict],
    }


def _difference(found: Difference, verdicts: dict[Verdict, str]) -> str:
    return f"{words.estimate(found, '+')}, {verdicts.get(found.verdict, words.NOT_SHOWN)}"
