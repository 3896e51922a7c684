"""The product's files, one valid sample of each kind, and how far the product goes with one before an hour of work begins."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import mutants
import numpy as np
import torch
from few_digits import few_digits
from PIL import Image

from latency_luts.manifest import read_manifest
from supernet.command_line import from_options, with_file
from supernet.commands import lut, sweep
from supernet.commands.budgets import latency_budget
from supernet.commands.comparison import FILE, read_baseline
from supernet.commands.inherited import inherit
from supernet.commands.main import main
from supernet.commands.opening import check
from supernet.commands.promise import other_data, priced
from supernet.commands.setting import read_data
from supernet.commands.sweep_front import join
from supernet.config import SearchConfig, TrainConfig
from supernet.costs.latency import load_table, require_good
from supernet.data import load_data
from supernet.engine.checkpoint import read_checkpoint, write_checkpoint
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder, read_config
from supernet.models import read_model
from supernet.network import build_network
from supernet.options import check_effect
from supernet.spaces import get_space
from supernet.spaces.architecture import Architecture
from supernet.strategies.driver import read_journal
from supernet.transfer.adapt import adapt, sample_architectures
from supernet.transfer.sheet import begin_sheet, read_sheet

ARCH = "derived.json"


class Kind(NamedTuple):
    """A kind of file: the sample, how it is changed, and what reads it: (path) → None, or a UserError or BundleError."""

    sample: Path
    mutate: mutants.Mutate
    read: Callable[[Path], object]
    binary: bool = False


def make_samples(work: Path) -> dict[str, Kind]:
    """Runs a search, an ask/tell search and a training on 40 digits under `work`, where they are not there yet."""
    data = few_digits(work / "digits.npz", train=2, val=1, test=2)
    small = ["--threads", "1", "--batch-size", "20", "--data", data]
    search = ["search", *small, "--space", "micro32", "--budget-ms", "10", "--epochs", "1", "--warmup-epochs", "1", "--eval-images", "20"]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if not (work / "random" / "report.json").exists():
            main([*search, "--out", str(work / "search")])
            main([*search, "--strategy", "random", "--evaluations", "3", "--out", str(work / "random")])
            main(["train", *small[:4], "--arch", str(work / "search"), "--epochs", "1", "--bootstrap", "20", "--export", "none", "--out", str(work / "train")])  # fmt: skip
    shutil.copy(str(resources.files("latency_luts") / "rpi4.json"), work / "table.json")
    _sheet(work / "measured.csv")
    _photos(work / "photos")
    (work / "sweep.yaml").write_text("out: swept\ndevices: [rpi4, pixel3]\nbudgets_ms: [10, 20.5]\nfairness_weights: [0, 1]\nseeds: [0, 1]\n"
                                     "options: {space: micro32, lr: 0.002, augment: false, fairness: accuracy_parity}\ncpus: 1\n")  # fmt: skip
    (work / "manifest.json").write_text(json.dumps(_manifest()))
    digits = load_data(data)
    trained, searched, drawn = work / "train", work / "search", work / "random"
    return {
        "derived.json": Kind(
            searched / ARCH, mutants.of_json, lambda path: read_derived(path, data, digits.fingerprint)
        ),
        "model.json": Kind(trained / "model.json", mutants.of_json, lambda path: _beside(path, trained, False)),
        "config.json": Kind(searched / "config.json", mutants.of_json, _config),
        "front.json": Kind(searched / "front.json", mutants.of_json, lambda path: _front(path, work)),
        "metrics.jsonl": Kind(
            searched / "metrics.jsonl",
            mutants.of_jsonl,
            lambda path: RunFolder(_placed(path, "metrics.jsonl")).rows(),
        ),
        "evaluations.jsonl": Kind(
            drawn / "evaluations.jsonl", mutants.of_jsonl, lambda path: read_journal(path, _region())
        ),
        "table.json": Kind(work / "table.json", mutants.of_json, _table),
        "measured.csv": Kind(work / "measured.csv", mutants.of_csv, _measured),
        "metadata.csv": Kind(
            work / "photos" / "metadata.csv", mutants.of_csv, lambda path: _photo_table(path, work / "photos")
        ),
        "sweep.yaml": Kind(work / "sweep.yaml", mutants.of_yaml, lambda path: sweep.plan(sweep.read_sweep(path))),
        "run.yaml": Kind(searched / "run.yaml", mutants.of_yaml, _options),
        "manifest.json": Kind(
            work / "manifest.json", mutants.of_json, lambda path: read_manifest(_placed(path, "manifest.json"))
        ),
        "checkpoint.pt": Kind(trained / "checkpoint.pt", mutants.of_zip, lambda path: read_checkpoint(path), True),
        "model.safetensors": Kind(
            trained / "model.safetensors", mutants.of_safetensors, lambda path: _weights(path, trained), True
        ),
        "predictions.npz": Kind(
            trained / FILE, mutants.of_zip, lambda path: read_baseline(str(_placed(path, FILE)), digits), True
        ),
        "digits.npz": Kind(work / "digits.npz", mutants.of_zip, lambda path: load_data(f"writers:{path}"), True),
    }


def _placed(path: Path, name: str) -> Path:
    """The folder of its own in which the file has the name that the reader looks for."""
    folder = path.with_name(f"{path.name}.folder")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / name)
    return folder


def read_derived(path: Path, data: str, fingerprint: str, **given: Any) -> list[str]:
    """As `train` reads it; the notes that it would print."""
    arch = Architecture.load(path)
    config = inherit(TrainConfig(arch=str(path), data=data, **given), arch, {"data", *given}, quick=False)
    check(config)
    check_effect(config, given)
    arch, notes = priced(config, arch, given)
    with torch.device("meta"):
        build_network(arch)
    return notes + other_data(config, arch, fingerprint)


def _beside(path: Path, trained: Path, pretrained: bool) -> object:
    folder = _placed(path, "model.json")
    shutil.copy(trained / ARCH, folder / ARCH)
    shutil.copy(trained / "model.safetensors", folder / "model.safetensors")
    return read_model(folder / "model.json", pretrained)


def _weights(path: Path, trained: Path) -> object:
    """Without the SHA-256 that would refuse every one: as a file of an earlier version."""
    folder = _placed(path, "model.safetensors")
    content = json.loads((trained / "model.json").read_text())
    content.pop("sha256", None)
    (folder / "model.json").write_text(json.dumps(content))
    shutil.copy(trained / ARCH, folder / ARCH)
    return read_model(folder / "model.json")


def _config(path: Path) -> None:
    config = read_config(str(_placed(path, "config.json")), "search", SearchConfig)
    check(config)


def _options(path: Path) -> None:
    merged = with_file(SearchConfig, Namespace(config=path, quick=False))
    config = from_options(SearchConfig, merged)
    check(config)
    check_effect(config, vars(merged))


def _front(path: Path, work: Path) -> str:
    config = SearchConfig(space="micro32", budget_ms=10.0)
    return join([(_placed(path, "front.json"), config)], work)


def _table(path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        lut.run_check(Namespace(file=str(path), space=None))
    table, space = load_table(str(path)), get_space("micro32")
    require_good(table, False)
    budget = SearchConfig(
        space="micro32", budget_ms=10.0, latency_quantile=0.9 if table.provenance == "adapted" else None
    )
    latency_budget(budget, space, table, table.cost(space))


def _photo_table(path: Path, photos: Path) -> list[str]:
    beside = path if (path.parent / "0.png").exists() else photos / "mutant.csv"
    if beside != path:
        shutil.copy(path, beside)
    with contextlib.redirect_stderr(io.StringIO()):
        return list(read_data(SearchConfig(data=str(beside)), 32).notes)


def _measured(path: Path) -> None:
    adapt("board", read_sheet(path, "fbnet32"))


@cache
def _region() -> Any:
    from supernet.costs.analytic import macs_table, params_table
    from supernet.strategies.region import Region

    space = get_space("micro32")
    costs = {
        "latency": load_table("rpi4").cost(space),
        "macs": macs_table(space, 1, 10),
        "params": params_table(space, 1, 10),
    }
    return Region(space.valid_LK, costs, {"latency": 10.0})


def _sheet(path: Path) -> None:
    space = get_space("fbnet32")
    path.unlink(missing_ok=True)
    drawn = sample_architectures(space, 12)
    begin_sheet(path, space, "float32", {f"sample_{n:02}": ops for n, ops in enumerate(drawn)})
    table = load_table("rpi4")
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("latency_ms")
    for number, ops in enumerate(drawn, 1):
        cells = lines[number].split(",")
        cells[column] = f"{table.predict_ms(space, ops) * (1 + 0.01 * (number % 3 - 1)):.4f}"
        lines[number] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


def _photos(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    rng, rows = np.random.default_rng(0), ["file_name,split,label,group"]
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
        split = ("train", "val", "test")[number // 8]
        rows.append(f"{number}.png,{split},{('no', 'yes')[number % 2]},{('a', 'b')[number // 2 % 2]}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


def _manifest() -> dict[str, Any]:
    key = {"op": "k3_e1", "c_in": 16, "c_out": 24, "stride": 2, "resolution": 32}
    items = [{"name": name, "role": role, "file": f"models/{name}.onnx", "sha256": "0" * 64}
             for name, role in (("stem", "stem"), ("head", "head"))]  # fmt: skip
    items.append({"name": "k3", "role": "op", "file": "models/k3.onnx", "sha256": "1" * 64, "key": key})
    layer = {name: value for name, value in key.items() if name != "op"}
    return {"schema_version": 1, "space": "fbnet32", "dtype": "float32", "format": "onnx", "resolution": 32, "made_with": {"torch": "2"},
            "items": items, "identities": [], "layers": [layer]}  # fmt: skip


def wrong_state(trained: Path, state: dict[str, Any], data: str, work: Path) -> None:
    """A checkpoint with the right sum and a wrong content, gone on from as `train --resume` does."""
    folder = work / "resumed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("*.html", "checkpoint.pt", "tensorboard"))
    (folder / "report.json").unlink(missing_ok=True)
    write_checkpoint(folder / "checkpoint.pt", state)
    config = replace(read_config(str(folder), "train", TrainConfig), resume=str(folder))
    arch = Architecture.load(folder / ARCH)
    digits = load_data(data)
    run = RunFolder.open(config, "train", digits.fingerprint, {ARCH: folder / ARCH})
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train_network(config, digits, build_network(arch), run, torch.device("cpu"))
