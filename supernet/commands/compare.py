"""`supernet compare RUN RUN …`: finished trainings side by side, and in pairs on the same test images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.errors import UserError
from supernet.program import Help
from supernet.schema import printable

if TYPE_CHECKING:
    from supernet.report.facts import TrainFacts

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
    from supernet.fairness import get_notion

    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise UserError("compare takes two different runs or more.")
    reports = [finished(folder) for folder in folders]
    first = reports[0]
    for folder, report in zip(folders, reports, strict=True):
        if list(report.metrics.classes) != list(first.metrics.classes):
            raise UserError(f"{folder} has other classes than {folders[0]}: nothing to compare.")
    notion = str(first.asked.get("fairness"))
    get_notion(notion)
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


def finished(folder: Path) -> TrainFacts:
    """The report of a finished training. Raises UserError where it is none."""
    from supernet.report.facts import TrainFacts, read_report

    facts = read_report(folder, "train")
    assert isinstance(facts, TrainFacts)
    return facts


def _facts(folder: Path, report: TrainFacts, notion: str) -> dict[str, Any]:
    """What one run's row shows; a gap that its report does not have is None."""
    from supernet.report.facts.reading import to_json
    from supernet.report.words import EACH_BITS

    metrics, arch, int8 = report.metrics, report.arch, report.int8
    return {
        "folder": printable(str(folder)),
        "arch": arch.name,
        "searched": arch.ops is not None,
        "pretrained": bool(report.pretrained),
        "images": metrics.samples,
        "accuracy": to_json(metrics.accuracy),
        "majority": to_json(metrics.majority),
        "gaps": {name: to_json(own.gaps.get(notion)) for name, own in metrics.attributes.items()},
        "worst": {
            name: (own.worst_group, to_json(own.groups[own.worst_group].accuracy))
            for name, own in metrics.attributes.items()
            if own.worst_group in own.groups
        },
        **{key: getattr(arch, key) for key in ("predicted_ms", "predicted_error", "device", "estimated", "budget_ms", "macs", "params")},
        "bops": arch.bops if arch.bits == EACH_BITS else None,
        "int8_accuracy": None if int8 is None else int8.test.int8.accuracy,
        **_on_val(report),
    }  # fmt: skip


def _on_val(report: TrainFacts) -> dict[str, float | None]:
    """Figures on search-val of the weights that were kept; None where they learned from it, or are not known.

    The mean recall of the classes is told where every class weighs the same: by it those weights were kept.
    """
    asked = report.asked
    name = "mean_recall" if asked.get("class_weight") else "accuracy"
    if (known := report.search_val) is not None:
        return {
            "val_accuracy": known["accuracy"],
            "val_mean_recall": known["mean_recall"] if name == "mean_recall" else None,
        }
    rows = [row for row in report.history if isinstance(row.get(f"val_{name}"), (int, float))]
    found: dict[str, float | None] = {"val_accuracy": None, "val_mean_recall": None}
    if not rows or any(asked.get(option) for option in ("train_on_val", "refit_classifier", "qat_epochs")):
        return found
    kept = max(rows, key=lambda row: float(row[f"val_{name}"])) if asked.get("keep") == "best" else rows[-1]
    for key in ("val_accuracy", f"val_{name}"):
        found[key] = float(value) if isinstance(value := kept.get(key), (int, float)) else None
    return found


def _paired(first: Path, one: TrainFacts, folder: Path, other: TrainFacts, notion: str) -> dict[str, Any] | str:
    """Differences, this run − the first; or why there are none. Raises UserError where a run's predictions are damaged."""
    from supernet.commands.comparison import FILE, read_predictions, same_images
    from supernet.fairness import get_notion
    from supernet.paired import paired_differences

    missing = [path for path in (first, folder) if not (path / FILE).is_file()]
    if missing:
        return f"{printable(str(missing[0]))} has no {FILE}"
    a, b = (read_predictions(path / FILE, "predictions") for path in (folder, first))
    groups, classes = {name: tuple(own) for name, own in one.data.groups.items()}, tuple(one.metrics.classes)
    if groups != {name: tuple(own) for name, own in other.data.groups.items()} or not same_images(a, b):
        return "other test images or groups"
    sizes = [len(names) for names in groups.values()]
    for path, arrays, report in ((folder, a, other), (first, b, one)):
        group_NA = arrays["group"]
        if (
            len(group_NA) != report.metrics.samples
            or arrays["prob"].shape[1] != len(classes)
            or group_NA.shape[1:] != (len(sizes),)
            or (group_NA >= sizes).any()
        ):
            raise UserError(f"{path}: {FILE} and report.json are not of one run.")
    cluster = a.get("cluster")
    if one.metrics.bootstrap.unit == "cluster" and cluster is None:
        return "the images belong together, and an earlier version did not keep how"
    found = paired_differences(
        a["prob"], b["prob"], a["label"], a["group"], classes, groups, cluster=cluster,
        notions={notion: get_notion(notion)},
    )  # fmt: skip
    gaps = {name: own["gaps"][notion] for name, own in found["attributes"].items()}
    return {"accuracy": found["accuracy"], "gaps": gaps}


def lines(content: dict[str, Any]) -> list[str]:
    """For the terminal: a line a run."""
    from supernet.report.classes import always
    from supernet.report.facts import AgainstFirst, CompareFacts, Verdict, facts_of
    from supernet.report.words import amount, estimate, number_name, told

    facts = facts_of(content)
    assert isinstance(facts, CompareFacts)
    verdicts = {Verdict.FIRST: ", better", Verdict.SECOND: ", worse", Verdict.OPEN: ", not shown to differ"}
    rows = []
    for found in facts.runs:
        gaps = ", ".join(f"{number_name(facts.fairness)} by {name} {told(gap.value) if gap else 'not told'}" for name, gap in found.gaps.items())  # fmt: skip
        unknown = "latency unknown" if found.bops is None else f"{amount(found.bops)} bit operations and no latency"
        ms = unknown if found.predicted_ms is None else f"{found.predicted_ms:.4g} ms on {found.device}"
        against, paired = found.against_first, ""
        if isinstance(against, AgainstFirst) and against.accuracy.low is not None:
            paired = (
                f"; accuracy against the first {estimate(against.accuracy, '+')}{verdicts[against.accuracy.verdict]}"
            )
        rows.append(
            f"{found.folder} ({found.arch}): {', '.join(filter(None, (f'accuracy {estimate(found.accuracy)}', always(found.majority, found.accuracy.value), gaps, ms)))}{paired}"
        )
    return rows
