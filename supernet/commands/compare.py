"""`supernet compare RUN RUN …`: finished trainings side by side, and in pairs on the same test images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supernet.errors import UserError
from supernet.program import Help
from supernet.schema import printable, read_json

EPILOG = """\
examples:
  supernet compare runs/product runs/baseline/mobilenetv2_050 --out compare.html

The first run is what the others are compared with. A difference has its 95% interval where the test images are the same.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "compare",
        help="several trainings side by side",
        description="Writes a page with the figures of several trainings, and their differences to the first one in pairs.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of train runs")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), help="page to write (default: compare.html); its facts beside it as .json")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Reads, compares, writes."""
    if options.out.suffix != ".html" or options.out.exists() or options.out.with_suffix(".json").exists():
        raise UserError(f"--out {options.out}: give the name of a new page, such as compare.html.")
    content = comparison(options.runs)
    write_comparison(options.out, content)
    print("\n".join([*lines(content), f"Page: {options.out}"]))


def write_comparison(out: Path, content: dict[str, Any]) -> None:
    """The page, and its facts beside it."""
    from latency_luts.files import write_whole
    from supernet.report import render
    from supernet.schema import write_json

    write_whole(out, render(content).encode())
    write_json(out.with_suffix(".json"), content)


def comparison(folders: Sequence[Path]) -> dict[str, Any]:
    """The facts of the page. Raises UserError for fewer than two runs, one that is no finished training, or other classes."""
    from supernet.engine.circumstances import circumstances

    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise UserError("compare takes two different runs or more.")
    reports = [_report(folder) for folder in folders]
    first = reports[0]
    for folder, report in zip(folders, reports, strict=True):
        if report["metrics"]["classes"] != first["metrics"]["classes"]:
            raise UserError(f"{folder} has other classes than {folders[0]}: nothing to compare.")
    notion = first["asked"]["fairness"]
    return {
        "schema_version": 1,
        "command": "compare",
        "name": f"{len(folders)} runs",
        "fairness": notion,
        "runs": [
            _facts(folder, report, notion) | {"against_first": None if report is first else _paired(folders[0], first, folder, report, notion)}
            for folder, report in zip(folders, reports, strict=True)
        ],
        **circumstances(),
    }  # fmt: skip


def _report(folder: Path) -> dict[str, Any]:
    from supernet.report.older import as_today

    if not (folder / "report.json").is_file():
        raise UserError(f"{folder} has no report.json: give the folder of a finished train run.")
    content = read_json(folder / "report.json", "report", {"type": "object"})
    if content.get("command") != "train":
        raise UserError(f"{folder} is not a run of train.")
    return as_today(content)


def _facts(folder: Path, report: dict[str, Any], notion: str) -> dict[str, Any]:
    """What one run's row shows; a gap that its report does not have is None."""
    metrics, arch = report["metrics"], report["arch"]
    int8 = report.get("int8")
    return {
        "folder": printable(str(folder)),
        "arch": arch["name"],
        "searched": arch.get("ops") is not None,
        "pretrained": bool(report.get("pretrained")),
        "images": metrics["samples"],
        "accuracy": metrics["accuracy"],
        "gaps": {name: own["gaps"].get(notion) for name, own in metrics["attributes"].items()},
        "worst": {name: (own["worst_group"], own["groups"][own["worst_group"]]["accuracy"]) for name, own in metrics["attributes"].items()},
        **{key: arch.get(key) for key in ("predicted_ms", "predicted_error", "device", "estimated", "budget_ms", "macs", "params")},
        "int8_accuracy": None if not int8 else int8["test"]["int8"]["accuracy"],
        "val_accuracy": next((row["val_accuracy"] for row in reversed(report["history"]) if row.get("val_accuracy") is not None), None),
    }  # fmt: skip


def _paired(first: Path, one: dict[str, Any], folder: Path, other: dict[str, Any], notion: str) -> dict[str, Any] | str:
    """Differences, this run − the first; or why there are none."""
    import numpy as np

    from supernet.arrays import read_npz
    from supernet.commands.comparison import FILE
    from supernet.fairness import get_notion
    from supernet.paired import paired_differences

    missing = [path for path in (first, folder) if not (path / FILE).is_file()]
    if missing:
        return f"{printable(str(missing[0]))} has no {FILE}"
    a, b = (read_npz(path / FILE, "predictions") for path in (folder, first))
    groups = [report["data"]["groups"] for report in (one, other)]
    if groups[0] != groups[1] or not all(np.array_equal(a[key], b[key]) for key in ("label", "group")):
        return "other test images or groups"
    cluster = a.get("cluster")
    if one["metrics"]["bootstrap"]["unit"] == "cluster" and cluster is None:
        return "the images belong together, and an earlier version did not keep how"
    found = paired_differences(
        a["prob"], b["prob"], a["label"], a["group"], one["metrics"]["classes"], groups[0], cluster=cluster,
        notions={notion: get_notion(notion)},
    )  # fmt: skip
    gaps = {name: own["gaps"][notion] for name, own in found["attributes"].items()}
    return {"accuracy": found["accuracy"], "gaps": gaps}


def lines(content: dict[str, Any]) -> list[str]:
    """For the terminal: a line a run."""
    from supernet.report.facts import AgainstFirst, CompareFacts, Verdict, facts_of
    from supernet.report.words import estimate, number_name, told

    facts = facts_of(content)
    assert isinstance(facts, CompareFacts)
    verdicts = {Verdict.FIRST: ", better", Verdict.SECOND: ", worse", Verdict.OPEN: ", not shown to differ"}
    rows = []
    for found in facts.runs:
        gaps = ", ".join(f"{number_name(facts.fairness)} by {name} {told(gap.value if gap else None)}" for name, gap in found.gaps.items())  # fmt: skip
        ms = "latency unknown" if found.predicted_ms is None else f"{found.predicted_ms:.4g} ms on {found.device}"
        against, paired = found.against_first, ""
        if isinstance(against, AgainstFirst) and against.accuracy.low is not None:
            paired = (
                f"; accuracy against the first {estimate(against.accuracy, '+')}{verdicts[against.accuracy.verdict]}"
            )
        rows.append(f"{found.folder} ({found.arch}): accuracy {estimate(found.accuracy)}, {gaps}, {ms}{paired}")
    return rows
