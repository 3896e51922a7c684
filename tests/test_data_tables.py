"""What the text of a table means, and tables that contradict themselves or hide something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.commands import setting
from supernet.config import SearchConfig
from supernet.data import GroupedData, load_data
from supernet.data.cells import in_order, is_missing, is_unknown, meaning
from supernet.errors import UserError

HEADER = ["file_name", "label", "group", "split"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_rows(
    root: Path, labels: tuple[str, ...] = ("no", "yes"), groups: tuple[str, ...] = ("a", "b"), per_cell: int = 2
) -> list[list[str]]:
    """Rows of noise pictures, all different: so many of each label × group in each split."""
    rng, rows = np.random.default_rng(0), []
    for split in ("train", "val", "test"):
        for number in range(per_cell * len(labels) * len(groups)):
            name = f"{split}{number}.png"
            Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8)).save(root / name)
            rows.append([name, labels[number % len(labels)], groups[number // len(labels) % len(groups)], split])
    return rows


def write(root: Path, rows: list[list[str]], header: list[str] = HEADER, separator: str = ",", start: str = "") -> str:
    text = start + "\n".join(separator.join(row) for row in [header, *rows]) + "\n"
    (root / "metadata.csv").write_text(text, encoding="utf-8", newline="")
    return str(root)


def load(root: Path, rows: list[list[str]], **options: object) -> GroupedData:
    return load_data(write(root, rows), resolution=6, progress=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.0", "1"), ("1", "1"), ("10.00", "10"), ("-1.0", "-1"), ("+1", "1"), ("-0.0", "0"), ("0.50", "0.5"), (".5", "0.5"),
     ("100", "100"), ("007", "007"), ("-07", "-07"), ("1e3", "1e3"), (" yes\xa0", "yes"), ("NaN", "NaN"), ("1.2.3", "1.2.3"), ("e\u0301", "é"),
     ("12345678901234567890.0", "12345678901234567890"), ("1.000000000000000000e+00", "1"), ("-2.5E+01", "-25"), ("1e-02", "0.01"),
     ("1e+03", "1000"), ("0.0e+00", "0"), ("1e+999", "1e+999")],
)  # fmt: skip
def test_numbers_are_written_the_shortest_way(text: str, value: str) -> None:
    assert meaning(text) == value


def test_numbers_come_by_value_before_words() -> None:
    given = ["10", "9", "-1", "0.5", "b", "a", "-10", "1", "007"]
    assert in_order(given) == ("-10", "-1", "0.5", "1", "007", "9", "10", "a", "b")
    assert all(map(is_missing, ("", "NaN", "nan", "NA", "N/A", "null", "None", "<NA>"))) and not is_missing("unknown")
    assert is_unknown("Unknown") and not is_unknown("none of these") and not is_missing("0")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(("1", "-1"), ("-1", "1")), (("1.0", "0.0"), ("0", "1")), (("10.0", "9.0"), ("9", "10")), (("0.5", "-0.5"), ("-0.5", "0.5"))],
)  # fmt: skip
def test_classes_in_the_order_of_their_value(tmp_path: Path, labels: tuple[str, str], classes: tuple[str, str]) -> None:
    data = load(tmp_path, make_rows(tmp_path, labels))
    assert data.classes == classes and data.train.label_N[:2].tolist() == [1, 0]


def test_one_and_one_point_zero_are_one_class_and_one_group(tmp_path: Path) -> None:
    data = load(tmp_path, make_rows(tmp_path, ("1", "1.0", "2"), ("1", "0.0", "1.0", "0")))
    assert data.classes == ("1", "2") and data.attributes == {"group": ("0", "1")}


@pytest.mark.parametrize("word", ["nan", "NA", "None", "null", ""])
def test_missing_groups_are_unknown_and_counted(tmp_path: Path, word: str) -> None:
    rows = make_rows(tmp_path, per_cell=3)
    data = load(tmp_path, [[*row[:2], word if number < 2 else row[2], row[3]] for number, row in enumerate(rows)])
    assert data.attributes == {"group": ("a", "b")} and data.train.group_NA[:3, 0].tolist() == [-1, -1, 1]
    assert any(note.startswith("Unknown group: 2 of train") for note in data.notes)
    assert any(f'"{word}" (2)' in note for note in data.notes) == bool(word)


@pytest.mark.parametrize("word", ["nan", "NA", "None", "null", ""])
def test_missing_labels_are_counted_and_refused(tmp_path: Path, word: str) -> None:
    rows = make_rows(tmp_path)
    with pytest.raises(UserError, match=rf'3 rows have no value in column "label" \(the first: .*row 2, "{word}"'):
        load(tmp_path, [[row[0], word if number < 3 else row[1], *row[2:]] for number, row in enumerate(rows)])


def test_the_positive_class_becomes_the_second(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, ("defective", "sound"))
    usual, data = load(tmp_path, rows), load(tmp_path, rows, positive="defective")
    assert usual.classes == ("defective", "sound") and usual.positive is None
    assert data.classes == ("sound", "defective") and data.positive == "defective"
    assert np.array_equal(data.train.label_N, 1 - usual.train.label_N) and data.fingerprint != usual.fingerprint
    assert load(tmp_path, rows, positive="sound").fingerprint == usual.fingerprint
    with pytest.raises(UserError, match='"bad" of these does not: defective, sound'):
        load(tmp_path, rows, positive="bad")
    with pytest.raises(UserError, match=r"for two classes, and .* has 3: a, b, c"):
        load(tmp_path, make_rows(tmp_path, ("a", "b", "c")), positive="a")
    assert load(tmp_path, make_rows(tmp_path, ("0", "1")), positive="1.0").positive == "1"


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("said", [False, True])
def test_any_separator(tmp_path: Path, separator: str, said: bool) -> None:
    rows = make_rows(tmp_path)
    root = write(tmp_path, [*rows, ["", "", "", ""]], separator=separator, start=f"sep={separator}\n" if said else "")
    data = load_data(root, resolution=6, progress=False)
    assert len(data.train) == 8 and data.classes == ("no", "yes")
    start = f"sep={separator}\n" if said else ""
    rows += [["", "", "", ""], ["gone.png", "no", "a", "test"]]
    with pytest.raises(UserError, match=rf"row {27 + said}: no image file .*gone.png"):
        load_data(write(tmp_path, rows, separator=separator, start=start), resolution=6, progress=False)


def test_a_decimal_comma_beside_semicolons(tmp_path: Path) -> None:
    data = load_data(write(tmp_path, make_rows(tmp_path, ("1,0", "10,0", "2,5")), separator=";"), progress=False)
    assert data.classes == ("1", "2.5", "10")
    data = load_data(write(tmp_path, make_rows(tmp_path, ("1,0", "10,0", "2,5")), separator="\t"), progress=False)
    assert data.classes == ("1", "2.5", "10")


def test_a_column_that_is_missing_is_told_whatever_the_separator(tmp_path: Path) -> None:
    root = write(tmp_path, make_rows(tmp_path), ["file_name", "labels", "group", "split"], ";")
    with pytest.raises(UserError, match=r'no column "label"\. Did you mean "labels"'):
        load_data(root)


def test_a_column_twice_is_refused_but_not_columns_without_a_name(tmp_path: Path) -> None:
    rows = [[*row, "a", ""] for row in make_rows(tmp_path)]
    with pytest.raises(UserError, match='the column "group" twice'):
        load_data(write(tmp_path, rows, [*HEADER, "group", ""]), progress=False)
    assert load_data(write(tmp_path, rows, [*HEADER, "", ""]), resolution=6, progress=False).classes == ("no", "yes")


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\u202eb", "two\x07bells"])
def test_control_characters_in_names_are_refused_and_shown_escaped(tmp_path: Path, name: str) -> None:
    for column in (1, 2):
        rows = make_rows(tmp_path)
        rows[3][column] = name
        with pytest.raises(UserError, match="control characters") as caught:
            load(tmp_path, rows)
        assert name not in str(caught.value) and "row 5" in str(caught.value)


def test_file_names_of_windows_and_of_macos_are_found(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    (tmp_path / "über").mkdir()  # composed on disk
    (tmp_path / rows[0][0]).rename(tmp_path / "über" / "0.png")
    rows[0][0] = "u\u0308ber\\0.png"
    with pytest.raises(UserError, match="no image file"):
        load(tmp_path, rows)
    rows[0][0] = "u\u0308ber/0.png"
    rows[1][0], kept = "sub\\1.png", rows[1][0]
    (tmp_path / "sub").mkdir()
    (tmp_path / kept).rename(tmp_path / "sub" / "1.png")
    assert len(load(tmp_path, rows).train) == 8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("p 1", "p  1"),
        ("p 1", "p\xa01"),
        ("a", "“a”"),
        ("a", "a\u200b"),
        ("a", "\uff41"),
        ("1", "1e0"),
        ("7", "007"),
        ("x's", "x’s"),
    ],
)
def test_names_that_one_would_not_tell_apart_are_told(tmp_path: Path, one: str, other: str) -> None:
    data = load(tmp_path, make_rows(tmp_path, (one, other)))
    assert len(data.classes) == 2
    assert any("differ only in spelling" in note and f'"{one}"' in note and f'"{other}"' in note for note in data.notes)
    assert not any("differ only" in note for note in load(tmp_path, make_rows(tmp_path, ("a1", "a-1", "11"))).notes)


def test_the_mix_of_groups_and_of_classes_inside_a_group_is_told(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, per_cell=40)
    assert not any("differ" in note for note in load(tmp_path, rows).notes)
    test = [row for row in rows if row[3] == "test"]
    group = test[0][2]
    turned = [[*row[:1], {"yes": "no", "no": "yes"}[row[1]], *row[2:]] for row in test]
    # in one group three of four are "yes", in the other one of four: all in all half of them, as in train
    for number, row in enumerate(test):
        if number // 4 % 2 and row[1] == ("no" if row[2] == group else "yes"):
            row[:] = turned[number]
    told = load(tmp_path, rows).notes
    (note,) = [note for note in told if "inside a group" in note]
    assert (
        "50.0% of train, 50.0% of val, 75.0% of test" in note or "50.0% of train, 50.0% of val, 25.0% of test" in note
    )
    assert "2 groups" in note and not any(note.startswith("Class shares differ between the splits:") for note in told)
    fewer = [row for number, row in enumerate(make_rows(tmp_path, per_cell=40)) if row[3] != "test" or row[2] != group or number // 4 % 4 == 0]  # fmt: skip
    (note,) = [note for note in load(tmp_path, fewer).notes if "mixes of groups" in note]
    assert "of group is 50.0% of train, 50.0% of val, 80.0% of test" in note or "20.0% of test" in note


def test_capital_letters_are_kept_apart_with_a_note(tmp_path: Path) -> None:
    data = load(tmp_path, make_rows(tmp_path, ("Cat", "cat")))
    assert data.classes == ("Cat", "cat") and any(
        '"Cat" and "cat" differ only in capital letters' in n for n in data.notes
    )


# --- the same picture more than once ---


def refusal(root: Path, rows: list[list[str]], **options: object) -> str:
    """What the commands say of the table."""
    config = SearchConfig(data=write(root, rows), **options)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        setting.read_data(config, 6)
    return str(caught.value)


def test_the_same_file_in_two_splits_is_refused_unless_allowed(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    rows += [[*row[:3], "test"] for row in rows if row[3] == "train"]
    said = refusal(tmp_path, rows)
    assert "both train and test: 8 of 16 images of test" in said and "--allow-duplicates" in said
    assert "row 2, train0.png" in said and "row 26, train0.png" in said
    data = setting.read_data(SearchConfig(data=write(tmp_path, rows), allow_duplicates=True), 6)
    assert any("both train and test: 8 of 16" in note for note in data.notes)


def test_the_same_pixels_under_two_names_and_formats_are_found(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    with Image.open(tmp_path / "train0.png") as image:
        image.convert("RGB").save(tmp_path / "val0.png")
        image.save(tmp_path / "other.bmp")
    assert "both train and val: 1 of 8" in refusal(tmp_path, rows)
    rows[1] = ["other.bmp", "no", "a", "train"]
    rows[16][0] = "train0.png"
    assert "both train and test" in refusal(tmp_path, rows)


@pytest.mark.parametrize(("column", "what"), [(1, "labels"), (2, "groups of group")])
def test_one_picture_with_two_labels_or_groups_is_always_refused(tmp_path: Path, column: int, what: str) -> None:
    rows = make_rows(tmp_path)
    again = list(rows[0])
    again[column] = rows[3][column]
    for name in ("train0.png", "copy.png"):
        (tmp_path / name).write_bytes((tmp_path / "train0.png").read_bytes())
        again[0] = name
        said = refusal(tmp_path, [*rows, again], allow_duplicates=True)
        assert (
            f"The same picture has two {what}: " in said and "row 2, train0.png" in said and f"row 26, {name}" in said
        )


def test_all_rows_of_a_table_are_compared_by_name_however_few_are_drawn(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, per_cell=30)
    rows += [[*row[:3], "test"] for row in rows[:1]]
    assert "both train and test" in refusal(tmp_path, rows, max_train=4)


def test_repeats_inside_a_split_and_unknown_groups_are_no_contradiction(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    data = setting.read_data(SearchConfig(data=write(tmp_path, [*rows, [*rows[0][:2], "unknown", "train"]])), 6)
    assert any(note.startswith("1 of 9 images of train repeat another") for note in data.notes)


def test_our_own_splits_do_not_part_copies(tmp_path: Path) -> None:
    rows = [row[:3] for row in make_rows(tmp_path, per_cell=4)]
    for row in list(rows):
        (tmp_path / f"copy-{row[0]}").write_bytes((tmp_path / row[0]).read_bytes())
        rows.append([f"copy-{row[0]}", *row[1:]])
    data = load_data(write(tmp_path, rows, HEADER[:3]), resolution=6, progress=False)
    assert data.repeats.across_splits is None and data.repeats.contradiction is None
    assert len(data.train) + len(data.val) + len(data.test) == 96 and len(data.test) == 20


# --- what is to be said of the pictures and the splits ---


def test_constant_pictures_are_said_and_are_no_copies(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    for row in rows:
        Image.new("L", (6, 6)).save(tmp_path / row[0])
    data = setting.read_data(SearchConfig(data=write(tmp_path, rows)), 6)
    assert any(note.startswith("All 24 pictures are constant") for note in data.notes)
    Image.effect_noise((6, 6), 50).save(tmp_path / rows[0][0])
    assert any(note.startswith("23 of 24 pictures are constant") for note in load(tmp_path, rows).notes)


def test_pictures_of_12_bits_are_read_on_one_scale(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    for number, row in enumerate(rows):
        values = np.full((6, 6), 100 if number else 4000, np.uint16)
        values[0, 0] += number
        Image.fromarray(values).save(tmp_path / row[0])
    data = load(tmp_path, rows)
    assert data.train.images_NCHW[0, 0, 3, 3] == 249 and data.train.images_NCHW[1, 0, 3, 3] == 6
    note = next(note for note in data.notes if "more than 8 bits" in note)
    assert "24 pictures have whole numbers" in note and "4095 was read as white. 23 of them are darker" in note


def test_colour_beside_grey_and_channels(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    assert load(tmp_path, rows).channels == 1 and load(tmp_path, rows).first_colour is None
    coloured = np.random.default_rng(1).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coloured).save(tmp_path / rows[20][0])
    data = load(tmp_path, rows)
    assert data.channels == 3 and data.first_colour is not None and "row 22" in data.first_colour
    assert any("1 of 24 pictures is in colour, such as" in note and "--channels 1" in note for note in data.notes)
    grey = load(tmp_path, rows, channels=1)
    assert grey.channels == 1 and any("1 of 24 pictures are in colour and were read in grey" in n for n in grey.notes)
    expected = np.asarray(Image.fromarray(coloured).convert("L"))
    assert np.array_equal(grey.test.images_NCHW[4, 0], expected)
    assert load_data("writers", channels=3, max_train=40, max_eval=40).train.images_NCHW.shape[1] == 3
    with pytest.raises(UserError, match="channels must be 1"):
        load(tmp_path, rows, channels=2)


def test_class_shares_that_differ_are_told_with_their_figures(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, per_cell=50)
    assert not any("Class shares" in note for note in load(tmp_path, rows).notes)
    test = [number for number, row in enumerate(rows) if row[3] == "test" and row[1] == "yes"]
    for number in test[: len(test) * 4 // 5]:
        rows[number][1] = "no"
    note = next(note for note in load(tmp_path, rows).notes if "Class shares" in note)
    assert '"yes" is 50.0% of train, 50.0% of val, 10.0% of test' in note


def test_a_class_that_a_split_lacks_is_told(tmp_path: Path) -> None:
    rows = [row for row in make_rows(tmp_path, ("a", "b", "c")) if row[3] != "test" or row[1] != "b"]
    assert 'No image of test is of class "b": nothing can be said of it there.' in load(tmp_path, rows).notes


def test_a_group_too_small_for_our_splits_is_named(tmp_path: Path) -> None:
    rows = [row[:3] for row in make_rows(tmp_path, per_cell=5)]
    rows[0][2] = rows[1][2] = "rare"
    with pytest.raises(UserError, match=r'2 images of group "rare" of attribute "group": .* takes 3\.'):
        load_data(write(tmp_path, rows, HEADER[:3]), resolution=6, progress=False)


def test_a_missing_column_says_which_options_name_columns(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("picture;diagnosis;sex\n1.png;a;f\n")
    with pytest.raises(UserError, match=r'has no column "file_name".*Known: .*--file-col, --label-col'):
        load_data(str(tmp_path), resolution=32, label_col="diagnosis", group_cols=["sex"])
