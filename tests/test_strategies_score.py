"""--strategy score: the exact maximum of a training-free table inside every budget, then a comparison that does not choose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from supernet.choices import every
from supernet.commands.main import main
from supernet.config import SearchConfig
from supernet.costs.factors import Cost
from supernet.spaces.architecture import Architecture
from supernet.strategies.score import greatest
from supernet.transfer.score_table import ScoreTable

QUICK = ["search", "--strategy", "score", "--quick", "--space", "micro32", "--max-train", "64", "--threads", "1"]


@pytest.mark.parametrize("seed", range(6))
def test_the_greatest_score_inside_the_budgets_then_the_most_macs(seed: int) -> None:
    """Against every architecture, with a cost that has pairs and a score with many ties."""
    rng = np.random.default_rng(seed)
    valid_DK = np.ones((4, 3), bool)
    valid_DK[1, 2] = False
    score_DK = np.where(valid_DK, rng.integers(0, 3, (4, 3)), 0).astype(float)
    latency = Cost("latency", "ms", 1.0, rng.uniform(0, 5, (4, 3)), {(0, 2): rng.uniform(0, 5, (3, 3))})
    macs = Cost("macs", "MACs", 0.0, rng.uniform(0, 9, (4, 3)))
    all_ND = np.array(list(every(valid_DK)))
    budget = float(np.quantile(latency.totals(all_ND), 0.3))
    inside = all_ND[latency.totals(all_ND) <= budget]
    scores = score_DK[np.arange(4), inside].sum(1)
    best = max(macs.totals(inside[scores == scores.max()]))

    found_D = greatest(ScoreTable("", 0.0, score_DK, 1, None, None), valid_DK, {"latency": latency, "macs": macs}, {"latency": budget})  # fmt: skip
    assert latency.total(found_D) <= budget
    assert score_DK[np.arange(4), found_D].sum() == scores.max()
    assert macs.total(found_D) == pytest.approx(best)


def test_the_command_chooses_by_score_and_compares_with_the_hand_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    main([*QUICK, "--budget-ms", "9", "--out", str(folder)])
    front, report = (json.loads((folder / f"{name}.json").read_text()) for name in ("front", "report"))
    arch, told = Architecture.load(folder / "derived.json"), capsys.readouterr().out
    assert arch.predicted_ms is not None and arch.predicted_ms <= 9 and tuple(front[0]["ops"]) == arch.ops
    assert [row["by_hand"] for row in front] == [False, True] and front[0]["accuracy"] is not None
    assert report["evaluations"]["score"]["networks"] == 13 and report["steps"] == 0
    assert "Nothing was trained for it" in told and "greatest synflow" in told
    page = (folder / "report.html").read_text()
    assert "nothing was trained for this choice" in page and "synflow" in page and "ypervolume" not in page

    (folder / "report.json").unlink()  # as after a power cut: the comparison is in the journal
    main(["search", "--resume", str(folder)])
    assert json.loads((folder / "front.json").read_text()) == front


def test_a_score_that_is_a_cost_needs_no_network(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    main([*QUICK, "--score", "parameters", "--budget-ms", "9", "--out", str(folder)])
    report = json.loads((folder / "report.json").read_text())
    assert report["evaluations"]["score"]["networks"] == 0 and any("counted" in note for note in report["notes"])


@pytest.mark.parametrize("options", [["--score", "magic"], ["--score", "synflow,snip"], ["--lr", "1"], ["--evaluations", "3"]])  # fmt: skip
def test_mistakes(options: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*QUICK, *options, "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2 and options[0] in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_score_belongs_to_its_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    assert SearchConfig().score == "synflow"
    with pytest.raises(SystemExit):
        main(["search", "--score", "snip"])
    assert "--strategy" in capsys.readouterr().err
