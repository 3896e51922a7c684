"""The one loop of the ask/tell strategies: ask for an architecture, evaluate it, tell how it did.

A strategy has two methods. `ask()` gives an (L,) array, the column of each layer's operation, always inside the region's
budgets, or None when it has nothing more to ask. `tell(index_L, objectives)` gives it all that was measured by name, all
to be minimised: `error` (1 − mean group accuracy), `gap` (left out where search-val does not define it), `latency`, `params`, `macs`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from supernet.bars import bar as progress_bar
from supernet.engine.rows import append_row, read_rows, write_rows
from supernet.engine.stopping import Interrupted, StopSignal
from supernet.errors import UserError
from supernet.front import hypervolume, non_dominated
from supernet.strategies.chat import Adviser
from supernet.strategies.region import Region

OBJECTIVES = ("error", "gap", "latency", "params", "macs")
MOST_REPEATS = 100  # asked again in a row: the strategy has converged, or the space is used up

Evaluate = Callable[[np.ndarray], dict[str, float]]
"""(L,) → what was measured by name. `seconds` among it is what the evaluation is charged, else its wall time is."""


class Strategy(Protocol):
    """What `drive` asks and tells."""

    def ask(self) -> np.ndarray | None: ...

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None: ...


@dataclass(frozen=True)
class Setting:
    """What every strategy is made from: `Strategy(setting)`. It is a function of this and of what it is told.

    `adviser`: the model that is asked (llm).
    `storage` is the URL of an Optuna database (nsga2, motpe; None: in memory) and `study` the name in it.

    region: what may be asked for.  objectives: names of what is minimised.  seed: of all that is random.
    """

    region: Region
    objectives: tuple[str, ...]
    seed: int = 0
    storage: str | None = None
    study: str = "search"
    adviser: Adviser | None = None


@dataclass(frozen=True)
class Record:
    """One evaluation: the architecture, all that was measured, the seconds it is charged, and the options it was trained with.

    index_L: with the columns of tuned options after those of the layers.  objectives: by name.  seconds: as told.  options: tuned ones by name.
    """

    index_L: tuple[int, ...]
    objectives: dict[str, float]
    seconds: float
    options: dict[str, float | bool] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Its line in the journal; without options that were not tuned."""
        return {name: value for name, value in asdict(self).items() if name != "options" or value}


@dataclass(frozen=True)
class Run:
    """`records` in the order of evaluation, `asked` with the repeats, `ended`: why (evaluations, seconds, repeats, all)."""

    records: tuple[Record, ...]
    asked: int
    seconds: float
    ended: str

    def values_NM(self, objectives: Sequence[str]) -> np.ndarray:
        """(N, M) the named objectives of each record."""
        return np.array([[record.objectives[name] for name in objectives] for record in self.records])

    def front(self, objectives: Sequence[str]) -> list[Record]:
        """The records that no other dominates in the named objectives."""
        keep_N = non_dominated(self.values_NM(objectives))
        return [record for record, keep in zip(self.records, keep_N, strict=True) if keep]

    def hypervolume(self, reference: dict[str, float]) -> float:
        """Hypervolume in the objectives of `reference`, each divided by its reference value: in [0, 1].

        It is the share of the box between 0 and the reference point that the records dominate.
        """
        reference_M = np.array(list(reference.values()))
        return hypervolume(self.values_NM(list(reference)) / reference_M, np.ones(len(reference)))


def reference_point(region: Region, objectives: Sequence[str]) -> dict[str, float]:
    """1 for error and gap (the worst there is); a cost's budget, or without one the largest of the space."""
    return {name: region.worst(name) if name in region.costs else 1.0 for name in objectives}


