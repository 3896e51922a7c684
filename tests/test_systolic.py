"""A systolic array's cycles: against a count of tiles one by one, against the table, and in the integer programme."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.blocks.primitives import Product, conv, elementwise
from supernet.commands.budgets import require_format
from supernet.commands.main import main
from supernet.costs.analytic import macs_table
from supernet.costs.latency import load_table
from supernet.costs.systolic import Array, utilisation
from supernet.derive import best_first
from supernet.errors import UserError
from supernet.spaces import get_space
from supernet.transfer.kernel_model import table_for

SIDE = st.integers(1, 40)
FBNET32, MICRO32 = get_space("fbnet32"), get_space("micro32")
TABLE = load_table("systolic-16x16")


def cycles_one_by_one(array: Array, product: Product) -> int:
    """One cycle for each pixel and each tile of weights; a tile starts at every `rows`-th term and `columns`-th channel."""
    tiles = [(term, column) for term in range(0, product.terms, array.rows) for column in range(0, product.columns, array.columns)]  # fmt: skip
    return sum(1 for _ in range(product.groups) for _ in tiles for _ in range(product.pixels))


@given(rows=SIDE, columns=SIDE, pixels=st.integers(1, 9), terms=SIDE, width=SIDE, groups=st.integers(1, 3))
def test_cycles_are_the_tiles_counted_one_by_one(rows: int, columns: int, pixels: int, terms: int, width: int, groups: int) -> None:  # fmt: skip
    array, product = Array(rows, columns, 500), Product(pixels, terms, width, groups)
    assert array.cycles(product) == cycles_one_by_one(array, product)
    assert array.cycles(product) * rows * columns >= product.macs  # never more than every cell in every cycle


@given(rows=SIDE, columns=SIDE, times=st.integers(1, 5))
def test_a_whole_number_of_tiles_fills_the_array_and_one_more_begins_another(
    rows: int, columns: int, times: int
) -> None:
    array = Array(rows, columns, 500)
    assert array.cycles(Product(7, times * rows, columns)) == 7 * times
    assert array.cycles(Product(7, times * rows + 1, columns)) == 7 * (times + 1)
    assert array.cycles(Product(7, rows, times * columns + 1)) == 7 * (times + 1)


@given(rows=SIDE, columns=SIDE, terms=SIDE, width=SIDE)
def test_more_work_never_takes_less_and_more_cells_never_more(rows: int, columns: int, terms: int, width: int) -> None:
    array, product = Array(rows, columns, 500), Product(4, terms, width)
    assert (
        array.cycles(Product(4, terms + 1, width))
        >= array.cycles(product)
        <= array.cycles(Product(4, terms, width + 1))
    )
    assert Array(rows + 1, columns, 500).cycles(product) <= array.cycles(product) >= Array(rows, columns + 1, 500).cycles(product)  # fmt: skip


def test_the_formulas_of_the_paper_by_hand() -> None:
    array = Array(16, 16, 500)
    dense, depthwise = conv("dense", 3, 24, 40, 1, 8, 1), conv("depthwise5", 5, 24, 24, 24, 8, 2)
    assert dense.product is not None and depthwise.product is not None
    assert array.cycles(dense.product) == 14 * 3 * 64  # ⌈216/16⌉ ⌈40/16⌉ 8 · 8
    assert array.cycles(depthwise.product) == 2 * 24 * 16  # ⌈25/16⌉ 24 · 4 · 4
    assert array.ms([dense, elementwise(40, 8)]) == pytest.approx(14 * 3 * 64 / 500e3)
    assert array.share_used([depthwise]) == pytest.approx(25 / 32 / 16)
    assert array.share_used([elementwise(40, 8)]) is None


@pytest.mark.parametrize("space", ["fbnet32", "micro32", "flex32", "dense32", "lite64", "sensor96"])
def test_utilisation_times_peak_times_latency_is_the_macs(space: str) -> None:
    of = get_space(space)
    table, notes = table_for(TABLE, of)
    assert table.array is not None and table.hash == TABLE.hash and not notes
    rng = np.random.default_rng(0)
    index_L = np.array([rng.choice(np.flatnonzero(row)) for row in of.valid_LK])
    used = utilisation(table.array, of, of.names(index_L))
    macs = macs_table(of, table.array.channels, table.array.classes).total(index_L)
    assert 256 * 500e3 * table.cost(of).total(index_L) * used.whole == pytest.approx(macs, rel=1e-9)
    assert all(share is None or 0 < share <= 1 for share in used.by_layer)


def test_the_shipped_table_is_what_the_command_makes(tmp_path: Path) -> None:
    out = tmp_path / "mine.json"
    main(["lut", "model", "--rows", "16", "--columns", "16", "--clock-mhz", "500", "--out", str(out)])
    assert load_table(str(out)).content == TABLE.content
    assert TABLE.provenance == "modelled" and TABLE.dtype == "int8" and TABLE.error is None


@pytest.mark.parametrize(("field", "says"), [("base_ms", "base_ms"), ("rows", "base_ms"), ("entry", r"entries\[3\]")])
def test_a_table_that_its_model_does_not_give_is_refused(field: str, says: str, tmp_path: Path) -> None:
    content = json.loads(json.dumps(TABLE.content))
    if field == "entry":
        content["entries"][3]["median_ms"] *= 1.01
    elif field == "rows":
        content["model"]["rows"] = 8
    else:
        content["base_ms"] *= 2
    path = tmp_path / "board.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{says}.*its model .* gives"):
        load_table(str(path))


def test_a_planted_network_is_found_where_its_cycles_fit_and_its_macs_do_not_tell() -> None:
    """Of all that fit the modelled budget the planted one is best; a budget of its MACs would leave in what is slower."""
    cost = table_for(TABLE, MICRO32)[0].cost(MICRO32)
    rng = np.random.default_rng(1)
    every = np.array(np.meshgrid(*[np.flatnonzero(row) for row in MICRO32.valid_LK], indexing="ij")).reshape(5, -1).T
    score_LK = rng.normal(size=MICRO32.valid_LK.shape)
    limit = float(np.median(cost.totals(every)))
    fits = every[cost.totals(every) <= limit]
    planted = fits[score_LK[np.arange(5), fits].sum(axis=1).argmax()]
    found = next(best_first(score_LK, MICRO32.valid_LK, [cost], {"latency": limit}))
    assert found.tolist() == planted.tolist()
    macs_N, ms_N = macs_table(MICRO32, 3, 10).totals(every), cost.totals(every)
    assert (np.argsort(macs_N) != np.argsort(ms_N)).any()


def test_a_wrong_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["lut", "model", "--rows", "0", "--columns", "16", "--clock-mhz", "500"])
    assert stop.value.code == 2 and "rows" in capsys.readouterr().err


def test_a_new_table_has_a_name_and_replaces_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = ["lut", "model", "--rows", "4", "--columns", "4", "--clock-mhz", "500"]
    (tmp_path / "there.json").write_text("hours of measurement")
    for own in (["--device", "a`b"], ["--device", ""], ["--out", str(tmp_path / "there.json")]):
        with pytest.raises(SystemExit) as stop:
            main([*model, "--out", str(tmp_path / "new.json"), *own])
        assert stop.value.code == 2 and not (tmp_path / "new.json").exists()
    assert (
        tmp_path / "there.json"
    ).read_text() == "hours of measurement" and "is there already" in capsys.readouterr().err


def test_another_number_format_of_a_modelled_table_names_the_command_that_makes_it() -> None:
    space = get_space("micro32")
    with pytest.raises(
        UserError, match=r"lut model --rows 16 --columns 16 --clock-mhz 500 --space micro32 --dtype float32"
    ):
        require_format(load_table("systolic-16x16"), "float32", space)
    with pytest.raises(UserError, match=r"lut build --space micro32 --dtype int8 --device rpi4"):
        require_format(load_table("rpi4"), "int8", space)
