"""A search by ask/tell: the strategy, the evaluator, the driver, and what is derived from their front."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from supernet.config import STORED, SearchConfig
from supernet.errors import UserError, nearest
from supernet.problem import Candidate, Outcome, Problem
from supernet.scoring import gaps_by_attribute, marked, undefined_gaps
from supernet.strategies.chat import TRANSCRIPT, Adviser, Chat
from supernet.strategies.driver import OBJECTIVES, Record, Setting, Strategy, drive, reference_point
from supernet.strategies.endpoint import Endpoint, completions_url, environment_key
from supernet.strategies.evaluators import EVALUATORS
from supernet.strategies.exhaustive import Exhaustive
from supernet.strategies.joint import JointRegion, tuned_names
from supernet.strategies.llm import Llm

JOURNAL = "evaluations.jsonl"
_NOT_OF_THE_STUDY = (
    "seed", "out", "resume", "compute_device", "threads", "bootstrap", "storage", "evaluations", "max_seconds", "candidates",
    "llm_url", "llm_model", "llm_timeout", "max_calls",
)  # fmt: skip


def search(config: SearchConfig, problem: Problem, make: Callable[[Setting], Strategy]) -> Outcome:
    """Drives the strategy to the end of its evaluations; the front in the objectives asked for becomes the candidates.

    Derived is the one of the front with the smallest error + fairness_weight · gap; with a cap on the gap, the one with the
    smallest error among those that exceed the cap least. Raises UserError (unknown names, missing Optuna, a space too
    large for exhaustive) and Interrupted.
    """
    objectives = parse_objectives(config.objectives)
    if config.evaluator not in EVALUATORS:
        raise UserError(f'Unknown evaluator "{config.evaluator}".{nearest(config.evaluator, EVALUATORS)}')
    if config.storage is not None and config.strategy not in STORED:
        raise UserError(f"--storage is for --strategy {', '.join(STORED)}; {config.strategy} has no database.")
    if "gap" in objectives:
        require_gap(config, problem)
    region = JointRegion(problem.space.valid_LK, problem.costs, problem.budgets, tuned_names(config.tune))
    strategy = make(
        Setting(region, objectives, config.seed, *_database(config, problem), adviser(config, problem, region))
    )
    if isinstance(strategy, Exhaustive) and len(strategy.rest) > config.evaluations:
        raise UserError(
            f"--strategy exhaustive needs an evaluation of each of the {len(strategy.rest):,} architectures inside the "
            f"budgets: raise --evaluations {config.evaluations}."
        )
    started, first_step = time.monotonic(), _step(problem)
    evaluate = EVALUATORS[config.evaluator](config, problem)
    prepared = time.monotonic()
    run = drive(
        strategy,
        evaluate,
        region,
        max_evaluations=config.evaluations,
        max_seconds=config.max_seconds or float("inf"),
        journal=problem.folder.path / JOURNAL,
        replay=config.storage is None,
        progress=True,
    )
    if any("accuracy" not in record.objectives for record in run.records):
        raise UserError(f"{problem.folder.path / JOURNAL}: objectives lack accuracy: start a new run.")
    front = sorted(run.front(objectives), key=lambda record: merit(config, record.objectives))
    reference = reference_point(region, objectives)
    facts = {
        "strategy": config.strategy,
        "evaluator": config.evaluator,
        "objectives": list(objectives),
        "evaluated": len(run.records),
        "asked": run.asked,
        "seconds": run.seconds,
        "ended": strategy.ended if isinstance(strategy, Llm) and run.ended == "all" else run.ended,
        "hypervolume": run.hypervolume(reference),
        "reference": reference,
        **(
            {"llm": {"model": config.llm_model, "calls": strategy.adviser.chat.calls, **strategy.counts}}
            if isinstance(strategy, Llm)
            else {}
        ),
        **({"options": front[0].options} if region.names else {}),
    }
    seconds = {"prepare": prepared - started, "evaluate": time.monotonic() - prepared}
    candidates = marked([candidate(problem, record) for record in front])
    return Outcome(candidates, None, seconds, _step(problem) - first_step, facts)


def adviser(config: SearchConfig, problem: Problem, region: JointRegion) -> Adviser | None:
    """The model that is asked, for the strategy that asks one, and what it is told beside the region."""
    if config.strategy != "llm":
        return None
    chat = Chat(check_endpoint(config), problem.folder.path / TRANSCRIPT)
    assert problem.table is not None, "what has no latency is searched by gradients"
    facts = {
        "task": "image classification", "device": problem.table.device, "classes": list(problem.data.classes),
        "groups": {name: list(groups) for name, groups in problem.data.attributes.items()}, "gap_is": config.fairness,
    }  # fmt: skip
    return Adviser(chat, region.choices(problem.space.choices), facts)


def check_endpoint(config: SearchConfig) -> Endpoint:
    """Where the model is asked. Raises UserError where the options or the key do not say it."""
    if config.llm_url is None or config.llm_model is None:
        raise UserError("--strategy llm needs --llm-url (…/v1 of any server with OpenAI's protocol) and --llm-model.")
    url = completions_url(config.llm_url)
    environment_key(url)
    return Endpoint(url, config.llm_model, config.llm_timeout, config.max_calls)


def require_gap(config: SearchConfig, problem: Problem) -> None:
    """Raises UserError where search-val does not define the gap: whatever the network, it would be unknown."""
    unknown = undefined_gaps(problem.data, config.fairness)
    if unknown:
        raise UserError(
            f"Search-val does not define the {config.fairness} gap by {', '.join(unknown)}, so it is no objective: "
            "--objectives error,latency, another --fairness, or images of every group and class in search-val."
        )


def parse_objectives(text: str) -> tuple[str, ...]:
    """The names in `error,gap`. Raises UserError for one that is unknown or stands twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f'--objectives: unknown objective "{name}".{nearest(name, OBJECTIVES)}')
    if len(set(names)) < len(names):
        raise UserError(f"--objectives {text}: an objective stands twice.")
    return names


