"""How times are taken: warm-up until stable, interleaved rounds, interruptions dropped, drift measured again.

A *visit* is one stop at one subject: one unrecorded run, then some timed ones; its time is their median. A *round*
visits every subject once in a new random order, so that drift hits all alike. Around each few visits a reference piece
is timed: where it moved, those visits are made again.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from latency_luts.journal import Journal

if sys.platform == "win32":

    def _interruptions() -> int:
        return 0
else:
    import resource

    def _interruptions() -> int:
        """How often the OS took the processor from this process: what a run must not contain to count."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@dataclass(frozen=True)
class Settings:
    """`moved` is the relative change of the reference that voids a group of visits; times in seconds.

    rounds: of visits.  visit_seconds, warm_seconds: a visit's runs, a warm-up's.  group: visits between two looks at the reference.
    retries: of a void group.
    """

    rounds: int = 30
    visit_seconds: float = 0.02
    warm_seconds: float = 0.5
    group: int = 8
    moved: float = 0.10
    retries: int = 2


QUICK = Settings(rounds=6, visit_seconds=0.01, warm_seconds=0.1, retries=1)


@dataclass(frozen=True)
class Time:
    """Median and interquartile range (ms) over `n` visits; `dropped` ones were outliers, or the clock moved.

    median_ms, iqr_ms: of the visits' medians.
    """

    median_ms: float
    iqr_ms: float
    n: int
    dropped: int


@dataclass(frozen=True)
class Subject:
    """Something to time: call `run` once for one inference. `repeats` timed runs make a visit.

    name: for the journal.  typical_ms: one inference, by the warm-up.
    """

    name: str
    run: Callable[[], Any]
    repeats: int
    typical_ms: float


def visit(run: Callable[[], Any], repeats: int) -> float:
    """Median (ms) of `repeats` runs that the OS did not interrupt.

    Where it interrupts nearly every run (other programs want the core, and a run is longer than a time slice), the
    processor time of interrupted runs stands in: with one thread it is what they would have taken alone.
    """
    run()
    clean: list[float] = []
    interrupted: list[float] = []
    while len(clean) < repeats and len(clean) + len(interrupted) < 2 * repeats:
        before, cpu, start = _interruptions(), time.process_time(), time.perf_counter()
        run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        if _interruptions() == before:
            clean.append(seconds)
        else:
            interrupted.append(min(seconds, cpu))
    return 1000 * statistics.median(clean if len(clean) >= 3 else clean + interrupted)


def warm_up(name: str, run: Callable[[], Any], settings: Settings) -> Subject:
    """Runs until two batches in a row agree within 5%, or `warm_seconds` are over; then sets the visit's repeats."""
    deadline, before = time.perf_counter() + settings.warm_seconds, 0.0
    while True:
        now = visit(run, 5)
        if abs(now - before) <= 0.05 * now or time.perf_counter() > deadline:
            break
        before = now
    return Subject(name, run, max(3, min(50, round(1000 * settings.visit_seconds / now))), now)


def estimate_seconds(subjects: Sequence[Subject], settings: Settings) -> float:
    """Expected duration of all rounds on an undisturbed device."""
    one_round = sum((subject.repeats + 1) * subject.typical_ms for subject in subjects) / 1000
    return settings.rounds * one_round * 1.1


def measure(subjects: Sequence[Subject], settings: Settings, journal: Journal) -> Iterator[tuple[int, int]]:
    """Makes the visits that the journal does not hold yet; yields (round, visits made again) after each round.

    Every visit is written at once, so that a kill costs the visit in flight. A later record replaces an earlier one of
    the same subject and round.
    """
    reference = sorted(subjects, key=lambda subject: subject.typical_ms)[len(subjects) // 2]
    for number in range(settings.rounds):
        order = list(subjects)
        Random(number).shuffle(order)
        left = [subject for subject in order if (number, subject.name) not in journal.visits]
        again = 0
        for start in range(0, len(left), settings.group):
            patience = settings.retries if again <= len(left) // 2 else 0  # a machine this restless will not calm down
            group = left[start : start + settings.group]
            again += _measure_group(group, reference, number, replace(settings, retries=patience), journal)
        journal.sync()
        yield number, again


def _measure_group(
    group: Sequence[Subject], reference: Subject, number: int, settings: Settings, journal: Journal
) -> int:
    """Visits a group between two looks at the reference; again while it moved. Returns the visits made again."""
    for attempt in range(settings.retries + 1):
        looks = [visit(reference.run, reference.repeats)]
        for subject in group:
            journal.add_visit(number, subject.name, visit(subject.run, subject.repeats))
        looks.append(visit(reference.run, reference.repeats))
        for look in looks:
            journal.add_reference(look)
        level = statistics.median(journal.references)
        if all(abs(look - level) <= settings.moved * level for look in looks):
            return attempt * len(group)
    journal.mark_moved(number, [subject.name for subject in group])
    return settings.retries * len(group)


def summarise(visits_ms: Mapping[int, float], moved: set[int]) -> Time:
    """One subject's time from its visits by round.

    Visits made while the reference moved count only if fewer than 3 others exist; visits farther than 3 interquartile
    ranges from the median are dropped.
    """
    steady = [ms for number, ms in visits_ms.items() if number not in moved]
    used = steady if len(steady) >= 3 else list(visits_ms.values())
    middle, spread = statistics.median(used), _iqr(used)
    kept = [ms for ms in used if abs(ms - middle) <= 3 * spread] or used
    return Time(statistics.median(kept), _iqr(kept), len(kept), len(visits_ms) - len(kept))


def _iqr(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low
