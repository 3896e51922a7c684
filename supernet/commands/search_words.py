"""What the terminal shows at the end of a search."""

from __future__ import annotations

from collections.abc import Sequence

from supernet.commands.cap import scored_how
from supernet.commands.dominance import dominated_notes
from supernet.commands.facts import energy_words, utilisation_words
from supernet.config import CONTROL, SearchConfig
from supernet.engine.runs import RunFolder
from supernet.problem import Candidate, Outcome
from supernet.program import called
from supernet.report.facts import Derived
from supernet.report.words import bops_words, milliseconds, number_name, told
from supernet.spaces.architecture import Architecture
from supernet.spaces.sensor import VIEWS


def closing_words(
    config: SearchConfig, arch: Architecture, outcome: Outcome, folder: RunFolder, derived: Derived
) -> str:
    """What the terminal shows at the end."""
    best, found, scored, asked = outcome.candidates[0], outcome.evaluations, scored_how(config), ""
    if found is not None:
        scored = "trained alone" if found["evaluator"] == "scratch" else scored
        asked = "".join(f"{line}\n" for line in outcome.notes) or (
            f"{found['strategy']}: {found['evaluated']} evaluations in {found['seconds']:.0f} s, a front of "
            f"{len(outcome.candidates)}, hypervolume {found['hypervolume']:.4f}.\n"
        )
    elif config.finalists is not None:
        asked = f"{outcome.notes[-1]}\n"  # of the trainings that decided
    plain = "uniform network of these budgets" if config.teacher is not None else "network one would build by hand"
    by_hand = (
        f"No candidate did better than the {plain}.\n"
        if best.by_hand and not all(one.by_hand for one in outcome.candidates)
        else ""
    )
    dominated = "".join(f"{line}\n" for line in dominated_notes(config, outcome))
    entropy = "" if best.cross_entropy is None else f"cross-entropy {best.cross_entropy:.4f}, "
    if best.distance is not None:
        entropy = f"{best.distance:.4f} nats from the teacher, {entropy}"
    return (
        f"{asked}{by_hand}{dominated}Derived: {' '.join(arch.ops)}\n{sensor_words(arch.ops)}"
        f"{cost_words(arch, best, config.max_bops)}; "
        f"{best.costs['macs'] / 1e6:.1f} M MACs, {best.costs['params'] / 1e6:.2f} M parameters.\n"
        f"{utilisation_words(derived.utilisation)}{energy_words(derived.energy_mj, config.max_mj)}"
        f"On search-val {scored}: {entropy}mean group accuracy {best.mean_group_accuracy:.3f}, "
        f"{number_name(config.fairness)} {told(best.gap, 3)}. Retrain to know the true numbers.\n"
        f"Report: {folder.path / 'report.html'}\n"
        f"Next: {called('train', '--arch', folder.path / 'derived.json')}{control_words(folder)}"
    )


def cost_words(arch: Architecture, best: Candidate, max_bops: float | None) -> str:
    """What it costs of its budget: predicted latency and how far that may be off, or bit operations."""
    return bops_words(best.costs["bops"], max_bops) if arch.predicted_ms is None else latency_words(arch)


def latency_words(arch: Architecture) -> str:
    """Its predicted latency, how far that may be off, and its budget if it has one."""
    assert arch.predicted_ms is not None, "a network with a latency"
    error = "error unknown" if arch.predicted_error is None else f"± {arch.predicted_error:.1%} on held-out networks"
    if (arch.table or {}).get("provenance") == "estimated" and arch.predicted_error is not None:
        error = f"estimated, may be off by {arch.predicted_error:.0%}"
    budget = "" if arch.budget_ms is None else f" of {arch.budget_ms:g} ms"
    return f"Predicted latency on {arch.device}: {milliseconds(arch.predicted_ms)} ms ({error}){budget}"


def sensor_words(ops: Sequence[str]) -> str:
    """A line on what the sensor delivers, where that was decided."""
    view = VIEWS.get(ops[0])
    return "" if view is None else f"From the sensor: {view.words} a picture.\n"


def control_words(folder: RunFolder) -> str:
    """How the control is trained, where there is one beside the derived network."""
    place = folder.path / CONTROL
    if not place.exists():
        return ""
    return f"\nControl, to see what the search is worth: {called('train', '--arch', place)}"
