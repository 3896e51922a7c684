"""`supernet search`: data + device + budget → derived.json, front.json and a report."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from supernet.command_line import add_options, to_file
from supernet.commands import cluster
from supernet.config import CONTROL, DENSE_TASKS, SearchConfig, limits_of
from supernet.errors import UserError
from supernet.options import check_effect
from supernet.program import Help, called, examples

if TYPE_CHECKING:
    from supernet.problem import Candidate, Outcome, Problem
    from supernet.report.facts import SearchFacts
    from supernet.spaces.architecture import Architecture

EPILOG = """\
--data: writers, fashion (both shipped), writers:FILE.npz, mnist:DIR, qmnist:DIR, celeba:DIR. Of your own images (docs/data.md)
  a folder or CSV file with labels and groups, a folder for each class, a .zip of either, parquet.
--fairness: accuracy_parity, demographic_parity, equal_opportunity, equalized_odds, loss_parity, worst_group_accuracy,
  unfairness, accuracy_ratio or mmd. It may say how groups are aggregated (difference, mean, sum, ratio, worst, square)
  and how classes are (worst, mean, sum), e.g. equalized_odds:mean:worst.
--fairness-method: penalties, with --fairness-weight or --max-gap: gap, hsic, adversary. Weights of groups: dro, minimax,
  reweigh, balance.
--task: in space dense32. denoise removes noise that is added to any pictures (--noise-sigma). segment finds the class of
  each pixel. Masks are files in column mask_file; --mask-classes road,car names them. Digits have masks of their own.
--devices A,B --budgets-ms X,Y --fairness-weights U,V: one search answers every combination (strategy one-shot).
--space: fbnet32, fbnet224, micro32. Widths and depths, too: flex24 to flex224. What is taken of a picture: sensor32 to
  sensor96, of a grey one sensor32-grey. Bits: bits32. For --task: dense32. With --teacher: lite64 to slim224.
