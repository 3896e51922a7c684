"""The mixed-integer solver's own output stays off the screen."""

import os
from unittest.mock import patch

import numpy as np
from scipy.optimize import Bounds, milp

from supernet import solver


def test_the_solver_writes_nothing_to_standard_output(capfd) -> None:
    def speak(*arguments: object, **more: object) -> object:
        os.write(1, b"HighsMipSolverData\n")  # as its C++ does, past sys.stdout
        return milp(*arguments, **more)

    with patch.object(solver, "milp", speak):
        print("before")
        assert solver.solve(np.array([-1.0]), [], Bounds(0, 2), np.array([1])) == [2]
        print("after")
    assert capfd.readouterr().out == "before\nafter\n"
