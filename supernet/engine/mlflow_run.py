"""A run's rows, options and final figures in MLflow, whose own settings say where that is (MLFLOW_TRACKING_URI …)."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_luts.files import write_whole
from supernet.engine.rows import Row
from supernet.errors import UserError
from supernet.schema import read_text

FILE, EXPERIMENT = "mlflow-run-id", "supernet"
SENT = "supernet.last_step"  # a run's tag: the rows up to here are in MLflow


class MlflowRun:
    """One MLflow run for a run folder, the same one after an interruption: its id is kept in the folder.

    What cannot be sent later (a server that is away) is tried again with the next row; metrics.jsonl has every row anyway.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        """Begins or goes on with `options` as parameters. Raises UserError where MLflow cannot be reached."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent but to the user's own store
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._fails: tuple[type[Exception], ...] = (MlflowException, OSError)
        self._warned = False
        try:
            self._client = MlflowClient()
            self._run_id = self._begun(folder, options)
            tags = self._client.get_run(self._run_id).data.tags
        except self._fails as error:
            raise UserError(
                f"--log-to mlflow: {_first_line(error)}. Set MLFLOW_TRACKING_URI, or leave it out."
            ) from error
        self._sent = int(tags.get(SENT, -1))

    def _begun(self, folder: Path, options: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        client, kept = self._client, folder / FILE
        if kept.exists():
            run_id = read_text(kept, "MLflow run id").strip()
            client.update_run(run_id, status="RUNNING")
            return run_id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if found is None else found.experiment_id
        run_id = client.create_run(experiment, run_name=folder.name, tags={"supernet.folder": str(folder)}).info.run_id
        params = [Param(name, str(value)) for name, value in options.items() if value is not None]
        client.log_batch(run_id, params=params)
        write_whole(kept, run_id.encode())
        return run_id

    def follow(self, rows: Sequence[Row]) -> None:
        """Sends those that are not there yet."""
        try:
            self._send(rows)
        except self._fails as error:
            self._warn(error)

    def finish(self, rows: Sequence[Row], figures: Mapping[str, float], report: Path) -> None:
        """The final figures, the page, and the end."""
        try:
            self._send(rows)
            self._client.log_batch(self._run_id, _metrics(figures, max(self._sent, 0)))
            self._client.log_artifact(self._run_id, str(report))
            self._client.set_terminated(self._run_id)
        except self._fails as error:
            self._warn(error)

    def _send(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import RunTag

        for row in rows:
            if row["step"] > self._sent:
                self._client.log_batch(self._run_id, _metrics(row, row["step"]), tags=[RunTag(SENT, str(row["step"]))])
                self._sent = row["step"]

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            print(f"Warning: MLflow was not told: {_first_line(error)}. The run folder has all of it.", file=sys.stderr, flush=True)  # fmt: skip
        self._warned = True


def _metrics(figures: Mapping[str, Any], step: int) -> list[Any]:
    """The known numbers, under names that MLflow takes."""
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    return [
        Metric(re.sub(r"[^\w.\- ]", "_", name), float(value), now, step)
        for name, value in figures.items()
        if name != "step" and isinstance(value, int | float) and math.isfinite(value)
    ]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
