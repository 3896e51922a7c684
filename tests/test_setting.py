"""What would fail after hours is refused at the start."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from test_preprocessing import photo

from supernet.commands.setting import read_data
from supernet.config import SearchConfig
from supernet.errors import UserError


def write(path: Path, rows: list[tuple[str, str, str, str]]) -> str:
    """A folder with a photo for each row of label, sex, age, split."""
    path.mkdir()
    with (path / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "label", "sex", "age", "split"))
        for number, row in enumerate(rows):
            photo(40, 40, seed=number).save(path / f"{number}.png")
            table.writerow((f"{number}.png", *row))
    return str(path)


FULL = [
    (label, sex, age, split) for split in ("train", "val", "test") for label in "ab" for sex in "fm" for age in "oy"
]


@pytest.mark.parametrize(("split", "told"), [("train", "search-train"), ("val", "search-val"), ("test", "test")])
def test_an_intersection_that_no_image_of_a_split_has_is_refused(tmp_path: Path, split: str, told: str) -> None:
    rows = [row for row in FULL if row[3] != split]
    rows += [(label, sex, "unknown", split) for label in "ab" for sex in "fm"]
    rows += [(label, "unknown", age, split) for label in "ab" for age in "oy"]
    data = write(tmp_path / "d", rows)
    with pytest.raises(UserError, match=rf'No image of {told} has a known group of "sex × age"'):
        read_data(SearchConfig(data=data, group_cols="sex,age", intersections=True), 8)
    assert len(read_data(SearchConfig(data=data, group_cols="sex,age"), 8).attributes) == 2


def test_a_name_that_derived_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    long = "x" * 501
    data = write(tmp_path / "d", [(row[0].replace("a", long), *row[1:]) for row in FULL])
    with pytest.raises(UserError, match="501 characters"):
        read_data(SearchConfig(data=data, group_cols="sex"), 8)
    assert len(read_data(SearchConfig(data=write(tmp_path / "e", FULL), group_cols="sex,age", intersections=True), 8).attributes) == 3  # fmt: skip
