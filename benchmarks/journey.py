"""A user's journey with rare positives: a generated folder → search → train → is what the report says true?

    python benchmarks/journey.py [--quick] [--folder runs/journey]

The pictures are GENERATED: noise with a square, of parts made on two machines. Of search-train 40% are defective, of search-val
25%, of test 9%; a third is in colour, the rest grey. Both commands run as a user types them. Then report.json is held against
scikit-learn on predictions.npz, and report.html, model_card.md and the terminal against report.json. Each check is a record;
`summary` counts them. --quick: fewer images and epochs.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from results_io import write_results
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

ROOT = Path(__file__).resolve().parent.parent
SPLITS = {"train": (600, 0.40), "val": (240, 0.25), "test": (440, 0.09)}  # images, share of defective ones
CLASSES = ("defective", "sound")
BUDGET_MS = 12.0
Check = dict[str, Any]


def generate(folder: Path, scale: float = 1.0, seed: int = 0) -> Path:
    """DIR/metadata.csv and its pictures. A defect is a bright square, on machine B a fainter one."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, (size, share) in SPLITS.items():
        images = round(size * scale)
        defective_N = np.arange(images) < round(share * images)
        for number, defective in enumerate(rng.permutation(defective_N)):
            machine, name = "AB"[rng.integers(2)], f"{split}-{number}.png"
            pixels = rng.integers(0, 120, (32, 32, 3) if number % 3 == 0 else (32, 32))
            if defective:
                y, x = rng.integers(2, 22, 2)
                pixels[y : y + 8, x : x + 8] += 80 if machine == "A" else 40
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            rows.append([name, split, CLASSES[0] if defective else CLASSES[1], machine])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "split", "label", "machine"], *rows])
    return folder


def call(folder: Path, *arguments: str) -> str:
    """One command in a process of its own → what the terminal showed. A finished one is read, an interrupted one goes on."""
    told = folder / "terminal.txt"
    if not told.exists():
        asked = [*arguments, "--out", str(folder)]
        if (folder / "config.json").exists():  # an interrupted one goes on
            asked = [arguments[0], "--resume", str(folder)]
        command = [sys.executable, "-m", "supernet", *asked]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        told.write_text(done.stdout)
    return told.read_text()


