"""Who says how good an architecture is: each gives an `Evaluate`, (L,) → objectives by name, for the driver."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from supernet.errors import UserError
from supernet.strategies.driver import Evaluate


def table(index_NL: np.ndarray, objectives: Mapping[str, np.ndarray]) -> Evaluate:
    """Looks up known results: row n of `index_NL` (N, L) has the n-th value of each (N,) array of `objectives`.

    An array named `seconds` is what each evaluation is charged. Raises UserError for arrays that do not fit, and when it
    is asked for an architecture that is not in the table.
    """
    index_NL = np.asarray(index_NL, np.int64)
    wrong = [name for name, value_N in objectives.items() if np.shape(value_N) != (len(index_NL),)]
    if wrong or not np.isfinite(np.array(list(objectives.values()), float)).all():
        raise UserError(f"Every objective of the table needs {len(index_NL)} finite numbers ({', '.join(wrong)}).")
    row = {index_L.tobytes(): n for n, index_L in enumerate(index_NL)}
    if len(row) < len(index_NL):
        raise UserError("An architecture stands twice in the table.")

    def evaluate(index_L: np.ndarray) -> dict[str, float]:
        n = row.get(np.asarray(index_L, np.int64).tobytes())
        if n is None:
            raise UserError(f"The table has no architecture {np.asarray(index_L).tolist()}.")
        return {name: float(value_N[n]) for name, value_N in objectives.items()}

    return evaluate
