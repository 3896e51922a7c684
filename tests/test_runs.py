"""Nothing corrupts a run: files are whole, rows are checked, a flipped bit is seen, one process at a time, inputs are the same."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latency_luts import files
from latency_luts.files import remove_partials, write_whole
from supernet.commands.main import main
from supernet.config import SearchConfig
from supernet.costs.latency import table_path
from supernet.engine import claim, runs
from supernet.engine.checkpoint import read_checkpoint, write_checkpoint
from supernet.engine.circumstances import versions
from supernet.engine.rows import append_row, read_rows, write_rows
from supernet.engine.runs import RunFolder, read_config
from supernet.errors import UserError

TABLE = {"latency_table.json": table_path("rpi4")}
ROW = {"type": "object", "required": ["step"], "properties": {"step": {"type": "integer"}}, "additionalProperties": {"type": ["number", "null"]}}  # fmt: skip


def opened(config: SearchConfig, fingerprint: str = "data") -> RunFolder:
    return RunFolder.open(config, "search", fingerprint, TABLE)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "new" / "file.json"
    write_whole(path, b"old")
    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(OSError, match=r"No space left on device.*file\.json"):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old" and names(path.parent) == {"file.json"}


def test_a_file_is_readable_as_the_user_asks_and_synced_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda handle: (synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())), sync(handle)))  # fmt: skip
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert synced[0].endswith(".part") and synced[1:] == [str(tmp_path)]


def test_only_what_our_killed_writes_left_is_removed(tmp_path: Path) -> None:
    for name in ("a.json.0123abcd.part", "b[1].json.0123abcd.part", "a.json", "mine.part", "a.json.notours!.part"):
        (tmp_path / name).touch()
    remove_partials(tmp_path, "b[1].json")
    assert "b[1].json.0123abcd.part" not in names(tmp_path) and "a.json.0123abcd.part" in names(tmp_path)
    remove_partials(tmp_path)
    assert names(tmp_path) == {"a.json", "mine.part", "a.json.notours!.part"}


def test_rows_grow_and_a_cut_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path, "metrics", ROW) == []
    append_row(path, {"step": 1, "loss": 0.1})
    append_row(path, {"step": 2, "loss": float("nan")})
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert read_rows(path, "metrics", ROW) == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": None}]
    inode = path.stat().st_ino
    write_rows(path, read_rows(path, "metrics", ROW))
    assert path.stat().st_ino != inode, "a file beside it, not the file itself, is written"
    inode = path.stat().st_ino
    write_rows(path, read_rows(path, "metrics", ROW))
    assert path.stat().st_ino == inode, "what is right already is not written again"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"loss": 1}', "row 2: .*step"),
        (b'{"step": "1"}', "row 2: step"),
        (b'{"step": 1, "loss": [1]}', "row 2: loss"),
        (b'{"step": 1, "loss": NaN}', "row 2"),
        (b'{"step": 1, "step": 2}', "row 2.*twice"),
        (b'{"step": 1' + b"0" * 400 + b"}", "row 2"),
        (b"[" * 5000 + b"]" * 5000, "row 2"),
        (b"", "row 2"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_row_that_was_changed_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(UserError, match=words):
        read_rows(path, "metrics", ROW)


def test_every_flipped_bit_of_a_checkpoint_is_seen(tmp_path: Path) -> None:
    path, state = tmp_path / "checkpoint.pt", {"step": 3, "state": torch.arange(4.0)}
    write_checkpoint(path, state)
    assert torch.equal(read_checkpoint(path)["state"], state["state"])
    assert torch.load(path, weights_only=True)["step"] == 3, "torch reads it as any other"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        with pytest.raises(UserError, match="delete it to begin this run anew"):
            read_checkpoint(path)
    for content in (b"", whole[:-1], whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(UserError):
            read_checkpoint(path)


def test_a_checkpoint_of_before_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="an earlier version wrote it: delete it"):
        read_checkpoint(tmp_path / "checkpoint.pt")
    monkeypatch.setattr("supernet.engine.checkpoint.FORMAT", 9)
    write_checkpoint(tmp_path / "checkpoint.pt", {})
    monkeypatch.undo()
    with pytest.raises(UserError, match="format 9"):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_metrics_are_those_of_the_checkpoint_again(tmp_path: Path) -> None:
    config = SearchConfig(out=str(tmp_path / "run"))
    folder = opened(config)
    for step in (1, 2):
        folder.log({"step": step, "loss": 0.5})
        folder.save_checkpoint({"step": step})
    kept = (folder.path / "metrics.jsonl").read_bytes()
    for damaged in (kept + b'{"step": 3, "loss": 0}\n{"st', b"\xff nonsense", b""):
        (folder.path / "metrics.jsonl").write_bytes(damaged)
        state = opened(config).load_checkpoint()
        assert state is not None and state["step"] == 2 and (folder.path / "metrics.jsonl").read_bytes() == kept
    (folder.path / "checkpoint.pt").unlink()
    assert folder.load_checkpoint() is None and folder.rows() == []


def test_one_process_at_a_time_and_it_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code = f"from pathlib import Path; from supernet.engine.claim import claim; lock = claim(Path({str(folder)!r})); print('has it', flush=True); input()"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"has it\n"
        with pytest.raises(claim.Taken, match=f"in use by process {other.pid} on "):
            opened(SearchConfig(out=str(folder)))
        assert names(folder) == {".lock"}
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert not opened(SearchConfig(out=str(folder))).resumed, "death frees it, and what it left is no obstacle"


def test_a_number_that_another_process_has_taken_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = runs.begin

    def taken_first(path: Path, *args: Any) -> Any:
        if path.name.endswith("-1"):
            raise claim.Taken("in use")
        return begin(path, *args)

    monkeypatch.setattr(runs, "begin", taken_first)
    first, second = opened(SearchConfig()), opened(SearchConfig())
    assert (first.path.name, second.path.name) == ("search-rpi4-2", "search-rpi4-3")


def test_what_a_killed_start_left_is_no_obstacle_and_what_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    config = SearchConfig(out=str(tmp_path / "run"))
    opened(config)
    (tmp_path / "run" / "config.json").rename(tmp_path / "run" / "config.json.0123abcd.part")
    (tmp_path / "run" / "teacher.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"stopped before it began: give its command with --out"):
        read_config(str(tmp_path / "run"), "search", SearchConfig)
    teacher = tmp_path / "teacher"
    teacher.write_bytes(b"whole")
    assert not RunFolder.open(config, "search", "data", TABLE | {"teacher.safetensors": teacher}).resumed
    assert names(tmp_path / "run") == {".lock", "config.json", "latency_table.json", "teacher.safetensors"}
    assert (tmp_path / "run" / "teacher.safetensors").read_bytes() == b"whole"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "derived.json").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        opened(replace(config, out=str(tmp_path / "mine")))
    assert names(tmp_path / "mine") == {"derived.json"}
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is there already"):
        opened(replace(config, out=str(tmp_path / "file")))


def test_the_same_command_goes_on_another_is_refused(tmp_path: Path) -> None:
    config = SearchConfig(out=str(tmp_path / "run"))
    assert not opened(config).resumed and opened(config).resumed
    for other in (replace(config, seed=1), replace(config, lr=0.1)):
        with pytest.raises(UserError, match="continue it with --resume"):
            opened(other)
    with pytest.raises(UserError, match="continue it with --resume"):
        opened(config, "other data")
    (tmp_path / "run" / "report.json").write_text("{}")
    with pytest.raises(UserError, match="is there already"):
        opened(config)


def test_a_resumed_run_reads_its_own_copy_and_names_what_has_changed(tmp_path: Path) -> None:
    original = tmp_path / "board.json"
    original.write_bytes(TABLE["latency_table.json"].read_bytes())
    folder = str(tmp_path / "run")
    RunFolder.open(SearchConfig(out=folder), "search", "data", {"latency_table.json": original})
    own = tmp_path / "run" / "latency_table.json"
    assert claim.run_input(None, "latency_table.json", original) == original
    assert claim.run_input(folder, "latency_table.json", original) == own
    content = original.read_bytes()
    original.write_bytes(content + b" ")
    with pytest.raises(UserError, match=r"board\.json is not what .* began with"):
        claim.run_input(folder, "latency_table.json", original)
    original.unlink()
    assert claim.run_input(folder, "latency_table.json", original) == own
    own.write_bytes(content + b" ")
    with pytest.raises(UserError, match=r"run/latency_table\.json is not what .* began with"):
        claim.run_input(folder, "latency_table.json", original)
    own.unlink()
    with pytest.raises(UserError, match="is missing"):
        claim.run_input(folder, "latency_table.json", original)


def test_an_option_that_is_missing_or_changed_is_named(tmp_path: Path) -> None:
    config = SearchConfig(out=str(tmp_path / "run"), budget_ms=9.0)
    folder = opened(config)
    folder.save_checkpoint({"step": 1})
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    assert read_config(str(folder.path), "search", SearchConfig) == replace(config, resume=str(folder.path))
    for name in ("budget_ms", "versions", "inputs", "fingerprint"):
        path.write_text(json.dumps({key: value for key, value in content.items() if key != name}))
        with pytest.raises(UserError, match=f"lacks .?{name}"):
            read_config(str(folder.path), "search", SearchConfig)
            opened(replace(config, resume=str(folder.path), out=None))
    path.write_text(json.dumps(content | {"budget_ms": 8.4}))
    again = opened(replace(config, resume=str(folder.path), budget_ms=8.4))
    with pytest.raises(UserError, match=r"budget_ms is not what .*checkpoint\.pt was written with"):
        again.load_checkpoint()


def test_other_versions_are_told(tmp_path: Path) -> None:
    config = SearchConfig(out=str(tmp_path / "run"))
    assert opened(config).notes == ()
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    content["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    (note,) = opened(replace(config, resume=str(tmp_path / "run"))).notes
    assert note.startswith(f"This run began with torch 1.0 (now {versions()['torch']})")
    assert set(asdict(config)) <= set(content), "config.json holds every option"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/x.pt"), "No space left on device: run/x.pt."),
        (MemoryError(), "Memory ran out: lower --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "Memory ran out"),
        (ImportError("libx.so: failed to map segment from shared object"), "Memory ran out"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_what_the_machine_lacks_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, words: str
) -> None:
    def fails(options: object) -> None:
        raise error

    monkeypatch.setattr("supernet.commands.verify.run", fails)
    with pytest.raises(SystemExit) as stopped:
        main(["verify", "--model", "x.onnx"])
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and words in told and len(told.strip().splitlines()) == 1


def test_another_runtime_error_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(options: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("supernet.commands.verify.run", fails)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["verify", "--model", "x.onnx"])


END_TO_END = """
import sys; sys.path.insert(0, "benchmarks")
from pathlib import Path
import robustness_runs as runs
folder = Path(sys.argv[1])
job = runs.jobs(folder)["search"]
records = runs.Records(folder / "records.jsonl")
runs.kills({"search": job}, folder, records, every=60)
expected = runs.run_files(folder / "searched")
records.once("disk search", lambda: runs.with_small_files(job, folder, 200_000, expected))
runs.pairs({"search": job}, folder, records, 1)
"""


def test_a_killed_a_full_and_a_doubled_run_end_as_one_call_does(tmp_path: Path) -> None:
    """A part of benchmarks/robustness_runs.py: two kills, a disk that is too small, two processes with one --out."""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", END_TO_END, str(tmp_path)], cwd=root, env=environment, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in io.StringIO((tmp_path / "records.jsonl").read_text())]
    assert len(rows) >= 4 and [row for row in rows if not row["ok"]] == []
    assert {row.get("code") for row in rows if row["try"].startswith("disk")} == {2}
