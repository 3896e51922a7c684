"""What the Python functions return: a run folder with its facts, shown as a table in a notebook."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from supernet.costs.latency import LatencyTable, load_table, shipped_devices
from supernet.data import GroupedData
from supernet.errors import UserError
from supernet.models import read_model
from supernet.prediction import Predictions
from supernet.report import render, words
from supernet.report.dense import dense_rows, is_dense
from supernet.report.facts import Metrics, read
from supernet.schema import read_json
from supernet.spaces.architecture import Architecture


def _html(title: str, rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(told)}</td></tr>" for name, told in rows)  # fmt: skip
    return f"<table><caption>{escape(title)}</caption>{body}</table>"


class Report(dict[str, Any]):
    """The facts of report.json. `html` is the page; a notebook shows it in a frame of its own."""

    @property
    def html(self) -> str:
        return render(self)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self.html)}" style="width:100%;height:640px;border:0" title="report"></iframe>'


class Folder:
    """A folder that was asked for, or one that is removed when nothing refers to this object any more (`save` keeps it)."""

    def __init__(self, out: str | Path | None) -> None:
        self.temporary = out is None
        if out is None:
            home = tempfile.mkdtemp(prefix="supernet-")
            weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)
            out = Path(home) / "run"
        self.path = Path(out)


class Result:
    """A finished run. `folder`: where its files are."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.folder = folder.path

    @cached_property
    def report(self) -> Report:
        """The facts of report.json."""
        return Report(read_json(self.folder / "report.json", "report", {"type": "object"}))

    def save(self, out: str | Path) -> Path:
        """Copies the run folder. Raises UserError where something is there already."""
        if Path(out).exists():
            raise UserError(f"{out} is there already: choose another folder.")
        return Path(shutil.copytree(self.folder, out))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"


class SearchResult(Result):
    """Of `supernet.search`."""

    @cached_property
    def derived(self) -> Architecture:
        """The architecture that was chosen."""
        return Architecture.load(self.folder / "derived.json")

    @cached_property
    def front(self) -> list[dict[str, Any]]:
        """The candidates that were compared, the derived one first."""
        found: list[dict[str, Any]] = read_json(self.folder / "front.json", "front", {"type": "array"})
        return found

    def _repr_html_(self) -> str:
        arch, report = self.derived, self.report
        rows = [("operations", " ".join(arch.ops))]
        if arch.predicted_ms is None:
            rows.append(("bit operations", words.bops_words(report["derived"]["bops"], arch.config["max_bops"])))
        else:
            rows.append(("predicted latency", f"{arch.predicted_ms:.2f} ms of {arch.budget_ms:g} ms on {arch.device}"))
        if is_dense(report):
            rows += dense_rows(report)
        else:
            found = report["derived"]
            rows += [("multiply-adds", f"{found['macs'] / 1e6:.1f} M"), ("parameters", f"{found['params'] / 1e6:.2f} M")]  # fmt: skip
        return _html("supernet search", [*rows, ("candidates compared", str(len(self.front)))])


class Measured(Result):
    """A run with figures on labelled pictures, of `supernet.evaluate`."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Accuracy and gaps by group, with intervals."""
        found: dict[str, Any] = self.report["metrics"]
        return found

    def _repr_html_(self) -> str:
        title = f"supernet {self.report['command']}"
        if is_dense(self.report):
            return _html(title, dense_rows(self.report))
        notion, metrics = self.report["asked"]["fairness"], read(Metrics, self.metrics)
        rows = [("accuracy", words.interval(metrics.accuracy)), ("images", f"{metrics.samples:,}")]
        for attribute, found in metrics.attributes.items():
            rows += [(f"{attribute}: {g}", words.interval(own.accuracy)) for g, own in found.groups.items()]
            rows.append((f"{words.number_name(notion)} by {attribute}", words.estimate_and_verdict(notion, found.gaps[notion])))  # fmt: skip
        return _html(title, rows)


class TrainResult(Measured):
    """Of `supernet.train`."""

    @cached_property
    def model(self) -> nn.Module:
        """The trained timm model, or the network that gives pictures, in evaluation mode."""
        return read_model(self.folder / "model.json", dense=True).network.eval()

    @cached_property
    def derived(self) -> Architecture | None:
        """The architecture; None of a timm baseline."""
        path = self.folder / "derived.json"
        return Architecture.load(path) if path.is_file() else None

    @property
    def files(self) -> dict[str, Path]:
        """The files for a device that were written, by name."""
        names = self.report.get("files") or {}
        return {name: self.folder / name for name in names if (self.folder / name).is_file()}


class PredictResult:
    """Of `supernet.predict`. `table`: file, label, probability, and each class's; `unreadable`: file → why it has no prediction."""

    def __init__(self, found: Predictions) -> None:
        header, *rows = found.rows(all_classes=True)
        self.classes, self.prob_NC, self.unreadable = found.classes, found.prob_NC, found.unreadable
        numbers = header[2:]
        self.table = pd.DataFrame(rows, columns=header)
        self.table[numbers] = self.table[numbers].apply(pd.to_numeric)
        self._found = found

    def save(self, out: str | Path) -> Path:
        """Writes the table as `supernet predict --all-classes` does."""
        Path(out).write_text(self._found.csv(all_classes=True), encoding="utf-8")
        return Path(out)

    def _repr_html_(self) -> str:
        told: str = self.table._repr_html_()
        return told


class Table:
    """A device's latency table: a shipped one by name, or a file. Raises UserError where there is none."""

    def __init__(self, device: str | Path) -> None:
        self.name = str(device)
        self.table: LatencyTable = load_table(self.name)

    @staticmethod
    def shipped() -> list[str]:
        """Names of the tables that come with the package."""
        return shipped_devices()

    @property
    def facts(self) -> Mapping[str, Any]:
        """Everything that the file says."""
        return self.table.content

    def predict_ms(self, arch: Architecture | SearchResult) -> float:
        """Predicted latency of an architecture. Raises UserError where the table does not price its space."""
        from supernet.spaces import get_space
        from supernet.transfer.kernel_model import table_for

        found = arch.derived if isinstance(arch, SearchResult) else arch
        space = get_space(found.space)
        return table_for(self.table, space)[0].predict_ms(space, found.ops)

    def _repr_html_(self) -> str:
        error = "unknown" if self.table.error is None else f"{self.table.error:.1%} on held-out networks"
        rows = [("device", self.table.device), ("space", str(self.facts["space"])), ("from", self.table.provenance), ("error", error)]  # fmt: skip
        return _html("Latency table", rows)


class Data:
    """A data set that was read and checked. `asked`: how, which a search or a training that is given this object does again."""

    def __init__(self, grouped: GroupedData, asked: dict[str, Any]) -> None:
        self.grouped, self.asked = grouped, asked

    @property
    def classes(self) -> tuple[str, ...]:
        return self.grouped.classes

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Of each attribute."""
        return self.grouped.attributes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should read before believing a figure."""
        return self.grouped.notes

    def _repr_html_(self) -> str:
        data = self.grouped
        rows = [(split, f"{len(getattr(data, split)):,} images") for split in ("train", "val", "test")]
        rows.append(("classes", ", ".join(data.classes)))
        rows += [(attribute, ", ".join(groups)) for attribute, groups in data.attributes.items()]
        return _html(data.name, [*rows, *(("note", note) for note in data.notes)])
