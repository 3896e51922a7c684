"""Few-shot latency: encoding, predictors, sampling, the adapted table."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from supernet.blocks.ops import OPS
from supernet.costs.latency import load_table, require_good
from supernet.errors import UserError
from supernet.spaces import TABLE_SPACES, get_space
from supernet.transfer import adapt as adapting
from supernet.transfer import bayes
from supernet.transfer.encoding import FEATURES, nb201_encoder, space_encoder, summary
from supernet.transfer.predictors import leave_one_out
from supernet.transfer.sheet import Sheet, begin_sheet, read_sheet
from supernet.transfer.shipped import random_architectures, shipped_source
from supernet.transfer.source import Samples, from_measurements, from_other_space, robust_fit

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from predictors import PREDICTORS
from samplers import SAMPLERS

SPACE = get_space("fbnet32")
RANDOM_NL = random_architectures(SPACE, 600, seed=5)


def sheet_of(index_nL: np.ndarray, latency_ms_n: np.ndarray, checks: int = 0) -> Sheet:
    n = len(index_nL)
    return Sheet(SPACE, index_nL, latency_ms_n, np.arange(n) >= n - checks, "float32", "onnxruntime", 1)


SHIPPED = shipped_source(SPACE)
TARGET_N = SHIPPED.latency_ms(RANDOM_NL)[:, SHIPPED.devices.index("titan_rtx_1")]
SOURCE = SHIPPED.without("titan_rtx_1")
BASIS = SOURCE.basis(RANDOM_NL)


def test_multiply_adds_and_parameters_are_those_of_the_blocks() -> None:
    from supernet.costs.analytic import macs_table, params_table

    phi_LKF = space_encoder(SPACE).phi_LKF
    totals = summary(phi_LKF.reshape(-1, len(FEATURES))).reshape(*SPACE.valid_LK.shape, 4)
    np.testing.assert_allclose(totals[..., 0] * 1e6, macs_table(SPACE, 3, 10).unary_DK)
    np.testing.assert_allclose(totals[..., 2] * 1e4, params_table(SPACE, 3, 10).unary_DK)


def test_an_identity_launches_nothing() -> None:
    assert OPS["skip"].primitives(24, 24, 1, 32) == []


def test_dead_edges_of_a_cell_do_not_count_as_live() -> None:
    encoder = nb201_encoder()
    cells = np.array(
        [[3, 0, 3, 0, 0, 0], [3, 0, 0, 0, 3, 2], [3, 3, 3, 3, 3, 3]]
    )  # no output; 2→3 without input; all live
    assert encoder.live(cells).tolist() == [[0] * 6, [3, 0, 0, 0, 3, 0], [3] * 6]
    phi = encoder.phi(cells)
    F = len(FEATURES)
    assert phi[0, :F].any() and not phi[0, F:].any()
    np.testing.assert_array_equal(phi[2, :F], phi[2, F : 2 * F])


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_foretells_an_unseen_device_with_honest_spread(name: str) -> None:
    rows = SAMPLERS["d_optimal"](BASIS, 20, np.random.default_rng(0))
    mean_N, std_N = PREDICTORS[name](SOURCE, Samples(BASIS[rows], TARGET_N[rows])).predict(BASIS)
    assert mean_N.shape == std_N.shape == TARGET_N.shape and (std_N > 0).all()
    assert spearmanr(mean_N, TARGET_N).statistic > (0.3 if name == "additive" else 0.95)


def test_predictive_quantiles_hold_on_held_out_architectures() -> None:
    rng, held = np.random.default_rng(3), []
    for _ in range(10):
        noisy_N = TARGET_N + rng.normal(0, 0.1, len(TARGET_N))
        rows = SAMPLERS["random"](BASIS, 20, rng)
        mean_N, std_N = bayes.fit(SOURCE, Samples(BASIS[rows], noisy_N[rows])).predict(BASIS)
        held.append((noisy_N <= mean_N + norm.ppf(0.9) * std_N).mean())
    assert 0.83 < np.mean(held) < 0.97


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(0, 1e3))
def test_the_unit_and_the_zero_of_the_clock_do_not_matter(scale: float, shift: float) -> None:
    rows = np.arange(15)
    samples = Samples(BASIS[rows], TARGET_N[rows])
    moved = Samples(BASIS[rows], scale * (TARGET_N[rows] + shift))
    mean_N, std_N = bayes.fit(SOURCE, samples).predict(BASIS)
    moved_mean_N, moved_std_N = bayes.fit(SOURCE, moved).predict(BASIS)
    np.testing.assert_allclose(moved_mean_N, scale * (mean_N + shift), rtol=1e-5)
    np.testing.assert_allclose(moved_std_N, scale * std_N, rtol=1e-3)


def test_one_outlier_does_not_turn_the_ranking() -> None:
    rows = SAMPLERS["d_optimal"](BASIS, 20, np.random.default_rng(1))
    spoilt = TARGET_N[rows].copy()
    spoilt[3] *= 2
    mean_N, _ = bayes.fit(SOURCE, Samples(BASIS[rows], spoilt)).predict(BASIS)
    assert spearmanr(mean_N, TARGET_N).statistic > 0.9


def test_constant_measurements_give_a_constant_and_no_warning() -> None:
    rows = np.arange(10)
    for name in ("bayes", "ridge", "selection", "additive"):
        mean_N, std_N = PREDICTORS[name](SOURCE, Samples(BASIS[rows], np.full(10, 7.0))).predict(BASIS)
        np.testing.assert_allclose(mean_N, 7.0, rtol=1e-3)
        assert np.isfinite(std_N).all()


def test_no_source_device_at_all_still_predicts() -> None:
    bare = from_measurements(space_encoder(SPACE), (), RANDOM_NL, np.zeros((len(RANDOM_NL), 0)))
    basis, rows = bare.basis(RANDOM_NL), np.arange(30)
    for name in ("bayes", "ridge", "selection"):
        mean_N, _ = PREDICTORS[name](bare, Samples(basis[rows], TARGET_N[rows])).predict(basis)
        assert spearmanr(mean_N, TARGET_N).statistic > 0.9


def test_sources_of_another_space_help() -> None:
    other = nb201_encoder()
    cells = np.random.default_rng(0).integers(0, 5, (400, 6))
    latency = 1 + 0.1 * other.phi(cells)[:, [1]] + 0.02 * other.phi(cells)[:, [2]]
    source = from_other_space(space_encoder(SPACE), RANDOM_NL, ("a",), other, cells, latency)
    assert (source.coef_DS[1:] >= 0).all()
    basis, rows = source.basis(RANDOM_NL), np.arange(20)
    mean_N, _ = bayes.fit(source, Samples(basis[rows], TARGET_N[rows])).predict(basis)
    assert spearmanr(mean_N, TARGET_N).statistic > 0.95


def test_source_functions_skip_unmeasured_and_survive_outliers() -> None:
    onehot, latency = space_encoder(SPACE).onehot(RANDOM_NL), TARGET_N.copy()
    latency[:100] = np.nan
    latency[100:110] *= 10
    coef = robust_fit(onehot, latency, alpha=0.1)
    assert abs(coef[0] + onehot @ coef[1:] - TARGET_N).mean() < 0.02 * TARGET_N.mean()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [1, 20])
def test_samplers_give_n_different_rows_and_repeat_themselves(name: str, n: int) -> None:
    rows = SAMPLERS[name](BASIS, n, np.random.default_rng(0))
    assert len(set(rows.tolist())) == n and rows.min() >= 0 and rows.max() < len(BASIS)
    np.testing.assert_array_equal(rows, SAMPLERS[name](BASIS, n, np.random.default_rng(0)))


def test_d_optimal_samples_say_more_than_random_ones() -> None:
    known, gains = bayes.columns(BASIS), {}
    for name in ("random", "d_optimal"):
        rows = SAMPLERS[name](BASIS, 20, np.random.default_rng(2))
        gains[name] = np.linalg.slogdet(np.eye(20) + known[rows] @ known[rows].T).logabsdet
    assert gains["d_optimal"] > gains["random"]


def test_the_adapted_table_is_an_ordinary_table_and_its_sums_are_the_prediction(tmp_path: Path) -> None:
    architectures = adapting.sample_architectures(SPACE, 20)
    index_nL = np.array([SPACE.index_L(ops) for ops in architectures])
    latency = SHIPPED.latency_ms(index_nL)[:, SHIPPED.devices.index("titan_rtx_1")]
    adapted = adapting.adapt("my-phone", sheet_of(index_nL, latency), SOURCE)
    path = tmp_path / "my-phone.json"
    path.write_text(json.dumps(adapted.content), encoding="utf-8")
    cost = load_table(str(path)).cost(SPACE)
    sums_N = np.array([cost.total(index_L) for index_L in RANDOM_NL])
    mean_N, _ = bayes.fit(SOURCE, Samples(SOURCE.basis(index_nL), latency)).predict(BASIS)
    np.testing.assert_allclose(sums_N, mean_N, rtol=0.01)
    assert spearmanr(sums_N, TARGET_N).statistic > 0.98
    assert adapted.content["validation"]["mape"] < 0.02 and adapted.warnings == ()
    assert adapting.quantile_margin_ms(adapted.content, 0.9) > adapting.quantile_margin_ms(adapted.content, 0.5) >= 0


def test_nonsense_measurements_are_called_so() -> None:
    index_nL = random_architectures(SPACE, 12, seed=9)
    latency = np.random.default_rng(0).uniform(10, 100, 12)
    assert any("do not explain" in text for text in adapting.adapt("odd", sheet_of(index_nL, latency), SOURCE).warnings)


def test_a_wrongly_measured_network_is_named() -> None:
    index_nL, rng = random_architectures(SPACE, 20, seed=4), np.random.default_rng(0)
    latency = SHIPPED.latency_ms(index_nL)[:, SHIPPED.devices.index("titan_rtx_1")] * rng.normal(1, 0.003, 20)
    latency[6] *= 1.6
    assert any("Network 7 " in text for text in adapting.adapt("slip", sheet_of(index_nL, latency), SOURCE).warnings)


def test_an_additive_predictor_survives_the_projection_exactly() -> None:
    gpu = load_table("titan_rtx_1").cost(SPACE)
    latency = np.array([gpu.total(index_L) for index_L in RANDOM_NL])
    base_ms, table_TK, types = adapting.additive_table(SPACE, RANDOM_NL, latency)
    table_LK = table_TK[[types.index(spec.block_type) for spec in SPACE.layers]]
    np.testing.assert_allclose(base_ms + table_LK[np.arange(22), RANDOM_NL].sum(1), latency, rtol=1e-6)


ALL = " ".join(["k3_e1"] * 22)


def filled(rows: list[str], header: str = "name,ops,latency_ms,space") -> str:
    return "\n".join([header, *rows]) + "\n"


def some(times: list[str], space: str = "fbnet32") -> str:
    """A sheet of as many random networks."""
    ops = [" ".join(SPACE.names(index_L)) for index_L in random_architectures(SPACE, len(times), seed=3)]
    return filled([f"n{i},{o},{ms},{space}" for i, (o, ms) in enumerate(zip(ops, times, strict=True))])


def test_the_sheet_round_trips_and_several_runs_count_by_their_median(tmp_path: Path) -> None:
    path, architectures = tmp_path / "sheet.csv", adapting.sample_architectures(SPACE, 6)
    begin_sheet(path, SPACE, "int8", {f"n{i}": ops for i, ops in enumerate(architectures)})
    lines = path.read_text(encoding="utf-8").splitlines()
    runs = [line.replace(",,fbnet32", f",{10 + i},fbnet32", 1) for i, line in enumerate(lines[1:])]
    runs += [lines[1].replace(",,fbnet32", f",{ms},fbnet32", 1) for ms in (30, 12)]
    path.write_text("\n".join([lines[0], *runs]), encoding="utf-8")
    sheet = read_sheet(path)
    assert [SPACE.names(index_L) for index_L in sheet.index_nL] == architectures
    assert sheet.latency_ms_n.tolist() == [12, 11, 12, 13, 14, 15]
    assert (sheet.space, sheet.dtype, sheet.threads, sheet.check_n.any()) == (SPACE, "int8", None, False)
    with pytest.raises(UserError, match="holds measurements"):
        begin_sheet(path, SPACE, "float32", {})
    assert read_sheet(path).dtype == "int8", "nothing was blanked"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,latency_ms\na,3\n", "column ops"),
        ("", "column ops, latency_ms"),
        (filled([f"a,{ALL},3,fbnet32"], "name,ops,latency_ms,latency_ms"), "latency_ms stands twice"),
        (filled(["a,k3_e1,3,fbnet32"]), "line 2"),
        (filled([f"a,{ALL},fast,fbnet32"]), "line 2"),
        (filled([f"a,{ALL},-1,fbnet32"]), "line 2: -1 is not a latency"),
        (filled([f"a,{ALL},1e300,fbnet32"]), "line 2: 1e300 is not a latency"),
        (filled([f"a,{ALL},nan,fbnet32"]), "line 2: nan is not a latency"),
        (filled([f"a,{ALL},3,fbnet32,more"]), "line 2: more fields"),
        (filled([f"a,{ALL},3,fbnet32"]), "at least 5"),
        (filled([f"a,{ALL},3,micro32"]), "micro32 has no tables"),
        (filled([f"a,{ALL},3,fbnet32", f"b,{ALL},4,fbnet224"]), "different space"),
        (filled([f"a,{'x' * 200_000},3,fbnet32"]), "line 2: field larger"),
        (some(["12", "11", "0.0115", "13", "12", "11"]), "line 4: 0.0115 ms beside a median of 11.5 ms"),
        (some(["12"] * 6), "exactly 12 ms"),
        (some(["12", "11", "10", "13", "12", "11"], space=""), "give --space"),
        (some(["12", "11", "10", "13", "12", "11"], space="fbnet224"), "measured in fbnet224, not in fbnet32"),
        (b"ops,latency_ms\n\xff\xfe", "not UTF-8"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_wrong_sheet_says_what_is_wrong(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        read_sheet(path, "fbnet32" if "fbnet224, not" in message else None)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_measurements_that_make_networks_take_no_time_are_refused() -> None:
    index_nL = random_architectures(SPACE, 12, seed=9)
    latency = SHIPPED.latency_ms(index_nL)[:, 0]
    latency = 20 * (latency - 0.999 * latency.min())
    with pytest.raises(UserError, match="take no time at all"):
        adapting.adapt("odd", sheet_of(index_nL, latency), SOURCE)


def test_an_int8_sheet_and_a_silent_one_are_warned_of_and_the_table_says_how_it_was_measured() -> None:
    index_nL = random_architectures(SPACE, 12, seed=9)
    latency = SHIPPED.latency_ms(index_nL)[:, SHIPPED.devices.index("titan_rtx_1")]
    for dtype, told in (("int8", "lut build --dtype int8"), (None, "does not tell the dtype")):
        adapted = adapting.adapt("board", replace(sheet_of(index_nL, latency), dtype=dtype, threads=4), SOURCE)
        assert any(told in text for text in adapted.warnings)
        assert (adapted.content["dtype"], adapted.content["threads"]) == (dtype, 4)


def test_the_check_networks_count_where_they_err_more() -> None:
    index_nL = random_architectures(SPACE, 15, seed=9)
    latency = SHIPPED.latency_ms(index_nL)[:, SHIPPED.devices.index("titan_rtx_1")]
    latency[-5:] *= np.array([1.2, 0.8, 1.2, 0.8, 1.2])
    validation = adapting.adapt("board", sheet_of(index_nL, latency, checks=5), SOURCE).content["validation"]
    assert validation["mape"] == validation["check"]["mape"] > 0.12 and validation["check"]["n"] == 5


def test_one_gate_says_what_is_poor(tmp_path: Path) -> None:
    index_nL = random_architectures(SPACE, 12, seed=9)
    adapted = adapting.adapt("odd", sheet_of(index_nL, np.random.default_rng(0).uniform(10, 100, 12)), SOURCE)
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(adapted.content), encoding="utf-8")
    assert any("--accept-poor-table" in text for text in adapted.warnings)
    with pytest.raises(UserError, match="--accept-poor-table"):
        require_good(load_table(str(path)), accept_poor=False)


def conformal(n: int, std_ms: float | None = None) -> dict[str, Any]:
    """A table whose n networks took 1, 2, …, n ms more than foretold."""
    std = {} if std_ms is None else {"predictive_std_ms": std_ms}
    return {
        "device": "board",
        "provenance": "measured",
        "validation": {"pairs": [[10.0, 10.0 + i] for i in range(n, 0, -1)], **std},
    }


def test_the_margin_is_the_conformal_one_and_never_below_the_normal_one() -> None:
    assert adapting.quantile_margin_ms(conformal(20), 0.9) == 19  # ⌈.9 · 21⌉
    assert adapting.quantile_margin_ms(conformal(19), 0.95) == 19
    assert adapting.quantile_margin_ms(conformal(20, 30.0), 0.9) == pytest.approx(30 * norm.ppf(0.9))
    assert (
        adapting.quantile_margin_ms(
            {"device": "b", "provenance": "measured", "validation": {"pairs": [[9.0, 8.0]] * 20}}, 0.9
        )
        == 0
    )
    with pytest.raises(UserError, match=r"0\.99 needs 99 measured networks; the table of board has 20"):
        adapting.quantile_margin_ms(conformal(20), 0.99)
    old = {"device": "b", "provenance": "adapted", "validation": {"predictive_std_ms": 2.0}}
    assert adapting.quantile_margin_ms(old, 0.9) == pytest.approx(2 * norm.ppf(0.9))


def test_too_few_samples_and_a_table_without_spread_are_refused() -> None:
    with pytest.raises(UserError, match="at least 5"):
        adapting.sample_architectures(SPACE, 3)
    with pytest.raises(UserError, match="no measured networks"):
        adapting.quantile_margin_ms(load_table("rpi4").content, 0.9)


def test_the_space_of_imagenet_size_gets_its_sources_from_the_small_one() -> None:
    source = shipped_source(get_space("fbnet224"))
    assert source.columns == "totals" and len(source.devices) == 27


def test_a_part_of_a_space_has_no_table_of_its_own() -> None:
    assert get_space("micro32").table_space in TABLE_SPACES and "micro32" not in TABLE_SPACES


def test_leave_one_out_does_not_see_the_sample_it_foretells() -> None:
    samples = Samples(BASIS[np.arange(12)], TARGET_N[:12])
    changed = Samples(samples.basis, np.where(np.arange(12) == 0, 1e3, TARGET_N[:12]))
    first, second = (leave_one_out(bayes.fit, SOURCE, s)[0][0] for s in (samples, changed))
    assert first == second


def test_adapt_command_writes_a_table_that_the_search_can_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    from supernet.commands.lut_transfer import add_parsers

    parser = argparse.ArgumentParser()
    add_parsers(parser.add_subparsers())
    architectures = adapting.sample_architectures(SPACE, 12)
    latency = SHIPPED.latency_ms(np.array([SPACE.index_L(ops) for ops in architectures]))[:, 0]
    sheet, out = tmp_path / "measured.csv", tmp_path / "board.json"
    rows = [f"{' '.join(ops)},{ms}" for ops, ms in zip(architectures, latency, strict=True)]
    sheet.write_text("\n".join(["ops,latency_ms", *rows]), encoding="utf-8")
    options = parser.parse_args(
        ["adapt", "--device", "board", "--space", "fbnet32", "--measured", str(sheet), "--out", str(out)]
    )
    options.run(options)
    assert load_table(str(out)).provenance == "adapted"
    assert "Each foretold from the others" in capsys.readouterr().out
