"""supernet derive and front: from one quick search to other devices and budgets, and on to a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from followed import Followed

from supernet.choices import every
from supernet.commands.answers_compared import compared
from supernet.commands.main import main
from supernet.costs.latency import load_table
from supernet.quality import QUALITY, Quality
from supernet.spaces.architecture import Architecture

SEARCH = ["search", "--quick", "--space", "micro32", "--max-train", "64", "--threads", "1", "--budget-ms", "9"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "search"
    main([*SEARCH, "--data", digits, "--out", str(folder)])
    return folder


def test_a_search_leaves_its_table_of_losses(searched: Path) -> None:
    quality, report = Quality.load(searched), json.loads((searched / "report.json").read_text())
    assert quality.link == "log" and quality.groups == ("writer: employee", "writer: student")
    assert quality.fit["paths"] == 96 and quality.error_G is not None and (quality.error_G > 0).all()
    assert "quality" in report["seconds"]
    assert any(QUALITY in note and "Kendall" in note for note in report["notes"])


def test_another_device_and_budget(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "answer"
    main(["derive", "--run", str(searched), "--device", "pixel3", "--budget-ms", "3.4", "--k", "3", "--out", str(out)])
    told, arch = capsys.readouterr().out, Architecture.load(out / "derived.json")
    assert (
        arch.device == "pixel3" and arch.budget_ms == 3.4 and arch.predicted_ms is not None and arch.predicted_ms <= 3.4
    )
    rows = json.loads((out / "answers.json").read_text())
    assert len(rows) == 3 and tuple(rows[0]["ops"]) == arch.ops
    assert rows[0]["costs"]["latency"] == pytest.approx(arch.predicted_ms)
    assert "writer: student" in told and "gap" in told and "of 3.4 ms" in told

    main(["train", "--arch", str(out), "--quick", "--max-train", "64", "--threads", "1", "--export", "none",
          "--out", str(tmp_path / "trained")])  # fmt: skip
    assert json.loads((tmp_path / "trained" / "report.json").read_text())["arch"]["budget_ms"] == 3.4


def test_a_budget_of_energy_holds_where_latency_would_allow_more(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A board of 4 W: 34 mJ are 8.5 ms."""
    out, table = tmp_path / "answer", tmp_path / "board.json"
    table.write_text(json.dumps(load_table("rpi4").content | {"device": "board", "power_watts": 4}))
    derive = ["derive", "--run", str(searched), "--device", str(table), "--budget-ms", "20"]
    main([*derive, "--k", "2", "--max-mj", "34", "--out", str(out)])
    arch, rows = Architecture.load(out / "derived.json"), json.loads((out / "answers.json").read_text())
    for row in rows:
        assert row["costs"]["energy"] == pytest.approx(4 * row["costs"]["latency"]) and row["costs"]["energy"] <= 34
    assert arch.config["max_mj"] == 34 and arch.predicted_ms is not None and arch.predicted_ms <= 8.5
    told = f"Predicted energy of an image: {rows[0]['costs']['energy']:.4g} mJ of 34 mJ (power × time)."
    assert told in capsys.readouterr().out
    main(["lut", "predict", "--device", str(table), "--arch", str(out)])
    assert f"{rows[0]['costs']['energy']:.4g} mJ (power × time)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*derive, "--max-mj", "31"])
    assert "energy of 31 mJ or less; the least possible is 31.20 mJ. Raise --max-mj." in capsys.readouterr().err
    main(["train", "--arch", str(out), "--quick", "--max-train", "64", "--threads", "1", "--export", "none",
          "--out", str(tmp_path / "trained")])  # fmt: skip
    assert told in capsys.readouterr().out, "a training tells of it, too"
    network = json.loads((tmp_path / "trained" / "report.json").read_text())["arch"]
    assert network["energy_mj"] == pytest.approx(4 * network["predicted_ms"])


