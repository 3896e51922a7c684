"""The page of a search or a training whose network gives pictures: denoising and segmentation."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supernet.config import DENSE_TASKS
from supernet.report import words
from supernet.report.courses import dense_curves

NAMES = {
    "psnr": "PSNR, dB", "psnr_noisy": "PSNR with the noise, dB", "ssim": "SSIM", "ssim_noisy": "SSIM with the noise", "miou": "mean IoU",
    "pixel_accuracy": "pixel accuracy", "iou": "IoU",
}  # fmt: skip
DECIBELS = ("psnr", "psnr_noisy")
HEADLINES = {"psnr": "PSNR {} dB", "miou": "Mean IoU {}"}
MOST_OPS = 60  # characters of a network's operations in a table


def is_dense(facts: Mapping[str, Any]) -> bool:
    """Whether a report.json is of a task whose network gives pictures: the others do not name their task."""
    return facts.get("task") in DENSE_TASKS


def dense_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a notebook shows of a search's best network, or of a training's test pictures."""
    if facts["command"] == "search":
        best = facts["candidates"][0]
        score = _score(best)
        return [(f"{NAMES[score]}, on search-val with the supernet's weights", f"{best[score]:.4g}")]
    metrics = facts["metrics"]
    rows = [*_whole(metrics), ("images", f"{metrics['images']:,}")]
    for attribute, own in metrics["attributes"].items():
        key = _score(own)
        rows += [(f"{attribute}: {group}, {NAMES[key]}", figure_words(key, found)) for group, found in own[key].items()]
    return rows


def dense_view(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Every variable of dense.html, from the facts of report.json."""
    asked, command = facts["asked"], facts["command"]
    budget = facts["budget_ms"]
    tables = _compared(facts) if command == "search" else _trained(facts)
    return {
        "command": f"{command} --task {facts['task']}",
        "name": facts["name"],
        "date": facts["date"].replace("T", " ").replace("+00:00", " UTC"),
        "took": words.duration(facts["seconds"]),
        "lines": facts["told"] if command == "search" else [_headline(facts["metrics"]), *facts["told"]],
        "notes": facts["notes"],
        "asked": {
            "task": facts["task"] + (f", noise σ {asked['noise_sigma']:g} of 255" if facts["task"] == "denoise" else ""),
            "data": asked["data"],
            "device": asked["device"],
            "budget": "none" if budget is None else f"{budget:g} ms",
            "effort": f"{words.counted(asked['epochs'], 'epoch')}, batches of {asked['batch_size']}",
        },
        "tables": list(tables),
        "samples": facts.get("samples", []),
        "samples_told": facts.get("samples_told", ""),
        "curves": list(dense_curves(facts["history"], NAMES)),
        "again": shlex.join(["supernet", command, "--config", f"{facts['folder']}/run.yaml"]),
        "where": {"commit": facts["commit"], "machine": facts["machine"], "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items())},
    }  # fmt: skip


def figure_words(key: str, found: Mapping[str, Any]) -> str:
    """A figure with its interval: "too few", "unknown", or the number."""
    if found.get("too_few") is not None:
        return words.too_few(found["too_few"])
    if found["value"] is None:
        return "unknown"
    digits = 2 if key in DECIBELS else 4
    spread = "" if found["low"] is None else f" ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
    return f"{found['value']:.{digits}f}{spread}"


def _headline(metrics: Mapping[str, Any]) -> str:
    key = next(key for key in HEADLINES if key in metrics)
    return f"{HEADLINES[key].format(figure_words(key, metrics[key]))} on {metrics['images']:,} test images"


def _score(found: Mapping[str, Any]) -> str:
    """What networks are compared by."""
    return next(key for key in NAMES if key in found)


def _compared(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The search's candidates, the best first."""
    score = _score(facts["candidates"][0])
    rows = [
        [" ".join(row["ops"])[:MOST_OPS] + (" … built by hand" if row["by_hand"] else " …"), f"{row[score]:.4g}", words.milliseconds(row["ms"])]
        for row in facts["candidates"]
    ]  # fmt: skip
    note = "On search-val, with the supernet's weights. Every network keeps the budget. front.json has the operations in full."
    yield {"title": "Compared networks", "head": ["operations", NAMES[score], "predicted, ms"], "rows": rows, "note": note}  # fmt: skip


def _trained(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Figures, then what the network is and which files hold it."""
    yield from _measured(facts["metrics"])
    rows = [["multiply-accumulates", words.amount(facts["macs"])], ["parameters", words.amount(facts["params"])]]
    yield {"title": "The network", "head": ["figure", "value"], "rows": rows, "note": ""}
    if facts["files"]:
        note = "supernet export writes them again, at any later time."
        yield {"title": "Files for the device", "head": ["file", "checked"], "rows": [list(row) for row in facts["files"].items()], "note": note}  # fmt: skip


def _measured(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Figures of all test pictures, by class where there are classes, and by group."""
    yield {"title": f"On {metrics['images']:,} test images", "head": ["figure", "value"], "rows": _whole(metrics), "note": "In brackets: 95% intervals."}  # fmt: skip
    if "iou" in metrics:
        rows = [[name, figure_words("iou", found)] for name, found in metrics["iou"].items()]
        yield {"title": "By class", "head": ["class", NAMES["iou"]], "rows": rows, "note": "Unknown: no pixel is of that class."}  # fmt: skip
    for attribute, own in metrics["attributes"].items():
        yield _by_group(attribute, own)


def _whole(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Figures of all pictures; IoU is by class."""
    return [(NAMES[key], figure_words(key, metrics[key])) for key in NAMES if key in metrics and key != "iou"]


def _by_group(attribute: str, own: Mapping[str, Any]) -> dict[str, Any]:
    keys = [key for key in ("psnr", "miou", "pixel_accuracy") if key in own]
    groups: Sequence[str] = list(own[keys[0]])
    rows = [[group, *(figure_words(key, own[key][group]) for key in keys)] for group in groups]
    gaps = [own["gap" if key == "psnr" else f"{key}_gap"] for key in keys]
    rows.append(["largest difference", *(figure_words(key, gap) for key, gap in zip(keys, gaps, strict=True))])
    note = "Groups of fewer than ten images are not compared." if any("too_few" in own[keys[0]][group] for group in groups) else ""  # fmt: skip
    return {"title": f"By {attribute}", "head": [attribute, *(NAMES[key] for key in keys)], "rows": rows, "note": note}
