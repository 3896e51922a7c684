"""Times are taken as documented: interruptions dropped, drift re-measured, outliers dropped, held-out error honest."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from latency_luts import machine, protocol, validation
from latency_luts.errors import BundleError
from latency_luts.journal import Journal
from latency_luts.protocol import Settings, Subject, measure, summarise, visit, warm_up


class Device:
    """A pretended clock: each run takes its own time times the device's slowness, and may be interrupted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu, self.slowness, self.switches = 0.0, 0.0, 1.0, 0
        self.runs: list[str] = []
        self.slow_runs = range(0)
        monkeypatch.setattr(protocol.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(protocol.time, "process_time", lambda: self.cpu)
        monkeypatch.setattr(protocol, "_interruptions", lambda: self.switches)

    def subject(self, name: str, ms: float, interrupt_every: int = 0) -> Subject:
        count = [0]

        def run() -> None:
            count[0] += 1
            self.runs.append(name)
            seconds = ms * (2.0 if len(self.runs) in self.slow_runs else self.slowness) / 1000
            self.now += seconds
            self.cpu += seconds
            if interrupt_every and count[0] % interrupt_every == 0:
                self.now += 0.01
                self.switches += 1

        return Subject(name, run, 4, ms)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


@pytest.mark.parametrize("every", [0, 1, 2, 3])
def test_interrupted_runs_do_not_count(device: Device, every: int) -> None:
    assert visit(device.subject("a", 2.0, every).run, 5) == pytest.approx(2.0)


def test_warm_up_goes_on_until_stable_and_sets_the_repeats(device: Device) -> None:
    subject = device.subject("a", 1.0)

    def slow_start() -> None:
        device.slowness = max(1.0, 3.0 - 0.05 * len(device.runs))
        subject.run()

    warm = warm_up("a", slow_start, Settings(warm_seconds=10, visit_seconds=0.02))
    assert warm.typical_ms < 1.2 and warm.repeats in range(17, 21)


def test_each_round_visits_everything_once_in_another_order(device: Device) -> None:
    subjects = [device.subject(name, 1.0 + n) for n, name in enumerate("abcde")]
    journal = Journal(None, {})
    assert [again for _, again in measure(subjects, Settings(rounds=4, group=2), journal)] == [0, 0, 0, 0]
    assert set(journal.visits) == {(r, name) for r in range(4) for name in "abcde"}
    for subject in subjects:
        assert summarise(*journal.of(subject.name)).median_ms == pytest.approx(subject.typical_ms)


def test_what_was_measured_while_the_clock_moved_is_measured_again(device: Device) -> None:
    subjects = [device.subject(name, 1.0 + n) for n, name in enumerate("abc")]
    journal, again = Journal(None, {}), []
    for number, count in measure(subjects, Settings(rounds=8, group=3), journal):
        again.append(count)
        if number == 3:
            device.slow_runs = range(len(device.runs), len(device.runs) + 8)  # over before the second attempt
    assert again[4] == 3 and sum(again) == 3
    assert not journal.moved
    assert journal.visits[4, "a"] == pytest.approx(1.0)


def test_a_clock_that_stays_moved_is_told(device: Device) -> None:
    subjects = [device.subject("a", 1.0)]
    journal = Journal(None, {})
    rounds = measure(subjects, Settings(rounds=7, retries=1), journal)
    for _ in range(5):
        next(rounds)
    device.slowness = 1.5
    next(rounds)
    assert journal.moved == {(5, "a")}
    assert summarise(*journal.of("a")).median_ms == pytest.approx(1.0)


def test_outliers_are_dropped_and_counted() -> None:
    time = summarise({n: ms for n, ms in enumerate([1.0, 1.01, 1.02, 0.99, 0.98, 9.0])}, set())
    assert time.n == 5 and time.dropped == 1 and time.median_ms == pytest.approx(1.0)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.sets(st.integers(0, 19)))
def test_a_summary_lies_within_its_visits(visits: list[float], moved: set[int]) -> None:
    time = summarise(dict(enumerate(visits)), moved)
    assert min(visits) <= time.median_ms <= max(visits)
    assert time.n + time.dropped == len(visits) and time.n >= 1 and time.iqr_ms >= 0


@given(st.floats(0.3, 3), st.floats(-0.5, 2), st.lists(st.floats(1, 20), min_size=5, max_size=15, unique=True))
def test_an_exact_scale_and_offset_are_found_with_no_error(scale: float, offset: float, sums: list[float]) -> None:
    if np.ptp(sums) < 0.5:
        return
    measured = [scale * x + offset + 1 for x in sums]
    found = validation.validate(sums, measured)
    assert found is not None and found["n"] == len(sums)
    assert found["scale"] == pytest.approx(scale, rel=1e-3)
    assert found["offset_ms"] == pytest.approx(offset + 1, abs=1e-2)
    assert found["mape"] < 1e-5 and found["max_error"] < 1e-4


