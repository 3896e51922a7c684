"""`supernet derive`: a finished search answers another device, budget or fairness weight, in about a second."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.command_line import ranged
from supernet.commands import answering
from supernet.config import LIMITS, limits_of
from supernet.errors import UserError
from supernet.program import Help, called

if TYPE_CHECKING:
    from supernet.answers import Answer, Wish
    from supernet.commands.answering import Asked
    from supernet.costs.latency import LatencyTable
    from supernet.spaces.architecture import Architecture

EPILOG = """\
examples:
  supernet derive --run runs/search --device pixel3 --budget-ms 3.4
  supernet derive --run runs/search --device ./new-board.json --budget-ms 14 --max-gap 0.02
  supernet derive --run runs/search --device rpi4 --budget-ms 12 --worst-group --k 5
  supernet derive --run runs/search --device rpi4 --budget-ms 12 --also pixel3=3.4
  supernet derive --run runs/search --device rpi4 --budget-ms 12 --k 4 --compare trained

Minimised is the mean over groups of the predicted loss on search-val, in nats of cross-entropy. The run's quality.json
foretells it. The gap is between groups' predicted losses, in the same unit; of one that a supernet foretells a tenth counts. The budget is held exactly. docs/one_search.md has how well it foretells.
"""
ANSWERED, ANSWERS = "answers", "answers.json"  # folder in a search's run; file in each of its folders


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "derive",
        help="answer another device, budget or fairness weight from a finished search",
        description="The best architecture of a finished search for any device and budget, without another search.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    answering.add_options(parser)
    parser.add_argument(
        "--budget-ms", required=True, type=ranged(float, "(0, 1e6]"), metavar="X", help="latency budget, ms"
    )
    parser.add_argument("--also", action="append", default=[], metavar="DEVICE=MS",
                        help="latency budget of another device, kept at once; may stand several times")  # fmt: skip
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "--max-gap", type=ranged(float, "[0, 1000]"), metavar="G", help="most that the predicted gap may be, nats"
    )
    goal.add_argument("--fairness-weight", type=ranged(float, "[0, 1e6]"), metavar="W", default=0.0,
                      help="weight of the predicted gap beside the mean predicted loss (default: 0)")  # fmt: skip
    goal.add_argument("--worst-group", action="store_true", help="least loss of the worst group, instead of the mean")
    parser.add_argument(
        "--k", type=ranged(int, "[1, 1000]"), metavar="N", default=5, help="answers to list (default: 5)"
    )
    parser.add_argument("--compare", choices=("supernet", "trained"),
                        help="choose on search-val: by the supernet, or each trained alone")  # fmt: skip
    parser.add_argument(
        "--out", type=Path, help="folder for derived.json; default: a folder in the run, by device and budget"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Raises UserError where nothing keeps the budgets, with the fastest possible."""
    from supernet.answers import Wish

    wish = Wish(options.fairness_weight, options.max_gap, options.worst_group)
    folder = options.out or options.folder / ANSWERED / name_of(
        options.device, options.budget_ms, wish, limits_of(options), options.also
    )
    if (folder / "derived.json").exists() and not (folder / ANSWERS).exists():
        raise UserError(f"{folder} holds another derived.json: choose another --out.")
    asked = answering.with_devices(answering.asked_of(options), options.also, options.accept_poor_table)
    found = asked.answers(options.budget_ms, wish, options.k)
    scored: list[dict[str, Any]] = []
    if options.compare is not None:
        from supernet.commands.answers_compared import compared

        rows = compared(options.folder, found, options.compare)
        found, scored = [one for one, _ in rows], [told for _, told in rows]
    leave(folder, asked, found, options.device, options.budget_ms, wish, scored)
    told = compared_words(asked, found, scored, options.compare) if scored else ""
    print("".join(f"{note}\n" for note in asked.notes) + words(asked, found, options.budget_ms) + told)
    print(f"Next: {called('train', '--arch', folder / 'derived.json')}")


def name_of(device: str, budget_ms: float, wish: Wish, limits: Mapping[str, float], also: Sequence[str] = ()) -> str:
    """A folder's name for what was asked. also: budgets of other devices, as they were given."""
    goal = f"-gap{wish.max_gap:g}" if wish.max_gap is not None else "-worst" if wish.worst else ""
    goal += f"-weight{wish.weight:g}" if wish.weight else ""
    goal += "".join(f"-{name}{limit:g}" for name, limit in limits.items())
    goal += "".join(f"-{Path(text.rpartition('=')[0]).stem}-{text.rpartition('=')[2]}ms" for text in also)
    return f"{Path(device).stem}-{budget_ms:g}ms{goal}"


def leave(
    folder: Path,
    asked: Asked,
    found: list[Answer],
    device: str,
    budget_ms: float,
    wish: Wish,
    scored: Sequence[dict[str, Any]] = (),
) -> Architecture:
    """Writes the answers, with what was `scored` of each on search-val, and the first one's derived.json, which it returns."""
    from supernet.schema import write_json

    arch = architecture(asked, found[0], device, budget_ms, wish)
    folder.mkdir(parents=True, exist_ok=True)
    own = [{"search_val": told} for told in scored] or [{} for _ in found]
    write_json(folder / ANSWERS, [asked.facts(one) | more for one, more in zip(found, own, strict=True)])
    arch.save(folder / "derived.json")
    return arch


