"""Why an architecture was derived although another candidate is as good in everything that is compared, and better in something."""

from __future__ import annotations

from collections.abc import Callable

from supernet.config import SearchConfig
from supernet.problem import Candidate, Outcome
from supernet.report.words import COSTS

Figures = Callable[[Candidate], list[float]]


def dominated_notes(config: SearchConfig, outcome: Outcome) -> list[str]:
    """A line where the derived architecture is dominated: by whom, and which figure decided; else none."""
    best, *others = outcome.candidates
    if best.non_dominated:
        return []
    known = all(candidate.gap is not None for candidate in outcome.candidates)
    sized = best.sized_by
    compared = f"error, gap and {COSTS[sized]}" if known else f"error and {COSTS[sized]}"

    def figures(one: Candidate) -> list[float]:
        return [1 - one.mean_group_accuracy, *([one.gap or 0.0] if known else []), one.costs[sized]]

    better = [one for one in others if all(a <= b for a, b in zip(figures(one), figures(best), strict=True))]
    better = [one for one in better if figures(one) != figures(best)]
    number = "1 other candidate is" if len(better) == 1 else f"{len(better)} other candidates are"
    return [
        f"The derived architecture is dominated: {number} as good in {compared} on search-val, and better in one of them. "
        f"{_reason(config, outcome, better)}"
    ]


def _reason(config: SearchConfig, outcome: Outcome, better: list[Candidate]) -> str:
    best, found = outcome.candidates[0], outcome.evaluations
    if config.strategy == "score":
        return f"It was derived for the greatest {config.score}, before anything was trained. Look at the others, too."
    if config.strategy == "one-shot":
        weight = config.answered_weights[0]
        weighed = f" + {weight:g} · a tenth of the gap" if weight else ""
        return f"It was derived for the smallest loss{weighed} that quality.json foretells. Look at the others, too."
    if config.finalists is not None and config.strategy == "differentiable":
        return "It did best when it was trained alone. Look at the others, too."
    merits = [one.merit for one in better if one.merit is not None]
    if best.merit is not None and merits:
        what = "cross-entropy" if best.distance is None else "cross-entropy + distance to the teacher"
        weighed = f" + {config.latency_weight:g} · latency / budget" if config.latency_weight else ""
        own, theirs = apart(best.merit, min(merits))
        return (
            f"It was derived for the smallest {what}{weighed} there: its {what} is {own}, the least of "
            f"theirs {theirs}. That counts how sure each answer is, and so is steadier than an error on the same images. "
            "Look at the others, too."
        )
    least = (
        f"error + {config.fairness_weight:g} · gap"
        if config.max_gap is None
        else "error of those that exceed the cap least"
    )
    front = f" on the front of {', '.join(found['objectives'])}" if found is not None else ""
    return f"It was derived for the smallest {least}{front}. Look at the others, too."


def apart(one: float, other: float) -> tuple[str, str]:
    """Two figures with four decimals, or as many more as it takes to tell them apart."""
    for digits in range(4, 17):
        told = f"{one:.{digits}f}", f"{other:.{digits}f}"
        if told[0] != told[1]:
            break
    return told