def page_text(path: Path) -> str:
    """A page's words, in one line."""
    page = re.sub(r"<style>.*?</style>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def data_checks(report: dict[str, Any], text: str, scale: float) -> Iterator[Check]:
    """What both reports say of the data, and of what was asked."""
    counts = report["data"]["class_counts"]
    for split, (size, share) in SPLITS.items():
        images = round(size * scale)
        yield check(f"{split}: images of each class", counts[split]["defective"] == round(share * images))
        yield check(f"{split}: all images", sum(counts[split].values()) == images)
    notes = " ".join(report["notes"])
    yield check("different class shares are said", "Class shares differ between the splits" in notes and "9" in notes)
    yield check("colour beside grey is said", "in colour" in notes)
    yield check("the page has the notes", all(" ".join(note.split()) in text for note in report["notes"]))
    yield check("the positive class is said", f"{report['data']['classes'][1]}, " in text and "positive class" in text)
    yield check("a budget that was asked for is not by default", "12 ms, by default" not in text)
    yield check("neutral words", not re.search(r"\b(everybody|nobody|person)\b", text.lower()))


def search_checks(report: dict[str, Any], text: str, terminal: str) -> Iterator[Check]:
    """What was derived, and why."""
    best, *others = report["candidates"]
    least = min(one["cross_entropy"] for one in report["candidates"])
    yield check("derived is the one with the smallest cross-entropy", best["cross_entropy"] == least)
    told = f"{best['cross_entropy']:.4f}"
    yield check("the page and the terminal show it", told in text and told in terminal)

    def figures(one: dict[str, Any]) -> list[float]:
        gap = [one["gap"]] if all(c["gap"] is not None for c in report["candidates"]) else []
        return [1 - one["mean_group_accuracy"], *gap, one["costs"]["latency"]]

    mine = figures(best)
    dominated = any(all(a <= b for a, b in zip(figures(o), mine, strict=True)) and figures(o) != mine for o in others)
    yield check("its standing is right", best["non_dominated"] is not dominated)
    reason = "The derived architecture is dominated"
    yield check("a dominated one has its reason", (reason in text, reason in terminal) == (dominated, dominated))
    yield check("the budget is kept", best["costs"]["latency"] <= BUDGET_MS)


def train_checks(report: dict[str, Any], folder: Path, texts: dict[str, str]) -> Iterator[Check]:
    """Figures against scikit-learn's; what page, card and terminal say against the figures."""
    metrics, classes = report["metrics"], report["data"]["classes"]
    arrays = np.load(folder / "predictions.npz")
    prob_NC, label_N, group_N = arrays["prob"], arrays["label"], arrays["group"][:, 0]
    taken_N = prob_NC.argmax(1)
    theirs = {
        "accuracy": (taken_N == label_N).mean(),
        "balanced_accuracy": balanced_accuracy_score(label_N, taken_N),
        "auc": roc_auc_score(label_N, prob_NC[:, 1]),
        "average_precision": average_precision_score(label_N, prob_NC[:, 1]),
    }
    for name, value in theirs.items():
        yield check(name, same(metrics[name]["value"], value), value=metrics[name]["value"])
    for k, name in enumerate(classes):
        own = metrics["by_class"][name]
        yield check(f"recall of {name}", same(own["recall"]["value"], recall_score(label_N, taken_N, pos_label=k)), value=own["recall"]["value"])  # fmt: skip
        if own["predicted"]:
            yield check(f"precision of {name}", same(own["precision"]["value"], precision_score(label_N, taken_N, pos_label=k)))  # fmt: skip
    recalls = []
    for g, (group, own) in enumerate(metrics["attributes"]["machine"]["groups"].items()):
        here = group_N == g
        recalls.append(recall_score(label_N[here], taken_N[here], pos_label=1))
        yield check(f"recall by group {group}", same(own["recall"][classes[1]]["value"], recalls[-1]))
    gap = metrics["attributes"]["machine"]["gaps"]["equal_opportunity"]
    yield check("the gap is that of the positive class", same(gap["value"], abs(recalls[0] - recalls[1])))
    share = float(np.bincount(label_N).max() / len(label_N))
    beaten = metrics["accuracy"]["low"] > share
    yield check("the majority's share", same(metrics["majority"]["share"], share) and metrics["majority"]["exceeded"] == beaten)  # fmt: skip
    for where, text in texts.items():
        text = text.replace("\\", "")
        said = 'no better than always "sound"' in text.lower()
        yield check(f"{where}: no better than the majority, where so", said is not beaten)
        found = metrics["by_class"]["defective"]
        told = "too few" if "too_few" in found["recall"] else f"{100 * found['recall']['value']:.1f}%"
        yield check(f"{where}: recall of the rare class", told in text and str(found["images"]) in text)
        yield check(f"{where}: balanced accuracy and AUC", f"{100 * theirs['balanced_accuracy']:.1f}%" in text and f"{theirs['auc']:.3f}" in text)  # fmt: skip
        yield check(f"{where}: whose gap", '(of "defective")' in text and '; of "sound"' not in text)
    worst = metrics["attributes"]["machine"]["groups"][metrics["attributes"]["machine"]["worst_group"]]["accuracy"]
    one = f"{100 * worst['value']:.1f}% ("
    ends = {m[1] for m in re.finditer(re.escape(one) + r"([^)]*)\)", texts["page"])}
    own = f"{100 * worst['low']:.1f} to {100 * worst['high']:.1f}"
    yield check("the worst group's figure has its own interval", own in ends)


def check(name: str, held: bool, **more: float) -> Check:
    return {"check": name, "held": bool(held), **more}


def same(a: float | None, b: float) -> bool:
    return a is not None and abs(a - b) < 1e-9


def journey(folder: Path, quick: bool) -> list[Check]:
    """All checks of one journey; what is finished in `folder` is not run again."""
    scale, effort = (0.5, ["--quick"]) if quick else (1.0, [])
    data = folder / "data"
    if not (data / "metadata.csv").exists():
        generate(data, scale)
    asked = ["--data", str(data), "--label-col", "label", "--group-cols", "machine", "--positive", "defective"]
    asked += [
        "--fairness",
        "equal_opportunity",
        "--space",
        "micro32",
        "--budget-ms",
        f"{BUDGET_MS:g}",
        "--threads",
        "1",
    ]
    search, train = folder / "search", folder / "train"
    terminal = call(search, "search", "--device", "rpi4", *asked, *effort)
    call(train, "train", "--arch", str(search / "derived.json"), "--export", "none", "--threads", "1", *effort)
    checks: list[Check] = []
    for run in (search, train):
        report, text = json.loads((run / "report.json").read_text()), page_text(run / "report.html")
        checks += [found | {"run": run.name} for found in data_checks(report, text, scale)]
        if run == search:
            own = search_checks(report, text, terminal)
        else:
            texts = {"page": text, "card": (run / "model_card.md").read_text(), "terminal": (run / "terminal.txt").read_text()}  # fmt: skip
            own = train_checks(report, run, texts)
        checks += [found | {"run": run.name} for found in own]
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "journey")
    options = parser.parse_args()
    checks = journey(options.folder.resolve(), options.quick)
    summary: dict[str, Any] = {"checks": len(checks), "failed": sum(not found["held"] for found in checks)}
    for name in ("accuracy", "balanced_accuracy", "auc", "average_precision", "recall of defective"):
        summary[name.replace(" ", "_")] = next(found["value"] for found in checks if found["check"] == name)
    if not options.quick:
        write_results("journey", summary, checks, "python benchmarks/journey.py")
    print("\n".join(f"not held: {found['run']}: {found['check']}" for found in checks if not found["held"]))
    print(json.dumps(summary, indent=1))
    sys.exit(summary["failed"] > 0)


if __name__ == "__main__":
    main()
