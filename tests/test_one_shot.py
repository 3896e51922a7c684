"""One search for several devices, budgets and fairness weights: every answer keeps its budget, a resumed run is the same run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from supernet.commands.main import main
from supernet.commands.setting import prepare
from supernet.config import SearchConfig
from supernet.costs.latency import load_table, table_path
from supernet.engine import loop
from supernet.engine.loop import train
from supernet.engine.stopping import Interrupted, StopSignal
from supernet.errors import UserError
from supernet.problem import Problem
from supernet.quality import Quality
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.strategies import trained_table
from supernet.strategies.one_shot import RegionTrainer

SEARCH = ["search", "--quick", "--space", "micro32", "--max-train", "64", "--threads", "1"]
SEVERAL = ["--devices", "rpi4,pixel3", "--budgets-ms", "2.9,3.2,9,12,13", "--fairness-weights", "0,2"]
SPACE = get_space("micro32")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "search"
    main([*SEARCH, *SEVERAL, "--data", digits, "--out", str(folder)])
    return folder


def test_every_answer_is_the_best_inside_its_budget(searched: Path) -> None:
    quality, report = Quality.load(searched), json.loads((searched / "report.json").read_text())
    index_NL = np.array(np.meshgrid(*(np.flatnonzero(valid_K) for valid_K in SPACE.valid_LK))).reshape(5, -1).T
    loss_NG = quality.loss_NG(index_NL)
    asked = {(one["device"], one["budget_ms"], one["weight"]) for one in report["answers"]}
    assert asked == {
        (d, b, w)
        for d, b in (("rpi4", 9), ("rpi4", 12), ("pixel3", 2.9), ("pixel3", 3.2), ("pixel3", 9))
        for w in (0, 2)
    }
    for one in report["answers"]:
        arch = Architecture.load(searched / one["folder"])
        assert arch.device == one["device"] and arch.budget_ms == one["budget_ms"] and list(arch.ops) == one["ops"]
        inside_N = load_table(one["device"]).cost(SPACE).totals(index_NL) <= one["budget_ms"]
        weight = 0.1 * one["weight"]  # a supernet's predicted gaps count a tenth
        value_N = loss_NG.mean(1) + weight * quality.gaps(loss_NG)
        assert arch.predicted_ms is not None and arch.predicted_ms <= one["budget_ms"]
        assert one["mean_loss"] + weight * one["gap"] == pytest.approx(value_N[inside_N].min())
    first = report["answers"][0]
    assert list(Architecture.load(searched).ops) == first["ops"] and first["device"] == "rpi4"


def test_what_a_device_cannot_keep_or_need_not_keep_is_said(searched: Path) -> None:
    notes = "\n".join(json.loads((searched / "report.json").read_text())["notes"])
    for ms in ("2.9", "3.2"):
        assert (
            f"Left out: No architecture of micro32 keeps {ms} ms on rpi4: the fastest possible takes 7.799 ms." in notes
        )
    assert "9 ms hold every architecture of micro32 on pixel3: larger budgets are left out." in notes
    page = (searched / "report.html").read_text()
    assert "What this one search answers" in page and "answers/pixel3-3.2ms-weight2" in page
    assert "rpi4: mean predicted loss" in page and "pixel3: mean predicted loss" in page


def test_the_one_script_of_a_page_is_the_one_that_its_policy_allows(searched: Path) -> None:
    main(["front", "--run", str(searched), "--device", "rpi4", "--budgets-ms", "9,10"])
    for name in ("report.html", "front-rpi4.html"):
        page = (searched / name).read_text()
        (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in html.unescape(page) and 'class="sortable"' in page


def test_an_answer_is_trained_like_any_derived_network(searched: Path, tmp_path: Path) -> None:
    arch = searched / "answers" / "pixel3-3.2ms-weight2"
    main(["train", "--arch", str(arch), "--quick", "--max-train", "64", "--threads", "1", "--export", "none",
          "--out", str(tmp_path / "trained")])  # fmt: skip
    told = json.loads((tmp_path / "trained" / "report.json").read_text())["arch"]
    assert told["device"] == "pixel3" and told["budget_ms"] == 3.2


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--devices", "rpi4,pixel3", "--strategy", "differentiable"], "--devices"),
        (["--devices", "rpi4", "--device", "pixel3"], "--device"),
        (["--devices", "rpi4,nowhere"], "nowhere"),
        (["--devices", "rpi4,,pixel3"], "--devices"),
        (["--devices", "rpi4,elsewhere/rpi4.json"], "one file name"),
        (["--budgets-ms", "9,x"], "--budgets-ms"),
        (["--budgets-ms", "9,0"], "--budgets-ms"),
        (["--budgets-ms", "9,12", "--budget-ms", "9"], "--budget-ms"),
        (["--devices", "rpi4,pixel3", "--budgets-ms", "3,4"], "the fastest possible takes 7.799 ms"),
        (["--fairness-weights", "0,-1"], "--fairness-weights"),
        (["--fairness-weights", "0,nan"], "--fairness-weights"),
        (["--devices", "rpi4,pixel3", "--teacher", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], word: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*SEARCH, *options, "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2 and word in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


def config_of(folder: Path, **options: object) -> SearchConfig:
    several = {"devices": "rpi4,pixel3", "budgets_ms": "3.2,9", "space": "micro32", "max_train": 64, "threads": 1}
    return SearchConfig(out=str(folder), warmup_epochs=4, epochs=0, **several, **options)  # type: ignore[arg-type]


def test_paths_come_from_each_region_in_turn(tmp_path: Path) -> None:
    """A region's paths are inside its budget on average, and no region waits."""
    config = config_of(tmp_path / "run")
    running = RegionTrainer(config, prepare(config))
    cost = load_table("rpi4").cost(SPACE)
    regions = [(r.device, r.budget_ms) for r in prepare(replace(config, out=str(tmp_path / "2"))).regions]
    assert regions == [("rpi4", 9.0), ("pixel3", 3.2), ("pixel3", 9.0)]
    drawn: list[list[float]] = [[], [], []]
    for step in range(300):
        weights_LK = running.warmups[step % 3].weights(running.p_RLK[step % 3], step, running.generator)
        drawn[step % 3].append(cost.total(weights_LK.argmax(-1).numpy()))
    assert np.mean(drawn[0]) < 9.1 and np.mean(drawn[2]) > np.mean(drawn[1])
    assert cost.expected(running.p_RLK[0].double()) <= 9.0001


