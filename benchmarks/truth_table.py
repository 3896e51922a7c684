"""Reads `benchmarks/truth/writers_micro.npz`: true accuracy, gap and latency of every architecture of `micro32`.

Shapes: N architectures (rows in the order of `index_NL`), S seeds, G groups, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from supernet.costs.analytic import macs_table, params_table
from supernet.costs.latency import load_table
from supernet.spaces import SearchSpace, get_space
from supernet.strategies.region import Region

TABLE = Path(__file__).parent / "truth" / "writers_micro.npz"


@dataclass(frozen=True)
class Truth:
    """The table's arrays, and what is computed from them. Architectures that are not finished are left out."""

    arrays: dict[str, np.ndarray]
    card: dict[str, Any]

    @classmethod
    def load(cls, path: Path = TABLE, seeds: int | None = None) -> Truth:
        """The finished architectures with the first `seeds` seeds: by default as many as all of them have, or one."""
        with np.load(path) as file:
            arrays = dict(file)
        card = json.loads(str(arrays.pop("card")))
        done_NS = np.isfinite(arrays["seconds"])
        shape = done_NS.shape
        seeds = seeds or max(1, int(done_NS.all(0).cumprod().sum()))
        rows_N = done_NS[:, :seeds].all(1)
        for name, value in arrays.items():
            if value.shape[:2] == shape:
                arrays[name] = value[rows_N, :seeds]
            elif value.shape[:1] == shape[:1]:
                arrays[name] = value[rows_N]
        return cls(arrays, card)

    @property
    def space(self) -> SearchSpace:
        return get_space(self.card["space"])

    @cached_property
    def index_NL(self) -> np.ndarray:
        return self.arrays["index"].astype(np.int64)

    @cached_property
    def row_of(self) -> dict[bytes, int]:
        return {index_L.tobytes(): row for row, index_L in enumerate(self.index_NL)}

    def row(self, index_L: np.ndarray) -> int:
        """Row of an architecture."""
        return self.row_of[np.asarray(index_L, np.int64).tobytes()]

    def group_accuracy_NSG(self, split: str) -> np.ndarray:
        """Accuracy of each group."""
        return self.arrays[f"correct_{split}"].sum(-1) / self.arrays[f"total_{split}"].sum(-1)

    def error_NS(self, split: str) -> np.ndarray:
        """1 − mean group accuracy (mean over groups)."""
        return 1 - self.group_accuracy_NSG(split).mean(-1)

    def gap_NS(self, split: str) -> np.ndarray:
        """Accuracy-parity gap (max − min over groups)."""
        return np.ptp(self.group_accuracy_NSG(split), axis=-1)

    @property
    def seeds(self) -> int:
        """Trainings of each architecture."""
        return int(self.arrays["seconds"].shape[1])

    def of_seeds(self, columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(error_N, gap_N) on test: mean error, and gap of the group accuracies' means, over these seeds."""
        accuracy_NG = self.group_accuracy_NSG("test")[:, list(columns)].mean(1)
        return 1 - accuracy_NG.mean(1), np.ptp(accuracy_NG, axis=1)

    @cached_property
    def error_N(self) -> np.ndarray:
        """The truth: test error, mean over seeds."""
        return self.of_seeds(range(self.seeds))[0]

    @cached_property
    def gap_N(self) -> np.ndarray:
        """The truth: test gap of the group accuracies' means over seeds."""
        return self.of_seeds(range(self.seeds))[1]

    def latency_N(self, device: str) -> np.ndarray:
        """Predicted latency by today's table, ms: what the searches see. The file has that of the tables of its own day."""
        return load_table(device).cost(self.space).totals(self.index_NL)

    def budgets_ms(self, device: str) -> list[float]:
        """Three budgets: the latencies that a quarter, a half and three quarters of the architectures keep."""
        return [round(float(q), 3) for q in np.quantile(self.latency_N(device), [0.25, 0.5, 0.75])]

    def region(self, device: str, budget_ms: float) -> Region:
        """The architectures inside the budget, as the strategies see them."""
        space = self.space
        costs = {
            "latency": load_table(device).cost(space),
            "macs": macs_table(space, 1, 10),
            "params": params_table(space, 1, 10),
        }
        return Region(space.valid_LK, costs, {"latency": budget_ms})
