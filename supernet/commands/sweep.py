"""`supernet sweep`: devices × budgets × fairness weights × seeds as Ray Tune trials, joined into one front.

A trial is an ordinary run folder, and what is finished or half done is told by the folders alone: the same command again
goes on. Ray only decides what runs when and where.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.command_line import from_options
from supernet.config import SearchConfig
from supernet.errors import UserError, nearest
from supernet.options import check_effect, check_values
from supernet.program import Help
from supernet.schema import check_schema, is_plain, read_json, read_yaml

if TYPE_CHECKING:
    from ray.tune import ResultGrid

EPILOG = """\
sweep.yaml:
  out: runs/sweep               # run folders, front.json, report.md
  devices: [rpi4, pixel3]
  budgets_ms: [10, 15, 20]      # left out: each device's default
  fairness_weights: [0, 1]      # left out: 1
  seeds: [0, 1, 2]              # left out: 0
  options: {space: fbnet32, lr: 2.0e-3}  # of search, in all trials
  cpus: 1                       # a trial; also gpus

In YAML 2e-3 is a text, 2.0e-3 a number. All machines of a Ray cluster must see `out` under the same path.
"""
_LIST: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": 1000, "uniqueItems": True}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["out", "devices"],
    "additionalProperties": False,
    "properties": {
        "out": {"type": "string", "minLength": 1, "maxLength": 1000},
        "devices": {**_LIST, "items": {"type": "string", "maxLength": 1000}},
        "budgets_ms": {**_LIST, "items": {"type": "number"}},
        "fairness_weights": {**_LIST, "items": {"type": "number"}},
        "seeds": {**_LIST, "items": {"type": "integer", "minimum": 0}},
        "options": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "cpus": {"type": "number", "exclusiveMinimum": 0, "maximum": 100_000},
        "gpus": {"type": "number", "minimum": 0, "maximum": 100_000},
    },
}
MOST_TRIALS = 100_000
OWN = ("device", "budget_ms", "fairness_weight", "seed", "out", "resume")  # what a sweep sets itself


@dataclass(frozen=True)
class Trial:
    """One search: its run folder, its options, and all of them with the defaults."""

    folder: Path
    options: dict[str, Any]
    config: SearchConfig

    @property
    def done(self) -> bool:
        return (self.folder / "report.json").exists()  # written last

    def arguments(self) -> list[str]:
        """For `supernet`: begins the run, or goes on with it."""
        if (self.folder / "config.json").exists():
            return ["search", "--resume", str(self.folder), "--compute-device", self.config.compute_device]
        flags = [("--" if value is not False else "--no-") + name.replace("_", "-") + ("" if isinstance(value, bool) else f"={value}")
                 for name, value in self.options.items() if (name, value) != ("quick", False)]  # fmt: skip
        return ["search", *flags, "--out", str(self.folder)]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "sweep", help="many searches as Ray trials", description="Runs searches over devices, budgets, fairness weights and seeds, and joins their\n"
        "results. Start it again to go on where it stopped. Needs the extra: pip install 'supernet[ray]'.",
        epilog=EPILOG, formatter_class=Help,
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, help="the sweep, a YAML file", metavar="SWEEP.YAML")
    parser.add_argument("--ray-address", help="a running Ray cluster, e.g. auto or ray://host:10001; default: this machine", metavar="ADDRESS")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The story of the command."""
    from supernet.commands.sweep_front import join

    content = read_sweep(options.config)
    trials = plan(content)
    open_trials = [trial for trial in trials if not trial.done]
    print(f"{len(trials)} trials, {len(trials) - len(open_trials)} of them done. Folder: {content['out']}", flush=True)
    failures = run_trials(open_trials, content, options.ray_address) if open_trials else []
    done = [trial for trial in trials if trial.done]
    if done:
        print(join([(trial.folder, trial.config) for trial in done], Path(content["out"])))
    if failures:
        raise UserError(f"{len(failures)} of {len(trials)} trials failed, the first: {failures[0]}")


def read_sweep(path: Path) -> dict[str, Any]:
    """The file's content with an absolute `out`. Raises UserError with the field's path."""
    content = read_yaml(path, "sweep")
    for name in content if isinstance(content, dict) else ():
        if name not in SCHEMA["properties"]:
            raise UserError(
                f'sweep {path}: "{str(name)[:60]}" is not known.{nearest(str(name)[:60], SCHEMA["properties"])}'
            )
    check_schema(content, SCHEMA, f"sweep {path}")
    if not all(math.isfinite(content.get(name, 0)) for name in ("cpus", "gpus")):
        raise UserError(f"sweep {path}: cpus and gpus must be finite numbers.")
    if not is_plain(content["out"]):
        raise UserError(f"sweep {path}: out: must be a path without control characters.")
    return {"options": {}, "cpus": 1, "gpus": 0, **content, "out": str(Path(content["out"]).resolve())}