def test_where_it_goes_by_itself(searched: Path) -> None:
    """Twice the same is the same place; another goal is another one."""
    for goal in ([], [], ["--worst-group"], ["--fairness-weight", "2"]):
        main(["derive", "--run", str(searched), "--device", "rpi4", "--budget-ms", "9", *goal])
    assert {path.name for path in (searched / "answers").iterdir()} >= {
        "rpi4-9ms",
        "rpi4-9ms-worst",
        "rpi4-9ms-weight2",
    }


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--budget-ms", "1"], "the least possible is 7.799 ms"),
        (["--budget-ms", "0"], "--budget-ms"),
        (["--budget-ms", "9", "--max-gap", "0"], "least possible"),
        (["--budget-ms", "9", "--max-gap", "1", "--worst-group"], "not allowed with"),
        (["--budget-ms", "9", "--device", "nowhere"], "nowhere"),
        (["--budget-ms", "9", "--max-params", "5"], "parameters"),
        (["--budget-ms", "9", "--max-sram-kb", "47.9"], "the least possible is 48 KiB"),
        (["--budget-ms", "9", "--max-mj", "50"], "The table of rpi4 states no power"),
    ],
)
def test_mistakes(searched: Path, capsys: pytest.CaptureFixture[str], options: list[str], word: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["derive", "--run", str(searched), "--device", "rpi4", *options])
    assert stopped.value.code == 2 and word in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_searchs_own_architecture_is_not_overwritten(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (searched / "derived.json").read_text()
    with pytest.raises(SystemExit):
        main(["derive", "--run", str(searched), "--device", "rpi4", "--budget-ms", "9", "--out", str(searched)])
    assert "--out" in capsys.readouterr().err and (searched / "derived.json").read_text() == before


def test_a_table_of_another_search_is_refused(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (QUALITY, "derived.json"):
        (tmp_path / name).write_text((searched / name).read_text())
    content = json.loads((tmp_path / QUALITY).read_text())
    (tmp_path / QUALITY).write_text(json.dumps(content | {"fingerprint": "other"}))
    with pytest.raises(SystemExit):
        main(["derive", "--run", str(tmp_path), "--device", "rpi4", "--budget-ms", "9"])
    assert "not of one search" in capsys.readouterr().err


def test_what_the_search_kept_and_too_few_images_are_said(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, arch = (json.loads((searched / name).read_text()) for name in (QUALITY, "derived.json"))
    groups = content["fit"]["group_images"]
    assert list(groups) == content["groups"] and sum(groups.values()) == content["fit"]["images"]
    content["fit"]["group_images"] = dict.fromkeys(groups, 50) | {content["groups"][0]: 3}
    (tmp_path / QUALITY).write_text(json.dumps(content))
    arch["config"] |= {"max_params": 1e9, "latency_quantile": 0.9}
    (tmp_path / "derived.json").write_text(json.dumps(arch))
    asked = ["derive", "--run", str(tmp_path), "--device", "rpi4", "--budget-ms", "9", "--out"]
    main([*asked, str(tmp_path / "one")])
    told = capsys.readouterr().out
    assert "The search kept --latency-quantile 0.9, --max-params 1e+09; this answer does not." in told
    assert f"are hardly known: {content['groups'][0]} (3)." in told
    main([*asked, str(tmp_path / "two"), "--max-params", "1e6"])
    assert "--latency-quantile 0.9; this answer" in capsys.readouterr().out


def test_the_front_of_a_device(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["front", "--run", str(searched), "--device", "rpi4", "--budgets-ms", "8.2,9,9.6", "--out", str(tmp_path)])
    content = json.loads((tmp_path / "front-rpi4.json").read_text())
    rows, told = content["front"], capsys.readouterr().out
    assert content["budgets_ms"] == [8.2, 9.0, 9.6] and 0 <= content["hypervolume"] <= 1
    assert sum(len(row["asked"]) for row in rows) == 9 and any(row["non_dominated"] for row in rows)
    for row in rows:
        assert all(row["costs"]["latency"] <= one["budget_ms"] for one in row["asked"])
    asked = [(one, row["predicted_mean_loss"]) for row in rows for one in row["asked"]]
    mean = {one["budget_ms"]: loss for one, loss in asked if one["goal"] == "mean"}  # never worse for a larger budget
    assert mean[8.2] >= mean[9.0] >= mean[9.6]
    page = (tmp_path / "front-rpi4.html").read_text()
    assert page.count('role="img"') == 3 and page.count("<script") == 1 and "worst group within 9 ms" in page
    assert "Hypervolume" in told and "*" in told


@pytest.mark.parametrize("text", ["", "a", "8,,9", "nan", "-1", "0"])
def test_wrong_budgets(searched: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["front", "--run", str(searched), "--device", "rpi4", f"--budgets-ms={text}"])
    assert "--budgets-ms" in capsys.readouterr().err


def test_budgets_of_several_devices_are_held_at_once(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best of all architectures inside both budgets, neither of which is inside the other."""
    quality = Quality.load(searched)
    space, every_NL = quality.space, np.array(list(every(quality.space.valid_LK)))
    rpi4_N, gold_N = (load_table(name).cost(space).totals(every_NL) for name in ("rpi4", "gold_6226"))
    keeps_N = (rpi4_N <= 9) & (gold_N <= 8)
    assert (rpi4_N[gold_N <= 8] > 9).any() and (gold_N[rpi4_N <= 9] > 8).any()
    main(["derive", "--run", str(searched), "--device", "rpi4", "--budget-ms", "9", "--also", "gold_6226=8"])
    told = capsys.readouterr().out
    arch = Architecture.load(searched / "answers" / "rpi4-9ms-gold_6226-8ms")
    best_L = every_NL[keeps_N][quality.loss_NG(every_NL[keeps_N]).mean(axis=1).argmin()]
    assert arch.ops == space.names(best_L) and "Predicted latency on gold_6226: " in told and "of 8 ms" in told
    predicted_ms = pytest.approx(float(gold_N[keeps_N].take(quality.loss_NG(every_NL[keeps_N]).mean(axis=1).argmin())))
    also = {
        "device": "gold_6226",
        "budget_ms": 8.0,
        "predicted_ms": predicted_ms,
        "table": load_table("gold_6226").hash,
    }
    assert arch.answer == {"also": [also], "gap_weight": 0.0, "max_gap_nats": None, "worst_group": False}
    for words, said in (("pixel3", "a device and its budget"), ("pixel3=x", "--also"), ("pixel3=0", "--also"), ("pixel3=2,3", "pixel3=3.2"), ("rpi4=9", "a budget already"), ("pixel3=1", "least possible"), ("nowhere=3", "nowhere")):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            main(
                [
                    "derive",
                    "--run",
                    str(searched),
                    "--device",
                    "rpi4",
                    "--budget-ms",
                    "9",
                    "--also",
                    words,
                    "--out",
                    str(tmp_path / "x"),
                ]
            )
        assert stopped.value.code == 2 and said in capsys.readouterr().err, words
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("way", ["supernet", "trained"])
def test_answers_are_compared_on_search_val_before_one_is_derived(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    asked = ["derive", "--run", str(searched), "--device", "rpi4", "--budget-ms", "9", "--k", "3"]
    before = {
        name: (searched / name).read_bytes()
        for name in ("config.json", "checkpoint.pt", "metrics.jsonl", "quality.json")
    }
    main([*asked, "--out", str(tmp_path / "plain")])
    main([*asked, "--compare", way, "--out", str(tmp_path / way)])
    assert "Compared on search-val" in capsys.readouterr().out
    plain, rows = (json.loads((tmp_path / name / "answers.json").read_text()) for name in ("plain", way))
    assert sorted(row["ops"] for row in rows) == sorted(row["ops"] for row in plain), "the same ones, in another order"
    entropies = [row["search_val"]["cross_entropy"] for row in rows]
    assert entropies == sorted(entropies) and len(set(entropies)) == 3
    assert list(Architecture.load(tmp_path / way).ops) == rows[0]["ops"]
    if way == "supernet":  # a search scores its own candidates in the same way
        own = {tuple(row["ops"]): row["cross_entropy"] for row in json.loads((searched / "front.json").read_text())}
        both = [row for row in rows if tuple(row["ops"]) in own]
        assert all(row["search_val"]["cross_entropy"] == pytest.approx(own[tuple(row["ops"])]) for row in both)
    assert all((searched / name).read_bytes() == content for name, content in before.items()), (
        "the run stays what it was"
    )


def test_a_run_without_a_supernet_says_how_to_compare(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    copied = tmp_path / "run"
    shutil.copytree(searched, copied)
    (copied / "checkpoint.pt").unlink()
    rows = (copied / "metrics.jsonl").read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "derive",
                "--run",
                str(copied),
                "--device",
                "rpi4",
                "--budget-ms",
                "9",
                "--compare",
                "supernet",
                "--out",
                str(tmp_path / "x"),
            ]
        )
    assert stopped.value.code == 2 and "has no supernet's weights: take --compare trained" in capsys.readouterr().err
    assert not (tmp_path / "x").exists() and (copied / "metrics.jsonl").read_bytes() == rows


def test_comparing_answers_does_not_begin_the_run_again_where_it_was_followed(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, followed = tmp_path / "run", Followed(monkeypatch)
    shutil.copytree(searched, copied)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"log_to": "tensorboard"}))
    assert compared(copied, [], "trained") == [] and followed.opened == 0
