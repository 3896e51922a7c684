"""Places of activations in one block: none overlaps, and a chain of operators takes what is alive at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supernet.packing import ALIGNED, offsets

tensors = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=12)


@given(tensors)
def test_no_two_that_are_alive_together_overlap(drawn: list[tuple[int, int, int]]) -> None:
    size, first, life = (list(column) for column in zip(*drawn, strict=True))
    last = [begin + own for begin, own in zip(first, life, strict=True)]
    begins, total = offsets(size, first, last)
    aligned = [-(-one // ALIGNED) * ALIGNED for one in size]
    assert all(begin % ALIGNED == 0 and 0 <= begin <= total - own for begin, own in zip(begins, aligned, strict=True))
    for a in range(len(size)):
        for b in range(a):
            if first[a] <= last[b] and first[b] <= last[a]:
                assert begins[a] + aligned[a] <= begins[b] or begins[b] + aligned[b] <= begins[a]
    alive = [sum(own for own, f, e in zip(aligned, first, last, strict=True) if f <= now <= e) for now in first]
    assert max(alive) <= total <= sum(aligned)


def test_a_network_that_the_largest_first_packs_poorly_takes_what_is_alive() -> None:
    """micro32's skip skip k5_e1 skip skip: operators' inputs and outputs, and the input of its residual block."""
    size = [1024, 1156, 8192, 4096, 4096, 4096, 4096, 4096, 7168, 2944, 4096, 256, 10]
    first = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    last = [0, 1, 2, 3, 6, 5, 6, 7, 8, 9, 10, 11, 12]
    _, total = offsets(size, first, last)
    assert total == 12288
