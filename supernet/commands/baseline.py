"""`supernet baseline`: the best known small networks inside a budget, trained on your data, and which of them to ship."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.command_line import add_options, ranged
from supernet.config import TrainConfig
from supernet.errors import UserError
from supernet.program import Help

if TYPE_CHECKING:
    from supernet.costs.latency import LatencyTable

# ImageNet top-1, %, at 224 px, of timm's own weights: its results/results-imagenet.csv
KNOWN = {
    "mobilenetv3_large_100": 75.8,
    "tf_efficientnet_lite0": 74.8,
    "semnasnet_075": 73.0,
    "mobilenetv2_100": 73.0,
    "lcnet_100": 72.1,
    "lcnet_075": 68.8,
    "mobilenetv3_small_100": 67.7,
    "mnasnet_small": 66.2,
    "mobilenetv2_050": 66.0,
    "mobilenetv3_small_075": 65.2,
    "lcnet_050": 63.1,
    "mobilenetv3_small_050": 57.9,
}
DEFAULT_PX, DEFAULT_NUMBER = 96, 3
REFUSED = {
    "arch": "--networks names them", "resume": "give the same command again", "config": "give the options themselves",
    "space": "--resolution says the input size", "teacher": "only a derived.json learns from one",
    "from_scratch": "it is for a derived.json",
}  # fmt: skip
WORDS = {
    **dict.fromkeys(REFUSED, argparse.SUPPRESS),
    "budget_ms": "latency budget of each network, estimated for --device; needed",
    "out": "folder for a run of each network and the comparison; needed",
    "device": "the device: a shipped table's name, or a table's path; default: rpi4",
    "resolution": f"input size, pixels; default: {DEFAULT_PX}",
    "data": "images: a folder, a CSV file, a .zip, or a data set's name, as in train",
    "fairness": "what is called fair, as in train; default: accuracy parity",
    "fairness_method": "how fairness is reached, as in train; default: gap",
}
EPILOG = """\
examples:
  supernet baseline --data photos/ --budget-ms 12 --out runs/baseline
  supernet baseline --data photos/ --budget-ms 12 --networks mobilenetv2_050,lcnet_050 --baseline runs/product --out runs/baseline
      compared with a searched network image by image: is the search worth it?

Every option of train applies to each network (supernet train --help-all). Without --networks those of the best published accuracy are taken
whose estimated latency keeps the budget.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "baseline",
        help="train the best known small networks inside a budget",
        description="Trains well-known small networks that keep a latency budget, and says which to ship.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    add_options(parser, TrainConfig, WORDS)
    own = parser.add_argument_group("baseline")
    own.add_argument("--networks", help="timm models, joined by commas (default: the best known inside the budget)")
    own.add_argument("--number", type=ranged(int, "[1, 12]"), metavar="N", help=f"networks at most (default: {DEFAULT_NUMBER}); not beside --networks")  # fmt: skip
    parser.set_defaults(run=run)


@dataclass
class Chosen:
    """Networks inside the budget by name, with their estimated milliseconds; `skipped`: why others are not."""

    ms: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def run(options: argparse.Namespace) -> None:
    """Chooses, trains each, compares. Raises UserError where no network keeps the budget."""
    from supernet.commands import train
    from supernet.commands.compare import comparison, finished, lines, write_comparison
    from supernet.costs.latency import load_table

    given = {n: v for n, v in vars(options).items() if n not in ("run", "networks", "number", "out", "quick")}
    for name, why in REFUSED.items():
        if name in given:
            raise UserError(f"--{name.replace('_', '-')} is not for baseline: {why}.")
    if "out" not in options or "budget_ms" not in options:
        raise UserError("baseline needs --budget-ms and --out.")
    home = Path(options.out)
    if (home / "compare.html").exists():
        raise UserError(f"{home} is there already: choose another --out.")
    names = network_names(options)
    folders = [Path(given["baseline"])] if "baseline" in given else []
    for folder in folders:
        finished(folder)  # said before hours of training
    size, table = given.get("resolution", DEFAULT_PX), load_table(given.get("device", TrainConfig.device))
    most = len(names) if options.networks else options.number or DEFAULT_NUMBER
    chosen = choose(table, names, (given.get("channels", 3), size), given["budget_ms"], most)
    print("\n".join(told(chosen, given["budget_ms"], table.device, size)), flush=True)
    for name in chosen.ms:
        folders.append(home / name)
        asked = argparse.Namespace(**given | {"resolution": size}, arch=name, out=str(home / name), quick=options.quick)
        if not is_done(home / name, asked):
            train.run(asked)
    if len(folders) > 1:
        content = comparison(folders)
        write_comparison(home / "compare.html", content)
        print("\n".join(["", *lines(content), f"Page: {home / 'compare.html'}", verdict(content["runs"])]))
    else:
        print(f"One network was trained, and none to compare it with: {folders[0]}.")