def drive(
    strategy: Strategy,
    evaluate: Evaluate,
    region: Region,
    *,
    max_evaluations: int,
    max_seconds: float = math.inf,
    journal: Path | None = None,
    replay: bool = True,
    progress: bool = False,
) -> Run:
    """Asks, evaluates and tells until the evaluations or their seconds are used up (the last one may run over).

    An architecture that is asked for again is answered from the records and is no evaluation. With a `journal`
    (evaluations.jsonl) each evaluation is written down, and those that are there already are answered from it: the
    strategy goes through the same states again, so a resumed run is the same as an uninterrupted one. `replay=False`:
    the strategy remembers them itself (a shared database). Raises Interrupted after SIGINT or SIGTERM, and UserError
    for a journal that cannot be read or is not this run's.
    """
    before = [] if journal is None else read_journal(journal, region)
    records: dict[tuple[int, ...], Record] = {} if replay else {record.index_L: record for record in before}
    asked, repeats = len(records), 0
    seconds = sum(record.seconds for record in records.values())
    with (
        StopSignal() as stop,
        progress_bar(
            total=max_evaluations, initial=len(records), desc="evaluate", unit="net", disable=not progress
        ) as bar,
    ):
        while True:
            if len(records) >= max_evaluations or seconds >= max_seconds or repeats >= MOST_REPEATS:
                ended = "repeats" if repeats >= MOST_REPEATS else "seconds" if seconds >= max_seconds else "evaluations"
                break
            if stop.came:
                raise Interrupted(f"Interrupted after {len(records)} of {max_evaluations} evaluations")
            index_L = strategy.ask()
            if index_L is None:
                ended = "all"
                break
            assert region.keeps(index_L), "a strategy asks inside the budgets only"
            asked, key = asked + 1, tuple(int(k) for k in index_L)
            repeats = repeats + 1 if key in records else 0
            if key not in records:
                if replay and len(records) < len(before):
                    record = before[len(records)]
                    if record.index_L != key:
                        raise UserError(
                            f"{journal}: row {len(records) + 1} is not what this run asks for there (other options, "
                            "or another version wrote it): start a new run."
                        )
                else:
                    record = _evaluated(evaluate, region, index_L)
                    if journal is not None:
                        append_row(journal, record.row())
                records[key] = record
                seconds += record.seconds
                bar.update()
            strategy.tell(index_L, records[key].objectives)
    return Run(tuple(records.values()), asked, seconds, ended)


def _evaluated(evaluate: Evaluate, region: Region, index_L: np.ndarray) -> Record:
    started = time.monotonic()
    measured = {**region.measured(index_L), **evaluate(index_L)}
    seconds = measured.pop("seconds", time.monotonic() - started)
    told = {name: float(value) for name, value in measured.items()}
    return Record(tuple(int(k) for k in index_L), told, seconds, region.options(index_L))


_ROW = {
    "type": "object",
    "required": ["index_L", "objectives", "seconds"],
    "additionalProperties": False,
    "properties": {
        "index_L": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 1000},
        "objectives": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "number", "minimum": 0, "maximum": 1}},
            "additionalProperties": {"type": "number", "minimum": 0},
        },
        "seconds": {"type": "number", "minimum": 0, "maximum": 1e9},
        "options": {"type": "object", "additionalProperties": {"type": ["number", "boolean"]}},
    },
}


def read_journal(path: Path, region: Region) -> list[Record]:
    """The evaluations so far, none where there is no file; a last row that was cut off is taken out of the file.

    Raises UserError with the row's number for one that is no evaluation, has other objectives than the first one, lies outside
    the region, stands twice, or has costs that are not the tables'.
    """
    rows = read_rows(path, "evaluations", _ROW)
    records: dict[tuple[int, ...], Record] = {}
    layers, operations = region.valid_LK.shape
    for number, row in enumerate(rows, 1):
        key, where = tuple(row["index_L"]), f"evaluations {path}: row {number}"
        if len(key) != layers or max(key) >= operations or not region.keeps(np.array(key)) or key in records:
            raise UserError(f"{where}: index_L is not an architecture inside the budgets, or stands twice.")
        if set(row["objectives"]) != set(rows[0]["objectives"]):
            raise UserError(f"{where}: objectives are not those of row 1.")
        options = region.options(key)
        if row.get("options", {}) != options:
            raise UserError(f"{where}: options are not what index_L says, {options}.")
        for name, cost in region.measured(np.array(key)).items():
            if not math.isclose(row["objectives"].get(name, math.nan), cost, rel_tol=1e-6, abs_tol=1e-9):
                raise UserError(f"{where}: objectives.{name} is not what the table says, {cost:g}.")
        records[key] = Record(key, row["objectives"], row["seconds"], options)
    if rows:
        write_rows(path, rows)
    return list(records.values())
