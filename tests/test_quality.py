"""quality.json: written and read back, wrong files named, the fit finds a planted table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supernet.costs.factors import Cost
from supernet.errors import UserError
from supernet.quality import QUALITY, Quality
from supernet.quality_fit import cross_validated, fit_table, spread_paths
from supernet.spaces import get_space

SPACE = get_space("micro32")
VALID = SPACE.valid_LK


def example() -> Quality:
    rng = np.random.default_rng(0)
    added_LKG = np.where(VALID[:, :, None], rng.normal(size=(*VALID.shape, 2)).round(3), 0)
    return Quality(SPACE, ("a: x", "a: y"), ("a", "a"), "log", np.array([-1.0, -0.5]), added_LKG, np.array([0.1, 0.2]), {"paths": 7}, "abc")  # fmt: skip


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    quality = example()
    quality.save(tmp_path / QUALITY)
    found = Quality.load(tmp_path)
    assert (found.groups, found.attributes, found.link, found.fit, found.fingerprint, found.space.name) == (
        quality.groups, quality.attributes, "log", {"paths": 7}, "abc", "micro32",
    )  # fmt: skip
    for name in ("base_G", "added_LKG", "error_G"):
        assert np.array_equal(getattr(found, name), getattr(quality, name))
    index_NL = np.array([[0, 1, 0, 1, 0], [3, 3, 3, 3, 3]])
    expected = np.exp(quality.base_G + quality.added_LKG[np.arange(5), index_NL[0]].sum(axis=0))
    assert quality.loss_NG(index_NL)[0] == pytest.approx(expected)


def test_files_of_before_are_sums_of_losses(tmp_path: Path) -> None:
    """A blockwise run of before has no link, and its attribute stands before the group's name."""
    example().save(tmp_path / QUALITY)
    content = json.loads((tmp_path / QUALITY).read_text())
    for name in ("link", "attributes", "error_G", "fit"):
        del content[name]
    (tmp_path / QUALITY).write_text(json.dumps(content))
    found = Quality.load(tmp_path / QUALITY)
    assert found.link == "identity" and found.attributes == ("a", "a") and found.error_G is None


@pytest.mark.parametrize(
    ("change", "word"),
    [({"base_G": [1.0]}, "base_G"), ({"added_LKG": [[[1.0, 2.0]]]}, "added_LKG"), ({"ops": ["skip"]}, "ops"),
     ({"error_G": [1.0]}, "error_G"), ({"attributes": ["a"]}, "attributes"), ({"link": "logit"}, "link"), ({"space": "nowhere"}, "nowhere")],
)  # fmt: skip
def test_a_wrong_file_is_named(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    example().save(tmp_path / QUALITY)
    content = json.loads((tmp_path / QUALITY).read_text())
    (tmp_path / QUALITY).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=word):
        Quality.load(tmp_path)


def test_a_run_without_one_says_which_runs_have_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: a finished supernet search"):
        Quality.load(tmp_path)


def test_the_fit_finds_a_planted_table() -> None:
    quality, rng = example(), np.random.default_rng(1)
    latency = Cost("latency", "ms", 1.0, np.arange(VALID.size, dtype=float).reshape(VALID.shape))
    index_NL = spread_paths(VALID, [(latency, 1e3)], 200, 0)
    assert VALID[np.arange(5), index_NL].all()
    noise_NG = rng.normal(0, 0.02, (200, 2))
    loss_NG = quality.loss_NG(index_NL) * np.exp(noise_NG)
    base_G, added_LKG = fit_table(VALID, index_NL, loss_NG)
    assert (added_LKG[~VALID] == 0).all()
    told_NG = base_G + added_LKG[np.arange(5), index_NL].sum(axis=1)
    assert np.abs(told_NG - quality.linked_NG(index_NL)).max() < 0.05
    error_G, told = cross_validated(VALID, index_NL, loss_NG, ("a", "a"))
    assert error_G.min() > 0.015 and error_G.max() < 0.04 and told["kendall"] is not None and told["kendall"] > 0.9
    _, alone = cross_validated(VALID, index_NL, loss_NG[:, :1], ("a",))
    assert alone["kendall_gap"] is None, "one group has no gap: unknown, not 0"


def test_paths_are_of_every_size_up_to_a_quarter_beyond_each_regions_budget() -> None:
    size_LK = np.where(VALID, np.arange(VALID.shape[1])[None], 0).astype(float)
    small, large = (Cost("latency", "ms", 1.0, factor * size_LK) for factor in (1.0, 10.0))
    index_NL = spread_paths(VALID, [(small, 3.0), (large, 1e3)], 600, 0)
    totals_N = 1 + size_LK[np.arange(5), index_NL].sum(axis=1)
    tight_N, free_N = totals_N[::2], totals_N[1::2]
    assert tight_N[:50].mean() < 2 and 3.2 < tight_N[-50:].mean() < 4.3, "a quarter more than 3 ms, on average"
    assert free_N[-50:].mean() > tight_N[-50:].mean() + 1
    for layer in range(5):
        assert set(index_NL[:, layer]) == set(np.flatnonzero(VALID[layer]))


def test_few_networks_correct_a_prior() -> None:
    """Ten networks cannot tell a table of 12 numbers, but they can tell how a score goes with each group's loss, up or down."""
    rng, layers = np.random.default_rng(1), np.arange(5)
    score_LK = np.where(VALID, rng.normal(size=VALID.shape), 0.0)
    every_NL = np.array(np.meshgrid(*(np.flatnonzero(valid_K) for valid_K in VALID))).reshape(5, -1).T
    true_NG = -0.5 * score_LK[layers, every_NL].sum(axis=1)[:, None] * [1.0, 2.0]
    shown = rng.choice(len(every_NL), 10, replace=False)

    def off(prior_LK: np.ndarray | None) -> float:
        base_G, added_LKG = fit_table(VALID, every_NL[shown], np.exp(true_NG[shown]), prior_LK)
        return float(np.abs(base_G + added_LKG[layers, every_NL].sum(axis=1) - true_NG).max())

    assert off(score_LK) < 1e-6 < 0.05 < off(None)
    assert off(-3 * score_LK) < 1e-6, "neither its sign nor its unit matters"
    assert off(np.zeros(VALID.shape)) == off(None)
    wrong_LK = np.where(VALID, rng.normal(size=VALID.shape), 0.0)
    assert off(wrong_LK) < 3 * off(None), "a score that says nothing does little harm"
