"""SciPy's mixed-integer solver (HiGHS) without the lines that it writes to standard output by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp


def solve(goal_V: np.ndarray, rules: list[LinearConstraint], bounds: Bounds, whole_V: np.ndarray) -> np.ndarray | None:
    """(V,) values with the least goal, proven; `whole_V` is 1 where a value must be whole. None where nothing keeps the rules."""
    with _quiet():
        found = milp(goal_V, constraints=rules, bounds=bounds, integrality=whole_V, options={"mip_rel_gap": 0.0})
    return found.x


@contextmanager
def _quiet() -> Iterator[None]:
    """HiGHS prints from C++, past `sys.stdout`: so the process' own file of that name leads nowhere meanwhile."""
    try:
        kept = os.dup(1)
    except OSError:  # closed: nothing can be printed
        yield
        return
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
