"""The benchmarks' records: what is written is read again, and figures come with the records that they are of."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

from results_io import RESULTS, read_records, read_results, write_results  # noqa: E402


@pytest.mark.parametrize("records", [[], [{"seed": 0, "gap": None}, {"seed": 1, "gap": np.float32(0.5)}]])
def test_records_are_read_as_written(tmp_path, records):
    write_results("one", {"gap": 0.5}, records, folder=tmp_path)
    assert read_records("one", tmp_path) == records
    assert read_results("one", tmp_path)["summary"] == {"gap": 0.5}


def test_records_of_another_summary_are_refused(tmp_path):
    write_results("one", {"gap": 0.5}, [{"seed": 0}], folder=tmp_path)
    path = tmp_path / "one.records.json.gz"
    first = path.read_bytes()
    write_results("one", {"gap": 0.5}, [{"seed": 1}], folder=tmp_path)
    path.write_bytes(first)
    with pytest.raises(ValueError, match="not of one run"):
        read_records("one", tmp_path)


def test_nan_leaves_the_earlier_files_alone(tmp_path):
    write_results("one", {}, [{"seed": 0}], folder=tmp_path)
    for summary, record in (({}, {"seed": float("nan")}), ({"gap": float("inf")}, {"seed": 1})):
        with pytest.raises(ValueError):
            write_results("one", summary, [record], folder=tmp_path)
    assert read_records("one", tmp_path) == [{"seed": 0}]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_result_has_its_records(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "date", "commit", "machine", "versions", "summary"} <= result.keys()
    assert len(read_records(path.stem)) == result["records"]["number"]


def test_a_command_has_no_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = RESULTS.parent / "search_value.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--folder", "/work/value/cifar", "--times", ".75,2"])
    write_results("x", {}, [], folder=tmp_path)
    told = read_results("x", tmp_path)["command"]
    assert told == "python benchmarks/search_value.py --folder cifar --times .75,2"
