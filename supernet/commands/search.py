"""`supernet search`: data + device + budget → derived.json, front.json and a report."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from supernet.command_line import add_options, to_file
from supernet.config import CONTROL, SearchConfig, limits_of, with_epochs
from supernet.errors import UserError
from supernet.options import check_effect
from supernet.program import Help, called, examples

if TYPE_CHECKING:
    from supernet.engine.runs import RunFolder
    from supernet.problem import Candidate, Outcome, Problem
    from supernet.report.facts import SearchFacts
    from supernet.spaces.architecture import Architecture

EPILOG = """\
--data: writers (shipped), writers:FILE.npz, mnist:DIR, qmnist:DIR, celeba:DIR. Of your own images (docs/data.md)
  a folder or CSV file with labels and groups, a folder for each class, a .zip of either, parquet.
--fairness: accuracy_parity, demographic_parity, equal_opportunity, equalized_odds, loss_parity, worst_group_accuracy,
  unfairness, accuracy_ratio or mmd. It may say how groups are aggregated (difference, mean, sum, ratio, worst, square)
  and how classes are (worst, mean, sum), e.g. equalized_odds:mean:worst.
--fairness-method: penalties, with --fairness-weight or --max-gap: gap, hsic, adversary. Weights of groups: dro, minimax,
  reweigh, balance.
--devices A,B --budgets-ms X,Y --fairness-weights U,V: one search answers every combination (strategy one-shot).
--strategy: differentiable; one-shot (one search for several devices and budgets); score (nothing is trained for the
  choice). Ask/tell ones propose networks and are told their scores: random, evolution, nsga2, motpe, reinforce, progressive,
  exhaustive. With --teacher: blockwise, differentiable, or uniform (the control: every block smaller by the same share).

examples:
  supernet search --device rpi4
      the default: digits by two groups of writers, on a Raspberry Pi 4
  supernet search --device rpi4 --budget-ms 12
      a tighter latency budget
  supernet search --device rpi4 --budget-ms 15 --max-params 1e6
      two budgets, held at once
  supernet search --device rpi4 --group-mix student=0.05 --max-gap 0.02
      students are rare in training; hold the soft gap under 2 points
  supernet search --device ./my-board.json --data photos/ --label-col label --group-cols sex,age
      your own device's table, your own images
  torchrun --nproc-per-node 2 -m supernet search --device rpi4
      on two GPUs (or CPUs): each step's batch is shared out
  supernet search --device rpi4 --teacher runs/teacher --data photos/ --budget-ms 12
      a trained EfficientNet-Lite0 made smaller; train then inherits its weights and learns its outputs
  supernet search --device rpi4 --strategy nsga2 --evaluations 200
      NSGA-II on a supernet's scores instead of the differentiable search; also random, evolution, motpe, reinforce, …
  supernet search --devices rpi4,pixel3 --budgets-ms 3.2,9,12 --fairness-weights 0,1
      one search for all of them: a derived.json for each, and any later one by supernet derive
  supernet search --device rpi4 --strategy score
      a choice in seconds, by a score of untrained networks; then it is compared with the network one would build by hand
  supernet search --resume runs/search-rpi4-1
      go on where an interrupted run stopped