def architecture(asked: Asked, one: Answer, device: str, budget_ms: float, wish: Wish) -> Architecture:
    """derived.json: the search's own, with another answer. No weights are inherited: none were assembled for it."""
    from supernet.blocks.ops import arch_strings
    from supernet.commands.promise import table_identity
    from supernet.costs.memory import path_peak_bytes
    from supernet.engine.circumstances import commit, versions

    ops, table = asked.quality.space.names(one.index_L), asked.table
    channels, classes = asked.arch.input.channels, len(asked.arch.classes)
    peak = path_peak_bytes(asked.quality.space, ops, channels, classes, table.dtype)
    changed = {
        "device": device,
        "budget_ms": budget_ms,
        "dtype": table.dtype,
        "bits": asked.bits,
        "latency_quantile": None,
        "max_gap": asked.arch.config.get("max_gap"),
    }
    changed |= {option: asked.limits.get(cost) for cost, option in LIMITS.items()}
    return replace(
        asked.arch, ops=ops, arch_def=arch_strings(asked.quality.space, ops), device=table.device, budget_ms=budget_ms,
        predicted_ms=asked.costs["latency"].total(one.index_L), predicted_error=table.error, table=table_identity(table),
        config={**asked.arch.config, **changed}, versions=versions(), commit=commit(), weights_sha256=None,
        peak_activation_bytes=peak, sensor=asked.quality.space.sensor_of(ops),
        answer={"also": [_kept(asked, table, one) for table in asked.others], "gap_weight": wish.weight,
                "max_gap_nats": wish.max_gap, "worst_group": wish.worst},
    )  # fmt: skip


def _kept(asked: Asked, table: LatencyTable, one: Answer) -> dict[str, Any]:
    """What derived.json says of the budget of another device."""
    name = answering.latency_on(table)
    return {"device": table.device, "budget_ms": asked.limits[name], "predicted_ms": asked.costs[name].total(one.index_L), "table": table.hash}  # fmt: skip


def words(asked: Asked, found: list[Answer], budget_ms: float) -> str:
    """What the terminal shows."""
    from supernet.commands.facts import energy_mj, energy_words, utilisation_words
    from supernet.commands.search_words import sensor_words

    best, quality, costs = found[0], asked.quality, asked.costs
    error = ""
    if quality.error_G is not None and quality.link == "log":
        error = f" (± {quality.error_G.mean():.0%} on paths left out)"
    by_group = ", ".join(f"{name} {loss:.4f}" for name, loss in zip(quality.groups, best.loss_G, strict=True))
    ops = quality.space.names(best.index_L)
    used = asked.table.utilisation(quality.space, ops)
    energy = energy_words(
        energy_mj(asked.table, costs["latency"].total(best.index_L)), asked.limits.get("energy")
    ).splitlines()
    lines = [
        f"Derived: {' '.join(ops)}",
        *sensor_words(ops).splitlines(),
        f"Predicted latency on {asked.table.device}: {costs['latency'].total(best.index_L):.2f} ms of {budget_ms:g} ms; "
        f"{costs['macs'].total(best.index_L) / 1e6:.1f} M MACs, {costs['params'].total(best.index_L) / 1e6:.2f} M parameters.",
        *([] if used is None else [utilisation_words(used.whole).rstrip()]),
        *energy,
        *(
            f"Predicted {name}: {costs[name].total(best.index_L):.2f} ms of {limit:g} ms."
            for name, limit in asked.limits.items()
            if name.startswith("latency on ")
        ),
        f"Predicted loss on search-val{error}: {by_group}; gap {best.gap:.4f} nats. It is of {source(asked)}: retrain to know.",
    ]
    if len(found) > 1:
        lines.append("The next ones: latency, mean loss, gap, operations")
        lines += [
            f"  {costs['latency'].total(one.index_L):8.2f} ms  {one.loss_G.mean():.4f}  {one.gap:.4f}  "
            f"{' '.join(quality.space.names(one.index_L))}"
            for one in found[1:]
        ]
    return "\n".join(lines)


def compared_words(asked: Asked, found: list[Answer], scored: list[dict[str, Any]], way: str) -> str:
    """What the terminal shows of the comparison."""
    from supernet.commands.answers_compared import WAYS

    lines = [f"\nCompared on search-val, {WAYS[way]}: cross-entropy, mean group accuracy, gap, operations"]
    for one, told in zip(found, scored, strict=True):
        gap = "unknown" if told["gap"] is None else f"{told['gap']:.3f}"
        ops = " ".join(asked.quality.space.names(one.index_L))
        lines.append(f"  {told['cross_entropy']:.4f}  {told['mean_group_accuracy']:.3f}  {gap}  {ops}")
    return "\n".join(lines)


def source(asked: Asked) -> str:
    """Whose loss it is."""
    from supernet.quality import TRAINED

    if asked.quality.fit.get("source") == TRAINED:
        return TRAINED
    shared = asked.quality.link == "log"
    return "the supernet's shared weights" if shared else "the teacher with single blocks replaced, summed"
