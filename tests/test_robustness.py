"""A short form of benchmarks/robustness.py: files that were changed on the way are refused in one line, or taken; never more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from listed import listed_changes
from readers import make_samples
from robustness import mutants_of, outcome, wrong_states

SLOW = {"measured.csv": 4, "sweep.yaml": 10, "checkpoint.pt": 10}
KINDS = ("derived.json", "model.json", "config.json", "front.json", "metrics.jsonl", "evaluations.jsonl", "table.json", "measured.csv", "metadata.csv",
         "sweep.yaml", "run.yaml", "manifest.json", "checkpoint.pt", "model.safetensors", "predictions.npz", "digits.npz")  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("robustness")


@pytest.fixture(scope="module")
def samples(work: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    return make_samples(work)


def test_every_kind_of_file_is_tried(samples: dict[str, Any]) -> None:
    assert set(samples) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_mutants_end_in_one_line_or_are_taken(samples: dict[str, Any], work: Path, name: str) -> None:
    found = mutants_of(name, samples[name], SLOW.get(name, 30), work)
    assert found["traceback"] == 0, found["faults"]
    assert found["refused"] > 0


def test_checkpoints_of_other_types_are_refused(samples: dict[str, Any], work: Path) -> None:
    found = wrong_states(4, work)
    assert found["traceback"] == 0, found["faults"]


def test_what_must_not_be_taken_in_silence(samples: dict[str, Any], work: Path) -> None:
    for change in listed_changes(work, samples):
        verdict, said = outcome(change.read)
        assert verdict == "refused" or (verdict == "taken" and said), (change.name, verdict, said)