--strategy: differentiable; one-shot (one search for several devices and budgets); score (nothing is trained for the
  choice). Also halving (networks trained alone, the better half for longer). Ask/tell ones propose networks and are told
  their scores: random, evolution, nsga2, motpe, gp, reinforce, progressive, diffusion, exhaustive, llm (see --llm-url).
  With --teacher: blockwise, differentiable, or uniform (all blocks smaller alike; default from 40% of its ms on).

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
  supernet search --space bits32 --max-bops 120e6
      of each layer 8, 4, 2 or 1 bits, inside a budget of bit operations; no device runs these bits, so none is named
  supernet search --device ./my-board.json --task denoise --noise-sigma 25
      a denoiser inside a latency budget; the table is one of supernet lut build --space dense32
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
    cluster.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The story of the command."""
    if cluster.on_cluster(options, run):
        return
    from supernet.commands.cap import searched_notes, unknown_gap_notes
    from supernet.commands.dense_search import search as search_dense
    from supernet.commands.described import derived_architecture
    from supernet.commands.opening import open_run
    from supernet.commands.search_words import closing_words
    from supernet.commands.setting import prepare, settled, with_teachers_data
    from supernet.commands.several import answer_all, answer_lines
    from supernet.commands.tracked import figures
    from supernet.engine import distributed
    from supernet.engine.stopping import Interrupted
    from supernet.report import write_report
    from supernet.schema import write_json
    from supernet.strategies import STRATEGIES
    from supernet.strategies.joint import tuned_names

    started = time.monotonic()
    config, given = open_run(options, "search", SearchConfig)
    if config.task in DENSE_TASKS:
        search_dense(config, given)
        return
    config = with_teachers_data(config, given)
    check_effect(config, given)
    if config.devices is not None and getattr(options, "device", config.device) != config.device:
        raise UserError(f"--device {options.device} is none of --devices {config.devices[:60]}: leave it out.")
    distributed.start()
    alone = [name for name in ("trained", "finalists") if getattr(config, name) is not None]
    if distributed.world_size() > 1 and (alone or config.strategy not in ("differentiable", "one-shot")):
        what = f"--{alone[0]}" if alone else f"--strategy {config.strategy}"
        raise UserError(f"{what} runs in one process: start it without torchrun.")
    problem = prepare(config, given)
    folder, config = problem.folder, settled(config, problem)
    problem = replace(problem, notes=(*problem.notes, *unknown_gap_notes(config, problem.data)))
    if folder.writes:
        again = folder.save_options("search", to_file(config, tuned_names(config.tune)))
        print("\n".join((*problem.notes, folder.words(), again)), flush=True)
    try:
        outcome = STRATEGIES[config.strategy](config, problem)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Go on with: {called('search', '--resume', folder.path)}") from None
    if not folder.writes:
        return
    require_inside(config, problem, outcome.candidates[0])
    best = outcome.candidates[0]
    arch = derived_architecture(config, problem, best.ops, training=best.options)
    arch.save(folder.path / "derived.json")
    for control in outcome.candidates:
        if control.by_hand and control is not outcome.candidates[0]:
            own = derived_architecture(config, problem, control.ops, CONTROL, training=control.options)
            own.save(folder.path / CONTROL / "derived.json")
    write_json(folder.path / "front.json", [asdict(candidate) for candidate in outcome.candidates])
    answered = answer_all(config, problem, arch)
    facts = replace(report_facts(config, problem, outcome, arch, time.monotonic() - started), answers=answered or None)
    write_report(folder.path, facts.to_json())
    folder.finish(figures(facts))
    print(answer_lines(answered) + closing_words(config, arch, outcome, folder, facts.derived))
    print("".join(f"{note}\n" for note in searched_notes(config, problem, outcome)), end="")


def require_inside(config: SearchConfig, problem: Problem, candidate: Candidate) -> None:
    """The last look before derived.json: each cost against the budget as the user gave it, whatever was held inside."""
    timed = {} if problem.budget_ms is None else {"latency": problem.budget_ms}
    for name, budget in {**timed, **limits_of(config)}.items():
        if candidate.costs[name] > budget:
            raise UserError(f"The derived architecture has a {name} of {candidate.costs[name]:g}, over the budget of {budget:g}; "
                            "nothing was written. Please report this, with the table.")  # fmt: skip


def report_facts(
    config: SearchConfig, problem: Problem, outcome: Outcome, arch: Architecture, seconds: float
) -> SearchFacts:
    """What report.json holds."""
    from supernet.commands.cap import searched_notes
    from supernet.commands.dominance import dominated_notes
    from supernet.commands.facts import data_facts, energy_mj, layer_facts, table_facts
    from supernet.costs.analytic import bits_of
    from supernet.report import facts
    from supernet.report.words import EACH_BITS

    best, table, sized = outcome.candidates[0], problem.table, problem.costs[outcome.candidates[0].sized_by]
    used = None if table is None else table.utilisation(problem.space, arch.ops)
    return facts.SearchFacts(
        command="search",
        name=problem.folder.path.name,
        seconds={**outcome.seconds, "total": seconds},
        steps=outcome.steps,
        asked=asdict(config),
        notes=[*problem.notes, *searched_notes(config, problem, outcome), *dominated_notes(config, outcome), *outcome.notes],
        data=data_facts(config, problem.data),
        table=None if table is None else table_facts(table),
        derived=facts.Derived(
            ops=arch.ops, arch_def=arch.arch_def, predicted_ms=arch.predicted_ms, predicted_error=arch.predicted_error,
            budget_ms=arch.budget_ms, macs=best.costs["macs"], params=best.costs["params"],
            log_probability=best.log_probability, peak_activation_bytes=arch.peak_activation_bytes,
            utilisation=None if used is None else used.whole, bops=best.costs.get("bops"),
            bits=None if config.max_bops is None else EACH_BITS if table is None else config.bits or bits_of(table.dtype),
            energy_mj=None if table is None else energy_mj(table, arch.predicted_ms),
        ),
        evaluations=outcome.evaluations,
        base_ms=None if table is None else sized.base,
        layers=layer_facts(problem.space, sized, arch.ops, outcome.p_LK, used),
        candidates=[facts.Candidate(**vars(one), derived=one is best) for one in outcome.candidates],
        history=problem.folder.rows(),
        **problem.folder.circumstances(),
    )  # fmt: skip