def plan(content: dict[str, Any]) -> list[Trial]:
    """The trials, each checked as `supernet search` checks its options; those begun earlier must be the same ones."""
    from supernet.commands.opening import check
    from supernet.commands.setting import with_teachers_data
    from supernet.costs.latency import load_table
    from supernet.spaces import BITS, get_space

    known = SearchConfig.__dataclass_fields__
    for name in content["options"]:
        if not isinstance(name, str) or name in OWN or name not in (*known, "quick"):
            raise UserError(
                f'sweep: options: "{str(name)[:60]}" is not to be set there.{nearest(str(name)[:60], set(known) - set(OWN))}'
            )
    quick = content["options"].get("quick", False)
    if not isinstance(quick, bool):
        raise UserError(f"sweep: options: quick: {quick!r} is not of type bool.")
    trials = []
    for device in content["devices"]:
        load_table(device)
    axes = (content["devices"], content.get("budgets_ms", [None]), content.get("fairness_weights", [None]), content.get("seeds", [0]))  # fmt: skip
    if (number := math.prod(map(len, axes))) > MOST_TRIALS:
        raise UserError(f"sweep: {number:,} trials; more than {MOST_TRIALS:,} cannot be meant.")
    for device, budget_ms, weight, seed in itertools.product(*axes):
        options = {**content["options"], "device": device, "seed": seed}
        options |= {n: v for n, v in (("budget_ms", budget_ms), ("fairness_weight", weight)) if v is not None}
        check_values(SearchConfig, {n: v for n, v in options.items() if n != "quick"}, "sweep: options")
        config = from_options(SearchConfig, argparse.Namespace(**{"quick": False, **options}))
        check(config)
        if config.task != "classify":
            raise UserError(
                f"sweep: options: task: a sweep is of classifiers, not of {config.task}: run its searches one by one."
            )
        if config.space in BITS:
            raise UserError(f"sweep: options: space: {config.space} has no device, and a sweep is over devices.")
        config = with_teachers_data(config, options)  # as the search does before it keeps its options
        check_effect(config, options)
        budget = "default" if budget_ms is None else f"{budget_ms:g}ms"
        folder = Path(content["out"]) / f"{Path(device).stem}-{budget}-fair{config.fairness_weight:g}-seed{seed}"
        get_space(config.space)
        if (folder / "config.json").exists() and (changed := differing(config, options, folder)):
            raise UserError(f"{folder} was begun with another {', '.join(changed)}: choose another `out`.")
        trials.append(Trial(folder, options, config))
    if len({trial.folder for trial in trials}) < len(trials):
        raise UserError(
            "sweep: two trials have one folder: two tables of one file name, or numbers that are alike in six digits. Change one."
        )
    return trials


def differing(config: SearchConfig, given: Collection[str], folder: Path) -> list[str]:
    """Names of the options that the run in this folder was begun with otherwise. given: names of those that were asked for."""
    before = read_json(folder / "config.json", "run config", {"type": "object"})
    free = {"out", "resume"}
    if config.teacher is not None and "strategy" not in given and before.get("strategy") == "uniform":
        free.add("strategy")  # chosen by the search itself, where its budget is loose
    return [name for name, value in asdict(config).items() if name not in free and before.get(name, value) != value]


def search_trial(config: dict[str, Any]) -> dict[str, Any]:
    """What Ray runs: one search in a process of its own, its words in FOLDER.log. Raises RuntimeError if it fails."""
    trial = config["trial"]
    folder = Path(trial["folder"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from supernet.commands.main import main; main()", *trial["arguments"]]
    log = folder.with_name(folder.name + ".log")  # beside the folder, which --out wants to be new
    with log.open("a", encoding="utf-8") as file:
        failed = subprocess.run(command, cwd=trial["directory"], stdout=file, stderr=subprocess.STDOUT).returncode
    if failed:
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise RuntimeError(f"{folder.name}: {words[-1] if words else 'no word'} (exit code {failed})")
    return {"finished": 1}


def run_trials(trials: list[Trial], content: dict[str, Any], address: str | None) -> list[str]:
    """Runs them all and gives the failures, a line each. Raises UserError where Ray or what a trial needs is not there."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("`supernet sweep` needs Ray: pip install 'supernet[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import tune

    root = str(Path(__file__).parent.parent.parent)  # a checkout's workers find the package too
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        ray.init(address=address or "local", runtime_env={"env_vars": {"PYTHONPATH": path}}, log_to_driver=False, include_dashboard=None if address else False)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"Ray cannot be used at {address or 'this machine'}: {error}") from error
    here = str(Path.cwd())
    asked = [{"folder": str(t.folder), "arguments": t.arguments(), "directory": here} for t in trials]
    try:
        there, needs = ray.cluster_resources(), {"CPU": content["cpus"], "GPU": content["gpus"]}
        if address is None and any(number > there.get(name, 0) for name, number in needs.items()):  # Ray would wait
            raise UserError(f"A trial needs {needs}, this machine has {({name: there.get(name, 0) for name in needs})}: lower cpus or gpus.")  # fmt: skip
        grid: ResultGrid = tune.Tuner(
            tune.with_resources(search_trial, {"cpu": content["cpus"], "gpu": content["gpus"]}),
            param_space={"trial": tune.grid_search(asked)},
            tune_config=tune.TuneConfig(trial_dirname_creator=lambda t: Path(t.config["trial"]["folder"]).name),
            run_config=tune.RunConfig(storage_path=str(Path(content["out"]) / "ray"), verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    return [str(error).strip().splitlines()[-1] for error in grid.errors]