def _step(problem: Problem) -> int:
    """How far the supernet is trained, by its last row."""
    return max((row["step"] for row in problem.folder.rows()), default=0)


def merit(config: SearchConfig, measured: dict[str, float]) -> tuple[float, ...]:
    """What the derived architecture has least of."""
    error, gap, latency = measured["error"], measured.get("gap", 0.0), measured["latency"]  # unknown: alike in all
    if config.max_gap is not None:
        return max(0.0, gap - config.max_gap), error, latency
    return error + config.fairness_weight * gap, gap, latency


def candidate(problem: Problem, record: Record) -> Candidate:
    """What was measured of an evaluation, as all strategies tell it."""
    measured = record.objectives
    return Candidate(
        ops=problem.space.names(record.index_L[: len(problem.space.valid_LK)]),
        costs={name: measured[name] for name in problem.costs},
        log_probability=None,
        accuracy=measured["accuracy"],
        mean_group_accuracy=1 - measured["error"],
        gap=measured.get("gap"),
        gaps=gaps_by_attribute(measured, problem.data.attributes),
        non_dominated=True,
        options=record.options,
    )


def _database(config: SearchConfig, problem: Problem) -> tuple[str | None, str]:
    """(URL, name of the study): one that all runs of the same search share, or SQLite in the run folder, begun anew."""
    if config.strategy not in STORED:
        return None, "search"
    if config.storage is None:
        path = problem.folder.path / "optuna.db"
        path.unlink(missing_ok=True)  # a resumed run goes through the same states again
        return f"sqlite:///{_quoted(path)}", config.strategy
    # not the data's fingerprint: each machine has its own seed, which may draw other images
    same = {name: value for name, value in asdict(config).items() if name not in _NOT_OF_THE_STUDY}
    assert problem.table is not None, "as in `adviser`"
    asked = json.dumps([same, problem.table.hash, problem.budgets], sort_keys=True)
    return config.storage, f"{config.strategy}-{problem.space.name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3F")