The run folder then holds derived.json (the architecture; hand it to train.py), front.json (the candidates that were
compared), report.html and report.json. It also holds metrics.jsonl (a row an epoch), config.json and checkpoint.pt, and
of ask/tell strategies evaluations.jsonl.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "search",
        help="search for an architecture",
        description="Searches a supernet for the architecture that is accurate, fair to every group and inside the device's\n"
        "latency budget: cross-entropy + λ_fair · soft group gap + λ_lat · expected latency.",
        epilog=examples(EPILOG),
        formatter_class=Help,
    )
    add_options(parser, SearchConfig)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The story of the command."""
    from supernet.commands.cap import searched_notes, unknown_gap_notes
    from supernet.commands.setting import open_run, prepare, with_teachers_data
    from supernet.commands.several import answer_all, answer_lines
    from supernet.commands.tracked import figures
    from supernet.engine import distributed
    from supernet.engine.stopping import Interrupted
    from supernet.report import write_report
    from supernet.schema import write_json
    from supernet.strategies import STRATEGIES

    started = time.monotonic()
    config, given = open_run(options, "search", SearchConfig)
    config = with_teachers_data(config, given)
    check_effect(config, given)
    distributed.start()
    if distributed.world_size() > 1 and config.strategy not in ("differentiable", "one-shot"):
        raise UserError(f"--strategy {config.strategy} runs in one process: start it without torchrun.")
    problem = prepare(config)
    folder = problem.folder
    problem = replace(problem, notes=(*problem.notes, *unknown_gap_notes(config, problem.data)))
    config = replace(
        with_epochs(config, len(problem.data.train)), resume=None, space=problem.space.name, dtype=problem.table.dtype
    )  # what it leaves is what one call leaves
    if folder.writes:
        print("\n".join((*problem.notes, folder.words(), folder.save_options("search", to_file(config)))), flush=True)
    try:
        outcome = STRATEGIES[config.strategy](config, problem)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Go on with: {called('search')} --resume {folder.path}") from None
    if not folder.writes:
        return
    require_inside(config, problem, outcome.candidates[0])
    arch = derived_architecture(config, problem, outcome.candidates[0])
    arch.save(folder.path / "derived.json")
    for control in outcome.candidates:
        if control.by_hand and control is not outcome.candidates[0]:
            derived_architecture(config, problem, control, CONTROL).save(folder.path / CONTROL / "derived.json")
    write_json(folder.path / "front.json", [asdict(candidate) for candidate in outcome.candidates])
    answered = answer_all(config, problem, arch)
    facts = replace(report_facts(config, problem, outcome, arch, time.monotonic() - started), answers=answered or None)
    write_report(folder.path, facts.to_json())
    folder.finish(figures(facts))
    print(answer_lines(answered) + closing_words(config, arch, outcome, folder))
    print("".join(f"{note}\n" for note in searched_notes(config, problem, outcome)), end="")


def require_inside(config: SearchConfig, problem: Problem, candidate: Candidate) -> None:
    """The last look before derived.json: each cost against the budget as the user gave it, whatever was held inside."""
    for name, budget in {"latency": problem.budget_ms, **limits_of(config)}.items():
        if candidate.costs[name] > budget:
            raise UserError(f"The derived architecture has a {name} of {candidate.costs[name]:g}, over the budget of {budget:g}; "
                            "nothing was written. Please report this, with the table.")  # fmt: skip


def derived_architecture(config: SearchConfig, problem: Problem, candidate: Candidate, place: str = "") -> Architecture:
    """What derived.json says of an architecture; it and its weights are at this place in the run folder."""
    from supernet.blocks.ops import arch_strings
    from supernet.commands.promise import table_identity
    from supernet.costs.memory import path_peak_bytes
    from supernet.engine.circumstances import commit, versions
    from supernet.engine.claim import sha256
    from supernet.pretrained import INHERITED_WEIGHTS
    from supernet.spaces.architecture import Architecture

    weights = problem.folder.path / place / INHERITED_WEIGHTS
    space, data, table = problem.space, problem.data, problem.table
    return Architecture(
        space=space.name,
        ops=candidate.ops,
        arch_def=arch_strings(space, candidate.ops),
        stem_channels=space.stem_channels,
        stem_stride=space.stem_stride,
        head_channels=space.head_channels,
        input=data.preprocessing,
        classes=data.classes,
        groups=data.attributes,
        device=table.device,
        budget_ms=problem.budget_ms,
        predicted_ms=candidate.costs["latency"],
        predicted_error=table.error,
        table=table_identity(table),
        data={"name": data.name, "fingerprint": data.fingerprint},
        config=asdict(config),
        seed=config.seed,
        versions=versions(),
        commit=commit(),
        weights_sha256=sha256(weights) if config.teacher is not None else None,
        peak_activation_bytes=path_peak_bytes(space, candidate.ops, data.channels, len(data.classes), table.dtype),
    )


def report_facts(
    config: SearchConfig, problem: Problem, outcome: Outcome, arch: Architecture, seconds: float
) -> SearchFacts:
    """What report.json holds."""
    from supernet.commands.cap import searched_notes
    from supernet.commands.dominance import dominated_notes
    from supernet.commands.facts import data_facts, layer_facts, table_facts
    from supernet.report import facts

    best, latency = outcome.candidates[0], problem.costs["latency"]
    return facts.SearchFacts(
        command="search",
        name=problem.folder.path.name,
        seconds={**outcome.seconds, "total": seconds},
        steps=outcome.steps,
        asked=asdict(config),
        notes=[*problem.notes, *searched_notes(config, problem, outcome), *dominated_notes(config, outcome), *outcome.notes],
        data=data_facts(config, problem.data),
        table=table_facts(problem.table),
        derived=facts.Derived(
            ops=arch.ops, arch_def=arch.arch_def, predicted_ms=arch.predicted_ms, predicted_error=arch.predicted_error,
            budget_ms=arch.budget_ms, macs=best.costs["macs"], params=best.costs["params"],
            log_probability=best.log_probability, peak_activation_bytes=arch.peak_activation_bytes,
        ),
        evaluations=outcome.evaluations,
        base_ms=latency.base,
        layers=layer_facts(problem.space, latency, arch.ops, outcome.p_LK),
        candidates=[facts.Candidate(**vars(one), derived=one is best) for one in outcome.candidates],
        history=problem.folder.rows(),
        **problem.folder.circumstances(),
    )  # fmt: skip


def closing_words(config: SearchConfig, arch: Architecture, outcome: Outcome, folder: RunFolder) -> str:
    """What the terminal shows at the end."""
    from supernet.commands.cap import scored_how
    from supernet.commands.dominance import dominated_notes
    from supernet.report.words import milliseconds, number_name, told

    best, found, scored, asked = outcome.candidates[0], outcome.evaluations, scored_how(config), ""
    if found is not None:
        scored = "trained alone" if found["evaluator"] == "scratch" else scored
        asked = "".join(f"{line}\n" for line in outcome.notes) or (
            f"{found['strategy']}: {found['evaluated']} evaluations in {found['seconds']:.0f} s, a front of "
            f"{len(outcome.candidates)}, hypervolume {found['hypervolume']:.4f}.\n"
        )
    error = "error unknown" if arch.predicted_error is None else f"± {arch.predicted_error:.1%} on held-out networks"
    if (arch.table or {}).get("provenance") == "estimated" and arch.predicted_error is not None:
        error = f"estimated, may be off by {arch.predicted_error:.0%}"
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
        f"{asked}{by_hand}{dominated}Derived: {' '.join(arch.ops)}\n"
        f"Predicted latency on {arch.device}: {milliseconds(best.costs['latency'])} ms ({error}) of {arch.budget_ms:g} ms; "
        f"{best.costs['macs'] / 1e6:.1f} M MACs, {best.costs['params'] / 1e6:.2f} M parameters.\n"
        f"On search-val {scored}: {entropy}mean group accuracy {best.mean_group_accuracy:.3f}, "
        f"{number_name(config.fairness)} {told(best.gap, 3)}. Retrain to know the true numbers.\n"
        f"Report: {folder.path / 'report.html'}\n"
        f"Next: {called('train')} --arch {folder.path / 'derived.json'}{control_words(folder)}"
    )


def control_words(folder: RunFolder) -> str:
    """How the control is trained, where there is one beside the derived network."""
    place = folder.path / CONTROL
    if not place.exists():
        return ""
    return f"\nControl, to see what the search is worth: {called('train')} --arch {place}"
