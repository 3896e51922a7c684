"""Which strategy a search from a teacher has where none was named: by how much smaller than the teacher the network must be."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from supernet.config import SearchConfig, limits_of
from supernet.problem import Region
from supernet.spaces import SearchSpace
from supernet.spaces.lite import uniform_sizes

LOOSE = 0.4  # of the teacher's latency: half way between where the search gained nothing (.5) and something (.3), docs/pretrained.md
_OF_A_SEARCH = {"strategy", "quality", "candidates", "max_gap"}  # who gives one of these wants one


def usual_strategy(
    config: SearchConfig, given: Collection[str], space: SearchSpace, main: Region
) -> tuple[str, tuple[str, ...]]:
    """The strategy, and with a loose budget a line that says why it is the uniform network. A run that is continued keeps what it has.

    given: names of the options that were given.  main: the device and budget.
    """
    if config.teacher is None or config.resume is not None or limits_of(config) or _OF_A_SEARCH & set(given):
        return config.strategy, ()
    whole_ms = main.latency.total(np.nanargmax(uniform_sizes(space), axis=1))
    share = main.limit_ms / whole_ms
    if not LOOSE <= share < 1:
        return config.strategy, ()
    note = (
        f"The budget is {share:.0%} of the teacher's {whole_ms:.4g} ms. From {LOOSE:.0%} on a search brought nothing over the uniform "
        "network, so that is derived. --strategy blockwise searches."
    )
    return "uniform", (note,)