def network_names(options: argparse.Namespace) -> list[str]:
    """Those of --networks, each once, or all known ones. Raises UserError for an empty name, and for a number beside names."""
    if options.networks is None:
        return list(KNOWN)
    if options.number is not None:
        raise UserError("--number has no effect with --networks: leave one of the two out.")
    names = list(dict.fromkeys(part.strip() for part in options.networks.split(",")))
    if "" in names:
        raise UserError("--networks: names of timm models, joined by commas.")
    return names


def is_done(folder: Path, asked: argparse.Namespace) -> bool:
    """Whether an earlier call has finished this training. Raises UserError where it had other options: nothing to compare."""
    from supernet.command_line import from_options
    from supernet.commands.compare import finished
    from supernet.commands.export_run import run_config
    from supernet.config import with_epochs
    from supernet.engine.claim import FINISHED, PENDING, differences
    from supernet.schema import read_json

    if not (folder / FINISHED).is_file() or read_json(folder / FINISHED, "report", {"type": "object"}).get(PENDING):
        return False
    now = with_epochs(from_options(TrainConfig, asked), finished(folder).data.images["train"])
    other = differences(asdict(run_config(folder)), asdict(now))
    if other:
        raise UserError(f"{folder} was trained with another {', '.join(other)}: choose another --out, or ask for the same.")  # fmt: skip
    return True


def choose(table: LatencyTable, names: list[str], input_CS: tuple[int, int], budget_ms: float, most: int) -> Chosen:
    """The first `most` of the names whose estimated latency keeps the budget; input_CS: channels, pixels a side.

    Raises UserError where there is none.
    """
    from supernet.models import create_network
    from supernet.preprocessing import Preprocessing
    from supernet.transfer.kernel_model import estimate_network

    chosen, fastest = Chosen(), None
    channels, size = input_CS
    spec = Preprocessing(size, channels, (0.5,) * channels, (0.5,) * channels)
    for name in names:
        if len(chosen.ms) == most:
            break
        network = create_network(name, ("a", "b"), spec)
        try:
            ms = estimate_network(table, network, channels, size).ms
        except UserError as error:
            chosen.skipped.append(f"{name}: {error}")
            continue
        if ms <= budget_ms:
            chosen.ms[name] = ms
        else:
            chosen.skipped.append(f"{name}: {ms:.3g} ms")
            fastest = min(ms, fastest or ms)
    if not chosen.ms and fastest is None:
        raise UserError(f"Of none of these networks the latency on {table.device} is known. {chosen.skipped[0]}")
    if not chosen.ms:
        least = f" The fastest of them takes {fastest:.3g} ms at {size} px." if fastest else ""
        raise UserError(
            f"None of these networks keeps {budget_ms:g} ms on {table.device}.{least} Raise --budget-ms, lower --resolution, or search: supernet search."
        )
    return chosen


def told(chosen: Chosen, budget_ms: float, device: str, size: int) -> list[str]:
    """Which networks are trained, and which are not."""
    lines = [f"Networks inside {budget_ms:g} ms on {device} at {size} px (estimated latency; ImageNet top-1 as published at 224 px):"]  # fmt: skip
    lines += [f"  {name}: {ms:.3g} ms, {KNOWN.get(name, 'unknown')}%" for name, ms in chosen.ms.items()]
    return [*lines, *(f"  not {line}" for line in chosen.skipped)]


def verdict(runs: list[dict[str, Any]]) -> str:
    """Which to ship: the best on search-val; a faster one where its accuracy on test is not shown to be lower than the first's."""
    known = [run for run in runs if run["val_accuracy"] is not None]
    if not known:
        return "Which to ship: search-val was trained on, so nothing but test is left to choose by. See the page."
    figure, what = ("val_mean_recall", "mean recall ") if all(run.get("val_mean_recall") is not None for run in known) else ("val_accuracy", "")  # fmt: skip
    best = max(known, key=lambda run: run[figure])
    # an unknown latency is not a fast one, and one on another device tells nothing
    timed = [run for run in runs if run["predicted_ms"] is not None and run["device"] == best["device"]]
    best = min(
        (run for run in timed if run in known and run[figure] == best[figure]),
        key=lambda run: run["predicted_ms"],
        default=best,
    )
    faster = [run for run in timed if best["predicted_ms"] is not None and run["predicted_ms"] < best["predicted_ms"]]
    of_best = f"{best['folder']}: the best on search-val ({what}{best[figure]:.1%})"
    majority = best.get("majority")
    if majority and not majority["exceeded"]:
        shown = "not shown to be" if (best["accuracy"]["value"] or 0.0) > majority["share"] else "no"
        return f'Ship none of them yet. {of_best}, is on test {shown} better than always "{majority["class"]}", the class of {majority["share"]:.1%}.'
    line = f"Ship {of_best}."
    close = [run for run in faster if run["accuracy"]["high"] is not None and best["accuracy"]["low"] is not None
             and run["accuracy"]["high"] >= best["accuracy"]["value"]]  # fmt: skip
    if close:
        cheapest = min(close, key=lambda run: run["predicted_ms"])
        line += f" {cheapest['folder']} takes {cheapest['predicted_ms']:.3g} instead of {best['predicted_ms']:.3g} ms, and its test accuracy may be as high."  # fmt: skip
    return line
