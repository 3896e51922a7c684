"""A signal stops the run that it meets, or the one around it; none is lost."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from supernet.engine.stopping import StopSignal


def test_a_signal_that_came_too_late_for_the_inner_run_stops_the_outer_one() -> None:
    with pytest.raises(RuntimeError, match="the outer one stops"), StopSignal() as outer:
        with StopSignal() as inner:
            signal.raise_signal(signal.SIGTERM)  # in its last step: it ends as ever
        assert inner.came and outer.came
        raise RuntimeError("the outer one stops")


def test_a_signal_that_was_answered_goes_no_further() -> None:
    with StopSignal() as outer:
        with pytest.raises(RuntimeError), StopSignal():
            signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("stopped")
        assert not outer.came


def test_without_one_around_ctrl_c_is_as_ever() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of pytest-xdist has its own
    with pytest.raises(KeyboardInterrupt), StopSignal():
        signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_in_a_thread_there_is_nothing_to_note() -> None:
    """Python sets handlers in the main thread alone; a notebook's or a server's thread may train."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: StopSignal().__enter__().came).result() is False
