"""Where each activation of a chain of operators lies in one block of memory, so that the block is as small as can be.

tflite-micro's own planner puts the largest first and lost up to a quarter on networks of ours (benchmarks/small_memory.py). The file may say
the places itself ("OfflineMemoryAllocation" in tflite-micro's docs/memory_management.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALIGNED = 16  # bytes, tflite-micro's
TRIES = 300  # random orders, if none of the usual ones is as good as can be


def offsets(size_T: Sequence[int], first_T: Sequence[int], last_T: Sequence[int]) -> tuple[list[int], int]:
    """(byte where each tensor begins, bytes in all): no two overlap that are alive at one operator.

    size_T: bytes.  first_T, last_T: the operators that it is alive from and to, both included. Each is put at the lowest place that is
    free, in the order that does best; orders end when the most that is alive at once is reached, below which nothing can be.
    """
    size = [-(-size // ALIGNED) * ALIGNED for size in size_T]
    least = max(
        (sum(size[t] for t in range(len(size)) if first_T[t] <= now <= last_T[t]) for now in {*first_T}), default=0
    )
    life = [last - first for first, last in zip(first_T, last_T, strict=True)]
    rng, every = np.random.default_rng(0), range(len(size))
    usual = [sorted(every, key=lambda t: -size[t]), sorted(every, key=lambda t: -size[t] * (1 + life[t])),
             sorted(every, key=lambda t: (first_T[t], -size[t])), sorted(every, key=lambda t: -last_T[t])]  # fmt: skip
    best: tuple[list[int], int] = ([], 0)
    for number in range(len(usual) + TRIES):
        order = usual[number] if number < len(usual) else rng.permutation(len(size)).tolist()
        found = _placed(order, size, first_T, last_T)
        if number == 0 or found[1] < best[1]:
            best = found
        if best[1] <= least:
            break
    return best


def _placed(order: Sequence[int], size: Sequence[int], first_T: Sequence[int], last_T: Sequence[int]) -> tuple[list[int], int]:  # fmt: skip
    begin: dict[int, int] = {}
    for t in order:
        beside = sorted((begin[o], begin[o] + size[o]) for o in begin if first_T[o] <= last_T[t] and first_T[t] <= last_T[o])  # fmt: skip
        place = 0
        for low, high in beside:
            if place + size[t] <= low:
                break
            place = max(place, high)
        begin[t] = place
    return [begin[t] for t in range(len(size))], max((begin[t] + size[t] for t in begin), default=0)
