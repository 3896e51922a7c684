"""--log-to: each row is told once, also after a kill, and what is not installed is said at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from test_runs import names, opened

from supernet.commands.opening import check
from supernet.config import SearchConfig
from supernet.engine import board, trackers
from supernet.errors import UserError


def test_tensorboard_shows_the_rows_once_and_has_no_thread(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    def scalars() -> list[tuple[int, str, float]]:
        events = LegacyEventFileLoader(str(tmp_path / "run" / board.FILE)).Load()
        return [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]

    threads = threading.active_count()
    config = SearchConfig(out=str(tmp_path / "run"), log_to="tensorboard")
    folder = opened(config)
    folder.log({"step": 1, "phase": "warm-up", "loss": 0.5})
    folder.log({"step": 2, "phase": "search", "loss": 0.25})
    assert scalars() == [(1, "loss", 0.5), (2, "loss", 0.25)]
    folder = opened(config)
    folder.log({"step": 3, "phase": "search", "loss": 0.125})
    assert scalars() == [(1, "loss", 0.5), (2, "loss", 0.25), (3, "loss", 0.125)]
    folder.finish({"test_accuracy": 0.75})
    assert scalars()[3:] == [(3, "test_accuracy", 0.75)]
    assert threading.active_count() == threads


def test_without_log_to_nothing_but_the_run_is_written(tmp_path: Path) -> None:
    folder = opened(SearchConfig(out=str(tmp_path / "run")))
    folder.log({"step": 1, "loss": 0.5})
    folder.finish({"test_accuracy": 0.75})
    assert names(folder.path) == {".lock", "config.json", "latency_table.json", "metrics.jsonl"}


@pytest.mark.filterwarnings("ignore:::sqlalchemy", "ignore:::mlflow", "ignore::DeprecationWarning")  # MLflow's own
def test_mlflow_has_the_options_each_row_once_the_figures_and_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.chdir(tmp_path)
    config = SearchConfig(out=str(tmp_path / "run"), log_to="mlflow", lr=0.25)
    first = opened(config)
    for step in (1, 2):
        first.log({"step": step, "phase": "search", "loss": 1 / step, "gap a/b": float("nan"), "β:1": 2.0})
    again = opened(config)  # after a kill: the last row is made once more
    for step in (2, 3):
        again.log({"step": step, "phase": "search", "loss": 1 / step})
    (again.path / "report.html").write_text("the page")
    again.finish({"test_accuracy": 0.75})
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("supernet").experiment_id])
    told = {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
    }
    assert told == {"loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)], "β_1": [(1, 2.0), (2, 2.0)], "test_accuracy": [(3, 0.75)]}
    assert run.data.params["lr"] == "0.25" and "versions" not in run.data.params and "max_gap" not in run.data.params
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_a_tracker_that_is_not_there_is_said_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--log-to mlflow: not installed: pip install 'supernet\[mlflow\]'"):
        check(SearchConfig(log_to="mlflow"))
    with pytest.raises(UserError, match='"wandb" is not known'):
        check(SearchConfig(log_to="tensorboard,wandb"))
