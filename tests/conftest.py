"""Settings of the whole suite, and data that several files use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from few_digits import few_digits

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
    return few_digits(tmp_path_factory.mktemp("digits") / "few.npz", train=4, val=15, test=15)


@pytest.fixture
def image_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded pictures are kept in a folder of the test's own: this one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "supernet" / "images"


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(photos, a run of the teacher on them)."""
    from taught import taught_run

    return taught_run(tmp_path_factory.mktemp("taught"))