def test_the_error_is_told_on_networks_left_out_of_the_fit() -> None:
    sums, measured = [1.0, 2, 3, 4, 5, 6], [1.0, 2, 3, 4, 5, 60]
    found = validation.validate(sums, measured)
    assert found is not None
    others = np.polyfit(sums[:5], measured[:5], 1)
    assert found["pairs"][5][0] == pytest.approx(np.polyval(others, 6.0))
    assert found["max_error"] == pytest.approx(max(abs(p / m - 1) for p, m in found["pairs"]), rel=1e-4)


def test_no_network_is_predicted_to_take_no_time() -> None:
    sums, measured = np.array([2.0, 3, 4, 5, 6]), np.array([0.1, 1, 2, 3, 4])
    assert validation.fit(sums, measured, base_ms=1.5)[1] == 0
    assert validation.fit(sums, measured, base_ms=2.5)[1] < 0


def test_too_few_networks_are_no_validation() -> None:
    assert validation.validate([1.0, 2.0], [1.0, 2.0]) is None
    found = validation.validate([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert found is not None and found["offset_ms"] == 0 and found["scale"] == pytest.approx(2)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=20))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, float).T
    expected = 0.0 if len(set(a)) == 1 or len(set(b)) == 1 else spearmanr(a, b)[0]
    assert validation.errors(a + 1, b + 1)["spearman"] == pytest.approx(expected, abs=1e-9)


def test_the_journal_replays_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, {"device": "x"})
    journal.add_visit(0, "a", 1.0)
    journal.add_reference(3.0)
    journal.mark_moved(0, ["a"])
    journal.add_visit(1, "a", 2.0)
    journal.close()
    again = Journal(path, {"device": "x"})
    assert (again.visits, again.references, again.moved) == (journal.visits, [3.0], {(0, "a")})
    again.add_visit(0, "a", 1.5)
    again.close()
    last = Journal(path, {"device": "x"})
    assert last.visits[0, "a"] == 1.5 and not last.moved
    last.close()


def test_the_machine_is_described_from_what_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores, zones = tmp_path / "cpu", tmp_path / "thermal"
    for core, khz in enumerate((1_800_000, 1_800_000, 2_400_000)):
        folder = cores / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (folder / "scaling_cur_freq").write_text("1500000\n")
        (folder / "scaling_governor").write_text("ondemand\n")
    (zones / "thermal_zone0").mkdir(parents=True)
    (zones / "thermal_zone0" / "temp").write_text("48500\n")
    (zones / "thermal_zone0" / "type").write_text("cpu-thermal\n")
    pinned: list[object] = []
    monkeypatch.setattr(machine, "CPU", cores)
    monkeypatch.setattr(machine, "THERMAL", zones)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(machine.os, "sched_setaffinity", lambda _, chosen: pinned.append(chosen), raising=False)
    with machine.pinned(1) as one, machine.pinned(2) as two:
        assert (one, two) == ([2], [1, 2])
    assert pinned == [[2], [1, 2], {0, 1, 2}, {0, 1, 2}]
    state = machine.describe([2])
    assert (state["governor"], state["clock_mhz"], state["celsius"]) == ("ondemand", 1500.0, {"cpu-thermal": 48.5})
    monkeypatch.setattr(machine, "CPU", tmp_path / "none")
    monkeypatch.setattr(machine, "THERMAL", tmp_path / "none")
    assert machine.describe(None)["governor"] is None


def test_a_journal_has_one_writer_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json.partial.jsonl"
    journal = Journal(path, {"device": "x"})
    journal.add_visit(0, "a", 1.0)
    for restart in (False, True):
        with pytest.raises(BundleError, match=f"being written by process {os.getpid()} on"):
            Journal(path, {"device": "x"}, restart)
    journal.close()
    for restart, visits in ((False, {(0, "a"): 1.0}), (True, {})):  # a refused restart has not emptied it
        with closing(Journal(path, {"device": "x"}, restart)) as journal:
            assert journal.visits == visits


@pytest.mark.parametrize(
    "line",
    [
        '{"round": 0, "name": "a", "ms": NaN}',
        '{"round": 0, "name": "a", "ms": -1}',
        '{"round": 0, "name": "a", "ms": true}',
        '{"round": 0.5, "name": "a", "ms": 1}',
        '{"round": -1, "moved": ["a"]}',
        '{"reference": Infinity}',
        '{"reference": "1"}',
        "[" * 5000 + "]" * 5000,
        "7",
        "",
        "\xff",
    ],
)
def test_a_line_that_was_changed_is_damage(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.json.partial.jsonl"
    Journal(path, {"device": "x"}).close()
    with path.open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(BundleError, match=r"is damaged .*--restart"):
        Journal(path, {"device": "x"})


def test_a_journal_cut_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.json.partial.jsonl"
    path.write_text('{"header": {"dev')
    for _ in range(2):
        with closing(Journal(path, {"device": "x"})) as journal:
            assert journal.visits == {}
