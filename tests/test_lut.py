"""Every kind of broken table is named with its field, poor ones need consent, the commands tell the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supernet.blocks.ops import arch_strings
from supernet.commands.main import main
from supernet.costs.latency import load_table, require_good, shipped_devices
from supernet.errors import UserError
from supernet.lut import check
from supernet.preprocessing import Preprocessing
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture

ROOT = Path(__file__).parent.parent
Change = Callable[[dict[str, Any]], object]


def changed(tmp_path: Path, change: Change) -> str:
    content = json.loads((ROOT / "latency_luts" / "rpi4.json").read_text())
    change(content)
    path = tmp_path / "board.json"
    path.write_text(json.dumps(content))
    return str(path)


BROKEN: list[tuple[str, Change]] = [
    ("entries[3].median_ms", lambda t: t["entries"][3].update(median_ms=-1.0)),
    ("median_ms: 1289.87", lambda t: t["entries"][1].update(median_ms=t["entries"][1]["median_ms"] * 1000)),
    ("mixed units", lambda t: t["entries"][2].update(median_ms=t["entries"][2]["median_ms"] / 1000 / 5)),
    ("not valid JSON", lambda t: t["entries"][3].update(median_ms=float("nan"))),
    ("not valid JSON", lambda t: t["entries"][3].update(median_ms=float("inf"))),
    ("entries[3].median_ms", lambda t: t["entries"][3].update(median_ms="0.3")),
    ("entries[3].median_ms", lambda t: t["entries"][3].update(median_ms=None)),
    ("entries[3]", lambda t: t["entries"][3].update(unit="us")),
    ("entries[84]: k3_e1 16 16 1 32 stands twice", lambda t: t["entries"].append(t["entries"][0])),
    ("lacks k3_e1 16x16s1@32", lambda t: t["entries"].pop(0)),
    ("schema_version", lambda t: t.update(schema_version=2)),
    ("unit", lambda t: t.update(unit="us")),
    ("base_ms", lambda t: t.update(base_ms=-1)),
    ("entries", lambda t: t.update(entries=[])),
    ("validation", lambda t: t.update(validation={"mape": 0.1})),
    ("Unknown search space", lambda t: t.update(space="mobile")),
    ("does not hold for fbnet32", lambda t: t.update(space="fbnet224")),
]


@pytest.mark.parametrize(("says", "change"), BROKEN, ids=[says for says, _ in BROKEN])
def test_a_broken_table_is_named_with_its_field_and_ends_with_2(
    says: str, change: Change, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = ["--space", "fbnet32"] if "hold" in says else []
    with pytest.raises(SystemExit) as stop:
        main(["lut", "check", changed(tmp_path, change), *space])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and says in error and error.count("\n") == 1


def test_less_than_a_call_may_be_as_small_as_it_likes(tmp_path: Path) -> None:
    """It is a difference of two measurements: what a call costs was taken off. A unit is seen by what is more than that."""

    def tiny(table: dict[str, Any], ms: float) -> None:
        table["protocol"] = {"call_ms": 1e-5}
        table["entries"][2]["median_ms"] = ms

    assert 1e-6 in load_table(changed(tmp_path, lambda t: tiny(t, 1e-6))).entries.values()
    with pytest.raises(UserError, match="mixed units"):
        load_table(changed(tmp_path, lambda t: tiny(t, 2e-5)))


def test_files_that_are_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (ROOT / "latency_luts" / "rpi4.json").read_bytes()
    (tmp_path / "cut.json").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.json").mkdir()
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2_000_000_000)  # sparse
    (tmp_path / "infinite.json").write_bytes(whole.replace(b"0.595037342", b"1e999"))
    says = {"cut": "not valid JSON", "folder": "is a folder", "huge": "2,000,000,000 bytes", "none": "does not exist",
            "infinite": "1e999"}  # fmt: skip
    for name, message in says.items():
        with pytest.raises(SystemExit) as stop:
            main(["lut", "check", str(tmp_path / f"{name}.json")])
        assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("device", shipped_devices())
def test_every_shipped_table_passes_the_check(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["lut", "check", device])
    printed = capsys.readouterr().out
    assert "coverage: every operation of" in printed and "validation" in printed
    require_good(load_table(device), accept_poor=False)


def test_doubtful_tables_are_doubted(tmp_path: Path) -> None:
    def seconds(table: dict[str, Any]) -> None:
        for entry in table["entries"]:
            entry["median_ms"] *= 1e-5

    assert any("another unit" in doubt for doubt in check.doubts(load_table(changed(tmp_path, seconds))))

    def inverted(table: dict[str, Any]) -> None:
        table["entries"][2]["median_ms"] = 0.5  # k3_e6 below k3_e3

    found = check.doubts(load_table(changed(tmp_path, inverted)))
    assert any(doubt.startswith("k3_e6 16x16s1@32 takes 0.5 ms, less than k3_e3") for doubt in found)


@pytest.mark.parametrize(("spearman", "mape", "good"), [(0.95, 0.05, True), (0.89, 0.05, False), (0.95, 0.11, False)])
def test_poor_tables_need_consent(spearman: float, mape: float, good: bool, tmp_path: Path) -> None:
    validation = {"n": 12, "spearman": spearman, "mape": mape}
    table = load_table(changed(tmp_path, lambda t: t.update(validation=validation)))
    require_good(table, accept_poor=True)
    if good:
        require_good(table, accept_poor=False)
    else:
        with pytest.raises(UserError, match="--accept-poor-table"):
            require_good(table, accept_poor=False)


@pytest.fixture
def arch(tmp_path: Path) -> Path:
    space = get_space("fbnet32")
    ops = ("k3_e1",) * 22
    spec = Preprocessing(32, 1, (0.13,), (0.3,))
    found = Architecture("fbnet32", ops, arch_strings(space, ops), 16, 1, 1504, spec, ("0", "1"), {}, "rpi4", 18.0)
    found.save(tmp_path / "derived.json")
    return tmp_path / "derived.json"


def test_predict_tells_every_layer_and_the_published_sum(arch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["lut", "predict", "--device", "rpi4", "--arch", str(arch)])
    lines = capsys.readouterr().out.splitlines()
    times = [float(line.split()[-2]) for line in lines[2:25]]
    assert sum(times) == pytest.approx(17.618579145142576, abs=2e-3)  # 23 numbers rounded to 4 places
    assert "total  17.6186 ms (error unknown" in lines[25] and "predicted inside" in lines[26]


def test_scale_and_offset_of_the_validation_hold_for_predictions(
    arch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = {"n": 12, "scale": 2.0, "offset_ms": 1.0, "mape": 0.03, "spearman": 1.0}
    file = changed(tmp_path, lambda t: t.update(validation=validation))
    main(["lut", "predict", "--device", file, "--arch", str(arch)])
    printed = capsys.readouterr().out
    assert f"total  {2 * 17.618579145 + 1:.4f} ms (± 3.0%)" in printed and "OVER" in printed


def test_no_time_at_all_is_no_prediction(arch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def nothing(table: dict[str, Any]) -> None:
        table["base_ms"] = 0.0
        for entry in table["entries"]:
            entry["median_ms"] = 0.0

    with pytest.raises(SystemExit) as stopped:
        main(["lut", "predict", "--device", changed(tmp_path, nothing), "--arch", str(arch)])
    told = capsys.readouterr()
    assert stopped.value.code == 2 and "predicts 0 ms" in told.err and not told.out


def test_export_then_nothing_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from supernet.lut import bundle

    monkeypatch.setattr(bundle, "pieces", lambda *_: [])
    monkeypatch.setattr(bundle, "networks", lambda *_: [])
    main(["lut", "export", "--out", str(tmp_path / "b"), "--cache", str(tmp_path / "c")])
    printed = capsys.readouterr().out
    assert "python b/run.py --device my-board --out my-board.json" in printed
    assert {path.name for path in (tmp_path / "b").iterdir()} >= {
        "run.py",
        "README.md",
        "manifest.json",
        "latency_luts",
    }


def test_build_hands_the_runners_failure_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet.lut import bundle

    monkeypatch.setattr(bundle, "pieces", lambda *_: [])
    monkeypatch.setattr(bundle, "networks", lambda *_: [])
    with pytest.raises(SystemExit) as stop:
        main(["lut", "build", "--device", "x", "--out", str(tmp_path / "x.json"), "--cache", str(tmp_path / "c" / "p")])
    assert stop.value.code == 2  # a bundle without stem and head
