"""One search that answers several devices, budgets and fairness weights: each answer's folder, and what is told of them."""

from __future__ import annotations

from typing import Any

from supernet.answers import Wish
from supernet.commands.answering import Asked
from supernet.commands.derive import ANSWERED, leave, name_of
from supernet.config import SearchConfig
from supernet.problem import Problem
from supernet.quality import Quality
from supernet.report.facts import Answered
from supernet.spaces.architecture import Architecture


def answer_all(config: SearchConfig, problem: Problem, arch: Architecture) -> list[Answered]:
    """What the finished search, whose derived.json this is, answers: a folder each with derived.json and the next best ones.

    Nothing where one thing alone was asked for: derived.json has it.
    """
    weights = config.answered_weights
    if config.strategy != "one-shot" or len(problem.regions) * len(weights) == 1:
        return []
    run, found = problem.folder.path, []
    quality = Quality.load(run)
    for region in problem.regions:
        costs = {**problem.costs, "latency": region.latency}
        limits = {name: limit for name, limit in problem.budgets.items() if name != "latency"}
        asked = Asked(run, quality, arch, region.table, costs, limits, (), arch.config.get("bits"))
        for weight in weights:
            wish = Wish(weight)
            best = asked.answers(region.limit_ms, wish, config.candidates)
            folder = run / ANSWERED / name_of(region.device, region.budget_ms, wish, limits)
            leave(folder, asked, best, region.device, region.budget_ms, wish)
            told: dict[str, Any] = asked.facts(best[0])
            found.append(Answered(
                device=region.table.device, budget_ms=region.budget_ms, weight=weight, ops=told["ops"], costs=told["costs"],
                mean_loss=told["predicted_mean_loss"], gap=told["predicted_gap"], folder=str(folder.relative_to(run)),
            ))  # fmt: skip
    return found


def answer_lines(found: list[Answered]) -> str:
    """What the terminal shows."""
    if not found:
        return ""
    width = max(len(one.device) for one in found)
    lines = [f"{'device':{width}}  budget ms  latency ms  weight  mean loss     gap  folder"]
    lines += [
        f"{one.device:{width}}  {one.budget_ms:9g}  {one.costs['latency']:10.4g}  {one.weight:6g}  {one.mean_loss:9.4f}  "
        f"{one.gap:6.4f}  {one.folder}"
        for one in found
    ]
    return "\n".join(
        ["Answered (predicted loss and gap on search-val, nats; train --arch takes a folder):", *lines, ""]
    )