def test_interrupted_and_resumed_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_config, config = config_of(tmp_path / "whole"), config_of(tmp_path / "run")
    problem = prepare(whole_config)
    whole = RegionTrainer(whole_config, problem)
    train(whole, problem.folder)

    class StopAfter(StopSignal):
        steps = 0

        def reached(self) -> bool:
            self.steps += 1
            return self.steps == 3

    problem = prepare(config)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(loop, "StopSignal", StopAfter)
        train(RegionTrainer(config, problem), problem.folder)
    del problem
    again = prepare(replace(config, resume=config.out, out=None))
    resumed = RegionTrainer(config, again)
    train(resumed, again.folder)
    for (name, one), other in zip(
        whole.supernet.state_dict().items(), resumed.supernet.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def int8_table(place: Path) -> Path:
    """rpi4's, as if it had been measured with int8 networks."""
    content = json.loads(table_path("rpi4").read_text())
    place.write_text(json.dumps(content | {"dtype": "int8", "device": "board"}))
    return place


def test_a_number_format_is_the_tables_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """int8 latency is not predicted from float32 times; memory goes by the table's format."""
    table = str(int8_table(tmp_path / "board.json"))
    for options in (["--device", "rpi4", "--dtype", "int8"], ["--device", table, "--dtype", "float32"]):
        with pytest.raises(SystemExit):
            main([*SEARCH, *options])
        assert f"supernet lut build --space micro32 --dtype {options[-1]} --device" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*SEARCH, "--devices", f"rpi4,{table}"])
    assert "different number formats (float32, int8)" in capsys.readouterr().err
    peaks = {}
    for device in ("rpi4", table):
        out = tmp_path / Path(device).stem
        main([*SEARCH, "--device", device, "--budget-ms", "9", "--strategy", "one-shot", "--out", str(out)])
        arch = Architecture.load(out)
        peaks[arch.config["dtype"]] = arch.peak_activation_bytes
        assert ("The table is of int8" in capsys.readouterr().out) == (device == table)
    assert peaks["float32"] == 4 * (peaks["int8"] or 0) > 0


def test_a_table_of_networks_trained_alone(tmp_path: Path, digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after some networks and resumed, it is the same table; a gap counts fully, since no weights were shared."""
    asked = [
        *SEARCH,
        "--devices",
        "rpi4",
        "--budgets-ms",
        "9,12",
        "--fairness-weights",
        "0,1",
        "--trained",
        "12",
        "--data",
        digits,
    ]
    main([*asked, "--out", str(tmp_path / "whole")])

    trained, seen = trained_table.alone, []

    def dies(config: SearchConfig, problem: Problem) -> object:
        train = trained(config, problem)

        def one(index_L: np.ndarray) -> torch.nn.Module:
            seen.append(index_L)
            if len(seen) == 5:
                raise KeyboardInterrupt
            return train(index_L)

        return one

    with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, SystemExit)):
        patched.setattr(trained_table, "alone", dies)
        main([*asked, "--out", str(tmp_path / "run")])
    rows = tmp_path / "run" / trained_table.ROWS
    kept = rows.read_text()
    assert len(kept.splitlines()) == 4
    rows.write_text(kept + '{"index_L": [0')  # cut off
    main(["search", "--resume", str(tmp_path / "run")])
    assert rows.read_text().startswith(kept) and len(rows.read_text().splitlines()) == 12
    whole, quality = Quality.load(tmp_path / "whole"), Quality.load(tmp_path / "run")
    assert np.array_equal(whole.added_LKG, quality.added_LKG) and whole.gap_trust == quality.gap_trust == 1
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    assert told["evaluations"]["networks"] == 12 and any(one["by_hand"] for one in told["candidates"])
    rows.write_text(kept.replace("[", "[9,", 1))
    with pytest.raises(UserError, match="row 1 is not what this run trains there"):
        trained_table.read_losses(rows, np.zeros((12, 5), int), 2)
