"""Row of counterparts.py: is a searched denoiser better than a hand-made one of equal measured latency?

CIFAR-10 pictures, σ 25. A table of this machine (`lut build --space dense32`), then for each of 3 seeds `search --task denoise`; the derived network and
the control, which one would build by hand inside the same budget, are trained alike. Both are measured by `supernet verify`. Figure: PSNR on test of the
derived network − the control's, dB, mean over seeds with Student's 95% interval. A search that derives the control itself counts as 0.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from counterparts_pictures import SETS
from PIL import Image
from t_interval import t_interval

from supernet.commands.main import main as supernet

SEEDS, TRAIN, TEST = 3, 2000, 1000


def folder_of_pictures(folder: Path, quick: bool) -> Path:
    """PNG files of CIFAR-10 with a CSV, made once."""
    table = folder / "pictures" / "metadata.csv"
    if not table.exists():
        table.parent.mkdir(parents=True, exist_ok=True)
        arrays = SETS["cifar10"](folder / "cifar10.npz")
        rng, rows = np.random.default_rng(0), ["file_name,label,group,split"]
        for split, number in (("train", 128 if quick else TRAIN), ("test", 100 if quick else TEST)):
            for place in rng.permutation(len(arrays[f"{split}_labels"]))[:number]:
                name = f"{split}-{place}.png"
                Image.fromarray(arrays[f"{split}_images"][place].transpose(1, 2, 0)).save(table.parent / name)
                label = arrays["class_names"][arrays[f"{split}_labels"][place]]
                group = arrays["group_names"][arrays[f"{split}_group"][place]]
                rows.append(f"{name},{label},{group},{split}")
        table.write_text("\n".join(rows) + "\n")
    return table.parent


def measured_ms(paths: list[Path], rounds: int, channels: int) -> list[float]:
    """Median milliseconds of each file, one thread; they take turns, so that what slows the machine slows both."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]) for path in paths]
    image, times = np.zeros((1, channels, 32, 32), np.float32), np.zeros((rounds, len(paths)))
    for number in range(rounds):
        for place, session in enumerate(sessions):
            started = time.perf_counter()
            session.run(None, {"input": image})
            times[number, place] = time.perf_counter() - started
    return (1e3 * np.median(times, axis=0)).tolist()


class Row(NamedTuple):
    """task: of --task.  score: its figure.  channels: of a picture.  data: options of the search that name it.  searched, trained: further options."""

    task: str
    score: str
    channels: int
    data: list[str]
    searched: list[str]
    trained: list[str]


def one(seed: int, folder: Path, table: Path, row_of: Row, quick: bool) -> dict[str, Any]:
    """One search and its two trainings; each command goes on where it stopped, as its folder does."""
    own = folder / str(seed)
    row = own / "row.json"
    if row.exists():
        return json.loads(row.read_text())
    small = ["--seed", str(seed), "--threads", "1", *(["--quick"] if quick else [])]
    if not (own / "search" / "report.json").exists():
        more = ["--accept-poor-table"] if quick else row_of.searched  # six rounds on a busy machine
        command = [
            "search",
            "--task",
            row_of.task,
            "--device",
            str(table),
            *row_of.data,
            *small,
            *more,
            "--out",
            str(own / "search"),
        ]
        supernet(
            command if not (own / "search" / "config.json").exists() else ["search", "--resume", str(own / "search")]
        )
    archs = {"derived": own / "search", "control": own / "search" / "control"}
    archs = {name: arch for name, arch in archs.items() if (arch / "derived.json").exists()}
    score = {}
    for name, arch in archs.items():
        if not (own / name / "report.json").exists():
            more = [] if quick else row_of.trained
            command = ["train", "--arch", str(arch), *small, *more, "--export", "onnx", "--out", str(own / name)]
            supernet(command if not (own / name / "config.json").exists() else ["train", "--resume", str(own / name)])
        score[name] = json.loads((own / name / "report.json").read_text())["metrics"][row_of.score]["value"]
    files = [own / name / "model.onnx" for name in archs]
    ms = dict(zip(archs, measured_ms(files, 20 if quick else 300, row_of.channels), strict=True))
    gain = score["derived"] - score.get("control", score["derived"])
    found = {"seed": seed, row_of.score: score, "ms": ms, "gain": gain}
    row.write_text(json.dumps(found))
    return found


def gained(folder: Path, row_of: Row, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row: figures and runs."""
    table = folder / "table.json"
    if not table.exists():
        supernet(["lut", "build", "--device", "this-machine", "--space", "dense32", "--out", str(table), *(["--quick"] if quick else [])])  # fmt: skip
    rows = [one(seed, folder, table, row_of, quick) for seed in range(1 if quick else SEEDS)]
    mean, low, high = t_interval([row["gain"] for row in rows])
    ratio = [row["ms"]["derived"] / row["ms"].get("control", row["ms"]["derived"]) for row in rows]
    name = f"{row_of.task}_{row_of.score}"
    figures = {f"{name}_gain": mean, f"{name}_gain_low": low, f"{name}_gain_high": high}
    figures |= {
        name: float(np.mean([row[row_of.score]["derived"] for row in rows])),
        f"{row_of.task}_ms_ratio": float(np.mean(ratio)),
    }
    return {name: None if value is None else round(value, 4) for name, value in figures.items()}, rows


def denoise_psnr_gain(folder: Path, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row."""
    data, epochs = folder_of_pictures(folder, quick), ["--epochs", "6"]
    searched = [*epochs, "--warmup-epochs", "6", "--candidates", "40"]
    return gained(folder, Row("denoise", "psnr", 3, ["--data", str(data)], searched, epochs), quick)


ROWS = {"denoise": denoise_psnr_gain}
