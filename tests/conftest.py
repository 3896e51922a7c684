"""Settings of the whole suite, and data that several files use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources

import numpy as np
import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: several processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("quick", max_examples=50, deadline=None)  # no timed asserts: machines differ
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the person's own cache is read or written, and processes of one suite do not share any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """--data: `writers` with few images of each class and group (4 in train, 15 in val and in test), so that runs are quick."""
    arrays = {}
    with np.load(str(resources.files("supernet.data") / "writers.npz")) as whole:
        for split, each in (("train", 4), ("val", 15), ("test", 15)):
            label_N, student_N = whole[f"{split}_labels"], whole[f"{split}_student"]
            cells = [np.flatnonzero((label_N == c) & (student_N == s))[:each] for c in range(10) for s in (0, 1)]
            index_N = np.concatenate(cells)
            arrays |= {f"{split}_{what}": whole[f"{split}_{what}"][index_N] for what in ("images", "labels", "student")}
    path = tmp_path_factory.mktemp("digits") / "few.npz"
    np.savez_compressed(path, **arrays)
    return f"writers:{path}"
